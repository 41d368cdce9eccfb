"""Wii discs as the Wii U keeps them: ``hif_000000.nfs`` and its followers, encrypted block by block.

All is big endian. The header of the first file has ranges of blocks of 32 KiB that are stored, one after the
other; the others are zero. The key is the file ``code/htk.bin`` of the title, of 16 bytes. Partitions inside
are decrypted, their hashes are kept. Sources: nod; Dolphin, ``DiscIO/NFSBlob.cpp``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from struct import Struct
from typing import Final

from imgmount.codecs.aes import decrypt_parts
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import within
from imgmount.core.slices import Concat
from imgmount.errors import FormatError
from imgmount.sources.keyring import KeySearch

MAGIC: Final = b"EGGS"
END_MAGIC: Final = b"SGGE"
END_AT: Final = 0x1FC
HEADER_SIZE: Final = 0x200
COUNT: Final = 0x10
RANGES: Final = 0x14
_RANGE: Final = Struct(">II")  # first block, blocks
MAX_RANGES: Final = 61
BLOCK: Final = 0x8000
MAX_BLOCKS: Final = 1 << 19  # twice a dual layer disc
CHUNK_BLOCKS: Final = 4
WII_MAGIC: Final = (0x18, b"\x5d\x1c\x9e\xa3")
GC_MAGIC: Final = (0x1C, b"\xc2\x33\x9f\x3d")
_PART = re.compile(r"hif_([0-9]{6})\.nfs", re.IGNORECASE)


def probe(file: BlockDevice) -> Match:
    """CERTAIN where the header ends as it should."""
    return Match.CERTAIN if file.pread(END_AT, len(END_MAGIC)) == END_MAGIC else Match.NO


class NfsDevice(ChunkedDevice):
    """The disc inside a set of NFS files."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = file.read_exactly(0, HEADER_SIZE, "nfs")
        count = int.from_bytes(header[COUNT:RANGES], "big")
        if not header.startswith(MAGIC):
            raise FormatError("nfs", "the header does not begin with EGGS", offset=0)
        within("nfs", "number of ranges", count, 1, MAX_RANGES, offset=COUNT)
        self._firsts: list[int] = []
        self._counts: list[int] = []
        self._before: list[int] = []  # blocks stored before each range
        stored = end = 0
        for first, blocks in _RANGE.iter_unpack(header[RANGES : RANGES + count * _RANGE.size]):
            if first < end or first + blocks > MAX_BLOCKS:
                reason = (
                    f"a range of {blocks} blocks at {first} overlaps another or ends past block {MAX_BLOCKS}"
                )
                raise FormatError("nfs", reason, offset=RANGES)
            self._firsts.append(first)
            self._counts.append(blocks)
            self._before.append(stored)
            stored, end = stored + blocks, first + blocks
        super().__init__(end * BLOCK, CHUNK_BLOCKS * BLOCK, context.cache)
        self._file = _joined(file, context)
        self._key = self._find_key(context)

    def _find_key(self, context: Context) -> bytes:
        search = KeySearch(
            context, "nfs", beside=("htk.bin",), paths=(context.path.parent.parent / "code" / "htk.bin",)
        )
        for key in search:
            head = self._blocks(key, 0, 1)
            if any(head[at:].startswith(magic) for at, magic in (WII_MAGIC, GC_MAGIC)):
                return key
        raise search.failure()

    def _place(self, block: int) -> int | None:
        """Where ``block`` of the disc is in the joined files, None where it is zero."""
        index = bisect_right(self._firsts, block) - 1
        inside = block - self._firsts[index]
        if index < 0 or inside >= self._counts[index]:
            return None
        return HEADER_SIZE + (self._before[index] + inside) * BLOCK

    def _blocks(self, key: bytes, first: int, end: int) -> bytes:
        places = [self._place(block) for block in range(first, end)]
        raw = b"".join(
            [self._file.read_exactly(place, BLOCK, "nfs") for place in places if place is not None]
        )
        stored = [block for block, place in enumerate(places, first) if place is not None]
        ivs = [block.to_bytes(16, "big") for block in stored]
        clear = decrypt_parts(key, raw, [(at * BLOCK, (at + 1) * BLOCK, iv) for at, iv in enumerate(ivs)])
        if len(stored) == len(places):
            return clear
        pieces = iter([clear[at : at + BLOCK] for at in range(0, len(clear), BLOCK)])
        return b"".join([bytes(BLOCK) if place is None else next(pieces) for place in places])

    def _read_chunk(self, index: int) -> bytes:
        first = index * CHUNK_BLOCKS
        return self._blocks(self._key, first, min(first + CHUNK_BLOCKS, self.size // BLOCK))

    def info(self) -> Mapping[str, str]:
        return {"blocks": f"{self.size // BLOCK} of {BLOCK} bytes, {sum(self._counts)} stored"}


def _joined(file: BlockDevice, context: Context) -> BlockDevice:
    """``hif_000000.nfs`` with the files that follow it."""
    own = _PART.fullmatch(context.path.name)
    if own is None or int(own[1]):
        return file
    present = {int(found[1]): name for name in context.siblings.names() if (found := _PART.fullmatch(name))}
    parts = [file]
    while len(parts) in present:
        parts.append(context.siblings.open(present[len(parts)]))
    return Concat.of(parts)


FORMAT: Final = ContainerFormat(
    name="nfs", title="Wii disc on a Wii U", extensions=(".nfs",), probe=probe, open=NfsDevice, needs="crypto"
)
