"""Disk images of the Mac, from Disk Copy 4.2 to macOS 26, and the wrappers of their resource forks."""
