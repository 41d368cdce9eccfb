"""Structures of fixed size, declared field by field in construct's words.

The formats of most images use these: to import construct takes longer than to open such an image. Rare
formats use construct itself; ``core.header`` parses both.

>>> Struct("magic" / Const(b"TOY"), Padding(1), "size" / Int32ul).parse(b"TOY?" + bytes([5, 0, 0, 0])).size
5
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, NamedTuple


class LayoutError(ValueError):
    """A constant is not what it must be, or the data is too short."""


class Field:
    """``size`` bytes and what they mean."""

    def __init__(self, size: int, read: Callable[[bytes], Any]) -> None:
        """``read`` gets exactly ``size`` bytes."""
        self.size = size
        self.read = read

    def sizeof(self) -> int:
        """Bytes that it takes."""
        return self.size

    def parse(self, data: bytes) -> Any:
        """What the field at the beginning of ``data`` means. Raises ``LayoutError``."""
        if len(data) < self.size:
            raise LayoutError(f"{len(data)} bytes, {self.size} wanted")
        return self.read(data[: self.size])

    def __rtruediv__(self, name: str) -> Named:
        return Named(name, self)


class Named(NamedTuple):
    """A field that has an attribute of the result."""

    name: str
    field: Field


def Struct(*fields: Named | Field) -> Field:  # noqa: N802  construct's name
    """Fields behind each other, as attributes by their names; those without a name are passed over."""
    places: list[tuple[str, int, int, Callable[[bytes], Any]]] = []
    end = 0
    for entry in fields:
        name, field = entry if isinstance(entry, Named) else ("", entry)
        start, end = end, end + field.size
        if name:
            places.append((name, start, end, field.read))
    return Field(
        end,
        lambda raw: SimpleNamespace(**{name: read(raw[start:stop]) for name, start, stop, read in places}),
    )


def Bytes(size: int) -> Field:  # noqa: N802
    """Bytes as they are."""
    return Field(size, bytes)


def Padding(size: int) -> Field:  # noqa: N802
    """Bytes that do not matter."""
    return Field(size, bytes)


def Array(count: int, field: Field) -> Field:  # noqa: N802
    """A list of ``count`` equal fields."""
    size, read = field.size, field.read
    return Field(count * size, lambda raw: [read(raw[at : at + size]) for at in range(0, count * size, size)])


def Const(value: bytes | int, field: Field | None = None) -> Field:  # noqa: N802
    """A field that has this value and no other."""
    if field is None:
        assert isinstance(value, bytes)
        field = Bytes(len(value))
    read = field.read

    def check(raw: bytes) -> bytes | int:
        if read(raw) != value:
            raise LayoutError(f"{read(raw)!r} is not {value!r}")
        return value

    return Field(field.size, check)


def Decoded(field: Field, decode: Callable[[Any], Any]) -> Field:  # noqa: N802
    """What ``decode`` makes of a field."""
    read = field.read
    return Field(field.size, lambda raw: decode(read(raw)))


def _integer(size: int, order: Any, *, signed: bool = False) -> Field:
    return Field(size, lambda raw: int.from_bytes(raw, order, signed=signed))


Int8ul: Final = _integer(1, "little")
Int16ul: Final = _integer(2, "little")
Int32ul: Final = _integer(4, "little")
Int32sl: Final = _integer(4, "little", signed=True)
Int64ul: Final = _integer(8, "little")
Int8ub: Final = _integer(1, "big")
Int16ub: Final = _integer(2, "big")
Int32ub: Final = _integer(4, "big")
Int64ub: Final = _integer(8, "big")
