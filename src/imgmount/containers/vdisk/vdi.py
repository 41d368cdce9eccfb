"""VirtualBox disks (VDI): dynamic, fixed, and differencing (snapshot) images whose parents lie beside them.

A map of one u32 a block says where each is stored. Parents are named by identifier only, so they are looked
for among the files of the image's folder. Source: VirtualBox, ``VDICore.h`` as its users describe it
(forums.virtualbox.org, "All about VDIs").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

from imgmount.containers.vdisk.parent_search import find_parent
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table, text
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parse_header
from imgmount.core.layout import Bytes, Const, Int32ul, Int64ul, Padding, Struct
from imgmount.core.runs import RUN_BYTES, equal_run, rising_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, UnsupportedError

_HEADER = Struct(  # offset
    "text" / Bytes(64),  # 0x000  "<<< Oracle VM VirtualBox Disk Image >>>"
    "signature" / Const(0xBEDA107F, Int32ul),  # 0x040
    "version" / Int32ul,  # 0x044
    "header_size" / Int32ul,  # 0x048
    "type" / Int32ul,  # 0x04C
    "flags" / Int32ul,  # 0x050
    "comment" / Bytes(256),  # 0x054
    "map_offset" / Int32ul,  # 0x154
    "data_offset" / Int32ul,  # 0x158
    Padding(12),  # 0x15C  geometry
    "sector_size" / Int32ul,  # 0x168
    Padding(4),  # 0x16C
    "disk_size" / Int64ul,  # 0x170
    "block_size" / Int32ul,  # 0x178
    "block_extra" / Int32ul,  # 0x17C  bytes before the data of each block
    "blocks" / Int32ul,  # 0x180
    "allocated" / Int32ul,  # 0x184
    "id" / Bytes(16),  # 0x188
    "modification_id" / Bytes(16),  # 0x198
    "parent_id" / Bytes(16),  # 0x1A8
    "parent_modification_id" / Bytes(16),  # 0x1B8
)
HEADER_SIZE: Final = 0x1C8
SECTOR: Final = 512
TYPES: Final = {1: "dynamic", 2: "fixed", 3: "undo", 4: "differencing"}
WITH_PARENT: Final = (3, 4)
FREE: Final = 0xFFFF_FFFF  # map entry: the parent's block, zeros without one
ZERO: Final = 0xFFFF_FFFE
MAX_BLOCKS: Final = 1 << 24  # 16 TiB of the usual 1 MiB blocks
MAX_BLOCK_SIZE: Final = 1 << 30
ID_OFFSET: Final = 0x188
EXTENSION: Final = ".vdi"


class VdiDevice(MappedDevice):
    """The disk in a VDI file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        header = parse_header(_HEADER, file, 0, "vdi", "the header")
        if header.version >> 16 != 1:
            raise UnsupportedError(f"vdi: version {header.version >> 16}.{header.version & 0xFFFF}")
        if header.type not in TYPES:
            raise UnsupportedError(f"vdi: image type {header.type}")
        self.block_size = header.block_size
        if not SECTOR <= self.block_size <= MAX_BLOCK_SIZE or self.block_size & (self.block_size - 1):
            raise FormatError("vdi", f"blocks of {self.block_size} bytes", offset=0x178)
        self.size = -(-header.disk_size // SECTOR) * SECTOR
        count = -(-self.size // self.block_size)
        if not count <= min(header.blocks, MAX_BLOCKS):
            raise FormatError("vdi", f"{header.blocks} blocks for a disk of {self.size} bytes", offset=0x180)
        self._file = file
        self._header = header
        self._map_entries = table(file.read_exactly(header.map_offset, 4 * count, "vdi"), 4, "little")
        self._stride = self.block_size + header.block_extra
        self._data = header.data_offset + header.block_extra
        self._look = 1 if header.block_extra else max(1, RUN_BYTES // self.block_size)
        self._parent: BlockDevice | None = None
        self._parent_name = ""
        self._parent_id = UUID(bytes_le=header.parent_id)
        if header.type in WITH_PARENT or self._parent_id.int:
            self._parent = self._find_parent(context)

    def _find_parent(self, context: Context) -> BlockDevice:
        wanted = self._header.parent_id

        def is_parent(file: BlockDevice) -> bool:
            return any(wanted) and file.pread(ID_OFFSET, len(wanted)) == wanted

        self._parent_name = find_parent("vdi", str(self._parent_id), (), (EXTENSION,), context, is_parent)
        return context.open_parent(self._parent_name, "vdi")

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        entry = self._map_entries[block]
        if entry >= ZERO:
            length = equal_run(self._map_entries, block) * self.block_size - skip
            return beneath(self._parent, offset, length) if entry == FREE else Extent(length)
        count = rising_run(self._map_entries, block, 1, self._look)
        return Extent(count * self.block_size - skip, self._file, self._data + entry * self._stride + skip)

    def info(self) -> Mapping[str, str]:
        header = self._header
        facts = {
            "type": TYPES[header.type],
            "creator": text(header.text, "latin-1").strip("<> \n"),
            "id": str(UUID(bytes_le=header.id)),
            "blocks": f"{len(self._map_entries)} of {self.block_size} bytes, {header.allocated} stored",
        }
        if comment := text(header.comment, "utf-8"):
            facts["comment"] = comment
        if self._parent is not None:
            facts["parent"] = f"{self._parent_name} ({self._parent_id})"
            if (
                isinstance(self._parent, VdiDevice)
                and header.parent_modification_id != self._parent.modification_id
            ):
                facts["warning"] = "the parent was written to after this image was made"
        return facts

    @property
    def modification_id(self) -> bytes:
        """The identifier that changes when the image is written to; a child remembers its parent's."""
        return bytes(self._header.modification_id)

    def verify(self) -> Iterator[str]:
        """What is wrong with the block map, a line each."""
        taken = bytearray(max(0, self._file.size - self._data) // self._stride + 1)
        for block, entry in enumerate(self._map_entries):
            if entry >= ZERO:
                continue
            if self._data + entry * self._stride >= self._file.size:
                yield f"block {block} is stored past the end of the file"
                continue
            if taken[entry]:
                yield f"block {block} is stored where another one is"
            taken[entry] = 1


FORMAT: Final = ContainerFormat(
    name="vdi",
    title="VirtualBox disk (VDI)",
    extensions=(".vdi",),
    checks="the block map",
    open=VdiDevice,
    guest=True,
)
