"""Virtual PC and Hyper-V disks (VHD): fixed, dynamic, and differencing with the parent beside the image.

A 512-byte footer ends the file, and is repeated at its start where blocks are allocated as needed. The disk's
size is the footer's "current size"; some readers use the smaller product of its geometry, which ``info``
shows where it differs. Spec: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, 2006.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from imgmount.containers.vdisk.parent_search import find_parent
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table, text
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parsed
from imgmount.core.layout import Array, Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, LayoutError, Struct
from imgmount.core.runs import Bits, equal_run
from imgmount.core.slices import beneath
from imgmount.errors import FormatError, UnsupportedError

_FOOTER = Struct(  # offset
    "cookie" / Const(b"conectix"),  # 0x00
    "features" / Int32ub,  # 0x08
    "version" / Int32ub,  # 0x0C
    "data_offset" / Int64ub,  # 0x10  of the dynamic header
    "timestamp" / Int32ub,  # 0x18  seconds since 2000
    "creator" / Bytes(4),  # 0x1C
    "creator_version" / Int32ub,  # 0x20
    "creator_host" / Bytes(4),  # 0x24
    "original_size" / Int64ub,  # 0x28
    "current_size" / Int64ub,  # 0x30
    "cylinders" / Int16ub,  # 0x38
    "heads" / Int8ub,  # 0x3A
    "sectors" / Int8ub,  # 0x3B
    "type" / Int32ub,  # 0x3C
    "checksum" / Int32ub,  # 0x40
    "id" / Bytes(16),  # 0x44
    "saved_state" / Int8ub,  # 0x54
)
_LOCATOR = Struct(
    "code" / Bytes(4), "space" / Int32ub, "length" / Int32ub, "reserved" / Int32ub, "offset" / Int64ub
)
_DYNAMIC = Struct(  # offset
    "cookie" / Const(b"cxsparse"),  # 0x00
    "data_offset" / Int64ub,  # 0x08  unused
    "table_offset" / Int64ub,  # 0x10
    "version" / Int32ub,  # 0x18
    "entries" / Int32ub,  # 0x1C
    "block_size" / Int32ub,  # 0x20
    "checksum" / Int32ub,  # 0x24
    "parent_id" / Bytes(16),  # 0x28
    "parent_timestamp" / Int32ub,  # 0x38
    "reserved" / Int32ub,  # 0x3C
    "parent_name" / Bytes(512),  # 0x40  UTF-16BE
    "locators" / Array(8, _LOCATOR),  # 0x240
)
SECTOR: Final = 512
FOOTER_SIZE: Final = 512
OLD_FOOTER_SIZE: Final = 511  # Virtual PC before 2004
DYNAMIC_SIZE: Final = 1024
FOOTER_CHECKSUM: Final = 0x40
DYNAMIC_CHECKSUM: Final = 0x24
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
TYPES: Final = {FIXED: "fixed", DYNAMIC: "dynamic", DIFFERENCING: "differencing"}
NO_BLOCK: Final = 0xFFFF_FFFF
MAX_BLOCKS: Final = 1 << 23  # 4 TiB of 512 KiB blocks; the format ends at 2 TiB
MAX_BLOCK_SIZE: Final = 256 << 20
MAX_BITMAPS: Final = 1024  # kept: 4 KiB each for the usual 2 MiB block
MAX_PADDING: Final = 1 << 20
MAX_LOCATOR: Final = 64 << 10
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
EXTENSIONS: Final = (".vhd", ".avhd", ".vud", ".vpd")
LOCATOR_ENCODINGS: Final = {
    b"W2ru": "utf-16-le",
    b"W2ku": "utf-16-le",
    b"Wi2r": "latin-1",
    b"Wi2k": "latin-1",
    b"MacX": "utf-8",
}


def checksum(data: bytes, field: int) -> int:
    """The ones' complement of the sum of all bytes, those of the u32 at ``field`` left out."""
    return ~(sum(data) - sum(data[field : field + 4])) & 0xFFFF_FFFF


def _footer_at(file: BlockDevice, offset: int) -> tuple[Any, bool]:
    """The footer at ``offset`` and whether its checksum is right. Raises ``FormatError`` where none is."""
    data = file.pread(offset, FOOTER_SIZE).ljust(FOOTER_SIZE, b"\0") if offset >= 0 else b""
    try:
        footer = _FOOTER.parse(data)
    except LayoutError as exc:
        raise FormatError("vhd", "no footer begins here (conectix)", offset=max(0, offset)) from exc
    return footer, checksum(data, FOOTER_CHECKSUM) == footer.checksum


def _find_footer(file: BlockDevice) -> tuple[Any, int, bool]:
    """The footer, where it is and whether its checksum is right: at the end, else its copy at the start.

    A footer with a wrong checksum is used if there is no better one: edited images have it, and every
    hypervisor reads them.
    """
    found = []
    for offset in (file.size - FOOTER_SIZE, file.size - OLD_FOOTER_SIZE, 0):
        try:
            footer, sound = _footer_at(file, offset)
        except FormatError:
            continue
        if footer.type in TYPES and (offset or footer.type != FIXED):
            if sound:
                return footer, offset, True
            found.append((footer, offset, False))
    if not found and (offset := _padded_footer(file)):
        return _footer_at(file, offset)[0], offset, True
    if not found:
        raise FormatError("vhd", "no usable footer", offset=max(0, file.size - FOOTER_SIZE))
    return found[0]


def _padded_footer(file: BlockDevice) -> int:
    """Where the footer of a fixed disk is that was padded behind it; 0 for nowhere.

    ``--container vhd`` gets here.
    """
    start = max(0, file.size - MAX_PADDING)
    data = file.pread(start, MAX_PADDING)
    at = data.rfind(b"conectix")
    while at >= 0:
        offset = start + at
        with suppress(FormatError):
            footer, sound = _footer_at(file, offset)
            if sound and footer.type == FIXED and footer.current_size == offset:
                return offset
        at = data.rfind(b"conectix", 0, at)
    return 0


class VhdDevice(MappedDevice):
    """The disk in a VHD file."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._file = file
        footer, self._footer_offset, sound = _find_footer(file)
        self._footer = footer
        self._warnings = [] if sound else ["the footer's checksum is wrong"]
        if footer.version >> 16 != 1:
            raise UnsupportedError(f"vhd: version {footer.version:#x}")
        self.id = UUID(bytes=footer.id)
        self.size = footer.current_size
        self._parent: BlockDevice | None = None
        self._parent_name = ""
        if footer.type != FIXED and not self._footer_offset:
            self._warnings.append("the footer is lost: its copy at the start is used")
        if footer.type == FIXED:
            if self.size > self._footer_offset:
                raise FormatError(
                    "vhd", f"a disk of {self.size} bytes in {self._footer_offset}", offset=self._footer_offset
                )
            return
        self._open_table(footer.data_offset)
        if footer.type == DIFFERENCING:
            self._parent = self._find_parent(context)

    def _open_table(self, offset: int) -> None:
        data = self._file.read_exactly(offset, DYNAMIC_SIZE, "vhd")
        self._header = header = parsed(_DYNAMIC, data, offset, "vhd", "the dynamic header")
        if checksum(data, DYNAMIC_CHECKSUM) != header.checksum:
            self._warnings.append("the dynamic header's checksum is wrong")
        self.block_size = header.block_size
        if not SECTOR <= self.block_size <= MAX_BLOCK_SIZE or self.block_size & (self.block_size - 1):
            raise FormatError("vhd", f"blocks of {self.block_size} bytes", offset=offset + 0x20)
        count = -(-self.size // self.block_size)
        if not count <= min(header.entries, MAX_BLOCKS):
            raise FormatError(
                "vhd", f"{header.entries} blocks for a disk of {self.size} bytes", offset=offset + 0x1C
            )
        self._bat = table(self._file.read_exactly(header.table_offset, 4 * count, "vhd"), 4, "big")
        bitmap = self.block_size // SECTOR // 8
        self._bitmap_size = max(1, bitmap)
        self._data_skip = -(-self._bitmap_size // SECTOR) * SECTOR
        self._bits = lru_cache(MAX_BITMAPS)(self._read_bits)

    def _read_bits(self, block: int) -> Bits:
        bitmap = self._file.read_exactly(self._bat[block] * SECTOR, self._bitmap_size, "vhd")
        return Bits(bitmap, first_bit="high")

    def _find_parent(self, context: Context) -> BlockDevice:
        wanted = UUID(bytes=self._header.parent_id)

        def is_parent(file: BlockDevice) -> bool:
            return UUID(bytes=_find_footer(file)[0].id) == wanted

        self._parent_name = find_parent(
            "vhd", str(wanted), list(self._parent_names()), EXTENSIONS, context, is_parent
        )
        return context.open_parent(self._parent_name, "vhd")

    def _parent_names(self) -> Iterator[str]:
        for locator in self._header.locators:
            encoding = LOCATOR_ENCODINGS.get(locator.code)
            if encoding and locator.length <= MAX_LOCATOR:
                path = self._file.pread(locator.offset, locator.length)
                if (
                    name := text(path, "latin-1")
                    if encoding == "latin-1"
                    else path.decode(encoding, "replace").rstrip("\0")
                ):
                    yield name
        if name := self._header.parent_name.decode("utf-16-be", "replace").split("\0")[0]:
            yield name

    def _map(self, offset: int) -> Extent:
        if self._footer.type == FIXED:
            return Extent(self.size - offset, self._file, offset)
        block, skip = divmod(offset, self.block_size)
        entry = self._bat[block]
        if entry == NO_BLOCK:
            return beneath(self._parent, offset, equal_run(self._bat, block) * self.block_size - skip)
        start = entry * SECTOR + self._data_skip + skip
        length = self.block_size - skip
        # the bitmap says which sectors were ever written: the others are stored as zeros
        if self._parent is None:
            return Extent(length, self._file, start)
        sector, within = divmod(skip, SECTOR)
        own, sectors = self._bits(block).run(sector)
        length = min(length, sectors * SECTOR - within)
        return Extent(length, self._file, start) if own else beneath(self._parent, offset, length)

    def info(self) -> Mapping[str, str]:
        footer = self._footer
        creator, version = text(footer.creator, "latin-1"), footer.creator_version
        facts = {
            "type": TYPES[footer.type],
            "creator": f"{creator} {version >> 16}.{version & 0xFFFF}",
            "created": f"{EPOCH + timedelta(seconds=footer.timestamp):%Y-%m-%d %H:%M:%S} UTC",
            "id": str(self.id),
        }
        by_geometry = footer.cylinders * footer.heads * footer.sectors * SECTOR
        if by_geometry != self.size:
            facts["size by geometry"] = (
                f"{by_geometry} bytes ({footer.cylinders}/{footer.heads}/{footer.sectors})"
            )
        if footer.type != FIXED:
            stored = len(self._bat) - self._bat.count(NO_BLOCK)
            facts["blocks"] = f"{len(self._bat)} of {self.block_size} bytes, {stored} stored"
        if self._warnings:
            facts["warning"] = "; ".join(self._warnings)
        if self._parent is not None:
            facts["parent"] = f"{self._parent_name} ({UUID(bytes=self._header.parent_id)})"
        return facts

    def verify(self) -> Iterator[str]:
        """What is wrong with the copies of the footer and the block table, a line each."""
        yield from self._warnings
        if self._footer.type == FIXED:
            return
        if self._footer_offset:
            yield from self._copy_problems()
        for block, entry in enumerate(self._bat):
            if entry != NO_BLOCK and entry * SECTOR + self._data_skip >= self._file.size:
                yield f"block {block} is stored past the end of the file"

    def _copy_problems(self) -> Iterator[str]:
        """What is wrong with the footer's copy at the start."""
        try:
            copy, sound = _footer_at(self._file, 0)
        except FormatError:
            yield "the footer's copy at the start is missing"
            return
        if not sound:
            yield "the checksum of the footer's copy is wrong"
        elif copy != self._footer:
            yield "the footer and its copy at the start differ"


FORMAT: Final = ContainerFormat(
    name="vhd",
    title="Virtual PC / Hyper-V disk (VHD)",
    extensions=(".vhd", ".vpc"),
    checks="sums of footer and header, in both copies",
    open=VhdDevice,
    guest=True,
)
