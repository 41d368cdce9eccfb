"""What is measured."""

from . import apple, discs, disks, linux, nintendo, windows

ROWS = (*disks.ROWS, *discs.ROWS, *linux.ROWS, *apple.ROWS, *windows.ROWS, *nintendo.ROWS)
