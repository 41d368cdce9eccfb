"""Amiga volumes of PFS, AFS and SFS, recognised and not read: refused by name, so that nobody takes them for damaged ones."""

from __future__ import annotations

from typing import Final, NoReturn

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind
from imgmount.errors import UnsupportedError

NAMES: Final = {b"PFS": "Professional File System", b"AFS": "AmiFileSafe", b"SFS": "Smart File System"}


def refuse(device: BlockDevice, _: Context) -> NoReturn:
    """Raise ``UnsupportedError`` with the filesystem's name."""
    start = device.pread(0, 4)
    family = NAMES.get(start[:3], "Professional File System, multi-user")
    raise UnsupportedError(f"pfs: {family} volumes are not supported")


FORMAT: Final = Format(
    name="pfs",
    title="Amiga PFS, AFS, SFS",
    kind=Kind.FILESYSTEM,
    open=refuse,
    limits="recognised only, and refused by name",
)
