"""Disc images that are recognised and not read: refused by name, so that nobody takes them for damaged ones."""

from __future__ import annotations

from typing import Final, NoReturn

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Magic
from imgmount.errors import UnsupportedError

KNOWN: Final = (
    (Magic(0, b"BWT5 STREAM SIGN"), "b5t: BlindWrite 5 and 6 images are"),
    (Magic(0, b"Adaptec CeQuadrat VirtualCD File"), "c2d: WinOnCD images are"),
    (Magic(0, b"Roxio Image File Format 3.0"), "c2d: Roxio images are"),
    (Magic(8, b"imag"), "cif: Easy CD Creator images are"),
    (Magic(-64, b"bbis"), "uif: MagicISO images are"),
    (Magic(0, b"AARUFRMT"), "aaruf: Aaru images are"),
    (Magic(0, b"DICMFRMT"), "aaruf: DiscImageChef images are"),
    (Magic(0, b"JISO"), "jiso: PSP images in LZO blocks are"),
)


def refuse(device: BlockDevice, _: Context) -> NoReturn:
    """Raise ``UnsupportedError`` with the format's name."""
    for (offset, data), subject in KNOWN:
        if device.pread(max(0, offset + (device.size if offset < 0 else 0)), len(data)) == data:
            raise UnsupportedError(f"{subject} not supported")
    raise UnsupportedError("unread: not one of the formats that are recognised and not read")


FORMAT: Final = Format(
    name="unread",
    title="B5T, B6T, C2D, CIF, UIF, JISO, AaruFormat",
    kind=Kind.CONTAINER,
    open=refuse,
    limits="recognised only, and refused by name",
)
