"""Which blocks are free: one bit each, from the first that is not reserved, lowest bit of each long first."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.fields import table
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.amigados.blocks import BITMAP_PAGES, TAIL, T, long_at

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

VALID: Final = 0xFFFF_FFFF
MAX_BLOCKS: Final = 1 << 28  # a bitmap of 32 MiB: 128 GiB in blocks of 512 bytes
_DIGITS: Final = bytes.maketrans(b"01", b"\0\1")


class Bitmap:
    """The bitmap, read once. ``damage`` says why some of it is missing; what is missing counts as in use."""

    def __init__(self, volume: AmigaVolume) -> None:
        self._place = place = volume.root_place
        self.pages: list[int] = []  # blocks of the bitmap, and of the lists of them
        self.damage: ImageError | None = None
        self.valid = long_at(volume.root_block, len(volume.root_block) - TAIL + T.bitmap_flag) == VALID
        wanted, step = place.blocks - place.reserved, (place.block_size - 4) * 8
        pieces: list[bytes] = []
        try:
            if wanted > MAX_BLOCKS:
                raise UnsupportedError(f"amigados: a bitmap of {wanted} blocks")
            pieces.extend(_bits(volume, key) for key in _pages(volume, self.pages, -(-wanted // step)))
            if step * len(pieces) < wanted:
                raise FormatError(
                    "amigados", f"the bitmap ends at block {step * len(pieces) + place.reserved}"
                )
        except ImageError as exc:
            self.damage = exc
        self._covered = min(wanted, step * len(pieces))
        self._bits = int.from_bytes(b"".join(pieces), "little") & ((1 << self._covered) - 1)

    @property
    def free(self) -> int:
        """The number of free blocks."""
        return self._bits.bit_count()

    def free_map(self) -> bytes:
        """A 1 for each block that is free, a 0 for every other, in order."""
        digits = (
            f"{self._bits:0{self._covered}b}"[::-1].encode("ascii").translate(_DIGITS)
            if self._covered
            else b""
        )
        return (bytes(self._place.reserved) + digits).ljust(self._place.blocks, b"\0")


def _bits(volume: AmigaVolume, key: int) -> bytes:
    """The bits of one block of the bitmap, lowest first."""
    longs = array("I", volume.checked(key)[4:])
    longs.byteswap()
    return longs.tobytes()


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
            raise FormatError(
                "amigados",
                "the chain of bitmap blocks loops",
                offset=extension * volume.root_place.block_size,
            )
        seen.add(extension)
        used.append(extension)
        block = volume.read(extension)
        pages, extension = table(block[:-4], 4, "big"), long_at(block, len(block) - 4)
