"""SGI volume headers (IRIX), big endian.

Source: the layout as in Linux, ``block/partitions/sgi.c``; types as in ``dvhtool``.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context, Match, Partition, PartitionsFormat, begins_on
from imgmount.core.slices import Slice
from imgmount.errors import ChecksumError, FormatError

SECTOR: Final = 512
MAGIC: Final = b"\x0b\xe5\xa9\x41"
PARTITIONS: Final = slice(312, 504)
_PARTITION: Final = Struct(">III")  # sectors, first sector, type
WHOLE: Final = 6

TYPES: Final = {
    0: "volume header", 1: "track replacements", 2: "sector replacements", 3: "raw", 4: "BSD", 5: "System V",
    7: "EFS", 8: "logical volume", 9: "raw logical volume", 10: "XFS", 11: "XFS log", 12: "XLV", 13: "XVM",
    0x82: "Linux swap", 0x83: "Linux",
}  # fmt: skip


def _read(device: BlockDevice) -> list[tuple[int, int, int]]:
    """(sectors, first sector, type) of each slot of a header whose checksum holds. Raises ``FormatError``."""
    raw = device.read_exactly(0, SECTOR, "sgi")
    if not raw.startswith(MAGIC):
        raise FormatError(
            "sgi", f"a volume header begins with {MAGIC.hex()}, here is {raw[:4].hex()}", offset=0
        )
    if sum(table(raw, 4, "big")) & 0xFFFF_FFFF:
        raise ChecksumError("sgi", "the header's checksum is wrong", offset=PARTITIONS.stop)
    return list(_PARTITION.iter_unpack(raw[PARTITIONS]))


def probe(device: BlockDevice) -> Match:
    """CERTAIN: a magic and a checksum."""
    _read(device)
    return Match.CERTAIN


def open_sgi(device: BlockDevice, _: Context) -> list[Partition]:
    """Slots 0-15 numbered 1-16, as Linux does; the one that is the whole volume is left out."""
    parts = []
    for number, (sectors, first, kind) in enumerate(_read(device), 1):
        if kind == WHOLE or not sectors:
            continue
        if not begins_on(device, "sgi", number, first * SECTOR):
            continue
        parts.append(
            Partition(number, TYPES.get(kind, str(kind)), "", Slice(device, first * SECTOR, sectors * SECTOR))
        )
    return parts


FORMAT: Final = PartitionsFormat(
    name="sgi",
    title="SGI volume header",
    checks="sum of the label",
    probe=probe,
    open=open_sgi,
)
