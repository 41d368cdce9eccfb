"""Images of Amiga floppies."""
