"""Where a volume begins, or each session of a disc: recognition sequence and anchors.

Source: ECMA-167 2/8.3, 3/8.4.1, UDF 2.2.3, 6.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError
from imgmount.filesystems.udf.structs import ANCHOR, ANCHOR_DESCRIPTOR, BLOCK_SIZES, check_tag

FIRST_ANCHOR: Final = 256
UNCLOSED_ANCHOR: Final = 512  # where an unclosed disc has it (UDF 6.11)
SESSION_BLOCK: Final = 2048  # only optical discs have sessions
MAX_SCAN: Final = 1 << 30  # bytes searched for sessions: the largest disc with more than one of them was a CD
SCAN_STEP: Final = 1 << 20
RECOGNITION_AT: Final = 0x8000  # where the volume recognition sequence begins, from the start of a session
RECOGNITION_STEP: Final = 2048  # or a block, where that is larger
MAX_RECOGNITION: Final = 64  # descriptors
_RECOGNITION: Final = b"BEA01"
_UDF: Final = (b"NSR02", b"NSR03")
_OTHERS: Final = (b"TEA01", b"BOOT2", b"CDW02")
_ISO_9660: Final = b"CD001"


class Anchor(NamedTuple):
    """Where the volume descriptors of a session are, and where the session ends, all in blocks."""

    block_size: int
    block: int
    main: tuple[int, int]  # length in bytes, block
    reserve: tuple[int, int]
    end: int


def read_anchor(image: BlockDevice, block_size: int, block: int, end: int) -> Anchor | None:
    """The anchor volume descriptor pointer at ``block`` (3/10.2), if a valid one is there."""
    raw = image.pread(block * block_size, block_size) if block >= 0 else b""
    if len(raw) < block_size:
        return None
    try:
        check_tag(raw, (ANCHOR,), (block,), block * block_size)
    except FormatError:
        return None
    found = ANCHOR_DESCRIPTOR.parse(raw)
    places = [(extent.length, extent.location) for extent in (found.main, found.reserve)]
    return Anchor(block_size, block, places[0], places[1], end)


def anchors(image: BlockDevice, base: int = 0) -> Iterator[Anchor]:
    """Every anchor at its places, likeliest first; ``base`` is the block at which a session begins.

    An anchor at the end that names later descriptors than the one at 256 belongs to a later session, and goes
    first. Anchors of an earlier life may survive at other block sizes: one that the recognition sequence
    speaks for goes before them.
    """
    for block_size in sorted(BLOCK_SIZES, key=lambda size: not is_recognised(image, size, base * size)):
        end = image.size // block_size
        first = read_anchor(image, block_size, base + FIRST_ANCHOR, end)
        last = [read_anchor(image, block_size, end - 1 - gap, end) for gap in (0, FIRST_ANCHOR)]
        later = [
            anchor for anchor in last if anchor and not base and (not first or anchor.main[1] > first.main[1])
        ]
        places = [*later, first, read_anchor(image, block_size, base + UNCLOSED_ANCHOR, end), *last]
        yield from dict.fromkeys(anchor for anchor in places if anchor)


def is_recognised(image: BlockDevice, block_size: int, start: int) -> bool:
    """Whether there is a volume recognition sequence (2/8.3) in the steps that ``block_size`` asks for."""
    for step in range(MAX_RECOGNITION):
        word = image.pread(
            start + RECOGNITION_AT + step * max(RECOGNITION_STEP, block_size) + 1, len(_RECOGNITION)
        )
        if word in _UDF:
            return True
        if word not in (_RECOGNITION, _ISO_9660, *_OTHERS):
            return False
    return False


def sessions(image: BlockDevice) -> list[Anchor]:
    """The anchors of all sessions, in order.

    Each begins with a recognition sequence and has an anchor 256 blocks on.
    """
    found: list[Anchor] = []
    for base in _recognised(image):
        anchor = read_anchor(image, SESSION_BLOCK, base + FIRST_ANCHOR, image.size // SESSION_BLOCK)
        if anchor and (not found or anchor.main != found[-1].main):
            found.append(anchor)
    ends = [anchor.block - FIRST_ANCHOR for anchor in found[1:]]
    return [
        anchor._replace(end=end)
        for anchor, end in zip(found, [*ends, image.size // SESSION_BLOCK], strict=False)
    ]


def _recognised(image: BlockDevice) -> Iterator[int]:
    """The blocks where sessions begin, by their recognition sequences.

    On bridge discs the descriptors of ISO 9660 go first.
    """
    ahead = 0
    for start in range(0, min(image.size, MAX_SCAN), SCAN_STEP):
        chunk = image.pread(start, SCAN_STEP)
        for at in range(1, len(chunk), SESSION_BLOCK):
            word = chunk[at : at + len(_RECOGNITION)]
            if word == _RECOGNITION:
                yield (start + at - RECOGNITION_AT) // SESSION_BLOCK - ahead
            ahead = ahead + 1 if word == _ISO_9660 else 0
