"""Files that a general compressor made."""
