"""What Unix file systems share: inodes, block pointers, extent trees."""
