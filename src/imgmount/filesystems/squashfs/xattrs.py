"""Extended attributes: a table of (where, how many), and the names and values.

Kernel documentation, squashfs.rst, 3.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.metadata import Metadata
from imgmount.filesystems.squashfs.superblock import NAME, NOTHING

_TABLE: Final = Struct("<QI4x")  # start of names and values, number of records
_RECORD: Final = Struct("<QII")  # reference, count, bytes
_NAME: Final = Struct("<HH")  # type, length
_SIZE: Final = Struct("<I")
_REFERENCE: Final = Struct("<Q")
_ELSEWHERE: Final = 0x100  # in the type: a reference stands for the value
_PREFIXES: Final = ("user.", "trusted.", "security.")
MAX_ATTRIBUTES: Final = 4096
MAX_VALUE: Final = 1 << 16


class Attributes:
    """The attributes of a volume; ``table`` is where the superblock says that they are."""

    def __init__(self, device: BlockDevice, metadata: Metadata, table: int) -> None:
        self._metadata = metadata
        self._pointers = table + _TABLE.size
        self._start = self.count = 0
        if table != NOTHING:
            self._start, self.count = _TABLE.unpack(device.read_exactly(table, _TABLE.size, NAME))

    def read(self, index: int) -> Iterator[tuple[str, bytes]]:
        """(name, value) of set ``index``. Raises ``FormatError``."""
        if index >= self.count:
            raise FormatError(NAME, f"attributes {index} of {self.count}")
        reference, count, size = _RECORD.unpack(self._metadata.record(self._pointers, index, _RECORD.size))
        if count > MAX_ATTRIBUTES:
            raise FormatError(NAME, f"{count} attributes of {size} bytes")
        start, at = self._place(reference)
        for _ in range(count):
            kind, length = _NAME.unpack(self._metadata.read(start, at, _NAME.size))
            rest = self._metadata.read(start, at + _NAME.size, length) if length else b""
            at += _NAME.size + length
            value = self._value(start, at)
            at += _SIZE.size + len(value)
            if kind & _ELSEWHERE:
                value = (
                    self._value(*self._place(_REFERENCE.unpack(value)[0]))
                    if len(value) == _REFERENCE.size
                    else b""
                )
            prefix = kind & ~_ELSEWHERE
            if prefix < len(_PREFIXES):
                yield _PREFIXES[prefix] + rest.decode("utf-8", "surrogateescape"), value

    def _place(self, reference: int) -> tuple[int, int]:
        return self._start + (reference >> 16), reference & 0xFFFF

    def _value(self, start: int, at: int) -> bytes:
        (size,) = _SIZE.unpack(self._metadata.read(start, at, _SIZE.size))
        if size > MAX_VALUE:
            raise FormatError(NAME, f"an attribute of {size} bytes")
        return self._metadata.read(start, at + _SIZE.size, size) if size else b""
