"""A UFS volume: its inodes, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.single_parent import SingleParent
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.unix.block_pointers import PointerMap, Pointers, mapped_file
from imgmount.families.unix.inodes import Entry, InodeVolume, TablePages, directory_parts, scan
from imgmount.filesystems.ufs import superblock as sb
from imgmount.filesystems.ufs import xattrs
from imgmount.filesystems.ufs.directory import entries
from imgmount.filesystems.ufs.inode import FAST_LINK, SNAPSHOT, Inode, parse_inode

ROOT: Final = 2
DIRECT: Final = 12
ATTRIBUTE_BLOCKS: Final = 2
CLEAN: Final = (1, 2)  # unmounted; Solaris: stable
GROUP_MAGIC: Final = 0x0009_0255
_GROUP_MAGIC_AT: Final = 4
_GROUP_NUMBER_AT: Final = 12


class UfsVolume(InodeVolume[Inode]):
    """A UFS volume."""

    fmt = sb.NAME
    root_number = ROOT

    def __init__(self, device: BlockDevice, _: Context) -> None:
        self.device = device
        self.super = spb = sb.read_superblock(device)
        self.label = spb.label
        self.uuid = spb.serial
        self.single_parent = SingleParent(sb.NAME)
        self._tables = TablePages(device, sb.NAME)
        self._layout = Pointers(
            device, sb.NAME, width=8 if spb.is_ufs2 else 4, order=spb.order, block_size=spb.block_size,
            unit=spb.fragment_size, first=1, end=spb.size,
        )  # fmt: skip

    def _read_inode(self, number: int) -> Inode:
        spb = self.super
        if not ROOT <= number < spb.inodes:
            raise FormatError(sb.NAME, f"inode {number} of {spb.inodes}")
        group, index = divmod(number, spb.inodes_per_group)
        offset = (spb.group(group) + spb.inodes_at) * spb.fragment_size + index * spb.inode_size
        return parse_inode(self._tables.read(offset, spb.inode_size), number, spb)

    def content(self, inode: Inode) -> BlockDevice:
        if inode.flags & SNAPSHOT and self.super.family is sb.Family.BSD:
            raise UnsupportedError(f"{sb.NAME}: the content of a snapshot (inode {inode.number})")
        return self._mapped(inode.pointers, DIRECT, inode.stat.size)

    def _mapped(self, pointers: bytes, direct: int, size: int) -> BlockDevice:
        layout = self._layout
        blocks = PointerMap(layout, layout.parse(pointers), direct)
        return mapped_file(self.device, layout.block_size, size, blocks.find, layout.unit)

    def target(self, inode: Inode) -> bytes:
        size, family = inode.stat.size, self.super.family
        fast = (
            inode.blocks == 0
            or size < self.super.inline_link
            or (family is sb.Family.SUN and inode.flags & FAST_LINK)
        )
        if fast and size <= len(inode.pointers):
            return inode.pointers[:size]
        return self.content(inode).pread(0, size)

    def entries(self, inode: Inode) -> Iterator[Entry]:
        spb = self.super
        parse = partial(entries, order=spb.order, typed=spb.typed_entries, fragment_size=spb.fragment_size)
        return scan(directory_parts(self.content(inode), spb.block_size, sb.NAME, self.device.size), parse)

    def attributes(self, inode: Inode) -> Mapping[str, bytes]:
        """Extended attributes, the time of birth and the flags of the BSDs, where there are any."""
        found: dict[str, bytes] = {}
        if inode.attributes_size:
            if inode.attributes_size > ATTRIBUTE_BLOCKS * self.super.block_size:
                raise FormatError(
                    sb.NAME, f"inode {inode.number} has {inode.attributes_size} bytes of attributes"
                )
            area = self._mapped(inode.attributes, ATTRIBUTE_BLOCKS, inode.attributes_size)
            found.update(xattrs.attributes(area.pread(0, area.size), self.super.order))
        if inode.birth:
            found["user.ufs.birthtime"] = b"%d.%09d" % divmod(inode.birth, 10**9)
        if inode.flags and self.super.family is sb.Family.BSD:
            found["user.ufs.flags"] = b"%#x" % inode.flags
        return found

    def info(self) -> Mapping[str, str]:
        spb = self.super
        kinds = {
            sb.UFS1: "UFS1",
            sb.UFS2: "UFS2",
            sb.UFS2_EA: "UFS2 with attributes",
            sb.MTB: "UFS1 of many terabytes",
        }
        free = spb.free_blocks * (spb.block_size // spb.fragment_size) + spb.free_fragments
        facts = {
            "type": f"{kinds[spb.magic]}, {spb.order} endian, as of {spb.family.value}",
            "label": self.label,
            "last mounted on": spb.mounted,
            "id": spb.serial,
            "blocks": f"{spb.block_size} bytes, fragments of {spb.fragment_size}",
            "fragments": f"{spb.size}, {free} free",
            "inodes": f"{spb.inodes}, {spb.free_inodes} free",
            "state": "clean" if spb.clean in CLEAN else "not unmounted",
        }
        if 0 < spb.written < 1 << 36:
            facts["written"] = f"{datetime.fromtimestamp(spb.written, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if spb.log_pending:
            facts["log"] = "not replayed: what was written last may be missing"
        if spb.is_backup:
            facts["superblock"] = f"damaged, read from the backup at {spb.offset:#x}"
        return {key: value for key, value in facts.items() if value}

    def verify(self) -> Iterator[str]:
        spb = self.super
        if spb.is_backup:
            yield f"the superblock is damaged; a backup is at {spb.offset:#x}"
        if spb.clean not in CLEAN:
            yield "the volume was not unmounted properly"
        if spb.log_pending:
            yield "the log has not been replayed"
        for group in range(spb.groups if spb.family is not sb.Family.OLD else 0):
            offset = (spb.group(group) + spb.header_at) * spb.fragment_size
            try:
                raw = self.device.read_exactly(offset, 16, sb.NAME)
            except ImageError as exc:
                yield f"group {group}: {exc}"
                return  # so will be those that follow
            magic = int.from_bytes(raw[_GROUP_MAGIC_AT : _GROUP_MAGIC_AT + 4], spb.order)
            if magic != GROUP_MAGIC or int.from_bytes(raw[_GROUP_NUMBER_AT:], spb.order) != group:
                yield f"group {group}: its header at {offset:#x} is damaged"
