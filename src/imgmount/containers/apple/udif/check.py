"""The checksums that a UDIF image keeps: of each table's runs, of all tables, and of the data fork."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from imgmount.codecs.crc32 import Crc32
from imgmount.containers.apple.udif.tables import Table
from imgmount.containers.apple.udif.trailer import CRC32, MD5, Checksum
from imgmount.core.checks import Checked, Digest, Finding, Seal, Sum, told_of
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.slices import Concat, Slice
from imgmount.families.apple.rundisk import RunDisk
from imgmount.families.apple.runs import IGNORE, SECTOR, ZERO

if TYPE_CHECKING:
    from imgmount.containers.apple.udif.segments import Segment

NAMES: Final = {CRC32: "CRC-32", MD5: "MD5", 6: "SHA-1", 8: "SHA-256", 10: "SHA-384", 12: "SHA-512"}
SUMS: Final[Mapping[int, Callable[[], Sum]]] = {CRC32: Crc32, MD5: partial(Digest, "md5")}


def check(tables: Sequence[Table], segments: Sequence[Segment], disk: RunDisk) -> Iterator[Finding]:
    """What ``verify`` tells."""
    for table in tables:
        who = f"table {table.id} ({table.name})" if table.name else f"table {table.id}"
        if table.problem:
            yield f"{who}: {table.problem}"
        yield from told_of(who, _seal(table.checksum, _content(table, disk)))
    main = segments[0].trailer
    if tables and {main.master_checksum.type, *(table.checksum.type for table in tables)} == {CRC32}:
        computed = zlib.crc32(b"".join(table.checksum.value for table in tables))
        yield Checked("CRC-32 of all tables", main.master_checksum.value.hex(), f"{computed:08x}")
    for file, trailer in segments:
        name = f"the data of segment {trailer.segment}" if len(segments) > 1 else "the data fork"
        start = trailer.base + trailer.data[0]
        yield from told_of(name, _seal(trailer.data_checksum, Slice(file, start, trailer.data[1])))


def _content(table: Table, disk: RunDisk) -> BlockDevice:
    """What the checksum of a table is of: its runs, whatever lies over them, but those to be ignored."""
    return Concat(
        [
            Extent(run.sectors * SECTOR, None if run.kind == ZERO else disk.run_device(run))
            for run in table.runs
            if run.kind != IGNORE
        ]
    )


def _seal(checksum: Checksum, content: BlockDevice) -> Iterator[Seal]:
    if checksum.type in SUMS:
        new = SUMS[checksum.type]
        yield Seal(NAMES[checksum.type], checksum.value[: len(new().digest())], content, new)
