"""What disc images and disc file systems share: tracks, sessions, sectors, times."""
