"""Extended attributes: a table of (where, how many), and the names and values.

Kernel documentation, squashfs.rst, 3.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError
from imgmount.filesystems.squashfs.metadata import Metadata
from imgmount.filesystems.squashfs.superblock import NAME, NOTHING, Order


class _Layouts(NamedTuple):
    table: Struct  # start of names and values, number of records
    record: Struct  # reference, count, bytes
    name: Struct  # type, length
    size: Struct
    reference: Struct


def _layouts(mark: str) -> _Layouts:
    return _Layouts(*(Struct(mark + fields) for fields in ("QI4x", "QII", "HH", "I", "Q")))


_LAYOUTS: Final = {"little": _layouts("<"), "big": _layouts(">")}
_ELSEWHERE: Final = 0x100  # in the type: a reference stands for the value
PREFIXES: Final = ("user.", "trusted.", "security.")
MAX_ATTRIBUTES: Final = 4096
MAX_VALUE: Final = 1 << 16


class Attributes:
    """The attributes of a volume; ``table`` is where the superblock says that they are."""

    def __init__(self, device: BlockDevice, metadata: Metadata, table: int, order: Order) -> None:
        self._metadata = metadata
        self._layouts = _LAYOUTS[order]
        self._pointers = table + self._layouts.table.size
        self._start = self.count = 0
        if table != NOTHING:
            self._start, self.count = self._layouts.table.unpack(
                device.read_exactly(table, self._layouts.table.size, NAME)
            )

    def read(self, index: int) -> Iterator[tuple[str, bytes]]:
        """(name, value) of set ``index``. Raises ``FormatError``."""
        if index >= self.count:
            raise FormatError(NAME, f"attributes {index} of {self.count}")
        reference, count, size = self._layouts.record.unpack(
            self._metadata.record(self._pointers, index, self._layouts.record.size)
        )
        if count > MAX_ATTRIBUTES:
            raise FormatError(NAME, f"{count} attributes of {size} bytes")
        start, at = self._place(reference)
        for _ in range(count):
            kind, length = self._layouts.name.unpack(self._metadata.read(start, at, self._layouts.name.size))
            rest = self._metadata.read(start, at + self._layouts.name.size, length) if length else b""
            at += self._layouts.name.size + length
            value = self._value(start, at)
            at += self._layouts.size.size + len(value)
            if kind & _ELSEWHERE:
                value = (
                    self._value(*self._place(self._layouts.reference.unpack(value)[0]))
                    if len(value) == self._layouts.reference.size
                    else b""
                )
            prefix = kind & ~_ELSEWHERE
            if prefix < len(PREFIXES):
                yield PREFIXES[prefix] + rest.decode("utf-8", "surrogateescape"), value

    def _place(self, reference: int) -> tuple[int, int]:
        return self._start + (reference >> 16), reference & 0xFFFF

    def _value(self, start: int, at: int) -> bytes:
        (size,) = self._layouts.size.unpack(self._metadata.read(start, at, self._layouts.size.size))
        if size > MAX_VALUE:
            raise FormatError(NAME, f"an attribute of {size} bytes")
        return self._metadata.read(start, at + self._layouts.size.size, size) if size else b""
