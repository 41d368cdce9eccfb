"""Formats that hold one device: compressed files, virtual disks, disc images."""
