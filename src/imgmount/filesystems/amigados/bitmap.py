"""Which blocks are free: one bit each, from the first that is not reserved, lowest bit of each long first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.fields import table
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.amigados.blocks import BITMAP_PAGES, TAIL, T, checksum, long_at

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

VALID: Final = 0xFFFF_FFFF
MAX_BLOCKS: Final = 1 << 28  # a bitmap of 32 MiB: 128 GiB in blocks of 512 bytes


class Bitmap:
    """The bitmap, read once. ``damage`` says why some of it is missing; what is missing counts as in use."""

    def __init__(self, volume: AmigaVolume) -> None:
        place = volume.root_place
        self._reserved = place.reserved
        self.pages: list[int] = []  # blocks of the bitmap, and of the lists of them
        self.damage: ImageError | None = None
        wanted = place.blocks - place.reserved
        pieces, known = [], 0
        try:
            if wanted > MAX_BLOCKS:
                raise UnsupportedError(f"amigados: a bitmap of {wanted} blocks")
            for key in _pages(volume, self.pages, -(-wanted // ((place.block_size - 4) * 8))):
                pieces.append(_bits(volume, key))
                known += (place.block_size - 4) * 8
        except ImageError as exc:
            self.damage = exc
        covered = min(wanted, known)
        self._bits = int.from_bytes(b"".join(pieces), "little") & ((1 << covered) - 1)
        self._bytes = self._bits.to_bytes(-(-covered // 8), "little")
        if self.damage is None and known < wanted:
            self.damage = FormatError("amigados", f"the bitmap ends at block {known + place.reserved}")
        self.valid = long_at(volume.root_block, len(volume.root_block) - TAIL + T.bitmap_flag) == VALID

    @property
    def free(self) -> int:
        """The number of free blocks."""
        return self._bits.bit_count()

    def is_free(self, key: int) -> bool:
        """Whether the bitmap says that nobody uses block ``key``."""
        index = key - self._reserved
        return 0 <= index < 8 * len(self._bytes) and bool(self._bytes[index >> 3] >> (index & 7) & 1)


def _bits(volume: AmigaVolume, key: int) -> bytes:
    """The bits of one block of the bitmap, lowest first."""
    block = volume.read(key)
    if checksum(block):
        raise ChecksumError("amigados", f"bad checksum of bitmap block {key}", offset=key * len(block))
    longs = table(block[4:], 4, "big")
    return b"".join(value.to_bytes(4, "little") for value in longs)


def _pages(volume: AmigaVolume, used: list[int], count: int) -> Iterator[int]:
    """``count`` blocks of the bitmap; ``used`` gets them and those that list them."""
    tail = volume.root_block[-TAIL:]
    pages = table(tail[T.bitmap_pages : T.bitmap_pages + 4 * BITMAP_PAGES], 4, "big")
    extension, seen = long_at(tail, T.bitmap_extension), set[int]()
    while True:
        for key in pages[:count]:
            if key == 0:
                return
            used.append(key)
            yield key
        count -= len(pages)
        if count <= 0 or not extension:
            return
        if extension in seen:
            raise FormatError("amigados", "the list of bitmap blocks loops", offset=extension * volume.root_place.block_size)
        seen.add(extension)
        used.append(extension)
        block = volume.read(extension)
        pages, extension = table(block[:-4], 4, "big"), long_at(block, len(block) - 4)
