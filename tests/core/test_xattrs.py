"""Extended attributes have a limit together, whatever each of them has."""

from __future__ import annotations

import pytest

from imgmount.core.xattrs import MAX_TOTAL, collect
from imgmount.errors import FormatError


def test_attributes_are_collected_up_to_a_limit() -> None:
    value = bytes(1 << 16)
    fitting = [(f"user.{number:03}", value) for number in range(MAX_TOTAL // (len(value) + 8))]
    assert len(collect(fitting, "test")) == len(fitting)
    with pytest.raises(FormatError, match="test: more than 16 MiB"):
        collect([*fitting, *fitting], "test")
