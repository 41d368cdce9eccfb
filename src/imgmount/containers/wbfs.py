"""Wii backup file system: GameCube and Wii discs without their unused sectors, in a file or on a disk of their own.

Layout, big endian: a header of one disk sector with a byte for each slot, then for each slot a copy of the disc's first 256 bytes
and a u16 for each WBFS sector of the disc: where that one is stored, 0 if it is not. The size of a disc is not stored: it is
taken to end with its last stored sector. Files are cut into ``.wbfs``, ``.wbf1``, ``.wbf2``... Source: libwbfs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from construct import Const, ConstructError, Int8ub, Int32ub, Padding, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table, text
from imgmount.core.format import Context, Format, Kind
from imgmount.core.slices import Concat
from imgmount.errors import FormatError, MountError

_HEADER = Struct(                # offset
    "magic" / Const(b"WBFS"),    # 0x00
    "hd_sectors" / Int32ub,      # 0x04  of the whole file system
    "hd_shift" / Int8ub,         # 0x08  log2 of the disk's sectors
    "wbfs_shift" / Int8ub,       # 0x09  log2 of the WBFS sectors
    "version" / Int8ub,          # 0x0A
    Padding(1),
)
HEADER_SIZE: Final = 12
DISC_COPY: Final = 0x100
WII_SHIFT: Final = 15
WII_SECTORS: Final = 143432 * 2  # 32 KiB sectors of a dual layer disc
HD_SHIFTS: Final = range(9, 17)
WBFS_SHIFTS: Final = range(WII_SHIFT + 1, 28)
MAX_RUN: Final = 64  # sectors looked at for one extent


class WbfsDevice(MappedDevice):
    """One disc of a WBFS: the first, or the one that ``--extra disc=N`` names."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        try:
            header = _HEADER.parse(file.read_exactly(0, HEADER_SIZE, "wbfs"))
        except ConstructError as exc:
            raise FormatError("wbfs", f"bad header: {exc}", offset=0) from exc
        if header.hd_shift not in HD_SHIFTS or header.wbfs_shift not in WBFS_SHIFTS:
            raise FormatError("wbfs", f"sectors of 2**{header.hd_shift} and 2**{header.wbfs_shift} bytes", offset=8)
        hd_sector = 1 << header.hd_shift
        self.block_size = 1 << header.wbfs_shift
        count = WII_SECTORS >> header.wbfs_shift - WII_SHIFT
        info_size = -(-(DISC_COPY + 2 * count) // hd_sector) * hd_sector
        slots = file.read_exactly(HEADER_SIZE, hd_sector - HEADER_SIZE, "wbfs")
        self.discs = [slot for slot, used in enumerate(slots) if used]
        self._chosen = _choose(self.discs, context)
        place = hd_sector + self._chosen * info_size
        raw = file.read_exactly(place, DISC_COPY + 2 * count, "wbfs")
        self._name = f"{text(raw[:6])} {text(raw[0x20:0x60], 'cp932')}"
        self._index = table(raw[DISC_COPY:], 2, "big")
        while self._index and not self._index[-1]:
            self._index.pop()
        if not self._index:
            raise FormatError("wbfs", "a disc without sectors", offset=place)
        self.size = len(self._index) * self.block_size
        self._file = _whole(file, context)

    def _map(self, offset: int) -> Extent:
        first, skip = divmod(offset, self.block_size)
        stored = self._index[first]
        step = 1 if stored else 0
        run = 1
        for entry in self._index[first + 1 : first + MAX_RUN]:
            if entry != stored + run * step:
                break
            run += 1
        length = run * self.block_size - skip
        if not stored:
            return Extent(length)
        start = stored * self.block_size + skip
        if start >= self._file.size:
            raise FormatError("wbfs", f"sector {first} is stored past the end of the file")
        return Extent(min(length, self._file.size - start), self._file, start)

    def info(self) -> Mapping[str, str]:
        stored = sum(1 for entry in self._index if entry)
        facts = {"disc": self._name, "sectors": f"{len(self._index)} of {self.block_size} bytes, {stored} stored"}
        if len(self.discs) > 1:
            facts["discs"] = f"{len(self.discs)}, this is number {self.discs.index(self._chosen)}: choose with --extra disc=N"
        return facts


def _choose(discs: list[int], context: Context) -> int:
    """The slot of the disc that the user wants."""
    if not discs:
        raise FormatError("wbfs", "no disc in it", offset=HEADER_SIZE)
    wanted = context.options.extra.get("disc", "0")
    if not (wanted.isascii() and wanted.isdecimal() and int(wanted) < len(discs)):
        raise MountError(f"disc={wanted}: the discs are 0 to {len(discs) - 1}")
    return discs[int(wanted)]


def _whole(file: BlockDevice, context: Context) -> BlockDevice:
    """``file`` with the parts beside it: ``game.wbf1`` and so on behind ``game.wbfs``."""
    if context.path.suffix.lower() != ".wbfs":
        return file
    present = {name.lower(): name for name in context.siblings.names()}
    parts = [file]
    while name := present.get(f"{context.path.stem}.wbf{len(parts)}".lower()):
        parts.append(context.siblings.open(name))
    return Concat.of(parts) if len(parts) > 1 else file


FORMAT: Final = Format(name="wbfs", title="Wii backup file system", kind=Kind.CONTAINER, open=WbfsDevice)
