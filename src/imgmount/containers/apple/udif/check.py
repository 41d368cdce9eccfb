"""The checksums that a UDIF image keeps: of each table's runs, of all tables, and of the data fork."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from imgmount.codecs.crc32 import extend_by_zeros
from imgmount.containers.apple.udif.tables import Table
from imgmount.containers.apple.udif.trailer import CRC32, MD5, NONE, Checksum
from imgmount.core.read_through import read_through
from imgmount.errors import ImageError
from imgmount.families.apple.rundisk import RunDisk
from imgmount.families.apple.runs import IGNORE, SECTOR, ZERO

if TYPE_CHECKING:
    from imgmount.containers.apple.udif.segments import Segment

STEP: Final = 1 << 20
MAX_DIGESTED_ZEROS: Final = 1 << 34  # bytes of zeros given to digests, for which there is no shortcut
NAMES: Final = {CRC32: "CRC-32", MD5: "MD5", 6: "SHA-1", 8: "SHA-256", 10: "SHA-384", 12: "SHA-512"}


class _Sum:
    """A checksum in the making."""

    def __init__(self, kind: int) -> None:
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if kind == MD5 else None

    def add(self, data: bytes) -> None:
        if self._md5 is not None:
            self._md5.update(data)
        else:
            self._crc = zlib.crc32(data, self._crc)

    def add_zeros(self, count: int) -> None:
        if self._md5 is None:
            self._crc = extend_by_zeros(self._crc, count)
            return
        if count > MAX_DIGESTED_ZEROS:
            raise ImageError(f"the checksum of {count} zeros is not computed")
        for start in range(0, count, STEP):
            self._md5.update(bytes(min(STEP, count - start)))

    def value(self) -> bytes:
        return self._md5.digest() if self._md5 is not None else self._crc.to_bytes(4, "big")


def check(tables: Sequence[Table], segments: Sequence[Segment], disk: RunDisk) -> Iterator[str]:
    """What is wrong, a line each."""
    sums: list[bytes] = []
    whole = True
    for table in tables:
        who = f"table {table.id} ({table.name})" if table.name else f"table {table.id}"
        if table.problem:
            yield f"{who}: {table.problem}"
        problem, value = _check_table(table, disk)
        whole = whole and not problem and table.checksum.type == CRC32
        sums.append(value)
        if problem:
            yield f"{who}: {problem}"
    main = segments[0].trailer
    if tables and whole and main.master_checksum.type == CRC32:
        yield from _differs(
            "the checksum of all tables", main.master_checksum, zlib.crc32(b"".join(sums)).to_bytes(4, "big")
        )
    for file, trailer in segments:
        if trailer.data_checksum.type in (CRC32, MD5):
            name = f"the data of segment {trailer.segment}" if len(segments) > 1 else "the data fork"
            start = trailer.base + trailer.data[0]
            summed = _Sum(trailer.data_checksum.type)
            for data in read_through(file, start, start + trailer.data[1]):
                summed.add(data)
            yield from _differs(f"the checksum of {name}", trailer.data_checksum, summed.value())


def _check_table(table: Table, disk: RunDisk) -> tuple[str, bytes]:
    """(what is wrong, the checksum that was found)."""
    if table.checksum.type not in (CRC32, MD5, NONE):
        return "", table.checksum.value
    summed = _Sum(table.checksum.type)
    for number, run in enumerate(table.runs):
        try:
            if run.kind == ZERO:
                summed.add_zeros(run.sectors * SECTOR)
            elif run.kind != IGNORE:
                device = disk.run_device(run)
                for data in read_through(device):
                    summed.add(data)
        except ImageError as exc:
            return f"run {number}: {exc}", b""
    if table.checksum.type == NONE:
        return "", b""
    return next(_differs("its checksum", table.checksum, summed.value()), ""), summed.value()


def _differs(what: str, stored: Checksum, found: bytes) -> Iterator[str]:
    if stored.value[: len(found)] != found:
        yield f"{what} is {found.hex()}, {stored.value[: len(found)].hex()} is stored"
