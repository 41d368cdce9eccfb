"""Names of Macs: encodings, both forms of Unicode, and what paths cannot have."""

from __future__ import annotations

import pytest

from imgmount.families.apple.names import composed, decoded, folded, shown, unfolded


@pytest.mark.parametrize(
    ("stored", "path"),
    [
        ("plain", "plain"),
        ("a/b", "a:b"),
        ("a:b", "a/b"),
        ("Icon\r", "Icon\u240d"),
        ("\0\0\0\0HFS+ Private Data", "\u2400\u2400\u2400\u2400HFS+ Private Data"),
        ("e\u0301te\u0301\x7f", "\u00e9t\u00e9\u2421"),
        ("\u1112\u1161\u11ab", "\ud55c"),
    ],
)
def test_names_are_shown_as_paths_can_have_them(stored: str, path: str) -> None:
    assert shown(stored) == path


def test_stored_names_keep_their_form() -> None:
    assert shown("e\u0301/\r", stored=True) == "e\u0301:\r"


def test_characters_that_are_never_decomposed_are_not_composed_either() -> None:
    for name in ("\u2126", "\u212b", "\uf900", "\u2190\u0338", "\U0002f800"):
        assert composed(name) == name
        assert unfolded(name) == name
    assert composed("A\u030a") == "\u00c5"
    assert folded("\u00c5") == folded("a\u030a") == folded("A\u030a")
    assert unfolded("\u00c5") != unfolded("\u00e5")


def test_names_without_unicode_are_in_the_encoding_that_is_told() -> None:
    assert decoded(b"caf\x8e", None) == "caf\u00e9"
    japanese = "\u65e5\u672c".encode("shift_jis")
    assert decoded(japanese, None, script=0x81) == "\u65e5\u672c"
    assert decoded(japanese, None, script=1) == japanese.decode(
        "mac_roman"
    )  # the high bit says that it counts
    assert decoded(japanese, "shift_jis") == "\u65e5\u672c"
    assert decoded(b"\x85\xff\x85", "shift_jis") == b"\x85\xff\x85".decode("mac_roman")
    assert decoded(b"\xc1\xf1", None, script=0x87) == b"\xc1\xf1".decode("mac_cyrillic")
