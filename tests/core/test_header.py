from __future__ import annotations

import pytest
from construct import Bytes, Const, Int16ul, Struct

from imgmount.core.header import one_of, parse_header, within
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, KeyRequiredError


@pytest.mark.parametrize(
    ("value", "rule", "says"),
    [
        (32769, {"power_of_two": True}, "fmt: size 32769 is not a power of two from 256 to 1 MiB, at 0x8"),
        (255, {}, "fmt: size 255 is not from 256 to 1 MiB, at 0x8"),
        (1 << 21, {}, "fmt: size 2097152 is not from 256 to 1 MiB, at 0x8"),
        (513, {"multiple_of": 512}, "fmt: size 513 is not a multiple of 512 from 256 to 1 MiB, at 0x8"),
    ],
)
def test_a_field_out_of_bounds_says_what_would_be_right(value: int, rule: dict[str, bool], says: str) -> None:
    with pytest.raises(FormatError) as caught:
        within("fmt", "size", value, 256, 1 << 20, offset=8, **rule)
    assert str(caught.value) == says


def test_bounds_are_allowed_themselves() -> None:
    assert [within("fmt", "size", value, 256, 1 << 20, power_of_two=True) for value in (256, 1 << 20)] == [
        256,
        1 << 20,
    ]
    assert one_of("fmt", "version", 2, (1, 2)) == 2
    with pytest.raises(FormatError, match="fmt: version 3 is not 1 or 2"):
        one_of("fmt", "version", 3, (1, 2))
    with pytest.raises(FormatError, match=r"fmt: version 3 is not 4$"):
        within("fmt", "version", 3, 4, 4)


def test_a_header_is_parsed_whole_or_refused() -> None:
    header = Struct("magic" / Const(b"MA"), "size" / Int16ul, "rest" / Bytes(2))
    assert parse_header(header, MemoryDevice(b"..MA\1\0ab"), 2, "fmt", "the header").size == 1
    with pytest.raises(FormatError, match=r"fmt: the header is damaged: .* at 0x0"):
        parse_header(header, MemoryDevice(b"MBxxyy"), 0, "fmt", "the header")
    with pytest.raises(FormatError, match="fmt: 6 bytes needed"):
        parse_header(header, MemoryDevice(b"MA"), 0, "fmt", "the header")


def test_an_error_that_is_kept_is_raised_afresh() -> None:
    for kept in (ChecksumError("fmt", "wrong sum", offset=3), KeyRequiredError("a key is needed")):
        fresh = kept.again()
        assert (type(fresh), str(fresh), vars(fresh)) == (type(kept), str(kept), vars(kept))
        assert fresh is not kept
        assert fresh.__traceback__ is None
