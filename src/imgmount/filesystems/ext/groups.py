"""Block groups: where each part of the inode table is.

Kernel documentation, ext4/group_descr.rst and blockgroup.rst.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.bitmap import Bitmap
from imgmount.core.device import BlockDevice
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ext import superblock as sb
from imgmount.filesystems.ext.checksums import group_crc, metadata_crc

log = logging.getLogger(__name__)

_LOW: Final = Struct("<8xI")  # bg_inode_table_lo
_HIGH: Final = Struct("<I")
_HIGH_AT: Final = 0x28
_CHECKSUM_AT: Final = 0x1E
_GROUP: Final = Struct("<I")
_FLAGS: Final = 0x12
_UNUSED: Final = 0x1C  # inodes at the end of the table that were never written
_UNUSED_HIGH: Final = 0x32


class _Bitmap(NamedTuple):
    """Where a descriptor says where a bitmap is and what its checksum is, low and high parts."""

    name: str
    place: int
    place_high: int
    checksum: int
    checksum_high: int
    unused: int  # the flag of one that was never written


_BITMAPS: Final = (
    _Bitmap("blocks", 0x00, 0x20, 0x18, 0x38, 0x2),
    _Bitmap("inodes", 0x04, 0x24, 0x1A, 0x3A, 0x1),
)
_ODD_POWERS: Final = (3, 5, 7)  # groups numbered by a power of these hold backups


class Groups:
    """The group descriptors, read where an inode is asked for.

    The backups answer where a descriptor cannot be right.
    """

    def __init__(self, device: BlockDevice, super_block: sb.Superblock) -> None:
        self._device = device
        self._super = super_block
        self._per_block = super_block.block_size // super_block.descriptor_size
        self._tables: dict[int, int] = {}

    def inode_table(self, group: int) -> int:
        """The first block of the inode table of ``group``. Raises ``FormatError``."""
        found = self._tables.get(group)
        if found is None:
            found = self._tables[group] = self._find(group)
        return found

    def _find(self, group: int) -> int:
        damage: ImageError | None = None
        for copy, offset in enumerate(self._places(group)):
            try:
                raw = self._read(offset)
                table = self._table(raw, offset)
                if not self.checksum_is_right(group, raw):
                    raise FormatError(
                        sb.NAME, f"the checksum of group descriptor {group} is wrong", offset=offset
                    )
            except ImageError as exc:
                damage = damage or exc
                continue
            if copy:
                log.warning("%s; using the backup at %#x", damage, offset)
            return table
        raise damage or FormatError(sb.NAME, f"no descriptor of group {group}")

    def _read(self, offset: int) -> bytes:
        return self._device.read_exactly(offset, self._super.descriptor_size, sb.NAME)

    def _table(self, raw: bytes, offset: int) -> int:
        table: int = _LOW.unpack_from(raw)[0]
        if len(raw) >= sb.WIDE_DESCRIPTOR:
            table |= _HIGH.unpack_from(raw, _HIGH_AT)[0] << 32
        length = -(-self._super.inodes_per_group * self._super.inode_size // self._super.block_size)
        if not self._super.first_data_block < table <= self._super.blocks - length:
            raise FormatError(sb.NAME, f"inode table at block {table} of {self._super.blocks}", offset=offset)
        return table

    def checksum_is_right(self, group: int, raw: bytes) -> bool:
        """Whether the checksum in the descriptor ``raw`` is right; True where the features are off."""
        flags = self._super.ro_compat
        rest = raw[_CHECKSUM_AT + 2 :]
        stored = int.from_bytes(raw[_CHECKSUM_AT : _CHECKSUM_AT + 2], "little")
        if flags & sb.METADATA_CSUM:
            body = _GROUP.pack(group) + raw[:_CHECKSUM_AT] + bytes(2) + rest
            return metadata_crc(body, self._super.seed) & 0xFFFF == stored
        if flags & sb.GDT_CSUM:
            return group_crc(self._super.uuid + _GROUP.pack(group) + raw[:_CHECKSUM_AT] + rest) == stored
        return True

    def _places(self, group: int) -> Iterator[int]:
        """Where the descriptor of ``group`` is, the original first."""
        spb = self._super
        block, index = divmod(group, self._per_block)
        inside = index * spb.descriptor_size
        if spb.incompat & sb.META_BG and block >= spb.first_meta_bg:
            first = block * self._per_block
            for holder in (first, first + 1, first + self._per_block - 1):
                if holder < spb.groups:
                    yield (self._start(holder) + self.has_superblock(holder)) * spb.block_size + inside
            return
        for holder in self._holders():
            yield (self._start(holder) + 1 + block) * spb.block_size + inside

    def _start(self, group: int) -> int:
        # with bigalloc and blocks of 1 KiB the superblock is in block 1 while groups are counted from block 0
        moved = group == 0 and self._super.block_size == sb.PRIMARY and self._super.first_data_block == 0
        return 1 if moved else self._super.first_data_block + group * self._super.blocks_per_group

    def _holders(self) -> Iterator[int]:
        """Groups with a copy of the superblock and the descriptors; of many only the first few."""
        yield 0
        if self._super.compat & sb.SPARSE_SUPER2:
            yield from (group for group in (1, self._super.groups - 1) if 0 < group < self._super.groups)
            return
        yield from (group for group in (1, *_ODD_POWERS, 9) if group < self._super.groups)

    def has_superblock(self, group: int) -> bool:
        """Whether ``group`` begins with a copy of the superblock."""
        if group <= 1 or not self._super.ro_compat & sb.SPARSE_SUPER:
            return True
        return any(_is_power(group, base) for base in _ODD_POWERS)

    def used_inodes(self, group: int) -> int:
        """How many inodes at the beginning of a table may have been written. Raises ``ImageError``."""
        most = self._super.inodes_per_group
        if not self._super.ro_compat & (sb.GDT_CSUM | sb.METADATA_CSUM):
            return most
        raw = self._read(next(self._places(group)))
        if not self.checksum_is_right(group, raw):
            return most
        if int.from_bytes(raw[_FLAGS : _FLAGS + 2], "little") & _BITMAPS[1].unused:
            return 0
        return most - min(
            most, _joined(raw, _UNUSED, _UNUSED_HIGH if len(raw) >= sb.WIDE_DESCRIPTOR else 0, 2)
        )

    def first_used(self, first: int, count: int) -> int | None:
        """The first of ``count`` blocks that is in use, or not known to be free. Raises ``ImageError``."""
        spb = self._super
        start, stop = first - spb.first_data_block, first + count - spb.first_data_block
        if start < 0 or first + count > spb.blocks:
            raise FormatError(sb.NAME, f"{count} blocks from {first} on, the volume has {spb.blocks}")
        ratio = spb.cluster_size // spb.block_size  # a bit stands for so many blocks
        for group in range(start // spb.blocks_per_group, -(-stop // spb.blocks_per_group)):
            base = group * spb.blocks_per_group
            low, high = max(start, base) // ratio, -(-min(stop, base + spb.blocks_per_group) // ratio)
            used = self._used(group, low, high - low)
            if used is not None:
                return max(first, used * ratio + spb.first_data_block)
        return None

    def _used(self, group: int, first: int, count: int) -> int | None:
        """The first of ``count`` clusters of one group that is in use."""
        spb = self._super
        raw = self._read(next(self._places(group)))
        bitmap = _BITMAPS[0]
        if int.from_bytes(raw[_FLAGS : _FLAGS + 2], "little") & bitmap.unused:
            return first  # nothing of it was ever given to a file
        place = _joined(raw, bitmap.place, bitmap.place_high if len(raw) >= sb.WIDE_DESCRIPTOR else 0, 4)
        clusters = spb.blocks_per_group * spb.block_size // spb.cluster_size
        content = Slice(self._device, place * spb.block_size, min(spb.block_size, -(-clusters // 8)))
        return Bitmap(content, clusters, sb.NAME, "blocks", group * clusters).first_used(first, count)

    def verify(self) -> Iterator[str]:
        """Each descriptor whose checksum is wrong or that points outside."""
        for group in range(self._super.groups):
            offset = next(self._places(group))
            try:
                raw = self._read(offset)
                self._table(raw, offset)
            except ImageError as exc:
                yield f"group {group}: {exc}"
                if offset >= self._device.size:
                    return  # so do all that follow
                continue
            if not self.checksum_is_right(group, raw):
                yield f"group {group}: the checksum of its descriptor is wrong"
            elif self._super.ro_compat & sb.METADATA_CSUM:
                yield from self._verify_bitmaps(group, raw)

    def _verify_bitmaps(self, group: int, raw: bytes) -> Iterator[str]:
        spb = self._super
        flags = int.from_bytes(raw[_FLAGS : _FLAGS + 2], "little")
        clusters = spb.blocks_per_group * spb.block_size // spb.cluster_size
        for bitmap, bits in zip(_BITMAPS, (clusters, spb.inodes_per_group), strict=True):
            if flags & bitmap.unused:
                continue
            wide = len(raw) >= sb.WIDE_DESCRIPTOR
            block = _joined(raw, bitmap.place, bitmap.place_high if wide else 0, 4)
            stored = _joined(raw, bitmap.checksum, bitmap.checksum_high if wide else 0, 2)
            try:
                data = self._device.read_exactly(block * spb.block_size, bits // 8, sb.NAME)
            except ImageError as exc:
                yield f"group {group}: {exc}"
                continue
            if metadata_crc(data, spb.seed) & (0xFFFF_FFFF if wide else 0xFFFF) != stored:
                yield f"group {group}: the checksum of its bitmap of {bitmap.name} is wrong"


def _joined(raw: bytes, low: int, high: int, width: int) -> int:
    """A number in two parts of ``width`` bytes; no second part at 0."""
    value = int.from_bytes(raw[low : low + width], "little")
    return value | int.from_bytes(raw[high : high + width], "little") << 8 * width if high else value


def _is_power(value: int, base: int) -> bool:
    while value % base == 0:
        value //= base
    return value == 1
