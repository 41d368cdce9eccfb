"""Libraries of the system."""

from __future__ import annotations

from imgmount.core.system_library import first_loadable


def test_the_first_that_is_there_is_taken() -> None:
    assert first_loadable(["libnothing-of-the-kind.so.99", "libc.so.6", "libm.so.6"]) == "libc.so.6"
    assert first_loadable(["libnothing-of-the-kind.so.99"]) is None
    assert first_loadable([]) is None
