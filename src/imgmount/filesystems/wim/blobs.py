"""The blob tables of a WIM's parts: which content, named by its SHA-1, lies where.

Records are kept as they are stored, 50 bytes each, with an index of 8 bytes beside them: hundreds of
thousands are common. Solid resources come in runs: some records that say where these lie, then those of the
blobs in them, whose offsets count through the run.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import ChecksumError, FormatError, ImageError
from imgmount.filesystems.wim.chunks import Kept, SolidLayout, TableLayout, decoded
from imgmount.filesystems.wim.header import COMPRESSED, METADATA, SOLID, Header, Resource

_RECORD: Final = Struct("<24sHI20s")  # resource, part, references, SHA-1
_RESOURCE: Final = Struct("<QQQ")
_STORED: Final = (1 << 56) - 1
_HASHES: Final = Struct("<30xQ12x")  # how a SHA-1 begins
_FLAGS: Final = slice(7, None, _RECORD.size)
NO_HASH: Final = bytes(20)  # of nothing
IS_RUN: Final = 1 << 32  # the size that says where a solid resource lies
MAX_TABLE: Final = 256 << 20
MAX_SIZE: Final = 1 << 62
MAX_OTHERS: Final = 1 << 22  # records of other WIMs that are kept
MAX_ALIKE: Final = 64  # records whose SHA-1s begin alike: more than one is a wonder
MAX_OPEN: Final = 128  # blobs whose devices wait to be used again
MAX_RUNS: Final = 1 << 12
CHECKED: Final = 64 << 10  # blobs up to this are read whole, and their SHA-1 compared
NUMBER_BITS: Final = 24
_NUMBER: Final = (1 << NUMBER_BITS) - 1
_KEY: Final = Struct("<Q")  # how a SHA-1 begins, of which the index has all but as many bits as a number has
_KEY_BITS: Final = ((1 << 64) - 1) ^ _NUMBER


class Part(NamedTuple):
    """One file of a set."""

    device: BlockDevice
    header: Header


class Blob(NamedTuple):
    """Some content: ``run`` is the number of the first record of its run, -1 where it is not solid."""

    part: Part
    number: int
    resource: Resource
    digest: bytes
    run: int

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self.resource.stored if self.run >= 0 else self.resource.size


class Pool:
    """What the blobs of a mount share: the cache, and the solid resources that are open."""

    def __init__(self, cache: ReadCache) -> None:
        self.cache = cache
        self.kept = Kept()

    def resource(self, part: Part, resource: Resource) -> BlockDevice:
        """What a resource that is not solid holds. Raises ``ImageError``."""
        if resource.size > MAX_SIZE:
            raise FormatError("wim", f"a resource of {resource.size} bytes", offset=resource.offset)
        if not resource.size:
            return MemoryDevice(b"")
        if resource.flags & COMPRESSED:
            if part.header.compression.kind is None:
                raise FormatError(
                    "wim", "a compressed resource, where nothing is to be compressed", offset=resource.offset
                )
            layout = TableLayout(part.device, resource, part.header.compression, pipable=part.header.pipable)
            return decoded(layout, self.cache, self.kept)
        if resource.stored != resource.size:
            message = f"{resource.stored} bytes are stored of {resource.size} that are not compressed"
            raise FormatError("wim", message, offset=resource.offset)
        return Slice(part.device, resource.offset, resource.size)


class Table:
    """The records of one part."""

    def __init__(self, part: Part, pool: Pool) -> None:
        self.part = part
        self._pool = pool
        self._lock = threading.Lock()
        size = part.header.blobs.size
        if size > MAX_TABLE:
            raise FormatError("wim", f"a blob table of {size} bytes, more than {MAX_TABLE >> 20} MiB")
        self._raw = pool.resource(part, part.header.blobs).read_exactly(0, size, "wim")
        self.count = size // _RECORD.size
        flags = self._raw[_FLAGS]
        self.metadata = (
            [number for number in range(self.count) if flags[number] & METADATA] if part.header.images else []
        )
        self._runs = self._find_runs(flags)
        firsts = [
            first & _KEY_BITS | number for number, (first,) in enumerate(_HASHES.iter_unpack(self._whole()))
        ]
        firsts.sort()
        self._index = array("Q", firsts)
        self._shift = 64 - max(1, self.count.bit_length() - 2)  # buckets of about four
        buckets = array("I", bytes(4 * (1 << 64 - self._shift)))
        for first in firsts:
            buckets[first >> self._shift] += 1
        self._buckets = array("I", accumulate(buckets, initial=0))
        self._devices: dict[int, BlockDevice] = {}

    def _whole(self) -> memoryview:
        return memoryview(self._raw)[: self.count * _RECORD.size]

    def _find_runs(self, flags: bytes) -> list[int]:
        """The number of the first record of each run."""
        runs, before = [], False
        for number, flag in enumerate(flags):
            first = bool(flag & SOLID) and self._is_run(number)
            if first and not before:
                runs.append(number)
            before = first
        return runs

    def _resource(self, number: int) -> Resource:
        at = number * _RECORD.size
        return Resource.parse(self._raw[at : at + 24])

    def blob(self, number: int) -> Blob:
        """What record ``number`` says."""
        raw, _, _, digest = _RECORD.unpack_from(self._raw, number * _RECORD.size)
        resource = Resource.parse(raw)
        run = -1
        if resource.flags & SOLID:
            place = bisect_right(self._runs, number) - 1
            run = self._runs[place] if place >= 0 else number
        return Blob(self.part, number, resource, digest, run)

    def _place(self, digest: bytes) -> int:
        """Where the record with a SHA-1 is in the table, or -1."""
        (first,) = _KEY.unpack_from(digest)
        key = first & _KEY_BITS
        index, raw = self._index, self._raw
        bucket = key >> self._shift
        start = bisect_left(index, key, self._buckets[bucket], self._buckets[bucket + 1])
        entry: int
        for entry in index[start : start + MAX_ALIKE]:
            if entry & _KEY_BITS != key:
                break
            at = (entry & _NUMBER) * _RECORD.size
            if raw[at + 30 : at + 50] == digest and not raw[at + 7] & METADATA:
                return at
        return -1

    def find(self, digest: bytes) -> Blob | None:
        """The content with a SHA-1, if it is in this part."""
        at = self._place(digest)
        return self.blob(at // _RECORD.size) if at >= 0 else None

    def size(self, digest: bytes) -> int:
        """Bytes of the content with a SHA-1, or -1."""
        at = self._place(digest)
        if at < 0:
            return -1
        stored, _, size = _RESOURCE.unpack_from(self._raw, at)
        found: int = stored & _STORED if self._raw[at + 7] & SOLID else size
        return found if found <= MAX_SIZE else 0  # opening it raises the reason

    def blobs(self) -> Iterator[Blob]:
        """All content of this part, in the order in which it is stored."""
        places = array("Q")
        for number in range(self.count):
            places.append(self._resource(number).offset)
        order = sorted(range(self.count), key=places.__getitem__)
        solid: dict[int, list[int]] = {first: [] for first in self._runs}
        for number in order:
            blob = self.blob(number)
            if blob.run < 0:
                yield blob
            elif not self._is_run(number):
                solid.setdefault(blob.run, []).append(number)
        for numbers in solid.values():
            yield from map(self.blob, numbers)

    def _is_run(self, number: int) -> bool:
        """Whether a record says where a solid resource lies."""
        resource = self._resource(number)
        return bool(resource.flags & SOLID) and resource.size == IS_RUN

    def run(self, first: int) -> BlockDevice:
        """What the solid resources of the run hold, one after the other. Raises ``ImageError``."""
        with self._lock:
            if first not in self._devices:
                self._devices[first] = self._open_run(first)
            return self._devices[first]

    def _open_run(self, first: int) -> BlockDevice:
        devices: list[BlockDevice] = []
        for number in range(first, self.count):
            if not self._is_run(number):
                break
            resource = self._resource(number)
            if len(devices) == MAX_RUNS:
                raise FormatError(
                    "wim", f"a run of more than {MAX_RUNS} solid resources", offset=resource.offset
                )
            layout = SolidLayout(self.part.device, resource)
            devices.append(decoded(layout, self._pool.cache, self._pool.kept))
        if not devices:
            raise FormatError("wim", f"blob {first} is in no solid resource")
        return devices[0] if len(devices) == 1 else Concat.of(devices)


class _Checked(ChunkedDevice):
    """A small blob, decoded at once and compared with its SHA-1."""

    def __init__(self, content: BlockDevice, digest: bytes, cache: ReadCache) -> None:
        super().__init__(content.size, content.size, cache)
        self._content = content
        self._digest = digest

    def _read_chunk(self, index: int) -> Content:
        data = self._content.read_exactly(index, self.size, "wim")
        if hashlib.sha1(data, usedforsecurity=False).digest() != self._digest:
            raise ChecksumError("wim", f"content that does not match its SHA-1, {self._digest.hex()}")
        return data


class Blobs:
    """All parts of a set; ``others`` are further WIMs that may have what they lack, opened one by one."""

    def __init__(self, parts: Sequence[Part], cache: ReadCache, others: Iterator[Part]) -> None:
        self.parts = parts
        self.pool = Pool(cache)
        self._unseen = others
        self._lock = threading.RLock()
        self._tables: list[Table] = []
        self._others: list[Table] = []
        self._devices: OrderedDict[bytes, BlockDevice] = OrderedDict()

    @property
    def tables(self) -> Sequence[Table]:
        """The tables of the set, read when they are first needed. Raises ``ImageError``."""
        if len(self._tables) < len(self.parts):
            with self._lock:
                for part in self.parts[len(self._tables) :]:
                    self._tables.append(Table(part, self.pool))
        return self._tables

    def metadata(self, image: int) -> Blob:
        """The metadata of image ``image``, from 1. Raises ``FormatError``."""
        with self._lock:
            if not self._tables:
                self._tables.append(Table(self.parts[0], self.pool))
            table = self._tables[0]
        if image > len(table.metadata):
            raise FormatError("wim", f"no metadata of image {image}")
        return table.blob(table.metadata[image - 1])

    def find(self, digest: bytes) -> Blob | None:
        """The content with a SHA-1: in a part, or in another WIM that is here. Raises ``ImageError``."""
        for table in self.tables:
            if (blob := table.find(digest)) is not None:
                return blob
        return self._find_elsewhere(digest)

    def holds(self, digest: bytes) -> bool:
        """Whether content is here; there is always none with ``NO_HASH``. Raises ``ImageError``."""
        if digest == NO_HASH or any(table.size(digest) >= 0 for table in self.tables):
            return True
        return self._find_elsewhere(digest) is not None

    def size(self, digest: bytes) -> int:
        """Bytes of the content with a SHA-1; 0 where it is not here. Raises ``ImageError``."""
        for table in self.tables:
            if (size := table.size(digest)) >= 0:
                return size
        blob = self._find_elsewhere(digest)
        return blob.size if blob is not None else 0

    def _find_elsewhere(self, digest: bytes) -> Blob | None:
        with self._lock:
            for table in self._others:
                if (blob := table.find(digest)) is not None:
                    return blob
            for part in self._unseen if sum(table.count for table in self._others) < MAX_OTHERS else ():
                try:
                    table = Table(part, self.pool)
                except ImageError:
                    continue
                self._others.append(table)
                if (blob := table.find(digest)) is not None:
                    return blob
        return None

    def _table(self, part: Part) -> Table:
        return next(table for table in (*self._tables, *self._others) if table.part is part)

    def content(self, blob: Blob) -> BlockDevice:
        """What ``blob`` holds, unchecked. Raises ``ImageError``."""
        if blob.run < 0:
            return self.pool.resource(blob.part, blob.resource)
        device = self._table(blob.part).run(blob.run)
        if blob.resource.offset + blob.size > device.size:
            message = f"{blob.size} bytes at {blob.resource.offset:#x} of a solid run of {device.size:#x}"
            raise FormatError("wim", message)
        return Slice(device, blob.resource.offset, blob.size)

    def open(self, blob: Blob) -> BlockDevice:
        """What ``blob`` holds; what is small is checked. Two that are open at a time are one.

        Raises ``ImageError``.
        """
        with self._lock:
            known = self._devices.get(blob.digest)
            if known is None:
                known = self.content(blob)
                if 0 < known.size <= CHECKED:
                    known = _Checked(known, blob.digest, self.pool.cache)
                self._devices[blob.digest] = known
                if len(self._devices) > MAX_OPEN:
                    self._devices.popitem(last=False)
            self._devices.move_to_end(blob.digest)
            return known
