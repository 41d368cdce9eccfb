"""What every format does with a header.

It is parsed as a whole, and a field out of its bounds is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from imgmount.core.layout import Field, LayoutError
from imgmount.errors import FormatError

if TYPE_CHECKING:
    from imgmount.core.device import BlockDevice

T = TypeVar("T")


class Header(Protocol):
    """A structure that ``core.layout``, or construct, declares."""

    def sizeof(self) -> int: ...
    def parse(self, data: bytes) -> Any: ...


_UNITS: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def within(
    fmt: str,
    name: str,
    value: int,
    low: int,
    high: int,
    *,
    power_of_two: bool = False,
    multiple_of: int = 1,
    offset: int | None = None,
) -> int:
    """``value``, which must lie from ``low`` to ``high``, both allowed.

    Raises ``FormatError`` with what would be right.

    >>> within("wux", "sector size", 32769, 256, 256 << 20, power_of_two=True, offset=8)
    Traceback (most recent call last):
    imgmount.errors.FormatError: wux: sector size 32769 is not a power of two from 256 to 256 MiB, at 0x8
    """
    if low <= value <= high and not value % multiple_of and not (power_of_two and value & (value - 1)):
        return value
    kind = "a power of two " if power_of_two else f"a multiple of {multiple_of} " if multiple_of > 1 else ""
    shown = short if "size" in name else str
    bounds = shown(low) if low == high else f"{kind}from {shown(low)} to {shown(high)}"
    raise FormatError(fmt, f"{name} {value} is not {bounds}", offset=offset)


def one_of(fmt: str, name: str, value: int, allowed: tuple[int, ...], *, offset: int | None = None) -> int:
    """``value``, which must be one of ``allowed``. Raises ``FormatError``."""
    if value in allowed:
        return value
    listed = " or ".join(map(str, allowed))
    raise FormatError(fmt, f"{name} {value} is not {listed}", offset=offset)


def parse_header(header: Header, device: BlockDevice, offset: int, fmt: str, name: str) -> Any:
    """The structure ``header`` of fixed size at ``offset``, called ``name``. Raises ``FormatError``."""
    return parsed(header, device.read_exactly(offset, header.sizeof(), fmt), offset, fmt, name)


def parsed(header: Header, data: bytes, offset: int, fmt: str, name: str) -> Any:
    """The structure ``header`` that begins ``data``, read at ``offset``. Raises ``FormatError``."""
    try:
        return header.parse(data)
    except _errors_of(header) as exc:
        raise FormatError(
            fmt, f"{name} is damaged: a constant or text in it is not what it must be", offset=offset
        ) from exc


def _errors_of(header: Header) -> tuple[type[Exception], ...]:
    if isinstance(header, Field):
        return (LayoutError,)
    from construct import ConstructError

    return ConstructError, UnicodeDecodeError


def either(first: Callable[[], T], copy: Callable[[], T]) -> T:
    """What ``first`` reads, else what ``copy`` does.

    Raises the ``FormatError`` of ``first`` where both fail.
    """
    try:
        return first()
    except FormatError as exc:
        problem = exc
    try:
        return copy()
    except FormatError:
        raise problem from None


def short(number: int) -> str:
    """A number as people write it: ``256 MiB`` for 1 << 28, plain digits where no unit fits."""
    return next(
        (f"{number // unit} {name}" for unit, name in _UNITS if number and number % unit == 0), str(number)
    )
