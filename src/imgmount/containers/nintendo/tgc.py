"""GameCube discs in a file of a demo disc (TGC).

The disc header and the table of files are rewritten, the rest is as it is.

All is big endian. The disc follows the TGC header; its places of the main program and the table of files
count from the file's start, those of files from an area that has been moved. Source: Dolphin,
``DiscIO/TGCBlob.cpp``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from construct import Const, Int32ub, Padding, Struct

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header, within
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError

_HEADER = Struct(  # offset
    "magic" / Const(b"\xae\x0f\x38\xa2"),  # 0x00
    Padding(4),  # 0x04  version
    "header_size" / Int32ub,  # 0x08  of the disc's place
    Padding(4),  # 0x0C
    "fst" / Int32ub,  # 0x10
    "fst_size" / Int32ub,  # 0x14
    "fst_max" / Int32ub,  # 0x18
    "dol" / Int32ub,  # 0x1C
    "dol_size" / Int32ub,  # 0x20
    "files" / Int32ub,  # 0x24  where the area of files really begins
    Padding(12),  # 0x28  its size, the banner's place and size
    "files_said" / Int32ub,  # 0x34  where the table of files has it
)
HEADER_SIZE: Final = 0x38
DOL_AT: Final = 0x420
FST_AT: Final = 0x424
MAX_FST: Final = 16 << 20
NODE: Final = 12


class TgcDevice(MappedDevice):
    """The disc inside a TGC file."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        header = parse_header(_HEADER, file, 0, "tgc", "the header")
        start = header.header_size
        if not HEADER_SIZE <= start < file.size or min(header.fst, header.dol) < start + FST_AT + 4:
            reason = f"the disc at {start:#x} or its program at {header.dol:#x} does not lie inside the file"
            raise FormatError("tgc", reason, offset=8)
        within("tgc", "size of the table of files", header.fst_size, NODE, MAX_FST, offset=0x14)
        self.size = file.size - start
        shift = header.files - start - header.files_said
        fst = _moved(file.read_exactly(header.fst, header.fst_size, "tgc"), shift)
        places = (header.dol - start).to_bytes(4, "big") + (header.fst - start).to_bytes(4, "big")
        after = header.fst + header.fst_size
        self._shift = shift
        self._disc = Concat(
            [
                Extent(DOL_AT, file, start),
                Extent(len(places), MemoryDevice(places)),
                Extent(header.fst - start - FST_AT - 4, file, start + FST_AT + 4),
                Extent(len(fst), MemoryDevice(fst)),
                Extent(file.size - after, file, after),
            ]
        )

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._disc, offset)

    def info(self) -> Mapping[str, str]:
        return {"files": f"moved by {self._shift} bytes"}


def _moved(fst: bytes, shift: int) -> bytes:
    """The table of files with ``shift`` added to the place of each file."""
    count = within("tgc", "number of files", int.from_bytes(fst[8:NODE], "big"), 1, len(fst) // NODE)
    numbers = table(fst[: count * NODE], 4, "big")
    for at in range(0, 3 * count, 3):
        if not numbers[at] >> 24:
            numbers[at + 1] = numbers[at + 1] + shift & 0xFFFF_FFFF
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes() + fst[count * NODE :]


FORMAT: Final = ContainerFormat(
    name="tgc", title="GameCube disc in a demo disc's file", extensions=(".tgc",), open=TgcDevice
)
