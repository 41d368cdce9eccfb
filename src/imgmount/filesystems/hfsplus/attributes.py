"""The attributes tree of HFS+: small ones are in a record, large ones in a fork. xnu ``hfs_format.h``."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.families.apple.btree import BTree, Record
from imgmount.families.apple.extents import Run
from imgmount.families.apple.names import utf16
from imgmount.filesystems.hfsplus.header import NAME, parse_fork

if TYPE_CHECKING:
    from imgmount.filesystems.hfsplus.volume import HfsPlusVolume

INLINE, FORK, EXTENTS = 0x10, 0x20, 0x30
_KEY: Final = Struct(">HHIIH")  # length, padding, file, block of its fork, letters of the name
_INLINE: Final = Struct(">I8xI")
_EXTENTS: Final = Struct(">8x16I")
_FORK_SIZE: Final = 88


class Attributes:
    """The attributes of a volume's files and folders."""

    def __init__(self, volume: HfsPlusVolume, tree: BTree) -> None:
        self._volume = volume
        self._tree = tree

    def of(self, number: int) -> Iterator[tuple[str, BlockDevice]]:
        """(name, value) of each attribute of file ``number``. Raises ``ImageError`` at the end."""
        damage: FormatError | None = None
        for record in self._tree.records(number):
            try:
                name, block = _key(record)
                if block == 0 and (value := self._value(record, number, name)) is not None:
                    yield name, value
            except FormatError as exc:
                damage = damage or exc
        if damage is not None:
            raise damage

    def find(self, number: int, wanted: str) -> BlockDevice | None:
        """The attribute ``wanted`` of file ``number``, if there is one. Raises ``ImageError``."""
        for name, value in self.of(number):
            if name == wanted:
                return value
        return None

    def _value(self, record: Record, number: int, name: str) -> BlockDevice | None:
        raw, _, data, end = record
        if data + _INLINE.size > end:
            raise FormatError(NAME, f"the attribute {name!r} of {number} is cut short")
        kind, size = _INLINE.unpack_from(raw, data)
        if kind == INLINE:
            if data + _INLINE.size + size > end:
                raise FormatError(NAME, f"the attribute {name!r} of {number} has {size} bytes")
            return MemoryDevice(raw[data + _INLINE.size : data + _INLINE.size + size])
        if kind != FORK or data + _FORK_SIZE > end:
            return None
        fork = parse_fork(raw, data + 8)
        text = f"the attribute {name!r} of {number}"
        return self._volume.blocks.fork(fork.size, fork.runs, text, lambda: self._more(number, name))

    def _more(self, number: int, wanted: str) -> Iterator[tuple[int, list[Run]]]:
        """The extents of the attribute that its first record has no room for."""
        for record in self._tree.records(number):
            name, block = _key(record)
            raw, _, data, end = record
            if name == wanted and block and data + _EXTENTS.size <= end and raw[data + 3] == EXTENTS:
                numbers = _EXTENTS.unpack_from(raw, data)
                yield block, list(zip(numbers[::2], numbers[1::2], strict=True))


def _key(record: Record) -> tuple[str, int]:
    """(name, block of the fork). Raises ``FormatError``."""
    raw, start, data, end = record
    if start + _KEY.size > end:
        raise FormatError(NAME, "a key that is cut short in the attributes")
    _, _, number, block, length = _KEY.unpack_from(raw, start)
    if start + _KEY.size + 2 * length > min(data, end):
        raise FormatError(NAME, f"a name of {length} letters among the attributes of {number}")
    return utf16(raw[start + _KEY.size : start + _KEY.size + 2 * length]), block
