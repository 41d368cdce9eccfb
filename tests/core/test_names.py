from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmount.core.names import MAX_NAME_BYTES, UniqueNames, safe_name

ANY_NAME = st.text(st.characters(blacklist_categories=()), max_size=300)


def encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a.txt", "a.txt"),
        ("a/b", "a∕b"),
        ("../../etc", "..∕..∕etc"),
        ("nul\0", "nul␀"),
        ("", "_"),
        (".", "_"),
        ("..", "__"),
        ("/", "∕"),
        ("ä" * 200, "ä" * 127),
        ("€" * 100, "€" * 85),
        ("x" * 254 + "€", "x" * 254),
        ("half \ud83d pair", "half \ufffd pair"),
        ("bytes \udcff\udc80", "bytes \udcff\udc80"),
        ("\udcff" * 300, "\udcff" * 255),
        ("\udc80" * 299, "\udc80" * 255),
    ],
)
def test_a_name_is_made_fit(raw: str, expected: str) -> None:
    assert safe_name(raw, set()) == expected


def test_a_second_one_gets_a_number() -> None:
    taken: set[str] = set()
    for raw, expected in [
        ("a.txt", "a.txt"),
        ("a.txt", "a (1).txt"),
        ("a.txt", "a (2).txt"),
        ("a (1).txt", "a (1) (1).txt"),
        (".x", ".x"),
        (".x", ".x (1)"),
        ("n", "n"),
        ("n", "n (1)"),
        ("z" * 255, "z" * 255),
        ("z" * 300, "z" * 251 + " (1)"),
        ("." * 3 + "y" * 250, "..." + "y" * 250),
    ]:
        name = safe_name(raw, taken)
        assert name == expected
        taken.add(name)


def test_a_long_suffix_is_none() -> None:
    raw = "a." + "s" * 253
    assert len(encoded(safe_name(raw, {raw}))) <= MAX_NAME_BYTES


def test_thousands_of_equal_names_cost_little_each() -> None:
    taken: set[str] = set()
    for _ in range(20_000):
        taken.add(safe_name("same.bin", taken))
    assert len(taken) == 20_000
    assert "same (19999).bin" in taken


@given(st.lists(ANY_NAME, max_size=30))
def test_any_names_become_fit_and_unique(raws: list[str]) -> None:
    taken: set[str] = set()
    for raw in raws:
        name = safe_name(raw, taken)
        assert name not in taken
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert "\0" not in name
        assert len(encoded(name)) <= MAX_NAME_BYTES
        taken.add(name)


def test_names_of_one_directory_are_unique_and_many_equal_ones_are_cheap() -> None:
    taken: dict[str, int] = {}  # in order
    names = UniqueNames(taken)
    for number, raw in enumerate(("a.b", "a (2).b", "a.b", "a.b", "..", "..")):
        taken[names.fit(raw)] = number
    assert list(taken) == ["a.b", "a (2).b", "a (1).b", "a (3).b", "__", "__ (1)"]
    many: set[str] = set()
    names = UniqueNames(many)
    for _ in range(50_000):
        many.add(names.fit("same"))
    assert len(many) == 50_000
