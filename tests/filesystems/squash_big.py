"""Turns a SquashFS 4.0 image into the big-endian kind of device makers, structure by structure, for tests.

Only metadata changes its order, so each metadata block is decoded, turned and stored; data blocks stay. It follows
the layout in the kernel's documentation, not the reader.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

_SUPER = "4sIIIIHHHHHHQQQQQQQQ"
_INODES = {  # behind the common fields, by type; B marks the block sizes of a file
    1: "IIHHI", 2: "IIII", 3: "II", 4: "II", 5: "II", 6: "I", 7: "I", 8: "IIIIHHI", 9: "QQQIIII", 10: "II", 11: "III",
    12: "III", 13: "II", 14: "II",
}  # fmt: skip
_NONE = 0xFFFF_FFFF
_NO_TABLE = 0xFFFF_FFFF_FFFF_FFFF


def _turned(fields: str, data: bytes | bytearray, at: int = 0) -> bytes:
    return struct.pack(">" + fields, *struct.unpack_from("<" + fields, data, at))


class _Turner:
    def __init__(self, data: bytes, headers: str) -> None:
        self.data, self.headers = data, headers
        self.fields: list[Any] = list(struct.unpack_from("<" + _SUPER, data))
        self.block_size, self.fragments, self.ids = self.fields[3], self.fields[4], self.fields[8]
        self.places = self.fields[13:]  # owners, attributes, inodes, directories, fragments, export
        self.out = bytearray()
        self.moved: dict[int, int] = {}

    def blocks(self, start: int, end: int) -> dict[int, bytes]:
        """Decoded metadata blocks, by where they begin."""
        found = {}
        while start < end:
            (head,) = struct.unpack_from("<H", self.data, start)
            raw = self.data[start + 2 : start + 2 + (head & 0x7FFF)]
            found[start] = raw if head & 0x8000 else zlib.decompress(raw)
            start += 2 + (head & 0x7FFF)
        return found

    def stored(self, blocks: dict[int, bytes], turned: bytes) -> None:
        """Append the turned blocks: as long as before once decoded, but stored."""
        at = 0
        for start, block in blocks.items():
            self.moved[start] = len(self.out)
            piece = turned[at : at + len(block)]
            self.out += struct.pack(">H" if self.headers == "big" else "<H", len(piece) | 0x8000) + piece
            at += len(block)

    def inodes(self, joined: bytes) -> bytes:
        at, out = 0, bytearray()
        while at < len(joined):
            (kind,) = struct.unpack_from("<H", joined, at)
            fields = "HHHHII" + _INODES[kind]
            values = list(struct.unpack_from("<" + fields, joined, at))
            at += struct.calcsize("<" + fields)
            if kind in (1, 8):  # the block of a directory is known by where it begins
                index = 6 if kind == 1 else 8
                old = self.places[3] + values[index]
                values[index] = self.later[old]
            out += struct.pack(">" + fields, *values)
            if kind in (2, 9):
                size, fragment = (values[9], values[7]) if kind == 2 else (values[7], values[10])
                blocks = size // self.block_size + (fragment == _NONE and size % self.block_size > 0)
                out += _turned(f"{blocks}I", joined, at)
                at += 4 * blocks
            elif kind in (3, 10):
                out += joined[at : at + values[7]]
                at += values[7]
                if kind == 10:
                    out += _turned("I", joined, at)
                    at += 4
            elif kind == 8:
                for _ in range(values[10]):
                    first, block, size = struct.unpack_from("<III", joined, at)
                    out += struct.pack(">III", first, self.later[self.places[3] + block], size)
                    out += joined[at + 12 : at + 13 + size]
                    at += 13 + size
        return bytes(out)

    def directories(self, joined: bytes) -> bytes:
        at, out = 0, bytearray()
        while at < len(joined):
            entries, block, number = struct.unpack_from("<III", joined, at)
            out += struct.pack(
                ">III", entries, self.moved[self.places[2] + block] - self.moved[self.places[2]], number
            )
            at += 12
            for _ in range(entries + 1):
                out += _turned("HhHH", joined, at)
                length = struct.unpack_from("<6xH", joined, at)[0] + 1
                out += joined[at + 8 : at + 8 + length]
                at += 8 + length
        return bytes(out)

    def table(self, start: int, size: int, record: str) -> int:
        """A table of records of one kind behind pointers to its blocks; where it is now."""
        total = struct.calcsize("<" + record) * size
        pointers = struct.unpack_from(f"<{-(-total // 8192)}Q", self.data, start)
        places = []
        for pointer in pointers:
            (block,) = list(self.blocks(pointer, pointer + 1).values())
            places.append(len(self.out))
            number = len(block) // struct.calcsize("<" + record)
            self.stored(
                {pointer: block},
                b"".join(_turned(record, block, n * struct.calcsize("<" + record)) for n in range(number)),
            )
        found = len(self.out)
        self.out += struct.pack(f">{len(places)}Q", *places)
        return found

    def image(self) -> bytes:
        inodes = self.blocks(self.places[2], self.places[3])
        end = min(
            place
            for place in (*self.places[4:], self.places[0], self.places[1], len(self.data))
            if place > self.places[3]
        )
        end = min(
            end,
            *(
                struct.unpack_from("<Q", self.data, place)[0]
                for place in (self.places[0], *([self.places[4]] if self.fragments else []))
            ),
        )
        folders = self.blocks(self.places[3], end)
        self.out += self.data[: self.places[2]]
        # each block keeps its decoded length, so those of directories begin at known places
        self.later, at = {}, 0
        for start, block in folders.items():
            self.later[start] = at
            at += 2 + len(block)
        inode_table = len(self.out)
        self.stored(inodes, self.inodes(b"".join(inodes.values())))
        directory_table = len(self.out)
        self.stored(folders, self.directories(b"".join(folders.values())))
        fragment_table = self.table(self.places[4], self.fragments, "QII") if self.fragments else _NO_TABLE
        id_table = self.table(self.places[0], self.ids, "I")
        root = int(self.fields[11])
        where = self.moved[self.places[2] + (root >> 16)] - inode_table
        self.fields[0] = b"sqsh"
        self.fields[11:] = [
            where << 16 | root & 0xFFFF, len(self.out), id_table, _NO_TABLE, inode_table, directory_table, fragment_table,
            _NO_TABLE,
        ]  # fmt: skip
        self.out[:96] = struct.pack(">" + _SUPER, *self.fields)
        return bytes(self.out)


def big_endian(data: bytes, headers: str) -> bytes:
    """``data`` with its metadata in big endian, the sizes before its blocks as ``headers`` says."""
    return _Turner(data, headers).image()
