"""Discs of no platform: ISO 9660, and what it comes in."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.images import DATA, TREE, Image, Work, names, of
from benchmarks.reading import FIND, FIND_AGAIN, START
from benchmarks.row import FILE, Decoder, and_random, disk, file, ours, tool, tree, unpack

_SECTOR = 2048
_SYNC = b"\0" + b"\xff" * 10 + b"\0"
_GENISOIMAGE = "genisoimage -quiet -R -J -o {target} {source}"


def _cso(work: Work, target: Path) -> None:
    """CISO 1, in blocks of 2 KiB."""
    data = DATA.path(work).read_bytes()
    blocks = [data[at : at + _SECTOR] for at in range(0, len(data), _SECTOR)]
    table, offset, stored = [], 24 + 4 * (len(blocks) + 1), []
    with ThreadPoolExecutor() as pool:
        for block, packed in zip(blocks, pool.map(partial(zlib.compress, wbits=-15), blocks), strict=True):
            plain = len(packed) >= len(block)
            stored.append(block if plain else packed)
            table.append(offset | plain << 31)
            offset += len(stored[-1])
    header = struct.pack("<4sIQIBB2x", b"CISO", 24, len(data), _SECTOR, 1, 0)
    target.write_bytes(header + struct.pack(f"<{len(table) + 1}I", *table, offset) + b"".join(stored))


def _sectors(work: Work, target: Path) -> None:
    """The ISO in sectors of mode 1, whose codes for correction are left empty."""
    with ISO.path(work).open("rb") as iso, target.open("wb") as out:
        for number, data in enumerate(iter(lambda: iso.read(_SECTOR), b""), 150):
            minute, second, frame = number // 4500, number // 75 % 60, number % 75
            address = bytes(value // 10 << 4 | value % 10 for value in (minute, second, frame))
            out.write(_SYNC + address + b"\1" + data + bytes(288))


ISO = Image("file.iso", of(TREE, _GENISOIMAGE))
ISO_NAMES = Image("names.iso", of(names(250, 50_000), _GENISOIMAGE))
SECTORS = Image("sectors.bin", _sectors)
CSO = Image("disc.cso", _cso)
CHD = Image("disk.chd", of(DATA, "chdman createraw -i {source} -o {target} -hs 16384 -us 512 -c zlib"))

CHDMAN = Decoder("chdman extractraw", ("chdman", "extractraw", "-i", "{image}", "-o", "{scratch}/disk"))
FINDERS = (tool("fuseiso -n", ""), tool("archivemount -o readonly", ""))

ROWS = (
    *and_random(file("iso", "ISO, one file", ISO, tool("fuseiso -n", FILE))),
    file("sectors", "ISO in sectors of 2352 bytes", SECTORS, ours(ISO, "imgmount, ISO", FILE)),
    *and_random(disk("cso", "CSO", CSO, unpack("cso", "zlib"))),
    disk("chd", "CHD zlib, 16 KiB", CHD, CHDMAN),
    tree("iso-find", "ISO, find 50,000 files", ISO_NAMES, FIND, *FINDERS),
    tree("iso-find-again", "ISO, the same again, warm", ISO_NAMES, FIND_AGAIN, *FINDERS),
    tree("start-iso", "start, ISO of 50,000 files", ISO_NAMES, START, *FINDERS),
)
