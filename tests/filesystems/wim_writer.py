"""A WIM written by hand, uncompressed, for what no tool would write. Not an oracle: it lies on purpose."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

HEADER = 208
NO_HASH = bytes(20)


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest() if data else NO_HASH


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


@dataclass
class Entry:
    """One entry; ``streams`` are (name, SHA-1).

    ``below`` is where its entries are, filled in for ``children``.
    """

    name: str | bytes = ""
    attributes: int = 0x20
    digest: bytes = NO_HASH
    children: list[Entry] | None = None
    below: int | None = None
    security: int = -1
    times: tuple[int, int, int] = (0, 0, 0)
    group: int = 0
    short: str = ""
    items: bytes = b""
    streams: Sequence[tuple[str, bytes]] = ()
    length: int | None = None
    count: int | None = None

    def packed(self, below: int = 0) -> bytes:
        name = self.name if isinstance(self.name, bytes) else self.name.encode("utf-16-le", "surrogatepass")
        short = self.short.encode("utf-16-le")
        tail = (name + b"\0\0" if name else b"") + (short + b"\0\0" if short else b"")
        body = padded(bytes(102) + tail)[102:] + padded(self.items)
        length = 102 + len(body)
        attributes = self.attributes | (0x10 if self.children is not None or self.below is not None else 0)
        head = struct.pack(
            "<QIiQ16xQQQ20s4xQHHH",
            self.length if self.length is not None else length,
            attributes,
            self.security,
            self.below if self.below is not None else below,
            *self.times,
            self.digest,
            self.group,
            self.count if self.count is not None else len(self.streams),
            len(short),
            len(name),
        )
        return padded(head + body) + b"".join(stream(name, digest) for name, digest in self.streams)


def stream(name: str, digest: bytes) -> bytes:
    raw = name.encode("utf-16-le", "surrogatepass")
    body = struct.pack("<Q20sH", 0, digest, len(raw)) + (raw + b"\0\0" if raw else b"")
    return padded(struct.pack("<Q", 8 + len(body)) + body)


def metadata(entries: list[Entry], security: Sequence[bytes] = (), head: bytes | None = None) -> bytes:
    """Metadata with the root's entries; directories are laid out depth first."""
    table = struct.pack("<II", 8 + 8 * len(security) + sum(map(len, security)), len(security))
    table += b"".join(struct.pack("<Q", len(one)) for one in security) + b"".join(security)
    out = bytearray(padded(table if head is None else head))
    root = Entry(children=entries)
    at = len(out) + len(root.packed()) + 8
    out += root.packed(at) + bytes(8)

    def lay(children: list[Entry]) -> None:
        places = []
        start = len(out)
        for child in children:
            places.append(len(out))
            out.extend(child.packed())
        out.extend(bytes(8))
        for child, place in zip(children, places, strict=True):
            if child.children:
                struct.pack_into("<Q", out, place + 16, len(out))
                lay(child.children)
        assert start == at or start > at

    lay(entries)
    return bytes(out)


@dataclass
class Wim:
    """``images`` are metadata, ``blobs`` content; ``records`` are further rows of the blob table."""

    images: list[bytes]
    blobs: list[bytes] = field(default_factory=list)
    xml: bytes = "\ufeff<WIM></WIM>".encode("utf-16-le")
    records: list[bytes] = field(default_factory=list)
    flags: int = 0
    chunk: int = 0
    version: int = 0x10D00
    magic: bytes = b"MSWIM\0\0\0"
    part: tuple[int, int] = (1, 1)
    count: int | None = None
    guid: bytes = bytes(range(16))
    digest: bytes | None = None  # of the metadata, where it is a lie

    def pack(self) -> bytes:
        out = bytearray(HEADER)
        rows = []
        for number, data in enumerate([*self.images, *self.blobs]):
            is_image = number < len(self.images)
            digest = self.digest if is_image and self.digest is not None else hashlib.sha1(data).digest()
            rows.append(record(len(data), 2 if is_image else 0, len(out), len(data), digest))
            out += data
        table = b"".join([*rows, *self.records])
        blobs = resource(len(table), 2, len(out), len(table))
        out += table
        xml = resource(len(self.xml), 2, len(out), len(self.xml))
        out += self.xml
        count = len(self.images) if self.count is None else self.count
        out[:HEADER] = struct.pack(
            "<8s4I16sHHI24s24s24sI24s60x",
            *(self.magic, HEADER, self.version, self.flags, self.chunk, self.guid, *self.part, count),
            *(blobs, xml, bytes(24), 0, bytes(24)),
        )
        return bytes(out)


def resource(stored: int, flags: int, offset: int, size: int) -> bytes:
    return struct.pack("<QQQ", stored | flags << 56, offset, size)


def record(stored: int, flags: int, offset: int, size: int, digest: bytes) -> bytes:
    return resource(stored, flags, offset, size) + struct.pack("<HI20s", 1, 1, digest)
