"""The log replayed in memory: the volume as Linux shows it after a crash.

Each committed transaction changes pieces of buffers (blocks of metadata) and inodes. A buffer that a later
transaction cancels, as its blocks are used for something else, is left as it is; so is what was written to
its place since. Files' data are not in the log. Source: XFS Algorithms and Data Structures, "Journaling Log";
the order of items is that of the kernel's ``xfs_log_recover.c``.

What a transaction intended and did not do is told and not done: it frees space, or goes on with a change of
extents or attributes. Counts for quotas are passed over, as no file shows them.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.xfs import checksums
from imgmount.filesystems.xfs.log import Log
from imgmount.filesystems.xfs.logged_buffer import CANCELS, MAX_SIZE, OF_INODES, BufferItem, known
from imgmount.filesystems.xfs.logged_chunk import ChunkItem
from imgmount.filesystems.xfs.logged_inode import InodeItem, replayed_inode
from imgmount.filesystems.xfs.overlay import Overlay
from imgmount.filesystems.xfs.superblock import NAME, SECTOR, Superblock
from imgmount.filesystems.xfs.transactions import Item, Transaction, transactions

_INODE, _BUFFER, _CHUNK = 0x123B, 0x123C, 0x123F  # kinds of items
_QUOTAS: Final = (0x123D, 0x123E)
_INTENTS: Final = {  # the kind one further says that the intended was done
    0x1236: "frees of extents",
    0x1240: "changes of the reverse map",
    0x1242: "changes of reference counts",
    0x1244: "changes of extents of files",
    0x1246: "changes of attributes",
    0x1248: "exchanges of extents",
}


class Replay:
    """``device`` is the volume to read, ``transactions`` how many were replayed.

    ``fault`` is why those that follow were not; ``unfinished`` counts what was intended and not done.
    """

    def __init__(self, device: BlockDevice, spb: Superblock, log: Log) -> None:
        self.device = device
        self.transactions = 0
        self.fault: ImageError | None = None
        self._spb = spb
        self._log = log
        self._overlay = Overlay(device)
        self._cancelled: Counter[tuple[int, int]] = Counter()  # how often each buffer still will be
        self._replayed: dict[tuple[int, int], None] = {}  # buffers that need new checksums
        self._intents: dict[tuple[int, int], None] = {}
        whole = self._look_ahead()
        try:
            self._replay(whole)
        except ImageError as exc:
            # half a transaction is worse than none
            self.fault, self.transactions = exc, 0
        else:
            self.device = self._overlay.frozen()

    @property
    def unfinished(self) -> Counter[str]:
        return Counter(_INTENTS[kind] for kind, _ in self._intents)

    @property
    def sectors(self) -> int:
        """How many sectors the log changes."""
        return len(self._overlay)

    def _look_ahead(self) -> int:
        """The number of transactions that are whole. Which buffers they cancel must be known beforehand."""
        whole = 0
        try:
            for transaction in transactions(self._log.records()):
                for item in transaction.items:
                    if item.kind == _BUFFER and (told := BufferItem.parse(item)).flags & CANCELS:
                        self._cancelled[told.place] += 1
                whole += 1
        except ImageError as exc:
            self.fault = exc
        return whole

    def _replay(self, whole: int) -> None:
        for transaction in transactions(self._log.records()) if whole else ():
            self._apply(transaction)
            self.transactions += 1
            if self.transactions == whole:
                break
        for sector, count in self._replayed if self._spb.is_checked else ():
            data = self._overlay.read(sector * SECTOR, count * SECTOR)
            if header := known(data, own_uuid=self._spb.has_block_uuid):
                self._overlay.write(sector * SECTOR, checksums.sealed(data, header.checksum))

    def _apply(self, transaction: Transaction) -> None:
        place = b"".join([number.to_bytes(4, "big") for number in transaction.place])
        for item in sorted(transaction.items, key=_turn):
            if item.kind == _BUFFER:
                self._replay_buffer(item, place)
            elif item.kind == _INODE:
                self._replay_inode(item, place)
            elif item.kind == _CHUNK:
                self._create(ChunkItem.parse(item, self._spb))
            elif item.kind not in _QUOTAS:
                self._note_intent(item)

    def _replay_buffer(self, item: Item, place: bytes) -> None:
        told = BufferItem.parse(item)
        if told.flags & CANCELS:
            self._cancelled[told.place] -= 1
            return
        if self._cancelled[told.place] > 0 or told.flags & OF_INODES:
            return
        start, spb = told.sector * SECTOR, self._spb
        if spb.offset and not start:
            return  # the first superblock is damaged: some of its bytes would make it look sound
        if spb.is_checked:
            old = self._overlay.read(start, told.size)
            header = known(old, own_uuid=spb.has_block_uuid)
            if header and header.is_written(old, place, spb.block_uuid):
                return
        for offset, data in told.pieces(item):
            self._overlay.write(start + offset, data)
        self._replayed[told.place] = None

    def _replay_inode(self, item: Item, place: bytes) -> None:
        told = InodeItem.parse(item)
        if self._cancelled[told.sector, told.sectors] > 0:
            return
        size = self._spb.inode_size
        within(NAME, "place of an inode in its buffer", told.offset, 0, MAX_SIZE, multiple_of=size)
        start = told.sector * SECTOR + told.offset
        new = replayed_inode(item, told, self._overlay.read(start, size), place)
        if new is not None:
            self._put_inode(start, new)

    def _create(self, chunk: ChunkItem) -> None:
        """Make new inodes, unless all their buffers are cancelled later."""
        void = sum(
            count for (sector, count), left in self._cancelled.items() if left > 0 and sector in chunk.sectors
        )
        if void < len(chunk.sectors):
            for start, new in chunk.empty(self._spb):
                self._put_inode(start, new)

    def _put_inode(self, start: int, data: bytes) -> None:
        self._overlay.write(start, checksums.sealed(data, checksums.INODE) if self._spb.is_checked else data)

    def _note_intent(self, item: Item) -> None:
        number = int.from_bytes(item.regions[0][8:16], "little" if item.order == "<" else "big")
        if item.kind in _INTENTS:
            self._intents[item.kind, number] = None
        elif item.kind - 1 in _INTENTS:
            self._intents.pop((item.kind - 1, number), None)
        else:
            raise FormatError(NAME, f"the log has an item of kind {item.kind:#x}, which is not known")


def _turn(item: Item) -> int:
    """When an item of a transaction has its turn."""
    if item.kind == _CHUNK:
        return 0
    if item.kind != _BUFFER:
        return 1
    flags = BufferItem.parse(item).flags
    return 3 if flags & CANCELS else 2 if flags & OF_INODES else 0
