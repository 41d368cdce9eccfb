"""Images of forensic tools."""
