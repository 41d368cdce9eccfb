"""CHD headers, versions 1 to 5, and the metadata chain. Big endian. Source: MAME, src/lib/util/chd.h."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = b"MComprHD"
HEADER_SIZES: Final = {1: 76, 2: 80, 3: 120, 4: 108, 5: 124}
MAX_HUNK_BYTES: Final = 1 << 24  # chdman makes none above 1 MiB
MAX_HUNKS: Final = 1 << 24  # a map of 200 MB; 64 GiB in the usual 4 KiB hunks
MAX_METADATA: Final = 4096  # entries; a disc has 99 tracks
MAX_METADATA_BYTES: Final = 1 << 20  # of one entry
HAS_PARENT: Final = 1  # flag of versions 1 to 4
CHECKSUMMED: Final = 1  # metadata flag: part of the overall SHA-1
SECTOR: Final = 512  # of version 1, which does not say

_PREFIX: Final = struct.Struct(">8sII")  # magic, length, version
# flags, compression, then 1 and 2: sectors in a hunk, hunks, cylinders, heads, sectors, MD5, parent's MD5
_V12: Final = struct.Struct(">IIIIIII16s16s")
# 3: hunks, size, metadata, MD5, parent's MD5, hunk bytes, SHA-1, parent's SHA-1
_V3: Final = struct.Struct(">IIIQQ16s16sI20s20s")
# 4: hunks, size, metadata, hunk bytes, SHA-1, parent's SHA-1, SHA-1 of the stream
_V4: Final = struct.Struct(">IIIQQI20s20s20s")
# 5: codecs, size, map, metadata, hunk bytes, unit bytes, SHA-1 of the stream, SHA-1, parent's SHA-1
_V5: Final = struct.Struct(">16sQQQII20s20s20s")
_METADATA: Final = struct.Struct(">4sIQ")  # tag, flags and length, next

# compression of versions 1 to 4; 2 is "zlib+", coded alike
_NAMES: Final = {0: b"none", 1: b"zlib", 2: b"zlib", 3: b"avhu"}


class Header(NamedTuple):
    """What a reader needs of a header, checked.

    Digests are empty where the version has none or they were not filled in.
    """

    version: int
    codecs: tuple[bytes, ...]  # four-letter names; none at all where nothing is compressed
    size: int
    hunk_bytes: int
    hunks: int
    unit_bytes: int  # 0: to be learnt from the metadata
    map_offset: int
    metadata_offset: int
    digest: bytes  # what a child calls this file: SHA-1, before version 3 MD5
    raw_sha1: bytes  # of the logical stream
    parent: bytes  # the parent's ``digest``

    @classmethod
    def read(cls, file: BlockDevice) -> Self:
        """The header of ``file``. Raises ``FormatError``, ``UnsupportedError``."""
        magic, length, version = _PREFIX.unpack(file.read_exactly(0, _PREFIX.size, "chd"))
        if magic != MAGIC:
            raise FormatError("chd", "the file does not begin with MComprHD", offset=0)
        if version not in HEADER_SIZES:
            raise UnsupportedError(
                f"chd: version {version} is not one of {', '.join(map(str, HEADER_SIZES))}"
            )
        if length != HEADER_SIZES[version]:
            raise FormatError(
                "chd",
                f"the header of version {version} has {length} bytes, not {HEADER_SIZES[version]}",
                offset=8,
            )
        body = file.read_exactly(_PREFIX.size, length - _PREFIX.size, "chd")
        return (cls._v5 if version == 5 else cls._v34 if version >= 3 else cls._v12)(version, body)

    @classmethod
    def _v12(cls, version: int, body: bytes) -> Self:
        flags, compression, hunk_sectors, hunks, cylinders, heads, sectors, md5, parent = _V12.unpack_from(
            body
        )
        sector = int.from_bytes(body[_V12.size : _V12.size + 4], "big") if version == 2 else SECTOR
        return cls(
            version=version,
            codecs=_codec(compression),
            size=cylinders * heads * sectors * sector,
            hunk_bytes=hunk_sectors * sector,
            hunks=hunks,
            unit_bytes=sector,
            map_offset=HEADER_SIZES[version],
            metadata_offset=0,
            digest=_set(md5),
            raw_sha1=b"",
            parent=parent if flags & HAS_PARENT else b"",
        )

    @classmethod
    def _v34(cls, version: int, body: bytes) -> Self:
        if version == 3:
            flags, compression, hunks, size, metadata, _, _, hunk_bytes, sha1, parent = _V3.unpack(body)
            raw = sha1
        else:
            flags, compression, hunks, size, metadata, hunk_bytes, sha1, parent, raw = _V4.unpack(body)
        return cls(
            version=version,
            codecs=_codec(compression),
            size=size,
            hunk_bytes=hunk_bytes,
            hunks=hunks,
            unit_bytes=0,
            map_offset=HEADER_SIZES[version],
            metadata_offset=metadata,
            digest=_set(sha1),
            raw_sha1=_set(raw),
            parent=parent if flags & HAS_PARENT else b"",
        )

    @classmethod
    def _v5(cls, version: int, body: bytes) -> Self:
        names, size, map_offset, metadata, hunk_bytes, unit_bytes, raw, sha1, parent = _V5.unpack(body)
        codecs = tuple(names[at : at + 4] for at in range(0, 16, 4))
        return cls(
            version=version,
            codecs=codecs if any(codecs[0]) else (),
            size=size,
            hunk_bytes=hunk_bytes,
            hunks=-(-size // hunk_bytes) if hunk_bytes else 0,
            unit_bytes=unit_bytes or 1,
            map_offset=map_offset,
            metadata_offset=metadata,
            digest=_set(sha1),
            raw_sha1=_set(raw),
            parent=_set(parent),
        )

    def __post_init__(self) -> None:
        within("chd", "hunk size", self.hunk_bytes, 1, MAX_HUNK_BYTES)
        within("chd", "number of hunks", self.hunks, 1, MAX_HUNKS)
        if not 0 < self.size <= self.hunks * self.hunk_bytes:
            raise FormatError(
                "chd", f"a disc of {self.size} bytes does not fit {self.hunks} hunks of {self.hunk_bytes}"
            )
        if self.version == 5 and self.hunk_bytes % self.unit_bytes:
            raise FormatError(
                "chd",
                f"hunks of {self.hunk_bytes} bytes are not made of units of {self.unit_bytes}",
                offset=0x3C,
            )


def _codec(compression: int) -> tuple[bytes, ...]:
    if compression not in _NAMES:
        raise UnsupportedError(f"chd: compression {compression} is not one of {', '.join(map(str, _NAMES))}")
    return (_NAMES[compression],)


def _set(digest: bytes) -> bytes:
    """``digest``, or nothing if it was left zero."""
    return digest if any(digest) else b""


class Metadata(NamedTuple):
    """One metadata entry. ``tag`` is four letters: ``b"CHT2"``."""

    tag: bytes
    flags: int
    data: bytes

    @property
    def text(self) -> str:
        """The data up to its NUL."""
        return self.data.split(b"\0", 1)[0].decode("ascii", "replace")


def read_metadata(file: BlockDevice, offset: int) -> list[Metadata]:
    """The chain that starts at ``offset`` (0: none).

    Raises ``FormatError`` where it loops or leaves the file.
    """
    entries: list[Metadata] = []
    seen = set()
    while offset:
        if offset in seen or len(entries) >= MAX_METADATA:
            raise FormatError(
                "chd", "the metadata chain does not end: it loops, or is too long", offset=offset
            )
        seen.add(offset)
        tag, packed, following = _METADATA.unpack(file.read_exactly(offset, _METADATA.size, "chd"))
        length = packed & 0xFFFFFF
        if length > MAX_METADATA_BYTES:
            raise FormatError(
                "chd", f"metadata of {length} bytes are more than {MAX_METADATA_BYTES}", offset=offset
            )
        entries.append(Metadata(tag, packed >> 24, file.read_exactly(offset + _METADATA.size, length, "chd")))
        offset = following
    return entries


def overall_sha1(raw: bytes, entries: Sequence[Metadata]) -> bytes:
    """The SHA-1 of the stream's SHA-1 and of the metadata that take part.

    Source: chd_file::compute_overall_sha1.
    """
    parts = sorted(
        entry.tag + hashlib.sha1(entry.data).digest() for entry in entries if entry.flags & CHECKSUMMED
    )
    return hashlib.sha1(b"".join([raw, *parts])).digest()
