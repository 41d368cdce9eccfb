"""UDIF, the disk images of Mac OS X (``.dmg``): raw, ADC, zlib, bzip2, LZFSE, LZMA; in one file or several.

Not here: UDRW and UDTO images have no structure, they are raw disks; encryption is its own layer.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.apple.udif.place import find
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match


def probe(file: BlockDevice) -> Match:
    """PROVEN: the block lies at an end of the file, and what the first run looks like does not matter."""
    return Match.NO if find(file) is None else Match.PROVEN


FORMAT: Final = ContainerFormat(
    name="udif",
    title="Apple disk image (UDIF)",
    extensions=(".dmg",),
    checks="CRC-32 or MD5 of runs, tables and the data fork",
    open=Later("imgmount.containers.apple.udif.device:UdifDevice"),
    probe=probe,
    guest=True,
    needs="apple",
    limits="checksums other than CRC-32 and MD5 are not verified",
)
