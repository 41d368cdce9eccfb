"""The journal of ext3 and ext4 (jbd2), laid over the volume in memory: what Linux shows after a crash.

For each committed transaction the journal holds the blocks that it wrote, in order: a descriptor block with a
tag for each, the blocks, and a commit block. Revoke blocks name blocks whose older copies must not be
written.

Source: the kernel's Documentation/filesystems/ext4/journal.rst; the order of passes is that of
``jbd2/recovery.c``. All numbers are big endian. Fast commits are recognised and not replayed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice, pairwise
from struct import Struct
from typing import Final, NamedTuple, Self
from zlib import crc32

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import table
from imgmount.core.header import one_of, within
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ext.checksums import metadata_crc

NAME: Final = "ext"
MAGIC: Final = 0xC03B3998
_MAGIC_BYTES: Final = MAGIC.to_bytes(4, "big")
_HEADER: Final = Struct(">III")  # magic, type, transaction
# block size, blocks, first block of the log, first transaction, where it begins or 0, error, features
# (compatible, incompatible, read only)
_SUPER: Final = Struct(">IIIII4xIII")
_UUID: Final = slice(0x30, 0x40)
_FAST_BLOCKS: Final = slice(0x54, 0x58)
_SUPER_CHECKSUM: Final = 0xFC
_SUPER_SIZE: Final = 1024
DESCRIPTOR, COMMIT, SUPER_1, SUPER_2, REVOKE = 1, 2, 3, 4, 5  # types of blocks

CHECKSUM_1: Final = 0x1  # compatible features: a CRC over each transaction, in its commit
WIDE: Final = 0x2  # incompatible ones
CHECKSUM_2: Final = 0x8
CHECKSUM_3: Final = 0x10
FAST_COMMIT: Final = 0x20
_KNOWN: Final = 0x3F
_DEFAULT_FAST: Final = 256  # blocks of fast commits

ESCAPED: Final = 1  # flags of a tag: the block begins with the magic, which was taken out
SAME_UUID: Final = 2
LAST: Final = 8
_TAG_3: Final = Struct(">IIII")  # block, flags, its high part, checksum
_TAG: Final = Struct(">IHH")  # block, half a checksum, flags; with 64 bits the high part follows
_UUID_SIZE: Final = 16
_COMMIT_CHECKSUM: Final = 16  # where it is in a commit block
_ONES: Final = 0xFFFF_FFFF
_CRC32: Final = b"\1\4"  # kind and size of the checksum of version 1
_REVERSED: Final = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_FAST_HEAD: Final = Struct("<HHII")  # kind, length, features, transaction
_FAST_HEAD_KIND: Final = 9
MAX_BLOCKS: Final = 1 << 20  # of a log: Linux makes them of 1 GiB at most
MAX_CONTROL: Final = 1 << 17  # of its blocks that are no copies
MAX_COPIES: Final = 64  # of a block that are looked at
MAX_REVOKED: Final = 1 << 22  # blocks, by all of it
_READ: Final = 1 << 20  # bytes looked through at once
MAX_SEQUENCE: Final = 1 << 32


class Logged(NamedTuple):
    """The newest copy of a block: its place in the log, its tag's flags, its transaction, its checksum."""

    at: int
    flags: int
    sequence: int
    checksum: int | None


class _Geometry(NamedTuple):
    """The superblock of a journal, checked."""

    block_size: int
    first: int
    end: int  # of the log, without fast commits
    sequence: int
    start: int
    compat: int
    incompat: int
    uuid: bytes

    @classmethod
    def read(cls, file: BlockDevice, block_size: int) -> Self:
        """The superblock of the journal in ``file``. Raises ``FormatError``, ``UnsupportedError``."""
        raw = file.read_exactly(0, _SUPER_SIZE, NAME)
        magic, kind, _ = _HEADER.unpack_from(raw)
        one_of(NAME, "magic of the journal", magic, (MAGIC,))
        one_of(NAME, "type of the journal's superblock", kind, (SUPER_1, SUPER_2))
        size, blocks, first, sequence, start, compat, incompat, _ = _SUPER.unpack_from(raw, _HEADER.size)
        if kind == SUPER_1:
            compat = incompat = 0
        one_of(NAME, "block size of the journal", size, (block_size,))
        within(NAME, "number of blocks of the journal", blocks, 2, min(MAX_BLOCKS, file.size // size))
        if incompat & ~_KNOWN:
            raise UnsupportedError(f"{NAME}: a journal with the features {incompat & ~_KNOWN:#x}")
        if incompat & (CHECKSUM_2 | CHECKSUM_3):
            body = raw[:_SUPER_CHECKSUM] + bytes(4) + raw[_SUPER_CHECKSUM + 4 :]
            if metadata_crc(body) != int.from_bytes(raw[_SUPER_CHECKSUM : _SUPER_CHECKSUM + 4], "big"):
                raise ChecksumError(NAME, "the checksum of the journal's superblock is wrong")
        fast = int.from_bytes(raw[_FAST_BLOCKS], "big") or _DEFAULT_FAST if incompat & FAST_COMMIT else 0
        within(NAME, "blocks of fast commits", fast, 0, blocks - 1)
        end = blocks - fast
        within(NAME, "first block of the log", first, 1, end - 1)
        if start:
            within(NAME, "start of the log", start, first, end - 1)
        return cls(size, first, end, sequence, start, compat, incompat, raw[_UUID])


class Journal:
    """The log in ``file``, of which each committed transaction is taken.

    ``blocks`` has the newest copies of blocks of the volume, by number; ``transactions`` is how many are
    complete, ``fault`` why those that follow are not, ``fast`` whether fast commits follow. Raises
    ``ImageError``.
    """

    def __init__(self, file: BlockDevice, block_size: int) -> None:
        self.file = file
        self._log = geometry = _Geometry.read(file, block_size)
        self._checked = bool(geometry.incompat & (CHECKSUM_2 | CHECKSUM_3))
        self.seed = metadata_crc(geometry.uuid)
        self.blocks: dict[int, Logged] = {}
        self.transactions = 0
        self.fault: ImageError | None = None
        self.fast = False
        self._left, self._revocations = MAX_CONTROL, MAX_REVOKED
        if geometry.start:
            self._replay()
        self.fast = self._has_fast_commits()

    def _replay(self) -> None:
        revoked: dict[int, int] = {}  # block -> the last transaction, counted, that revoked it
        written: list[tuple[int, int, Logged]] = []
        for transaction in self._committed():
            self.transactions += 1
            written += [(self.transactions, block, logged) for block, logged in transaction.written]
            revoked.update(dict.fromkeys(transaction.revoked, self.transactions))
        for number, block, logged in written:
            if revoked.get(block, 0) < number:
                self.blocks[block] = logged

    def _committed(self) -> Iterator[_Transaction]:
        """Each complete transaction, oldest first."""
        log = self._log
        at, left = log.start, log.end - log.first
        for sequence in range(log.sequence, log.sequence + left):
            transaction = _Transaction(sequence % MAX_SEQUENCE)
            try:
                at, left = self._read_transaction(transaction, at, left)
            except ImageError as exc:
                self.fault = exc
                return
            if not transaction.is_committed:
                return
            yield transaction

    def _read_transaction(self, found: _Transaction, at: int, left: int) -> tuple[int, int]:
        """Fill ``found`` with what begins at block ``at``; (the block behind it, blocks that are left)."""
        summed = _ONES  # the CRC of version 1 so far
        while left > 0:
            raw = self._block(at)
            magic, kind, sequence = _HEADER.unpack_from(raw)
            if magic != MAGIC or sequence != found.sequence or kind not in (DESCRIPTOR, COMMIT, REVOKE):
                break  # the end of the log
            self._count()
            at, left = self._next(at), left - 1
            if kind == COMMIT:
                self._check_commit(raw, summed, at)
                found.is_committed = True
                break
            if self._checked:
                self._check_tail(raw)
            if kind == REVOKE:
                found.revoked.update(self._revoked(raw))
                continue
            summed = _crc32_be(raw, summed)
            for block, tag in islice(self._tags(raw), left):
                found.written.append((block, tag._replace(at=at, sequence=sequence)))
                summed = self._summed(at, summed)
                at, left = self._next(at), left - 1
        return at, left

    def copies(self) -> dict[int, list[Logged]]:
        """Every copy of a block that is in the log, newest first, also from before it was last written home.

        Raises ``ImageError``.
        """
        log, found = self._log, dict[int, list[Logged]]()
        for at, stop in pairwise((*self._controls(), log.end)):
            raw = self._block(at)
            if _HEADER.unpack_from(raw)[1] != DESCRIPTOR:
                continue
            sequence = _HEADER.unpack_from(raw)[2]
            # what would be behind the end goes on at the beginning, where it may have been written over
            for place, (block, tag) in zip(range(at + 1, stop), self._tags(raw), strict=False):
                found.setdefault(block, []).append(tag._replace(at=place, sequence=sequence))
        for logged in found.values():
            logged.sort(key=lambda copy: copy.sequence, reverse=True)
            del logged[MAX_COPIES:]
        return found

    def _controls(self) -> Iterator[int]:
        """The blocks of the log that are no copies: those begin with something else, or are escaped."""
        log = self._log
        step = max(1, _READ // log.block_size)
        for first in range(log.first, log.end, step):
            data = self.file.read_exactly(
                first * log.block_size, min(step, log.end - first) * log.block_size, NAME
            )
            for at in range(0, len(data), log.block_size):
                if data[at : at + 4] == _MAGIC_BYTES:
                    yield first + at // log.block_size

    def _count(self) -> None:
        """Refuse to go on for ever. Raises ``FormatError``."""
        self._left -= 1
        if not self._left:
            raise FormatError(
                NAME, f"a journal of more than {MAX_CONTROL} descriptors and commits is not read on"
            )

    def _summed(self, at: int, value: int) -> int:
        """``value`` with block ``at``, where transactions have a CRC of version 1."""
        if self._log.compat & CHECKSUM_1 and not self._checked:
            return _crc32_be(self._block(at), value)
        return value

    def _block(self, number: int) -> bytes:
        size = self._log.block_size
        return self.file.read_exactly(number * size, size, NAME)

    def _next(self, at: int) -> int:
        return at + 1 if at + 1 < self._log.end else self._log.first

    def _tags(self, raw: bytes) -> Iterator[tuple[int, Logged]]:
        """(block of the volume, its flags and checksum) of each tag in a descriptor block."""
        features = self._log.incompat
        at, end = _HEADER.size, len(raw) - (4 if self._checked else 0)
        wide = bool(features & WIDE)
        size = _TAG_3.size if features & CHECKSUM_3 else 8 + 2 * bool(features & CHECKSUM_2) + 4 * wide
        while at + size <= end:
            checksum: int | None
            if features & CHECKSUM_3:
                block, flags, high, checksum = _TAG_3.unpack_from(raw, at)
            else:
                block, half, flags = _TAG.unpack_from(raw, at)
                high = int.from_bytes(raw[at + 8 : at + 12], "big") if wide else 0
                checksum = half if features & CHECKSUM_2 else None
            yield block | (high << 32 if wide else 0), Logged(0, flags, 0, checksum)
            if flags & LAST:
                return
            at += size + (0 if flags & SAME_UUID else _UUID_SIZE)

    def _revoked(self, raw: bytes) -> array[int]:
        room = len(raw) - (4 if self._checked else 0)
        end = within(NAME, "bytes in a block of revoked blocks", int.from_bytes(raw[12:16], "big"), 16, room)
        found = table(raw[16:end], 8 if self._log.incompat & WIDE else 4, "big")
        self._revocations -= len(found)
        if self._revocations < 0:
            raise FormatError(NAME, f"a journal that revokes more than {MAX_REVOKED} blocks is not read on")
        return found

    def _check_tail(self, raw: bytes) -> None:
        if metadata_crc(raw[:-4] + bytes(4), self.seed) != int.from_bytes(raw[-4:], "big"):
            raise ChecksumError(NAME, "the checksum of a block of the journal is wrong")

    def _check_commit(self, raw: bytes, summed: int, at: int) -> None:
        stored = int.from_bytes(raw[_COMMIT_CHECKSUM : _COMMIT_CHECKSUM + 4], "big")
        if self._checked:
            body = raw[:_COMMIT_CHECKSUM] + bytes(4) + raw[_COMMIT_CHECKSUM + 4 :]
            sound = metadata_crc(body, self.seed) == stored
        elif self._log.compat & CHECKSUM_1:
            sound = raw[12:14] == bytes(2) or (raw[12:14] == _CRC32 and summed == stored)
        else:
            sound = True
        if not sound:
            raise ChecksumError(NAME, f"the checksum of the commit in block {at - 1} of the journal is wrong")

    def _has_fast_commits(self) -> bool:
        if not self._log.incompat & FAST_COMMIT:
            return False
        head = self.file.pread(
            (self._log.end + 1) * self._log.block_size, _FAST_HEAD.size
        )  # one is left free
        if len(head) < _FAST_HEAD.size:
            return False
        kind, _, _, sequence = _FAST_HEAD.unpack(head)
        expected = (self._log.sequence + self.transactions) % MAX_SEQUENCE
        return bool(kind == _FAST_HEAD_KIND and sequence == expected)

    def read(self, logged: Logged) -> bytes:
        """A block as it is to be written. Raises ``ChecksumError``."""
        raw = self._block(logged.at)
        if logged.checksum is not None:
            found = metadata_crc(logged.sequence.to_bytes(4, "big") + raw, self.seed)
            if found & (_ONES if self._log.incompat & CHECKSUM_3 else 0xFFFF) != logged.checksum:
                raise ChecksumError(NAME, f"the checksum of block {logged.at} of the journal is wrong")
        return _MAGIC_BYTES + raw[4:] if logged.flags & ESCAPED else raw


class _Transaction:
    """What one transaction wrote and revoked."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.written: list[tuple[int, Logged]] = []
        self.revoked: set[int] = set()
        self.is_committed = False


def _crc32_be(data: bytes, value: int) -> int:
    """CRC-32 with the high bits first, begun at ``value`` and not inverted.

    It is the usual CRC-32 of the bytes with their bits reversed.
    """
    begun = _reversed(value) ^ _ONES
    return _reversed(crc32(data.translate(_REVERSED), begun) ^ _ONES)


def _reversed(value: int) -> int:
    return int(f"{value:032b}"[::-1], 2)


class ReplayedDevice(MappedDevice):
    """``device`` with the blocks of ``journal`` laid over it, each checked whenever it is read."""

    def __init__(self, device: BlockDevice, journal: Journal, block_size: int) -> None:
        self.size = device.size
        self.block_size = block_size
        self._device = device
        self._journal = journal
        self._places = sorted(block for block in journal.blocks if (block + 1) * block_size <= device.size)

    def _map(self, offset: int) -> Extent:
        block, skip = divmod(offset, self.block_size)
        logged = self._journal.blocks.get(block)
        if logged is not None and (block + 1) * self.block_size <= self.size:
            if logged.checksum is None and not logged.flags & ESCAPED:
                return Extent(self.block_size - skip, self._journal.file, logged.at * self.block_size + skip)
            return Extent(self.block_size - skip, _LoggedBlock(self._journal, logged, self.block_size), skip)
        following = bisect_right(self._places, block)
        end = self._places[following] * self.block_size if following < len(self._places) else self.size
        return Extent(end - offset, self._device, offset)


class _LoggedBlock(BlockDevice):
    """One block of the journal that is checked or changed when it is read."""

    def __init__(self, journal: Journal, logged: Logged, size: int) -> None:
        self.size = self.block_size = size
        self._journal = journal
        self._logged = logged

    def _pread(self, offset: int, size: int) -> bytes:
        return self._journal.read(self._logged)[offset : offset + size]


def check(journal: Journal) -> Iterator[str]:
    """One line for each logged block that cannot be used."""
    for logged in journal.blocks.values():
        try:
            journal.read(logged)
        except ImageError as exc:
            yield str(exc)
