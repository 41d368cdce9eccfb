"""The disc header (boot.bin) of a GameCube disc or Wii partition, and the lengths of what it points to."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from imgmount.core.device import BlockDevice
from imgmount.families.nintendo.disc_header import GameDisc

BOOT_SIZE: Final = 0x440
_PLACES: Final = Struct(">3I")  # main program, table of files and its size
PLACES: Final = 0x420
BI2: Final = 0x440
BI2_SIZE: Final = 0x2000
APPLOADER: Final = 0x2440
_APPLOADER: Final = Struct(">20xII")  # code size, trailer size
APPLOADER_HEADER: Final = 0x20
_DOL: Final = Struct(">18I")  # 7 text and 11 data sections: places, then, after 18 addresses, sizes
DOL_SIZES: Final = 0x90
DOL_HEADER: Final = 0x100
MAX_FST: Final = 16 << 20
MAX_NODES: Final = 1 << 18
NODE: Final = 12


class Boot(NamedTuple):
    """Offsets and sizes are bytes."""

    game: GameDisc
    shift: int  # of stored offsets: 2 on the Wii
    dol: int
    fst: int
    fst_size: int

    @classmethod
    def read(cls, device: BlockDevice) -> Self:
        """The header of ``device``. Raises ``FormatError``."""
        raw = device.read_exactly(0, BOOT_SIZE, "gcfst")
        game = GameDisc.parse(raw, "gcfst")
        shift = 2 if game.is_wii else 0
        dol, fst, fst_size = (place << shift for place in _PLACES.unpack_from(raw, PLACES))
        return cls(game, shift, dol, fst, fst_size)

    def has_root(self, device: BlockDevice) -> bool:
        """Whether the table of files begins with a directory that holds all of its nodes."""
        if self.fst < APPLOADER or not NODE <= self.fst_size <= MAX_FST:
            return False
        head = device.pread(self.fst, NODE)
        if len(head) < NODE:
            return False
        kind, nodes = head[0], int.from_bytes(head[8:], "big")
        return kind == 1 and 0 < nodes <= min(self.fst_size // NODE, MAX_NODES)

    def dol_size(self, device: BlockDevice) -> int:
        """Where the last section of the main program ends. Raises ``FormatError``."""
        raw = device.read_exactly(self.dol, DOL_HEADER, "gcfst")
        places, sizes = _DOL.unpack_from(raw, 0), _DOL.unpack_from(raw, DOL_SIZES)
        ends: list[int] = [place + size for place, size in zip(places, sizes, strict=True) if size]
        return max(DOL_HEADER, *ends, 0)


def apploader_size(device: BlockDevice) -> int:
    """The size of the program that the console starts. Raises ``FormatError``."""
    sizes: tuple[int, int] = _APPLOADER.unpack(device.read_exactly(APPLOADER, _APPLOADER.size, "gcfst"))
    return APPLOADER_HEADER + sum(sizes)
