"""Advanced Forensic Format, AFFLIB 3.

One file (aff), pages spread over the files of a folder (afd), or beside raw files (afm).

A file is a list of named segments; ``page7`` is the eighth page of the disk. Source: AFFLIBv3, "AFF file
format".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.codecs.deflate import inflate
from imgmount.codecs.lzma import decode_raw, lzma1_filter
from imgmount.containers.evidence.options import ON_ERROR
from imgmount.containers.evidence.zero_fill import ZeroFill
from imgmount.core.cache import Content
from imgmount.core.checks import Finding, Seal
from imgmount.core.device import BlockDevice, ChunkedDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import Concat
from imgmount.errors import FormatError, MissingPartError, UnsupportedError

MAGIC: Final = b"AFF10\r\n\0"
_HEAD = struct.Struct(">4sIII")  # of a segment: magic, size of the name, size of the data, flag
_TAIL = struct.Struct(">4sI")  # magic, size of the segment
MAX_SEGMENTS: Final = 1 << 17  # of a set: 2 TiB in pages of 16 MiB, which AFF predates
MAX_NAME: Final = 64
WINDOW: Final = 4096  # read at once: the heads of small segments follow each other
LONGEST: Final = 16 + MAX_NAME  # a segment's head and name
MAX_PAGE: Final = 64 << 20
MAX_SIZE: Final = 1 << 62
MAX_VALUE: Final = 1 << 16
COMPRESSED: Final = 0x01  # flags of a page
ALGORITHM: Final = 0xF0
ZLIB: Final = 0x00
LZMA: Final = 0x20
ZERO: Final = 0x30
LZMA_HEADER: Final = 13  # properties, size
MAX_DIGITS: Final = 9  # of a page's number in a name: "page12", in old files "seg12"
_MEMBER = re.compile(r"file_[0-9]{3,6}\.aff", re.IGNORECASE)
_FACTS: Final = {
    "acquisition_date": "acquired", "acquisition_commandline": "command", "acquisition_device": "device",
    "case_num": "case number", "evidence_num": "evidence number", "acquisition_tecnician": "examiner",
    "acquisition_notes": "notes", "device_model": "model",
    "device_sn": "serial number", "afflib_version": "acquired with",
}  # fmt: skip


class Segment(NamedTuple):
    """``size`` bytes of data at ``offset`` of ``file``."""

    file: BlockDevice
    offset: int
    size: int
    flag: int

    def read(self) -> bytes:
        """A value: not a page."""
        return self.file.read_exactly(self.offset, min(self.size, MAX_VALUE), "aff")


class AffDevice(MappedDevice):
    """The disk in an AFF file or set.

    Stored pages and raw files are mapped, so that they can be spliced; zero pages are holes.
    """

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._values: dict[str, Segment] = {}
        self._places: dict[int, Segment] = {}
        self._scan(file)
        kind = self._text("aff_file_type")
        if kind == "AFD":
            for name in context.siblings.names():
                if _MEMBER.fullmatch(name) and name != context.path.name:
                    self._scan(context.siblings.open(name))
        self.size = self._quad("imagesize")
        self._page = self._values["pagesize"].flag if "pagesize" in self._values else 0
        if not 0 <= self.size < MAX_SIZE or not 0 < self._page <= MAX_PAGE:
            raise FormatError(
                "aff",
                f"{self.size} bytes in pages of {self._page}: pages of 1 byte to {MAX_PAGE} are possible",
            )
        self._raw = (
            _raw_files(context, self._text("raw_image_file_extension") or "000") if kind == "AFM" else None
        )
        self._zeroed = ZeroFill(context)
        self._decoded = _Pages(self.size, self._page, context, self._places, self._zeroed)

    def _scan(self, file: BlockDevice) -> None:
        for name, segment in _segments(file):
            page = name.removeprefix("page") if name.startswith("page") else name.removeprefix("seg")
            if len(page) <= MAX_DIGITS and page.isdecimal() and page.isascii() and page != name:
                self._places.setdefault(int(page), segment)
            elif name.startswith("affkey_") or name.endswith("/aes256"):
                raise UnsupportedError("aff: encryption")
            else:
                self._values.setdefault(name, segment)

    def _text(self, name: str) -> str:
        return (
            self._values[name].read().decode("utf-8", "replace").strip(' \0\n\r\t"')
            if name in self._values
            else ""
        )

    def _quad(self, name: str) -> int:
        """A 64-bit value: the low word first, each word big endian."""
        if name not in self._values or self._values[name].size != 8:
            raise FormatError("aff", f"its segment {name!r} of 8 bytes is missing")
        raw = self._values[name].read()
        return int.from_bytes(raw[:4], "big") | int.from_bytes(raw[4:], "big") << 32

    def _map(self, offset: int) -> Extent:
        if self._raw is not None:
            return Extent(self.size - offset, self._raw, offset)
        page, skip = divmod(offset, self._page)
        span = min(self._page, self.size - page * self._page)
        place = self._places.get(page)
        if place is None or (not place.flag & COMPRESSED and place.size < span):
            stored = "missing" if place is None else f"{place.size} bytes long"
            self._zeroed.fill(page * self._page, span, FormatError("aff", f"page {page} is {stored}"))
            return Extent(span - skip)
        if not place.flag & COMPRESSED:
            return Extent(span - skip, place.file, place.offset + skip)
        if place.flag & ALGORITHM == ZERO:
            return Extent(span - skip)
        return Extent(span - skip, self._decoded, offset)

    def info(self) -> Mapping[str, str]:
        found = {label: self._text(name) for name, label in _FACTS.items() if name in self._values}
        found |= {
            f"stored {label}": self._values[name].read().hex()
            for name, label in _DIGESTS.items()
            if name in self._values
        }
        found["pages"] = f"{len(self._places)} of {self._page} bytes" if self._raw is None else "in raw files"
        return {**found, **self._zeroed.info()}

    def verify(self) -> Iterator[Finding]:
        for name, label in _DIGESTS.items():
            if name in self._values:
                yield Seal.of(label, self._values[name].read(), self, name)


# name of the segment and of the algorithm in hashlib: name of the digest
_DIGESTS: Final = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256"}


class _Pages(ChunkedDevice):
    """The compressed pages, decoded."""

    def __init__(
        self, size: int, page: int, context: Context, places: Mapping[int, Segment], zeroed: ZeroFill
    ) -> None:
        super().__init__(size, page, context.cache)
        self._places = places
        self._zeroed = zeroed

    def _read_chunk(self, index: int) -> Content:
        span = min(self.block_size, self.size - index * self.block_size)
        try:
            return self._decode(index, span)
        except FormatError as exc:
            return self._zeroed.fill(index * self.block_size, span, exc)

    def _decode(self, index: int, span: int) -> Content:
        place = self._places[index]
        algorithm = place.flag & ALGORITHM
        if place.size > 2 * self.block_size:
            raise FormatError(
                "aff",
                f"page {index} is stored in {place.size} bytes, more than twice its {self.block_size}",
                offset=place.offset,
            )
        raw = place.file.read_exactly(place.offset, place.size, "aff")
        try:
            if algorithm == ZLIB:
                return inflate(raw, span, wrapper="zlib")
            if algorithm == LZMA:
                return decode_raw(raw[LZMA_HEADER:], span, lzma1_filter(raw))
        except FormatError as exc:
            raise FormatError("aff", f"page {index}: {exc.reason}", offset=place.offset) from exc
        raise UnsupportedError(f"aff: compression {algorithm:#x}")


def _segments(file: BlockDevice) -> Iterator[tuple[str, Segment]]:
    """(name, segment) of a file, in order.

    A tail that contradicts its head ends the walk: what follows cannot be found.
    """
    offset, window, begin = len(MAGIC), b"", 0
    for _ in range(MAX_SEGMENTS):
        if offset >= file.size:
            return
        if offset + LONGEST > begin + len(window):
            window, begin = file.pread(offset, WINDOW), offset
        at = offset - begin
        if len(window) - at < _HEAD.size:
            raise FormatError("aff", "the file ends inside a segment", offset=offset)
        magic, name_size, data_size, flag = _HEAD.unpack_from(window, at)
        size = _HEAD.size + name_size + data_size + _TAIL.size
        if magic != b"AFF\0" or name_size > MAX_NAME or offset + size > file.size:
            raise FormatError(
                "aff", f"no segment of a name of {name_size} and {data_size} bytes can be here", offset=offset
            )
        end = at + size
        tail = (
            window[end - _TAIL.size : end]
            if end <= len(window)
            else file.pread(begin + end - _TAIL.size, _TAIL.size)
        )
        if _TAIL.unpack(tail) != (b"ATT\0", size):
            raise FormatError("aff", f"a segment of {size} bytes whose end says otherwise", offset=offset)
        name = window[at + _HEAD.size : at + _HEAD.size + name_size].decode("utf-8", "replace")
        if name:  # none: deleted
            yield name, Segment(file, offset + _HEAD.size + name_size, data_size, flag)
        offset += size
    raise FormatError("aff", f"more than {MAX_SEGMENTS} segments", offset=offset)


def _raw_files(context: Context, extension: str) -> Concat:
    """The raw files of an AFM set: ``disk.000``, ``disk.001``, ..."""
    if not extension.isdecimal() or len(extension) > 9:
        raise UnsupportedError(f"aff: raw files called .{extension}")
    stem = context.path.name.rpartition(".")[0]
    names = set(context.siblings.names())
    numbers = range(int(extension), int(extension) + len(names) + 1)
    wanted = [f"{stem}.{number:0{len(extension)}}" for number in numbers]
    count = next((index for index, name in enumerate(wanted) if name not in names), len(wanted))
    if not count:
        raise MissingPartError(f"{wanted[0]!r} is missing: the data of the image")
    return Concat.of([context.siblings.open(name) for name in wanted[:count]])


FORMAT: Final = ContainerFormat(
    name="aff",
    title="Advanced Forensic Format (AFF, AFD, AFM)",
    extensions=(".aff", ".afd", ".afm"),
    checks="MD5, SHA-1 and SHA-256 of the disk",
    open=AffDevice,
    limits="no encryption",
    options=(ON_ERROR,),
)
