"""What is measured."""

from . import amiga, apple, discs, disks, linux, nintendo, windows

ROWS = (*disks.ROWS, *discs.ROWS, *linux.ROWS, *apple.ROWS, *windows.ROWS, *amiga.ROWS, *nintendo.ROWS)
