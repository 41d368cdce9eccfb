"""Audio files that descriptions name as tracks: where their samples are, and how long they play.

Samples of another form than a disc's, compressed ones among them, are not converted.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import FRAMES_PER_SECOND

MAX_CHUNKS: Final = 1000
_PCM: Final = (1, 0xFFFE)  # WAVE_FORMAT_PCM, WAVE_FORMAT_EXTENSIBLE
_CD: Final = (2, 44100, 16)


def samples_of(file: BlockDevice, fmt: str) -> tuple[BlockDevice, bool]:
    """(samples, whether they are big-endian) of a WAVE or AIFF file.

    It must have the form that discs have: 44,100 Hz, 16 bits, stereo.

    Raises ``FormatError`` in the name of ``fmt``.
    """
    head = file.pread(0, 12)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wave(file, fmt), False
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(file, fmt, compressed=head[8:12] == b"AIFC")
    raise FormatError(fmt, "the file is neither WAVE nor AIFF", offset=0)


def _chunks(file: BlockDevice, order: str) -> dict[bytes, tuple[int, int]]:
    """Chunk -> (offset, size), the first of each kind; a size past the end of the file (streamed) is cut."""
    found: dict[bytes, tuple[int, int]] = {}
    offset = 12
    for _ in range(MAX_CHUNKS):
        head = file.pread(offset, 8)
        if len(head) < 8:
            break
        size = int.from_bytes(head[4:], "little" if order == "little" else "big")
        found.setdefault(head[:4], (offset + 8, min(size, file.size - offset - 8)))
        offset += 8 + size + (size & 1)
    return found


def _wave(file: BlockDevice, fmt: str) -> BlockDevice:
    chunks = _chunks(file, "little")
    if b"fmt " not in chunks or b"data" not in chunks:
        raise FormatError(fmt, "the WAVE file has no fmt and data chunk", offset=12)
    head = file.read_exactly(chunks[b"fmt "][0], 16, fmt)
    word = [int.from_bytes(head[at : at + 2], "little") for at in range(0, 16, 2)]
    if word[0] not in _PCM or (word[1], word[2] | word[3] << 16, word[7]) != _CD:
        raise FormatError(fmt, "the WAVE file is not 44.1 kHz, 16 bit, stereo PCM", offset=chunks[b"fmt "][0])
    return Slice(file, *chunks[b"data"])


def _aiff(file: BlockDevice, fmt: str, *, compressed: bool) -> tuple[BlockDevice, bool]:
    chunks = _chunks(file, "big")
    if b"COMM" not in chunks or b"SSND" not in chunks:
        raise FormatError(fmt, "the AIFF file has no COMM and SSND chunk", offset=12)
    start, _ = chunks[b"COMM"]
    comm = file.read_exactly(start, 22 if compressed else 18, fmt)
    mantissa, exponent = int.from_bytes(comm[10:18], "big"), int.from_bytes(comm[8:10], "big")
    rate = mantissa >> max(0, 16383 + 63 - exponent)  # an 80-bit float
    coding = comm[18:22]
    cd = (int.from_bytes(comm[:2], "big"), rate, int.from_bytes(comm[6:8], "big")) == _CD
    if not cd or coding not in (b"", b"NONE", b"sowt", b"twos"):
        raise FormatError(fmt, "the AIFF file is not 44.1 kHz, 16 bit, stereo PCM", offset=start)
    data, size = chunks[b"SSND"]
    skip = 8 + int.from_bytes(file.read_exactly(data, 4, fmt), "big")  # offset, block size, then samples
    if skip > size:
        raise FormatError(fmt, f"AIFF samples start {skip} bytes into a chunk of {size}", offset=data)
    return Slice(file, data + skip, size - skip), coding != b"sowt"


def sectors_of(file: BlockDevice) -> int:
    """Sectors that a FLAC or WAVE file of any form plays for, from its header; 0 where that does not say."""
    head = file.pread(0, 26)
    if head[:4] == b"fLaC":
        rate, samples = (
            int.from_bytes(head[18:21], "big") >> 4,
            int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF,
        )
        return _sectors(samples, rate)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        chunks = _chunks(file, "little")
        form, _ = chunks.get(b"fmt ", (0, 0))
        bytes_per_second = int.from_bytes(file.pread(form + 8, 4), "little") if form else 0
        return _sectors(chunks.get(b"data", (0, 0))[1], bytes_per_second)
    return 0


def _sectors(amount: int, per_second: int) -> int:
    return -(-amount * FRAMES_PER_SECOND // per_second) if per_second else 0
