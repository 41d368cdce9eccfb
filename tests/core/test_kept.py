"""Caches of parsed pieces stay small."""

from __future__ import annotations

from imgmount.core.kept import keep


def test_few_tables_are_kept() -> None:
    kept: dict[int, int] = {}
    for number in range(10):
        keep(kept, number, -number, 4)
    assert kept == {6: -6, 7: -7, 8: -8, 9: -9}
