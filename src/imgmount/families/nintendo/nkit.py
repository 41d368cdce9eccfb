"""What NKit 2 adds to CISO and WBFS files, so that the disc can be made again to the last byte.

That is its size and checksums, and a bit for each block that is not stored: 1 for junk, which a generator
makes, 0 for zeros. All is big endian. Sources: NKit (MIT), ``NKitHeader.cs``, ``WiiGcBlockRemovalBase.cs``;
nod, ``io/nkit.rs``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple, Self

from imgmount.core.device import BlockDevice, MappedDevice
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = b"NKIT  v"
_HEADER: Final = Struct(">8sHH")  # magic and version, size of the header, flags
SIZE, CRC32, MD5, SHA1, XXH64, KEY, ENCRYPTED = (1 << bit for bit in range(7))
KNOWN: Final = SIZE | CRC32 | MD5 | SHA1 | XXH64 | KEY | ENCRYPTED
WIDTHS: Final = {SIZE: 8, CRC32: 4, MD5: 16, SHA1: 20, XXH64: 8}  # of the fields, in this order
MAX_HEADER: Final = 0x1000
# bytes of the largest disc: there are bits for all of it, even if the disc is smaller
DUAL_LAYER: Final = 8_511_160_320
MAX_DISC: Final = 1 << 34


class SparseDisc(MappedDevice):
    """A disc of which some blocks of ``block_size`` bytes are not stored."""

    @abstractmethod
    def is_stored(self, block: int) -> bool:
        """Whether the file has ``block``, which may lie past the end of what it describes."""

    @abstractmethod
    def info(self) -> Mapping[str, str]:
        """Facts for ``imgmount info``."""


class NKit(NamedTuple):
    """``size`` of the disc, its SHA-1 if it is there, and the bits."""

    size: int
    sha1: bytes
    junk: bytes

    @classmethod
    def read(cls, file: BlockDevice, offset: int, block: int, fmt: str) -> Self | None:
        """The header at ``offset`` of a file with blocks of ``block`` bytes; None if there is none of NKit.

        Raises ``FormatError``, ``UnsupportedError``.
        """
        head = file.pread(offset, _HEADER.size)
        if not head.startswith(MAGIC) or len(head) < _HEADER.size:
            return None
        magic, size, flags = _HEADER.unpack(head)
        if magic[len(MAGIC) :] != b"2":
            version = magic[len(MAGIC) :].decode("ascii", "replace")
            raise UnsupportedError(f"{fmt}: NKit version {version} (2 is read)")
        if flags & ~KNOWN or not flags & SIZE:
            raise UnsupportedError(
                f"{fmt}: NKit with flags {flags:#x}, of which {flags & ~KNOWN:#x} are unknown"
            )
        if not _HEADER.size <= size <= MAX_HEADER:
            raise FormatError(
                fmt, f"the NKit header of {size} bytes does not hold what its flags name", offset=offset
            )
        raw = file.read_exactly(offset + _HEADER.size, size - _HEADER.size, fmt)
        fields, at = {}, 0
        for flag, width in WIDTHS.items():
            if flags & flag:
                fields[flag] = raw[at : at + width]
                at += width
        if at > len(raw) or not 0 < (disc := int.from_bytes(fields[SIZE], "big")) <= MAX_DISC:
            raise FormatError(fmt, "an NKit header without the size of the disc", offset=offset)
        bits = (DUAL_LAYER + 8 * block - 1) // (8 * block)
        return cls(disc, fields.get(SHA1, b""), file.read_exactly(offset + size, bits, fmt))

    def is_junk(self, block: int) -> bool:
        """Whether ``block``, which is not stored, is junk."""
        return block // 8 < len(self.junk) and bool(self.junk[block // 8] >> (7 - block % 8) & 1)
