"""The disc header (boot.bin) of a GameCube disc or Wii partition, and the lengths of what it points to."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from construct import Bytes, Int8ub, Int32ub, Padding
from construct import Struct as Layout

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.errors import FormatError

_HEADER = Layout(                 # offset
    "id" / Bytes(6),              # 0x000
    "disc" / Int8ub,              # 0x006
    "version" / Int8ub,           # 0x007
    "audio_streaming" / Int8ub,   # 0x008
    "stream_buffer" / Int8ub,     # 0x009
    Padding(0x0E),
    "wii_magic" / Int32ub,        # 0x018
    "gc_magic" / Int32ub,         # 0x01C
    "title" / Bytes(0x3E0),       # 0x020
    Padding(0x20),
    "dol" / Int32ub,              # 0x420
    "fst" / Int32ub,              # 0x424
    "fst_size" / Int32ub,         # 0x428
    "fst_max" / Int32ub,          # 0x42C
)
BOOT_SIZE: Final = 0x440
BI2: Final = 0x440
BI2_SIZE: Final = 0x2000
APPLOADER: Final = 0x2440
_APPLOADER: Final = Struct(">20xII")  # code size, trailer size
APPLOADER_HEADER: Final = 0x20
_DOL: Final = Struct(">18I")  # 7 text and 11 data sections: places, then, after 18 addresses, sizes
DOL_SIZES: Final = 0x90
DOL_HEADER: Final = 0x100
WII_MAGIC: Final = 0x5D1C9EA3
GC_MAGIC: Final = 0xC2339F3D
MAX_FST: Final = 64 << 20
NODE: Final = 12
NKIT: Final = 0x200
NKIT_MAGIC: Final = b"NKIT"


class Boot(NamedTuple):
    """Offsets and sizes are bytes."""

    id: str
    disc: int
    version: int
    title: bytes
    shift: int  # of stored offsets: 2 on the Wii
    dol: int
    fst: int
    fst_size: int
    nkit: str

    @classmethod
    def read(cls, device: BlockDevice) -> Self:
        """The header of ``device``. Raises ``FormatError``."""
        raw = device.read_exactly(0, BOOT_SIZE, "gcfst")
        header = _HEADER.parse(raw)
        if header.wii_magic != WII_MAGIC and header.gc_magic != GC_MAGIC:
            raise FormatError("gcfst", "no disc header", offset=0x18)
        shift = 2 if header.wii_magic == WII_MAGIC else 0
        nkit = text(raw[NKIT + 4 : NKIT + 8]).strip() if raw[NKIT : NKIT + 4] == NKIT_MAGIC else ""
        title = header.title[: NKIT - 0x20] if nkit else header.title
        return cls(
            text(header.id), header.disc, header.version, title.split(b"\0", 1)[0], shift,
            header.dol << shift, header.fst << shift, header.fst_size << shift, nkit,
        )  # fmt: skip

    def has_root(self, device: BlockDevice) -> bool:
        """Whether the table of files begins with a directory that holds all of its nodes."""
        if self.fst < APPLOADER or not NODE <= self.fst_size <= MAX_FST:
            return False
        head = device.pread(self.fst, NODE)
        if len(head) < NODE:
            return False
        kind, nodes = head[0], int.from_bytes(head[8:], "big")
        return kind == 1 and 0 < nodes <= self.fst_size // NODE

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
