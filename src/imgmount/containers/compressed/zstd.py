"""Zstandard files as disk images. Source: RFC 8878, and the seekable format 0.1.0 of the zstd repository.

Frames decode independently; a seek table at the end lists them, else their blocks' headers are followed from
one to the next. A frame that does not state its size (``zstd`` reading a pipe) is decoded once at open to
learn it.
"""

from __future__ import annotations

import logging
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from imgmount.codecs.zstd import library
from imgmount.containers.compressed.coded_blocks import CodedBlocksDevice
from imgmount.core.block_decoder import WRONG_CHECK, CodedBlock, CodedBlockDecoder, feed, measure
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError, UnsupportedError

log = logging.getLogger(__name__)

MAGIC: Final = 0xFD2FB528
SKIPPABLE: Final = 0x184D2A50  # and the fifteen after it
SKIPPABLE_HEADER: Final = struct.Struct("<II")  # magic, size of what follows
MAX_HEADER: Final = 18  # of a frame, magic included
RLE: Final = 1  # block type: one byte stands for the whole block
LARGEST_BLOCK: Final = 128 << 10  # decoded
RESERVED: Final = 3
MAX_SIZE: Final = 1 << 62
MAX_WINDOW: Final = 128 << 20  # what libzstd takes without being told to take more
BUFFERS: Final = 1 << 20  # of a decoder, besides its window
MAX_FRAMES: Final = 1 << 22
MAX_BLOCKS: Final = 1 << 24  # of all frames: 2 TiB in blocks of 128 KiB
ZARCHIVE: Final = b"\x61\xbf\x3a\x01\x16\x9f\x52\xd6"  # the end of a ZArchive: version, magic
MAX_LEADING: Final = 64  # skippable frames that a probe passes
WINDOW: Final = 64 << 10  # of the file, held while block headers are followed

SEEKABLE_MAGIC: Final = 0x8F92EAB1
SEEK_FOOTER: Final = struct.Struct("<IBI")  # frames, descriptor, magic
SEEK_CHECKSUMS: Final = 0x80  # descriptor bit: entries have a third word
SEEK_RESERVED: Final = 0x7C


class FrameHeader(NamedTuple):
    """Of a frame: its size as stated, or None; the header's size; the checksum's size.

    Bytes of its window.
    """

    decoded: int | None
    size: int
    checksum: int
    window: int


class Frame(NamedTuple):
    """A frame's place in the file; ``decoded`` is its size as stated, or None."""

    offset: int
    end: int
    decoded: int | None


class ZstdDevice(CodedBlocksDevice):
    """What a zstd file holds."""

    fmt = "zstd"

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._zstd = library()
        self.error = self._zstd.ZstdError
        self._file = file
        self._problems: list[str] = []
        table = _seek_table(file)
        frames = table or self._walk()
        self._offsets = array("Q", [frame.offset for frame in frames])
        self._ends = array("Q", [frame.end for frame in frames])
        starts = array("Q", accumulate(self._sizes(frames), initial=0))
        size = starts.pop()
        self._facts = {"frames": f"{len(frames)}{', seek table' if table else ''}"}
        super().__init__(size, starts, context.cache)
        for problem in self._problems:
            log.warning("%s", problem)

    def _walk(self) -> list[Frame]:
        frames = []
        try:
            for frame in _frames(self._file):
                frames.append(frame)
                if len(frames) > MAX_FRAMES:
                    raise UnsupportedError(f"zstd: more than {MAX_FRAMES} frames")
        except FormatError as exc:
            if not frames:
                raise
            self._problems.append(f"{exc}: what follows is ignored")
        if not frames:
            raise FormatError("zstd", "no frame that holds data, only skippable ones", offset=0)
        if frames[-1].end > self._file.size:
            self._problems.append(f"zstd: the file is truncated in frame {len(frames)}")
        return frames

    def _sizes(self, frames: Sequence[Frame]) -> Iterator[int]:
        """Decoded sizes. A damaged frame that does not state its size takes the rest, as an error."""
        for index, frame in enumerate(frames):
            if frame.decoded is not None:
                yield frame.decoded
                continue
            size, error = measure(CodedBlockDecoder(self.fmt, [self._block(index)], self.error))
            if error is None:
                yield size
                continue
            self._problems.append(f"frame {index + 1}: {error}: {size} bytes decode")
            if error.reason == WRONG_CHECK:  # no byte is sure, but their number is
                yield size
                continue
            yield size + LARGEST_BLOCK + self._file.size - frame.offset
            del self._offsets[index + 1 :], self._ends[index + 1 :]
            return

    def _block(self, index: int) -> CodedBlock:
        start, end = self._offsets[index], self._ends[index]
        check = end
        if end <= self._file.size and (header := self._header(index)) is not None:
            check -= header.checksum
        return CodedBlock(
            self._zstd.ZstdDecompressor,
            feed(self._file, start, check),
            check=self._file.pread(check, end - check),
        )

    def _header(self, index: int) -> FrameHeader | None:
        """The header of a frame; None for a skippable one, which a seek table may list."""
        offset = self._offsets[index]
        data = self._file.pread(offset, MAX_HEADER)
        return parse_frame_header(data, offset) if int.from_bytes(data[:4], "little") == MAGIC else None

    def _memory_of(self, index: int) -> int:
        header = self._header(index)
        return BUFFERS + (min(header.window, MAX_WINDOW) if header else 0)

    def info(self) -> Mapping[str, str]:
        return self._facts

    def verify(self) -> Sequence[str]:
        return self._problems


def _frames(file: BlockDevice) -> Iterator[Frame]:
    """The frames in order; the last one's end lies beyond the file if it is truncated.

    Raises ``FormatError``.
    """
    offset = blocks = 0
    while offset < file.size:
        header = file.pread(offset, MAX_HEADER)
        magic = int.from_bytes(header[:4], "little")
        if magic & ~15 == SKIPPABLE:
            offset += SKIPPABLE_HEADER.size + int.from_bytes(header[4:8], "little")
            continue
        decoded, size, trailer, _ = parse_frame_header(header, offset)
        try:
            end, count = _last_block(file, offset + size)
        except FormatError:  # what precedes the damage decodes; what follows cannot be found
            yield Frame(offset, file.size, decoded)
            raise
        blocks += count
        if blocks > MAX_BLOCKS:
            raise UnsupportedError(f"zstd: more than {MAX_BLOCKS} blocks")
        yield Frame(offset, end + trailer, decoded)
        offset = end + trailer


def parse_frame_header(header: bytes, offset: int) -> FrameHeader:
    """The header of the frame that ``header`` begins with (RFC 8878, 3.1.1.1).

    Raises ``FormatError``, ``UnsupportedError``.
    """
    if len(header) < 6 or int.from_bytes(header[:4], "little") != MAGIC:
        raise FormatError("zstd", "no frame begins where one should", offset=offset)
    descriptor = header[4]
    single = descriptor >> 5 & 1
    if descriptor & 8:
        raise FormatError(
            "zstd", "bit 3 of the frame's descriptor is set, which is reserved", offset=offset + 4
        )
    at = 5 + (not single)  # the window descriptor
    window = (1 << 10 + (header[5] >> 3)) * (8 + (header[5] & 7)) // 8
    width = (0, 1, 2, 4)[descriptor & 3]
    if int.from_bytes(header[at : at + width], "little"):
        raise UnsupportedError("zstd: dictionary")
    at += width
    width = (single, 2, 4, 8)[descriptor >> 6]
    decoded = int.from_bytes(header[at : at + width], "little") + (256 if width == 2 else 0)
    if len(header) < at + width:
        raise FormatError("zstd", "the file ends inside a frame's header", offset=offset)
    if decoded > MAX_SIZE:
        raise FormatError(
            "zstd", f"a frame of {decoded} bytes: at most {MAX_SIZE} are possible", offset=offset
        )
    return FrameHeader(
        decoded if width else None, at + width, 4 * (descriptor >> 2 & 1), decoded if single else window
    )


def _last_block(file: BlockDevice, offset: int) -> tuple[int, int]:
    """Where a frame's last block ends, beyond the file if that is cut, and how many blocks there are."""
    window, base, last, count = b"", 0, 0, 0
    while not last and count <= MAX_BLOCKS:
        if not base <= offset <= base + len(window) - 3:
            window, base = file.pread(offset, WINDOW), offset
            if len(window) < 3:
                return file.size + 1, count
        at = offset - base
        word = window[at] | window[at + 1] << 8 | window[at + 2] << 16
        last, kind = word & 1, word >> 1 & 3
        if kind == RESERVED:
            raise FormatError("zstd", "a block of type 3, which is reserved", offset=offset)
        offset += 3 + (1 if kind == RLE else word >> 3)
        count += 1
    return offset, count


def _seek_table(file: BlockDevice) -> list[Frame]:
    """The frames as the seekable format's table lists them.

    None if there is no table or it contradicts the file.
    """
    if file.size < SEEK_FOOTER.size + SKIPPABLE_HEADER.size:
        return []
    count, descriptor, magic = SEEK_FOOTER.unpack(file.pread(file.size - SEEK_FOOTER.size, SEEK_FOOTER.size))
    width = 3 if descriptor & SEEK_CHECKSUMS else 2
    size = 4 * width * count + SEEK_FOOTER.size
    start = file.size - size - SKIPPABLE_HEADER.size
    if magic != SEEKABLE_MAGIC or descriptor & SEEK_RESERVED or not 0 < count <= MAX_FRAMES or start < 0:
        return []
    table = file.pread(start, file.size - start)
    if SKIPPABLE_HEADER.unpack_from(table) != (SKIPPABLE | 14, size):
        return []
    words = struct.unpack_from(f"<{width * count}I", table, SKIPPABLE_HEADER.size)
    ends = list(accumulate(words[::width], initial=0))
    if ends[-1] != start:
        return []
    frames = [Frame(*place) for place in zip(ends[:-1], ends[1:], words[1::width], strict=True)]
    return frames if all(_agrees(file, frame) for frame in frames) else []


def _agrees(file: BlockDevice, frame: Frame) -> bool:
    """Whether there is a frame where the table says, of the size that it says.

    A wrong size would displace all frames that follow.
    """
    header = file.pread(frame.offset, MAX_HEADER)
    if int.from_bytes(header[:4], "little") & ~15 == SKIPPABLE:
        return frame.decoded == 0
    try:
        return parse_frame_header(header, frame.offset).decoded in (None, frame.decoded)
    except FormatError:
        return False


def probe(file: BlockDevice) -> Match:
    """Only likely: a container of another kind may begin with a frame.

    Skippable frames alone are LZ4's as well.
    """
    if file.size >= len(ZARCHIVE) and file.pread(file.size - len(ZARCHIVE), len(ZARCHIVE)) == ZARCHIVE:
        return Match.NO  # its first block is a frame
    offset = 0
    for _ in range(MAX_LEADING):
        header = file.pread(offset, MAX_HEADER)
        magic = int.from_bytes(header[:4], "little")
        if magic & ~15 != SKIPPABLE:
            break
        offset += SKIPPABLE_HEADER.size + int.from_bytes(header[4:8], "little")
    return Match.LIKELY if magic == MAGIC else Match.NO


FORMAT: Final = ContainerFormat(
    name="zstd",
    title="Zstandard-compressed image",
    extensions=(".zst",),
    checks="XXH64 of each frame, where it has one",
    open=ZstdDevice,
    probe=probe,
    packs_files=True,
    limits="windows up to 128 MiB; one large frame is decoded from its start again for each step backwards",
)
