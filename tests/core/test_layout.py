"""Structures mean the same here as in construct, which declares them in the same words."""

from __future__ import annotations

from random import Random
from types import ModuleType
from typing import Any

import construct
import pytest

from imgmount.core import layout
from imgmount.core.layout import Bytes, Const, Decoded, Int8ub, Int32ul, LayoutError, Struct


def declared(words: ModuleType | Any) -> Any:
    """One structure with a field of every kind."""
    pair = words.Struct("le" / words.Int16ul, "be" / words.Int16ub)
    return words.Struct(
        "magic" / words.Const(b"TOY"),
        words.Padding(5),
        *(
            f"{kind}{order}" / getattr(words, f"Int{kind}{order}")
            for kind in ("8u", "32u", "64u")
            for order in "lb"
        ),
        "signed" / words.Int32sl,
        "both" / pair,
        "list" / words.Array(3, pair),
        "text" / words.Bytes(7),
        "version" / words.Const(2, words.Int16ub),
    )


def plain(value: Any) -> Any:
    """Attributes as dictionaries, lists as lists."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    fields = dict(value) if isinstance(value, dict) else getattr(value, "__dict__", None)
    if fields is None:
        return value
    return {name: plain(one) for name, one in fields.items() if not name.startswith("_")}


def test_as_construct_reads_it() -> None:
    ours, theirs = declared(layout), declared(construct)
    assert ours.sizeof() == theirs.sizeof()
    rng = Random(1)
    for _ in range(50):
        data = b"TOY" + rng.randbytes(ours.sizeof() - 5) + b"\0\2" + b"what follows"
        assert plain(ours.parse(data)) == plain(theirs.parse(data))


@pytest.mark.parametrize("data", [b"", b"TOY", b"TOX\0\0\0\1", b"TOY\0\0\0"])
def test_short_data_and_other_constants_are_refused(data: bytes) -> None:
    with pytest.raises(LayoutError):
        Struct("magic" / Const(b"TOY"), "size" / Int32ul).parse(data)


def test_decoded() -> None:
    assert Decoded(Bytes(4), bytes.decode).parse(b"text and more") == "text"
    assert Struct("half" / Decoded(Int8ub, lambda value: value / 2)).parse(b"\3").half == 1.5
