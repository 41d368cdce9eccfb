"""Decoders: pure functions from bytes to bytes, one file each."""
