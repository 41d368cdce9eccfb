"""The metadata of an image: its security descriptors, and its directories as runs of entries.

An entry is 102 bytes, its names, tagged items, and behind its length the streams that it has besides its
own. It is kept as it is stored and parsed where it is asked for. Nothing here is trusted: entries may lie
anywhere, loop and overlap.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs import libwim
from imgmount.core.device import BlockDevice
from imgmount.core.fields import build, table
from imgmount.core.read_through import read_through
from imgmount.errors import ChecksumError, FormatError
from imgmount.families.windows import names
from imgmount.families.windows.attributes import DIRECTORY, REPARSE_POINT
from imgmount.families.windows.security import MAX_DESCRIPTOR
from imgmount.filesystems.wim.blobs import NO_HASH

_ENTRY: Final = Struct("<QIIQ16xQQQ20s4xIHHHHH")
ENTRY: Final = _ENTRY.size
assert ENTRY == 102
_STREAM: Final = Struct("<QQ20sH")
_TAG: Final = Struct("<II")
_SECURITY: Final = Struct("<II")
END: Final = 8  # an entry this short, or shorter, ends a directory
NO_SECURITY: Final = 0xFFFF_FFFF
MAX_METADATA: Final = 1 << 30
MAX_ENTRY: Final = 4 << 20  # with its streams
MAX_SECURITY: Final = 1 << 20  # descriptors
WINDOW: Final = 16 << 10  # read ahead of a directory, growing
MAX_WINDOW: Final = 256 << 10


class Stream(NamedTuple):
    """Content of an entry: ``name`` is empty for what is not an alternate stream."""

    name: str
    digest: bytes


class Facts(NamedTuple):
    """The fixed part of an entry. Times are FILETIMEs; ``short`` and ``long`` are bytes of its names."""

    length: int
    attributes: int
    security: int
    below: int  # where the entries of this directory begin
    made: int
    read: int
    written: int
    digest: bytes
    tag: int  # of a reparse point; with the two that follow, the group of a hard link
    reserved: int
    flags: int
    streams: int
    short: int
    long: int


class Entry:
    """One entry.

    ``offset`` is where it is in the metadata, ``raw`` the entry with its streams, ``facts`` its fixed part.
    """

    __slots__ = ("facts", "offset", "raw")

    def __init__(self, offset: int, raw: bytes, facts: Facts) -> None:
        self.offset = offset
        self.raw = raw
        self.facts = facts

    @property
    def group(self) -> int:
        """What the names of one file share, or 0."""
        facts = self.facts
        if not facts.tag | facts.reserved | facts.flags or facts.attributes & REPARSE_POINT:
            return 0
        return facts.tag | facts.reserved << 32 | facts.flags << 48

    @property
    def name(self) -> str:
        """As it is stored."""
        return names.decode(self.raw[ENTRY : ENTRY + self.facts.long])

    @property
    def short_name(self) -> str:
        """That of DOS, or nothing."""
        facts = self.facts
        start = ENTRY + (facts.long + 2 if facts.long else 0)
        return names.decode(self.raw[start : start + facts.short])

    @property
    def items_offset(self) -> int:
        """Where the items begin."""
        short, long = self.facts[-2:]
        return ENTRY + (long + 2 if long else 0) + (short + 2 if short else 0) + 7 & ~7

    def items(self) -> Iterator[tuple[int, bytes]]:
        """The (tag, data) of the items."""
        length = self.facts.length
        at = self.items_offset
        while at + _TAG.size <= length:
            tag, size = _TAG.unpack_from(self.raw, at)
            at += _TAG.size
            if size > length - at:
                return
            yield tag, self.raw[at : at + size]
            at += size + 7 & ~7

    def streams(self) -> Iterator[Stream]:
        """Its own content, then the other streams; without content those that are not named are left out."""
        own = self.facts.digest
        if own != NO_HASH:
            yield Stream("", own)
        at = self.facts.length + 7 & ~7
        while at < len(self.raw):
            length, _, digest, size = _STREAM.unpack_from(self.raw, at)
            name = names.decode(self.raw[at + _STREAM.size : at + _STREAM.size + size])
            if name or digest != NO_HASH:
                yield Stream(name, digest)
            at += length + 7 & ~7


class Metadata:
    """The metadata of one image, on ``device``."""

    def __init__(self, device: BlockDevice, digest: bytes) -> None:
        """Check it as a whole. Raises ``ImageError``."""
        if device.size > MAX_METADATA:
            raise FormatError("wim", f"metadata of {device.size} bytes, more than {MAX_METADATA >> 20} MiB")
        self._device = device
        if libwim.library() is not None:  # without it this would take minutes
            _check(device, digest)
        extent, count = _SECURITY.unpack(device.read_exactly(0, _SECURITY.size, "wim"))
        if count > MAX_SECURITY or extent > device.size:
            raise FormatError("wim", f"{count} security descriptors in {extent} bytes of {device.size}")
        self._count = count
        self._extent = extent
        self.root_offset = max(extent, _SECURITY.size) + 7 & ~7

    @cached_property
    def _security(self) -> list[int]:
        """Where each descriptor begins, and where the last ends."""
        sizes = table(self._device.read_exactly(_SECURITY.size, 8 * self._count, "wim"), 8, "little")
        return list(accumulate(sizes, initial=_SECURITY.size + 8 * self._count))

    def security(self, number: int) -> bytes:
        """A security descriptor, self-relative; empty if there is none of this number, or a huge one.

        Raises ``FormatError``.
        """
        if number >= self._count:
            return b""
        start, end = self._security[number : number + 2]
        if end > max(self._extent, _SECURITY.size):
            raise FormatError(
                "wim", f"security descriptor {number} at {start:#x} to {end:#x} of {self._extent:#x}"
            )
        return self._device.read_exactly(start, end - start, "wim") if end - start <= MAX_DESCRIPTOR else b""

    def root(self) -> Entry:
        """The top directory. Raises ``FormatError``."""
        for entry in self.entries(self.root_offset):
            if not entry.facts.attributes & DIRECTORY:
                break
            return entry
        raise FormatError("wim", "an image without a root directory", offset=self.root_offset)

    def entries(self, offset: int) -> Iterator[Entry]:
        """The entries from ``offset`` on, up to the end of the directory. Raises ``FormatError``."""
        window, limit = _Window(self._device), self._device.size
        data, at, size = b"", 0, 0
        while True:
            at += size
            if len(data) - at < ENTRY:
                data, at = window.at(offset, ENTRY)
            if len(data) - at < ENTRY:
                if int.from_bytes(data[at : at + 8], "little") > END:
                    raise FormatError("wim", "an entry past the end of the metadata", offset=offset)
                return
            facts = build(Facts, _ENTRY.unpack_from(data, at))
            length = facts.length
            if length <= END:
                return
            if length < ENTRY or length > MAX_ENTRY or length > limit - offset:
                raise FormatError("wim", f"an entry of {length} bytes in the metadata", offset=offset)
            if ENTRY + facts.long + facts.short > length:
                message = f"names of {facts.long} and {facts.short} bytes in an entry of {length}"
                raise FormatError("wim", message, offset=offset)
            size = length + 7 & ~7
            if facts.streams:
                size = self._end(window, offset, size, facts.streams)
            if facts.streams or at + size > len(data):
                data, at = window.at(offset, size)
            yield Entry(offset, data[at : at + size], facts)
            offset += size

    def entry(self, offset: int) -> Entry:
        """The entry at ``offset``. Raises ``FormatError``."""
        for entry in self.entries(offset):
            return entry
        raise FormatError("wim", "no entry here any more", offset=offset)

    def _end(self, window: _Window, offset: int, at: int, count: int) -> int:
        """Where the ``count`` streams of the entry at ``offset`` end, counted from it."""
        for _ in range(count):
            data, start = window.at(offset + at, _STREAM.size)
            if len(data) - start < _STREAM.size:
                raise FormatError("wim", "a stream past the end of the metadata", offset=offset + at)
            length, _, _, name = _STREAM.unpack_from(data, start)
            if not _STREAM.size + name <= length <= MAX_ENTRY or at + length > MAX_ENTRY:
                raise FormatError("wim", f"a stream entry of {length} bytes", offset=offset + at)
            at += length + 7 & ~7
        if offset + at > self._device.size + 7:
            raise FormatError("wim", "a stream past the end of the metadata", offset=offset + at)
        return at

    def walk(self) -> Iterator[Entry]:
        """Every entry, each directory once: those that loop end.

        Raises ``FormatError`` where there are too many.
        """
        left = self._device.size // ENTRY + 1
        root = self.root()
        yield root
        below = root.facts.below
        pending, seen = array("Q", [below]), {below}
        while pending:
            for entry in self.entries(pending.pop()):
                left -= 1
                if left < 0:
                    raise FormatError("wim", "directories that overlap")
                if entry.facts.attributes & DIRECTORY and (below := entry.facts.below) and below not in seen:
                    seen.add(below)
                    pending.append(below)
                yield entry

    @cached_property
    def _groups(self) -> array[int]:
        """The group of each entry that is in one, sorted. What cannot be read is left out."""
        groups: array[int] = array("Q")
        try:
            for entry in self.walk():
                if group := entry.group:
                    groups.append(group)
        except FormatError:
            pass
        return array("Q", sorted(groups))

    def links(self, group: int) -> tuple[int, int]:
        """(rank of a group among all, how many entries are in it)."""
        groups = self._groups
        first = bisect_left(groups, group)
        return first, bisect_right(groups, group) - first


def _check(device: BlockDevice, digest: bytes) -> None:
    found = hashlib.sha1(usedforsecurity=False)
    for data in read_through(device):
        found.update(data)
    if found.digest() != digest:
        raise ChecksumError("wim", f"metadata that does not match its SHA-1, {digest.hex()}")


class _Window:
    """What has been read of the metadata around a directory."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self._start = 0
        self._data = b""
        self._size = WINDOW

    def at(self, offset: int, size: int) -> tuple[bytes, int]:
        """(data, where ``offset`` is in it), and ``size`` bytes follow unless the metadata ends before."""
        at = offset - self._start
        if at < 0 or at + size > len(self._data):
            self._data = self._device.pread(offset, max(size, self._size))
            self._start, at = offset, 0
            self._size = min(4 * self._size, MAX_WINDOW)
        return self._data, at
