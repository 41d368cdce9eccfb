"""One image of a WIM: its metadata, read when it is first entered, and what its entries are."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.families.windows import reparse
from imgmount.families.windows.attributes import ENCRYPTED, REPARSE_POINT
from imgmount.filesystems.wim.blobs import NO_HASH, Blob, Blobs
from imgmount.filesystems.wim.metadata import Entry, Metadata, Stream

IMAGE_BITS: Final = 36  # of a node's number: where its entry is, with the image's number above
IN_GROUP: Final = 1 << 35  # the number is that of a group of hard links
MAX_POINT: Final = 16 << 10  # bytes of a reparse point, as Windows limits them


class Contents(NamedTuple):
    """What an entry has.

    The SHA-1 of its data and of its reparse point, or ``NO_HASH``, and its alternate streams.
    """

    data: bytes
    point: bytes
    named: list[Stream]


class Image:
    """Image ``number`` of a WIM, from 1."""

    def __init__(self, number: int, blobs: Blobs, *, streams_as_files: bool) -> None:
        self.number = number
        self.blobs = blobs
        self.streams_as_files = streams_as_files
        self._lock = threading.RLock()  # a listing that is dropped may end anywhere
        self._metadata: Metadata | None = None
        self._fault: ImageError | None = None
        self._owners: dict[int, int] = {}  # where a directory's entries begin -> where it is itself
        self._starts: list[int] = []  # where entries begin that were read, sorted,
        self._ends: dict[int, int] = {}  # and where the last of them is
        # place of a directory -> start of the list of entries that it is in
        self._listings: dict[int, int] = {}

    @property
    def metadata(self) -> Metadata:
        """The metadata. Raises ``ImageError``."""
        with self._lock:
            if self._fault is not None:
                raise self._fault.again()
            if self._metadata is None:
                try:
                    blob = self.blobs.metadata(self.number)
                    self._metadata = Metadata(self.blobs.content(blob), blob.digest)
                except ImageError as exc:
                    self._fault = exc.again()
                    raise
            return self._metadata

    def linked(self, group: int) -> tuple[int, int]:
        """(a node's number, how many names it has) for the names of a group. Raises ``ImageError``."""
        rank, count = self.metadata.links(group)
        return self.number << IMAGE_BITS | IN_GROUP | rank, max(1, count)

    def claim(self, directory: int, below: int, listing: int) -> None:
        """Refuse a directory that is listed at two places, or has the entries of another: loops end.

        It is at ``directory``, its entries begin at ``below``, and those among which it is at ``listing``.
        Raises ``FormatError``.
        """
        if self._owners.setdefault(below, directory) != directory:
            raise FormatError("wim", "a directory whose entries are those of another", offset=below)
        if self._listings.setdefault(directory, listing) != listing:
            raise FormatError("wim", "a directory that is in two others", offset=directory)
        place = bisect_left(self._starts, below) - 1  # of the entries that begin before these
        if place >= 0 and below < self._ends[self._starts[place]]:
            raise FormatError("wim", "a directory whose entries are some of another's", offset=below)

    def follow(self, below: int) -> Iterator[Entry]:
        """The entries from ``below`` on; those that another directory has end them. Raises ``ImageError``."""
        end = below
        try:
            for entry in self.metadata.entries(below):
                end = entry.offset
                if end in self._owners and end != below:
                    raise FormatError("wim", "entries that are those of another directory too", offset=end)
                yield entry
        finally:
            with self._lock:
                if below not in self._ends:
                    insort(self._starts, below)
                self._ends[below] = max(end, self._ends.get(below, 0))

    @staticmethod
    def contents(entry: Entry) -> Contents:
        """What an entry has. The first unnamed stream of a reparse point is that; the next is data."""
        data = point = NO_HASH
        named = []
        wanted = bool(entry.facts.attributes & REPARSE_POINT)
        for stream in entry.streams():
            if stream.name:
                named.append(stream)
            elif wanted and point == NO_HASH:
                point = stream.digest
            elif data == NO_HASH:
                data = stream.digest
        return Contents(data, point, named)

    def open(self, entry: Entry) -> BlockDevice:
        """The data of a file. Raises ``ImageError``."""
        facts = entry.facts
        if facts.attributes & ENCRYPTED:
            raise UnsupportedError("wim: a file encrypted with EFS, which only Windows can read")
        if facts.attributes & REPARSE_POINT and reparse.is_elsewhere(facts.tag, facts.attributes):
            raise UnsupportedError(f"wim: {reparse.name(facts.tag)}, whose content is elsewhere")
        return self.stream(self.contents(entry).data)

    def size(self, digest: bytes) -> int:
        """Bytes of some content; 0 where it is not here: opening it raises the reason."""
        try:
            return 0 if digest == NO_HASH else self.blobs.size(digest)
        except ImageError:
            return 0

    def stream(self, digest: bytes) -> BlockDevice:
        """Some content. Raises ``ImageError``."""
        return MemoryDevice(b"") if digest == NO_HASH else self.blobs.open(self._blob(digest))

    def _blob(self, digest: bytes) -> Blob:
        blob = self.blobs.find(digest)
        if blob is None:
            where = (
                "it is in no part that is here; --refs DIR adds a folder with the WIM or the part that has it"
            )
            raise MissingPartError(f"wim: content with the SHA-1 {digest.hex()} is missing: {where}")
        return blob

    def point(self, entry: Entry) -> reparse.Point:
        """The reparse point of an entry. Raises ``ImageError``."""
        device = self.stream(self.contents(entry).point)
        if device.size > MAX_POINT:
            raise FormatError("wim", f"a reparse point of {device.size} bytes, more than {MAX_POINT}")
        return reparse.Point(entry.facts.tag, device.read_exactly(0, device.size, "wim"))
