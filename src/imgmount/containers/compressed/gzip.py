"""gzip files (RFC 1952) as disk images: any number of members, BGZF, ADZ and HDZ.

Deflate can be entered only where its decoder has been: one pass at open learns the size and keeps copies of
the decoder, 32 MiB of them at most, so a read costs decoding from the copy before it. BGZF (SAM
specification, 4.1) states the size of each member and needs no pass; its checksums are compared on read.
What cannot be decoded raises an error when it is read; a checksum that disagrees is reported.
"""

from __future__ import annotations

import logging
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from imgmount.codecs.deflate import inflate
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, UnevenDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.sequential import Decoder, SequentialDevice, group
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

MAGIC: Final = b"\x1f\x8b\x08"  # ID1, ID2, CM: deflate is the only method there is
FHCRC: Final = 2
FEXTRA: Final = 4
FNAME: Final = 8
FCOMMENT: Final = 16
RESERVED: Final = 0xE0
USUAL_HEADER: Final = 512
MAX_HEADER: Final = 128 << 10  # an extra field of 64 KiB, a name, a comment
MAX_BGZF: Final = 64 << 10  # decoded bytes of a member
BGZF_END: Final = (28, 0)  # sizes of the member that ends a file
MAX_RATIO: Final = 1032  # of deflate: 258 bytes for two bits
TRAILER: Final = struct.Struct("<II")  # CRC32, ISIZE

FEED: Final = 16 << 10  # coded bytes given to zlib at a time; a copy of the decoder may keep hold of them
STEP: Final = 1 << 20
SPACING: Final = 1 << 20  # decoded bytes between the first copies
MAX_COPIES: Final = 560  # of 40 KiB and what is left of a feed: 32 MiB
WHOLE: Final = 4 << 20  # spans up to here are decoded at once, in any thread


class Header(NamedTuple):
    """A member's header."""

    size: int
    extra: bytes
    name: str

    @classmethod
    def parse(cls, data: bytes, offset: int) -> Header:
        """Parse the header that ``data`` begins with. Raises ``FormatError``."""
        if len(data) < 10 or not data.startswith(MAGIC) or data[3] & RESERVED:
            raise FormatError("gzip", "no member begins here (1f 8b 08)", offset=offset)
        flags, at = data[3], 10
        extra, name = b"", b""
        if flags & FEXTRA:
            length = int.from_bytes(data[at : at + 2], "little")
            extra = data[at + 2 : at + 2 + length]
            at += 2 + length
        for flag in (FNAME, FCOMMENT):
            if flags & flag:
                end = data.find(b"\0", at)
                if end < 0:
                    raise FormatError("gzip", "the header does not end", offset=offset)
                name = data[at:end] if flag == FNAME else name
                at = end + 1
        at += 2 if flags & FHCRC else 0
        if at > len(data):
            raise FormatError("gzip", "the header does not end", offset=offset)
        return cls(at, extra, name.decode("latin-1"))

    @property
    def bgzf_size(self) -> int:
        """The whole member's size as BGZF states it in the subfield BC; 0 if it does not."""
        at = 0
        while at + 4 <= len(self.extra):
            length = int.from_bytes(self.extra[at + 2 : at + 4], "little")
            if self.extra[at : at + 2] == b"BC" and length == 2:
                return int.from_bytes(self.extra[at + 4 : at + 6], "little") + 1
            at += 4 + length
        return 0


class _Reader:
    """Reads forwards from a place inside a member, over the members' ends."""

    def __init__(self, file: BlockDevice, coded: int, decoder: Any) -> None:
        self._file = file
        self.coded = coded  # the first coded byte that the decoder has not used
        self.zlib = decoder

    def read(self, size: int) -> bytes:
        """As ``Decoder`` says."""
        parts = []
        while size:
            part = self.some(size)
            if not part and self.next_member() is None:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Trailers are checked by the pass at open."""

    def some(self, limit: int) -> bytes:
        """At least one byte of this member and at most ``limit``; none where it ends or the file does."""
        while not self.zlib.eof:
            data = self._file.pread(self.coded, FEED)
            try:
                part: bytes = self.zlib.decompress(data, limit)
            except zlib.error as exc:
                raise FormatError("gzip", "the compressed data is damaged", offset=self.coded) from exc
            # at the end both may hold the same bytes
            unused = self.zlib.unused_data if self.zlib.eof else self.zlib.unconsumed_tail
            self.coded += len(data) - len(unused)
            if part or not data:
                return part
        return b""

    def next_member(self) -> Header | None:
        """Go to the next member, over zeros if there are any; None where there is no other."""
        start = _skip_zeros(self._file, self.coded + TRAILER.size)
        if not self.zlib.eof:
            return None
        try:
            header = _read_header(self._file, start)
        except FormatError:
            return None
        self.coded = start + header.size
        self.zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        return header


def _read_header(file: BlockDevice, offset: int) -> Header:
    try:
        return Header.parse(file.pread(offset, USUAL_HEADER), offset)
    except FormatError:
        return Header.parse(file.pread(offset, MAX_HEADER), offset)


def _skip_zeros(file: BlockDevice, offset: int) -> int:
    while data := file.pread(offset, STEP):
        rest = data.lstrip(b"\0")
        if rest:
            return offset + len(data) - len(rest)
        offset += len(data)
    return min(offset, file.size)


class _Copy(NamedTuple):
    """A place where decoding can begin.

    ``start`` of the decoded data, ``coded`` of the file, a copy of the decoder there.
    """

    start: int
    coded: int
    decoder: Any


class _Scan:
    """The pass over a file at open: its size, the copies, and what is wrong."""

    def __init__(self, file: BlockDevice) -> None:
        header: Header | None = _read_header(file, 0)
        assert header is not None
        self.name = header.name
        self.size = 0
        self.members = 0
        self.copies: list[_Copy] = []
        self.problems: list[str] = []
        self._file = file
        self._spacing = SPACING
        self._reader = _Reader(file, header.size, zlib.decompressobj(-zlib.MAX_WBITS))
        self._keep_copy()
        while header:
            self.members += 1
            header = self._reader.next_member() if self._member() else None
        for problem in self.problems:
            log.warning("%s", problem)

    def _member(self) -> bool:
        """Decode one member. False if the file cannot be followed beyond it."""
        reader, first, crc = self._reader, self.size, 0
        try:
            while part := reader.some(STEP):
                crc = zlib.crc32(part, crc)
                self.size += len(part)
                self._keep_copy()
        except FormatError as exc:
            self._damaged(first, exc)
            return False
        if not reader.zlib.eof or reader.coded + TRAILER.size > self._file.size:
            self.problems.append(f"gzip: the file is truncated: {self.size} bytes decode")
            return False
        if TRAILER.unpack(self._file.pread(reader.coded, TRAILER.size)) != (
            crc,
            (self.size - first) & 0xFFFF_FFFF,
        ):
            self.problems.append(
                f"gzip: member {self.members} disagrees with its checksum or length, at {reader.coded:#x}"
            )
        self._look_behind(reader.coded + TRAILER.size)
        return True

    def _keep_copy(self) -> None:
        if self.copies and self.size < self.copies[-1].start + self._spacing:
            return
        self.copies.append(_Copy(self.size, self._reader.coded, self._reader.zlib.copy()))
        if len(self.copies) > MAX_COPIES:
            del self.copies[1::2]
            self._spacing *= 2

    def _damaged(self, first: int, error: FormatError) -> None:
        """If this is the last member, its trailer still says how much there should be.

        What is missing cannot be read.
        """
        self.problems.append(f"{error}: {self.size} bytes decode")
        isize = TRAILER.unpack(self._file.pread(self._file.size - TRAILER.size, TRAILER.size))[1]
        missing = (isize - (self.size - first)) & 0xFFFF_FFFF
        if missing <= MAX_RATIO * (self._file.size - self._reader.coded):
            self.size += missing

    def _look_behind(self, offset: int) -> None:
        start = _skip_zeros(self._file, offset)
        if start == self._file.size:
            return
        try:
            _read_header(self._file, start)
        except FormatError:
            self.problems.append(
                f"gzip: {self._file.size - start} bytes after the last member are ignored, at {start:#x}"
            )


class GzipDevice(SequentialDevice):
    """What a gzip file holds."""

    def __init__(self, file: BlockDevice, cache: ReadCache) -> None:
        scan = _Scan(file)
        self._file = file
        self._scan = scan
        super().__init__(
            scan.size, array("Q", [copy.start for copy in scan.copies]), cache, whole=WHOLE, step=STEP
        )

    def _decoder(self, span: int) -> Decoder:
        copy = self._scan.copies[span]
        return _Reader(self._file, copy.coded, copy.decoder.copy())

    def info(self) -> Mapping[str, str]:
        facts = {"members": str(self._scan.members), "entry points": str(len(self._scan.copies))}
        return facts | ({"name": self._scan.name} if self._scan.name else {})

    def verify(self) -> Iterator[str]:
        """What the pass at open found wrong."""
        return iter(self._scan.problems)


class BgzfDevice(UnevenDevice):
    """What a BGZF file holds. ``members`` are (coded, decoded) sizes, in order.

    Where they end before the file does, and not with the empty member that ends a BGZF file, what follows is
    as large as it is likely to be, and cannot be read.
    """

    def __init__(self, file: BlockDevice, members: Sequence[tuple[int, int]], cache: ReadCache) -> None:
        coded = array("Q", accumulate((size for size, _ in members), initial=0))
        starts = array("Q", accumulate((size for _, size in members), initial=0))
        size = starts.pop()
        self._members = members
        self._coded = coded
        self._groups = [*group(starts), len(members)]
        self._file = file
        chunks = array("Q", [starts[first] for first in self._groups[:-1]])
        self._problem = ""
        self._lost = 0  # bytes that nothing leads to, as one more chunk
        end, rest = coded[-1], file.size - coded[-1]
        padded = _skip_zeros(file, end) == file.size
        if not padded and members[-1] != BGZF_END:
            self._lost = max(1, rest * size // end)
            self._problem = f"no member begins here: about {self._lost} bytes are lost"
            chunks.append(size)
        elif not padded:
            self._problem = f"{rest} bytes after the last member are ignored"
        if self._problem:
            log.warning("gzip: %s, at %#x", self._problem, end)
        super().__init__(size + self._lost, chunks, cache)

    def _read_chunk(self, index: int) -> bytes:
        if index + 1 == len(self._groups):
            raise FormatError("gzip", self._problem, offset=self._coded[-1])
        first, last = self._groups[index : index + 2]
        base = self._coded[first]
        data = self._file.read_exactly(base, self._coded[last] - base, "gzip")
        pieces = []
        for member in range(first, last):
            start = self._coded[member] - base
            try:
                pieces.append(
                    inflate(
                        data[start : self._coded[member + 1] - base], self._members[member][1], wrapper="gzip"
                    )
                )
            except FormatError as exc:
                raise FormatError("gzip", f"member {member + 1}: {exc.reason}", offset=base + start) from exc
        return b"".join(pieces)

    def info(self) -> Mapping[str, str]:
        return {"members": f"{len(self._members)}, BGZF"}

    def verify(self) -> Iterator[str]:
        """What follows the last member that is found; each of them is checked when it is read."""
        if self._problem:
            yield f"{self._problem}, at {self._coded[-1]:#x}"


def _bgzf_members(file: BlockDevice) -> list[tuple[int, int]] | None:
    """(coded, decoded) size of each member up to the end or the first that is lost.

    None if there is a sound one that does not state its size.
    """
    starts = [0]
    members: list[tuple[int, int]] = []
    while (offset := starts[-1]) < file.size:
        try:
            coded = _read_header(file, offset).bgzf_size
        except FormatError:  # the member before it may state a wrong size
            before = starts[-2] if members else offset
            end = _end_of_member(file, before) if members else offset
            if end in (before, offset):
                break
            del starts[-1], members[-1]
            offset, coded = starts[-1], end - starts[-1]
        if not coded:
            return None
        decoded = _stated_size(file, offset + coded)
        if offset + coded > file.size or decoded > MAX_BGZF:
            coded = _end_of_member(file, offset) - offset
            decoded = _stated_size(file, offset + coded)
            if not coded:
                break
        members.append((coded, decoded))
        starts.append(offset + coded)
    return members if any(size for _, size in members) else None


def _end_of_member(file: BlockDevice, offset: int) -> int:
    """Where the BGZF member at ``offset`` ends by its own data; ``offset`` if that is damaged."""
    start = offset + _read_header(file, offset).size
    reader = _Reader(file, start, zlib.decompressobj(-zlib.MAX_WBITS))
    data = bytearray()
    try:
        while len(data) <= MAX_BGZF and (part := reader.some(MAX_BGZF + 1 - len(data))):
            data += part
    except FormatError:
        return offset
    trailer = TRAILER.pack(zlib.crc32(data), len(data))
    sound = len(data) <= MAX_BGZF and file.pread(reader.coded, TRAILER.size) == trailer
    return reader.coded + TRAILER.size if sound else offset


def _stated_size(file: BlockDevice, end: int) -> int:
    """The decoded size that the last word of a member states."""
    return int.from_bytes(file.pread(max(0, end - 4), 4), "little")


def open_gzip(file: BlockDevice, context: Context) -> BlockDevice:
    """The image inside ``file``. Raises ``FormatError``."""
    members = _bgzf_members(file)
    return BgzfDevice(file, members, context.cache) if members else GzipDevice(file, context.cache)


def probe(file: BlockDevice) -> Match:
    """Only likely: a container of another kind may begin with a gzip member."""
    _read_header(file, 0)
    return Match.LIKELY


FORMAT: Final = ContainerFormat(
    name="gzip",
    title="gzip-compressed image (also BGZF, ADZ, HDZ)",
    extensions=(".gz", ".adz", ".hdz"),
    checks="CRC-32 and size of each member",
    open=open_gzip,
    probe=probe,
    packs_files=True,
    limits="one pass over the file at open, BGZF excepted",
)
