"""Apple partition maps, in blocks of 512 to 4096 bytes, also beside an ISO filesystem on hybrid discs.

Source: Inside Macintosh: Devices, chapter 3, "The Partition Map". All numbers are big endian; block numbers
count from the start.
"""

from __future__ import annotations

import logging
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.core.format import Context, Match, Partition, PartitionsFormat, begins_on
from imgmount.core.header import within
from imgmount.core.slices import Slice
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

_ENTRY: Final = Struct(">2s2xIII32s32s")  # signature, entries of the map, first block, blocks, name, type
DRIVER_MAP: Final = b"ER"
SIGNATURE: Final = b"PM"
BLOCK_SIZES: Final = (512, 1024, 2048, 4096)
MAX_ENTRIES: Final = 1024
NO_PARTITIONS: Final = ("Apple_partition_map", "Apple_Free", "Apple_Void", "Apple_Scratch", "Apple_Extra")


def _block_size(device: BlockDevice) -> int:
    """What the driver map says if there is an entry there, else the first size that leads to one.

    Raises ``FormatError``.
    """
    head = device.pread(0, 4)
    told = int.from_bytes(head[2:], "big") if head[:2] == DRIVER_MAP else 0
    for size in (told, *BLOCK_SIZES):
        if size in BLOCK_SIZES and device.pread(size, 2) == SIGNATURE:
            return size
    raise FormatError(
        "apm", f"an entry of a partition map begins with {SIGNATURE!r}, there is none", offset=BLOCK_SIZES[0]
    )


def _entry(device: BlockDevice, at: int) -> tuple[int, int, int, str, str]:
    """(entries of the map, first block, blocks, name, type) of the entry at an offset.

    Raises ``FormatError``.
    """
    signature, *numbers, name, kind = _ENTRY.unpack(device.read_exactly(at, _ENTRY.size, "apm"))
    if signature != SIGNATURE:
        raise FormatError("apm", f"an entry begins with {SIGNATURE!r}, here is {signature!r}", offset=at)
    count, first, blocks = numbers
    return count, first, blocks, text(name, "mac_roman"), text(kind, "mac_roman")


def probe(device: BlockDevice) -> Match:
    """LIKELY at most: a disc may be in another format as well."""
    size = _block_size(device)
    count, *_ = _entry(device, size)
    within("apm", "number of entries", count, 1, MAX_ENTRIES, offset=size + 4)
    return Match.LIKELY if device.pread(0, 2) == DRIVER_MAP else Match.FALLBACK


def open_apm(device: BlockDevice, _: Context) -> list[Partition]:
    """The partitions, numbered by their place in the map from 1, without the map itself and free space."""
    size = _block_size(device)
    total = min(_entry(device, size)[0], MAX_ENTRIES)
    parts = []
    for number in range(1, total + 1):
        try:
            first, blocks, name, kind = _entry(device, number * size)[1:]
        except FormatError as exc:
            log.warning("%s: the map ends with entry %d of %d", exc, number - 1, total)
            break
        if kind in NO_PARTITIONS or not blocks:
            continue
        if not begins_on(device, "apm", number, first * size):
            continue
        parts.append(Partition(number, kind, name, Slice(device, first * size, blocks * size)))
    return parts


FORMAT: Final = PartitionsFormat(
    name="apm",
    title="Apple partition map",
    probe=probe,
    open=open_apm,
)
