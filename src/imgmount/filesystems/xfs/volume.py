"""An XFS volume: its inodes, and what they hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from string import ascii_lowercase, ascii_uppercase
from struct import Struct
from typing import Final
from uuid import UUID

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.option import NO_JOURNAL
from imgmount.core.single_parent import SingleParent
from imgmount.core.xattrs import collect
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.unix.block_pointers import MappedFile, mapped_file
from imgmount.families.unix.inodes import Entry, InodeVolume, TablePages, directory_parts, scan
from imgmount.filesystems.xfs import checksums
from imgmount.filesystems.xfs import superblock as sb
from imgmount.filesystems.xfs.backups import read_superblock
from imgmount.filesystems.xfs.blocks import fork_map
from imgmount.filesystems.xfs.directory import block_entries, local_entries
from imgmount.filesystems.xfs.inode import EXTENTS, LOCAL, REALTIME, Fork, Inode, parse_inode
from imgmount.filesystems.xfs.log import Log
from imgmount.filesystems.xfs.replay import Replay
from imgmount.filesystems.xfs.xattrs import local_attributes, named, tree_attributes

log = logging.getLogger(__name__)

_REMOTE: Final = Struct(">4sII")  # magic, position, length: the beginning of a header of version 5
_REMOTE_HEADER: Final = 56
_LINK, _VALUE = b"XSLM", b"XARM"
_HEADERS: Final = ((1, b"XAGF", 216), (2, b"XAGI", 312))  # of a group: sector, magic, where the checksum is
_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)
CLEAN, ELSEWHERE = "clean", "on another device"
NOT_REPLAYED: Final = "not replayed: what was written last may be missing"
MAX_ATTRIBUTE_BLOCKS: Final = 1 << 16


class XfsVolume(InodeVolume[Inode]):
    """An XFS volume."""

    fmt = sb.NAME

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self._open(device)
        self.log_state = ""
        self.log_fault: ImageError | None = None  # why what was written last may be missing
        try:
            self._replay(wanted=not NO_JOURNAL.is_on(context.options.extra))
        except ImageError as exc:
            self.log_fault, self.log_state = exc, f"{NOT_REPLAYED} ({exc})"
        if self.log_state and self.log_state != CLEAN:
            log.warning("%s: the log is %s", sb.NAME, self.log_state)

    def _open(self, device: BlockDevice) -> None:
        self.device = device
        self.super = read_superblock(device)
        self.label = self.super.label
        self.uuid = str(UUID(bytes=self.super.uuid))
        self.root_number = self.super.root
        self.folds = self.super.ignores_case
        self.single_parent = SingleParent(sb.NAME)
        self._tables = TablePages(device, sb.NAME)

    def _replay(self, *, wanted: bool) -> None:
        """Lay the log over the volume. Raises ``ImageError`` where the log makes no sense."""
        if not self.super.log_start:
            self.log_state = ELSEWHERE
            return
        found = Log(self.device, self.super)
        self.log_state = CLEAN if found.is_clean else NOT_REPLAYED
        if found.is_clean or not wanted:
            return
        replay = Replay(self.device, self.super, found)
        self._open(replay.device)
        self.log_fault = replay.fault
        self.log_state = told(replay)

    def _read_inode(self, number: int) -> Inode:
        spb = self.super
        return parse_inode(self._tables.read(spb.inode_offset(number), spb.inode_size), number, spb)

    def content(self, inode: Inode) -> BlockDevice:
        if inode.flags & REALTIME and self.super.realtime_blocks:
            raise UnsupportedError(f"{sb.NAME}: a file on the realtime device (inode {inode.number})")
        blocks = fork_map(self.device, self.super, inode.data)
        return mapped_file(self.device, self.super.block_size, inode.stat.size, blocks.find)

    def target(self, inode: Inode) -> bytes:
        size = inode.stat.size
        if inode.data.format == LOCAL:
            return inode.data.raw[:size]
        return self._remote(inode.data, 0, size, _LINK)

    def _remote(self, fork: Fork, block: int, size: int, magic: bytes) -> bytes:
        """``size`` bytes from ``block`` of a fork; in version 5 each block, or run of a link, has a head."""
        spb, blocks, found = self.super, fork_map(self.device, self.super, fork), b""
        most = -(-size // (spb.block_size - _REMOTE_HEADER))  # blocks of all parts together
        while len(found) < size:
            count, start = blocks.find(block)
            if not start:
                raise FormatError(sb.NAME, f"a hole in what should be {size} bytes")
            count = 1 if magic == _VALUE else min(count, most)
            offset, room = start * spb.block_size, count * spb.block_size
            data = self.device.read_exactly(
                offset, room if spb.is_checked else min(room, size - len(found)), sb.NAME
            )
            if spb.is_checked:
                told, at, length = _REMOTE.unpack_from(data)
                if told == magic and at == len(found) and length <= room - _REMOTE_HEADER:
                    checksums.check(data, checksums.ATTRIBUTES, "a part of a long link or value", offset)
                    data = data[_REMOTE_HEADER : _REMOTE_HEADER + length]
                elif magic in (_VALUE, told):
                    # links alone may have no header: mkfs.xfs wrote those of prototype files so for years
                    reason = f"{length} bytes at {at} of {size} behind the magic {told!r}"
                    raise FormatError(sb.NAME, reason, offset=offset)
            found += data[: size - len(found)]
            block += count
            if not data:
                raise FormatError(sb.NAME, "an empty part of a long link or value", offset=offset)
        return found

    def entries(self, inode: Inode) -> Iterator[Entry]:
        spb = self.super
        if inode.data.format == LOCAL:
            return local_entries(inode.data.raw[: inode.stat.size], spb)
        return scan(
            directory_parts(self.content(inode), spb.directory_block, sb.NAME, self.device.size),
            partial(block_entries, spb=spb),
        )

    def ignores_case(self, inode: Inode) -> bool:  # noqa: ARG002  it is the volume's
        return self.super.ignores_case

    def fold(self, name: str) -> str:
        return name.translate(_LOWER)

    def may_have_attributes(self) -> bool:
        """False where the superblock says that there are none, and nothing newer may be missing."""
        is_whole = self.log_fault is None and self.log_state not in (ELSEWHERE, NOT_REPLAYED)
        return self.super.has_attributes or not is_whole

    def attributes(self, inode: Inode) -> Mapping[str, bytes]:
        fork = inode.attributes
        if fork is None or (fork.format == EXTENTS and not fork.extents):
            return {}

        def elsewhere(block: int, size: int) -> bytes:
            return self._remote(fork, block, size, _VALUE)

        stored = (
            local_attributes(fork.raw)
            if fork.format == LOCAL
            else tree_attributes(self._attribute_blocks(fork))
        )
        return collect(
            (pair for attribute in stored if (pair := named(attribute, elsewhere)) is not None), sb.NAME
        )

    def _attribute_blocks(self, fork: Fork) -> Callable[[int], bytes]:
        size = self.super.block_size
        find = fork_map(self.device, self.super, fork).find
        content = MappedFile(self.device, size, MAX_ATTRIBUTE_BLOCKS * size, find)

        def read(block: int) -> bytes:
            data = content.read_exactly(block * size, size, sb.NAME)
            if self.super.is_checked:
                checksums.check(data, checksums.ATTRIBUTES, f"block {block} of attributes")
            return data

        return read

    def info(self) -> Mapping[str, str]:
        spb = self.super
        facts = {
            "version": str(spb.version),
            "label": self.label,
            "uuid": self.uuid,
            "blocks": f"{spb.blocks} of {spb.block_size} bytes, {spb.free_blocks} free",
            "inodes": f"{spb.inodes}, {spb.free_inodes} free",
            "features": ", ".join(name for bit, name in enumerate(sb.NAMES) if spb.incompat >> bit & 1),
        }
        facts["log"] = self.log_state
        if spb.offset:
            facts["superblock"] = f"damaged, read from the copy at {spb.offset:#x}"
        return {key: value for key, value in facts.items() if value}

    def verify(self) -> Iterator[str]:
        spb = self.super
        if self.log_state not in (CLEAN, ELSEWHERE):
            yield f"the volume was not unmounted: its log is {self.log_state}"
        if spb.offset:
            yield f"the superblock is damaged, its copy at {spb.offset:#x} is used"
        elif not spb.checksum_is_right:
            yield "the superblock's checksum is wrong"
        if spb.incompat & sb.NEEDS_REPAIR:
            yield "the filesystem is marked as in need of repair"
        yield from self._verify_groups()

    def _verify_groups(self) -> Iterator[str]:
        spb = self.super
        for group in range(spb.groups):
            for sector, magic, crc_at in _HEADERS:
                offset = group * spb.group_blocks * spb.block_size + sector * spb.sector_size
                try:
                    raw = self.device.read_exactly(offset, spb.sector_size, sb.NAME)
                except ImageError as exc:
                    yield f"group {group}: {exc}"
                    return  # so will be those that follow
                if raw[:4] != magic:
                    yield f"group {group}: its header at {offset:#x} is damaged"
                elif spb.is_checked and not checksums.is_right(raw, crc_at):
                    yield f"group {group}: the checksum of its header at {offset:#x} is wrong"


def told(replay: Replay) -> str:
    """What became of a log that was replayed."""
    text = f"replayed in memory: {replay.transactions} transactions, {replay.sectors} sectors"
    if replay.unfinished:
        left = ", ".join(f"{count} {what}" for what, count in sorted(replay.unfinished.items()))
        text += f"; begun and not finished: {left}"
    return text if replay.fault is None else f"{text}, up to damage ({replay.fault})"
