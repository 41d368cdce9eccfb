"""Objects: blocks with a header of 32 bytes and a checksum.

Apple File System Reference, "Objects". All is little endian.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.errors import ChecksumError, FormatError

NAME: Final = "apfs"
HEADER: Final = Struct("<QQQII")  # checksum, object id, transaction id, type and flags, subtype
MIN_BLOCK: Final = 4096
MAX_BLOCK: Final = 65536

# types
SUPERBLOCK: Final = 0x01
BTREE: Final = 0x02
BTREE_NODE: Final = 0x03
OBJECT_MAP: Final = 0x0B
CHECKPOINT_MAP: Final = 0x0C
VOLUME: Final = 0x0D
INTEGRITY: Final = 0x1E
CONTAINER_KEYBAG: Final = 0x6B657973  # "keys"
VOLUME_KEYBAG: Final = 0x72656373  # "recs"
TYPE_MASK: Final = 0xFFFF

_MODULUS: Final = 0xFFFF_FFFF
_LANE: Final = 64  # bits


class Header(NamedTuple):
    """What every object says of itself."""

    checksum: int
    oid: int
    xid: int
    type: int
    subtype: int

    @property
    def kind(self) -> int:
        """The type without its flags."""
        return self.type & TYPE_MASK


def _sums(data: bytes) -> tuple[int, int]:
    """The sum of the 32-bit words of ``data``, and that of i times word i; modulo 2**32 - 1 they are right.

    All words are lanes of one large number, whose upper half is added to the lower one until a single lane is
    left: each addition is one of many lanes at once. A lane that moves down by n words counts n times more.
    What a lane of ``weighted`` carries into the next does no harm, as 2**64 is 1 modulo 2**32 - 1.
    """
    lanes = 1 << (len(data) // 8).bit_length()
    whole, every = int.from_bytes(data, "little"), _every_other(lanes)
    odd = whole >> 32 & every
    total, weighted = (whole & every) + odd, odd  # of pairs of words, in lanes of 64 bits
    while lanes > 1:
        lanes >>= 1
        low = (1 << _LANE * lanes) - 1
        moved = total >> _LANE * lanes
        weighted = (weighted & low) + (weighted >> _LANE * lanes) + 2 * lanes * moved
        total = (total & low) + moved
    return total, weighted


@cache
def _every_other(lanes: int) -> int:
    """The lower 32 bits of each of so many lanes."""
    return int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * lanes, "little")


def fletcher64(data: bytes) -> int:
    """The checksum of an object: Fletcher's, of the 32-bit words behind the checksum itself.

    Two sums modulo M = 2**32 - 1: of the words, and of the words times how many are left, counted from the
    last.
    """
    total, weighted = _sums(data[8:])
    first, second = total % _MODULUS, ((len(data) // 4 - 2) * total - weighted) % _MODULUS
    low = _MODULUS - (first + second) % _MODULUS
    return (_MODULUS - (first + low) % _MODULUS) << 32 | low


def is_sound(data: bytes) -> bool:
    """Whether the checksum is right."""
    return len(data) > HEADER.size and int.from_bytes(data[:8], "little") == fletcher64(data)


def header(data: bytes) -> Header:
    """The header of an object."""
    return Header(*HEADER.unpack_from(data))


class Blocks:
    """A container's device in blocks. Objects come checked."""

    def __init__(self, device: BlockDevice, size: int) -> None:
        self.device = device
        self.size = size

    def raw(self, block: int, count: int = 1) -> bytes:
        """``count`` blocks. Raises ``FormatError`` past the end of the device."""
        if not 0 <= block <= self.device.size // self.size:
            raise FormatError(NAME, f"block {block:#x}, the image ends at {self.device.size // self.size:#x}")
        return self.device.read_exactly(block * self.size, count * self.size, NAME)

    def object(self, block: int, kinds: tuple[int, ...], what: str) -> bytes:
        """The object at ``block``, which must be of one of ``kinds``.

        Raises ``FormatError``, ``ChecksumError``.
        """
        data = self.raw(block)
        self.check(data, block, kinds, what)
        return data

    def check(self, data: bytes, block: int, kinds: tuple[int, ...], what: str) -> None:
        """Raise ``ChecksumError`` or ``FormatError`` unless ``data`` is an object of ``kinds``."""
        if not is_sound(data):
            raise ChecksumError(NAME, f"the checksum of {what} is wrong", offset=block * self.size)
        found = header(data).kind
        if found not in kinds:
            wanted = " or ".join(f"{kind:#x}" for kind in kinds)
            raise FormatError(NAME, f"{what} has the type {found:#x}, not {wanted}", offset=block * self.size)
