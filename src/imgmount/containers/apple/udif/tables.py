"""The tables of a UDIF image: ``mish`` blocks of runs, in the plist or the resource fork.

Source: the layout as 7-Zip's, libmodi's and the ClassicMac documentation agree on it.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from imgmount.containers.apple.udif.trailer import MAX_SECTORS, Checksum, Trailer
from imgmount.core.device import BlockDevice
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.apple import plist
from imgmount.families.apple.resources import ResourceFork
from imgmount.families.apple.runs import DAMAGED, Run

log = logging.getLogger(__name__)

MAGIC: Final = b"mish"
HEADER: Final = struct.Struct(">4sI3Q2I24x2I128sI")
RUN: Final = struct.Struct(">2I4Q")  # type, comment, first sector, sectors, offset, stored bytes
MAX_XML: Final = 64 << 20
MAX_RUNS: Final = 1 << 20
MAX_TABLES: Final = 1 << 12

COMMENT, END = 0x7FFF_FFFE, 0xFFFF_FFFF
ADC, ZLIB, BZIP2, LZFSE, LZMA = range(0x8000_0004, 0x8000_0009)
RESOURCES: Final = (b"blkx", b"LPic", b"STR#", b"TEXT")


class Table(NamedTuple):
    """One ``mish`` block: ``sectors`` from ``first`` on, a partition as hdiutil sees it.

    ``problem`` is what is wrong with it.
    """

    id: int
    name: str
    first: int
    sectors: int
    runs: Sequence[Run]
    checksum: Checksum
    problem: str = ""

    def layout(self) -> Sequence[Run]:
        """The runs; of a damaged table what they leave out is no hole."""
        return [Run(DAMAGED, self.first, self.sectors, 0, 0), *self.runs] if self.problem else self.runs


class Resources:
    """What a UDIF image keeps in resources, wherever they are: type -> [(identifier, name, data)]."""

    def __init__(self, found: Mapping[bytes, list[tuple[int, str, bytes]]]) -> None:
        self._found = found

    def __getitem__(self, kind: bytes) -> list[tuple[int, str, bytes]]:
        return self._found.get(kind, [])


def read_resources(file: BlockDevice, trailer: Trailer, own: BlockDevice | None) -> Resources:
    """The resources of an image; ``own`` is the resource fork of its file. Raises ``FormatError``."""
    if trailer.xml[1]:
        offset, size = trailer.base + trailer.xml[0], trailer.xml[1]
        if size > MAX_XML:
            raise FormatError("udif", f"a plist of {size} bytes", offset=trailer.place + 0xE0)
        return Resources(_from_plist(file.read_exactly(offset, size, "udif"), offset))
    if trailer.resources[1]:
        own = Slice(file, trailer.base + trailer.resources[0], trailer.resources[1])
    return Resources(_from_fork(own) if own is not None else {})


def _from_fork(device: BlockDevice) -> dict[bytes, list[tuple[int, str, bytes]]]:
    fork = ResourceFork(device, "udif")
    found: dict[bytes, list[tuple[int, str, bytes]]] = {}
    for one in fork.resources:
        if one.type in RESOURCES:
            found.setdefault(one.type, []).append((one.id, one.name.decode("mac_roman"), fork.read(one)))
    return found


def _from_plist(data: bytes, offset: int) -> dict[bytes, list[tuple[int, str, bytes]]]:
    """The ``resource-fork`` of a plist."""
    lists = plist.parse(data, "udif", offset=offset).get("resource-fork")
    if not isinstance(lists, dict):
        raise FormatError("udif", "the plist has no resource-fork", offset=offset)
    found: dict[bytes, list[tuple[int, str, bytes]]] = {}
    for kind in RESOURCES:
        entries = lists.get(kind.decode())
        parsed = map(_entry, entries if isinstance(entries, list) else ())
        found[kind] = [entry for entry in parsed if entry is not None]
    return found


def _entry(entry: Any) -> tuple[int, str, bytes] | None:
    """(identifier, name, data) of one resource; None where it has no data."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Data"), bytes):
        return None
    number, name = str(entry.get("ID", "0")), entry.get("Name") or entry.get("CFName") or ""
    identifier = int(number) if re.fullmatch("-?[0-9]{1,9}", number) else 0
    return identifier, str(name), entry["Data"]


def read_tables(resources: Resources) -> list[Table]:
    """The tables in order of their identifiers. Raises ``FormatError`` where there are too many runs."""
    blocks = resources[b"blkx"]
    if len(blocks) > MAX_TABLES:
        raise FormatError("udif", f"{len(blocks)} tables")
    tables = [_table(*block) for block in sorted(blocks, key=lambda block: block[0]) if block[2][:4] == MAGIC]
    if sum(len(table.runs) for table in tables) > MAX_RUNS:
        raise FormatError("udif", f"more than {MAX_RUNS} runs")
    return tables


def _table(identifier: int, name: str, data: bytes) -> Table:
    """One table. Runs beyond its own end, or beyond any disk, are left out and reported."""
    if len(data) < HEADER.size:
        problem = f"{len(data)} bytes long: the header alone has {HEADER.size}"
        return Table(identifier, name, 0, 0, (), Checksum(0, b""), problem)
    _, _, start, sectors, base, _, _, kind, bits, value, count = HEADER.unpack_from(data)
    whole = (len(data) - HEADER.size) // RUN.size
    end = HEADER.size + min(count, whole) * RUN.size
    runs, ended = _runs(data[HEADER.size : end], start, base)
    problem = f"{count} runs in a table that has room for {whole}" if count > whole and not ended else ""
    sound = [
        run for run in runs if run.first + run.sectors <= MAX_SECTORS and run.offset + run.stored < 1 << 63
    ]
    if len(sound) < len(runs):
        problem = "runs that lie beyond any disk or file"
    if problem:
        log.warning("udif: table %d (%s): %s", identifier, name, problem)
    first = min(start, MAX_SECTORS)
    return Table(
        identifier,
        name,
        first,
        min(sectors, MAX_SECTORS - first),
        sound,
        Checksum.parse(kind, bits, value),
        problem,
    )


def _runs(data: bytes, start: int, base: int) -> tuple[list[Run], bool]:
    """(the runs, whether the entry was there that ends them)."""
    runs: list[Run] = []
    for kind, _, first, count, offset, stored in RUN.iter_unpack(data):
        if kind == END:
            return runs, True
        if kind != COMMENT and count:
            runs.append(Run(kind, start + first, count, base + offset, stored))
    return runs, False
