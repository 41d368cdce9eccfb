"""The streams of AFF4: ImageStream (chunks in bevies), Map (runs of other streams) and the symbolic ones.

Source: AFF4 Standard v1.0, chapters 5 (image streams), 6 (maps) and 6.4 (symbolic streams).
"""

from __future__ import annotations

import struct
import sys
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import add, gt
from typing import Final

from imgmount.codecs import lz4, snappy
from imgmount.codecs.deflate import inflate
from imgmount.containers.evidence.aff4.dialect import AFF4, Dialect, standard_stream
from imgmount.containers.evidence.aff4.volume import Volume
from imgmount.containers.evidence.zero_fill import ZeroFill
from imgmount.core.cache import Content
from imgmount.core.device import BlockDevice, Extent, GroupedDevice, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.errors import FormatError, MissingPartError, UnsupportedError

MAX_CHUNK: Final = 32 << 20
MAX_SIZE: Final = 1 << 63  # maps of memory have sizes up to 0x7ffffffffffffe00
MAX_INDEX: Final = 16 << 20  # of one bevy
KEPT_INDICES: Final = 64
MAX_MAP: Final = 1 << 19  # runs
SHORT: Final = 64  # bytes: no medium has sectors or pages that small
MAX_SHORT: Final = 1 << 12  # runs below that
TILE: Final = 1 << 20  # text streams begin anew here
_INDEX_ENTRY = struct.Struct("<QI")  # offset in the bevy, length
_RUN_SIZE: Final = 28  # u64 offset in the map, u64 length, u64 offset in the target, u32 target

Decode = Callable[[bytes, int], Content]


def _zlib(data: bytes, size: int) -> Content:
    return inflate(data, size, wrapper="zlib")


def _lz4(data: bytes, size: int) -> bytes:
    """A block; pyaff4 puts its size before it, which no block begins with."""
    return lz4.decode(data[4:] if data[:4] == struct.pack("<I", size) else data, size)


DECODERS: Final[Mapping[str, Decode | None]] = {
    "": None,
    AFF4 + "NullCompressor": None,
    AFF4 + "compression/stored": None,
    "https://www.ietf.org/rfc/rfc1950.txt": _zlib,
    "https://www.ietf.org/rfc/rfc1951.txt": inflate,
    "http://code.google.com/p/snappy/": snappy.decode,
    "https://github.com/google/snappy": snappy.decode,
    "https://code.google.com/p/lz4/": _lz4,
    "https://github.com/lz4/lz4": _lz4,
}


UNREADABLE: Final = "UnreadableData"
UNKNOWN: Final = "UnknownData"
TEXTS: Final = {UNKNOWN: b"UNKNOWN", UNREADABLE: b"UNREADABLEDATA"}


class ImageStream(GroupedDevice):
    """Chunks of equal size, many of them in a member (a bevy), and a table of where each begins and ends."""

    def __init__(self, volume: Volume, urn: str, facts: Mapping[str, str], context: Context) -> None:
        size, chunk = number(facts, "size"), number(facts, "chunkSize")
        self._per_bevy = number(facts, "chunksInSegment")
        if (
            not 0 <= size < MAX_SIZE
            or not 0 < chunk <= MAX_CHUNK
            or not 0 < self._per_bevy <= MAX_INDEX // _INDEX_ENTRY.size
        ):
            raise FormatError("aff4", f"{urn}: {size} bytes in chunks of {chunk}, {self._per_bevy} to a bevy")
        method = facts.get("compressionMethod", "")
        if method not in DECODERS:
            raise UnsupportedError(f"aff4: compression {method}")
        self._decode = DECODERS[method]
        self._volume = volume
        self._urn = urn
        self._bevies: OrderedDict[int, tuple[BlockDevice, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self.zeroed = ZeroFill(context)
        super().__init__(size, chunk, context.cache)

    def _bevy(self, index: int) -> tuple[BlockDevice, bytes]:
        """A bevy and its index."""
        with self._lock:
            if index in self._bevies:
                self._bevies.move_to_end(index)
                return self._bevies[index]
            name = f"{self._urn}/{index:08d}"
            tail = ".index" if f"{name}.index" in self._volume else "/index"
            if name not in self._volume or name + tail not in self._volume:
                raise FormatError("aff4", f"bevy {index} of {self._urn} is missing")
            bevy, entries = self._volume.open(name), self._volume.read(name + tail, MAX_INDEX)
            found = bevy, entries if tail == ".index" else _old_index(entries, bevy.size)
            self._bevies[index] = found
            if len(self._bevies) > KEPT_INDICES:
                self._bevies.popitem(last=False)
            return found

    def _read_units(self, first: int, count: int) -> bytes:
        return b"".join([self._read_unit(index) for index in range(first, first + count)])

    def _read_unit(self, index: int) -> Content:
        try:
            return self.decode_unit(index)
        except FormatError as exc:
            return self.zeroed.fill(index * self.unit, self.unit_size(index), exc)

    def decode_unit(self, index: int) -> Content:
        """Chunk ``index``. Raises ``FormatError``, whether zeros are wanted for it or not."""
        bevy, inside = divmod(index, self._per_bevy)
        data, table = self._bevy(bevy)
        if (inside + 1) * _INDEX_ENTRY.size > len(table):
            raise FormatError("aff4", f"chunk {index} of {self._urn} is in no bevy")
        offset, length = _INDEX_ENTRY.unpack_from(table, inside * _INDEX_ENTRY.size)
        wanted = self.unit_size(index)
        if length > 2 * self.unit + 64 or offset + length > data.size:
            raise FormatError(
                "aff4", f"chunk {index} of {self._urn} of {length} bytes at {offset:#x} of its bevy"
            )
        raw = data.pread(offset, length)
        if length == self.unit or self._decode is None:
            if length < wanted:
                raise FormatError("aff4", f"chunk {index} of {self._urn} is {length} bytes long")
            return raw[:wanted]
        try:
            return self._decode(raw, wanted)
        except FormatError as exc:
            if wanted == self.unit:
                raise FormatError("aff4", f"chunk {index} of {self._urn}: {exc.reason}") from exc
        return self._decode(raw, self.unit)[:wanted]  # others fill the last one

    def hashes(self, suffix: str) -> bytes:
        """The digests of all chunks, one behind the other, of a hash that is kept beside the bevies.

        Empty if there is none.
        """
        pieces = []
        for bevy in range(-(-self.units // self._per_bevy)):
            name = f"{self._urn}/{bevy:08d}.blockHash.{suffix}"
            if name not in self._volume:
                return b""
            pieces.append(self._volume.read(name, MAX_INDEX))
        return b"".join(pieces)


def _old_index(entries: bytes, size: int) -> bytes:
    """The standard's form of an index that lists the ends, or the starts, of the chunks of ``size`` bytes."""
    places = table(entries, 4, "little")
    if places and places[0] == 0:
        places = array("I", [*places[1:], size])
    starts = chain((0,), places)
    pairs = [(start, max(0, end - start)) for start, end in zip(starts, places, strict=False)]
    return b"".join([_INDEX_ENTRY.pack(start, length) for start, length in pairs])


class Repeated(BlockDevice):
    """``text`` over and over; from the start again at each multiple of ``TILE``."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.size = MAX_SIZE

    def _pread(self, offset: int, size: int) -> bytes:
        pieces = []
        while size > 0:
            inside = offset % TILE
            length = min(size, TILE - inside)
            skip = inside % len(self._text)
            pieces.append((self._text * ((skip + length) // len(self._text) + 1))[skip : skip + length])
            offset, size = offset + length, size - length
        return b"".join(pieces)


def symbolic(urn: str) -> Repeated | None:
    """The symbolic stream called ``urn``; None for zeros. Raises ``KeyError`` if it is not symbolic."""
    name = standard_stream(urn).removeprefix(AFF4)
    if name in TEXTS:
        return Repeated(TEXTS[name])
    if name == "Zero":
        return None
    code = name.removeprefix("SymbolicStream")
    if code != name and len(code) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in code):
        return Repeated(bytes.fromhex(code)) if int(code, 16) else None
    raise KeyError(urn)


class MapDevice(MappedDevice):
    """Runs of other streams; what no run covers is ``gap``. A ``size`` of -1 is where the last run ends."""

    def __init__(
        self,
        size: int,
        runs: bytes,
        targets: Sequence[BlockDevice | None],
        gap: BlockDevice | None,
        dialect: Dialect = Dialect.STANDARD,
    ) -> None:
        if not -1 <= size < MAX_SIZE:
            raise FormatError("aff4", f"a map of {size} bytes: at most {MAX_SIZE - 1} are possible")
        if len(runs) // _RUN_SIZE > MAX_MAP:
            raise UnsupportedError(f"aff4: a map of more than {MAX_MAP} runs")
        self._targets = targets
        self._gap = gap
        # in stored byte order: the bytes are put in order below
        words = table(runs[: len(runs) // _RUN_SIZE * _RUN_SIZE], 4, sys.byteorder)
        columns = [_column(words, word) for word in range(0, 6, 2)]
        if dialect is Dialect.WINPMEM:
            columns = [columns[0], columns[2], columns[1]]
        ids = table(words[6 :: _RUN_SIZE // 4].tobytes(), 4, "little")
        if sum(map(SHORT.__gt__, columns[1])) > MAX_SHORT:
            raise UnsupportedError(f"aff4: a map with more than {MAX_SHORT} runs of less than {SHORT} bytes")
        if any(map(gt, columns[0], columns[0][1:])):
            order = sorted(range(len(ids)), key=columns[0].__getitem__)
            columns = [array("Q", map(column.__getitem__, order)) for column in columns]
            ids = array("I", map(ids.__getitem__, order))
        self._starts, self._lengths, self._offsets = columns
        self._ids = ids
        last = self._starts[-1] + self._lengths[-1] if ids else 0
        self.size = last if size < 0 else size
        ends = map(add, self._starts, self._lengths)
        if ids and (any(map(gt, ends, chain(self._starts[1:], (self.size,)))) or max(ids) >= len(targets)):
            raise FormatError(
                "aff4", f"runs of a map of {self.size} bytes that overlap, lie outside, or have no target"
            )

    def reaches(self, target: BlockDevice) -> bool:
        """Whether any byte comes from ``target``."""
        if self._gap is target and sum(self._lengths) < self.size:
            return True
        return any(self._targets[number] is target for number in set(self._ids))

    def __len__(self) -> int:
        """Runs."""
        return len(self._starts)

    def _map(self, offset: int) -> Extent:
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and (skip := offset - self._starts[index]) < self._lengths[index]:
            device = self._targets[self._ids[index]]
            return Extent(self._lengths[index] - skip, device, self._offsets[index] + skip if device else 0)
        end = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
        return Extent(end - offset, self._gap, offset if self._gap else 0)


def _column(words: array[int], first: int) -> array[int]:
    """The 64-bit numbers whose lower halves are every seventh word from ``first`` on."""
    halves = array("I", bytes(8 * (len(words) // (_RUN_SIZE // 4))))
    halves[::2], halves[1::2] = words[first :: _RUN_SIZE // 4], words[first + 1 :: _RUN_SIZE // 4]
    return table(halves.tobytes(), 8, "little")


def number(facts: Mapping[str, str], name: str) -> int:
    """A fact that is a number. Raises ``FormatError``."""
    try:
        return int(facts[name])
    except (KeyError, ValueError) as exc:
        stated = f"{name} is {facts[name]!r}, not a number" if name in facts else f"{name} is not stated"
        raise FormatError("aff4", stated) from exc


def missing(urn: str, stored: str) -> MissingPartError:
    """The error for a stream that is in none of the volumes at hand."""
    where = f": it is in volume {stored}" if stored else ""
    return MissingPartError(f"aff4: {urn} is in no .aff4 file beside the image{where}")
