"""Runs in block tables, against the obvious way to find them."""

from __future__ import annotations

from array import array
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from imgmount.core.runs import Bits, equal_run, rising_run

RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 90)), min_size=1, max_size=8)


@given(RUNS, st.integers(0, 10_000), st.integers(1, 200))
def test_equal_run(runs: list[tuple[int, int]], at: int, limit: int) -> None:
    values = [value for value, count in runs for _ in range(count)]
    at %= len(values)
    expected = len(list(takewhile(lambda value: value == values[at], values[at : at + limit])))
    assert equal_run(array("I", values), at, limit) == expected


@given(RUNS, st.integers(0, 10_000), st.integers(1, 200))
def test_rising_run(runs: list[tuple[int, int]], at: int, limit: int) -> None:
    values = [start * 1000 + 8 * index for start, count in runs for index in range(count)]
    at %= len(values)
    pieces = values[at : at + limit]
    expected = len(list(takewhile(lambda pair: pair[1] == values[at] + 8 * pair[0], enumerate(pieces))))
    assert rising_run(array("Q", values), at, 8, limit) == expected


@given(st.binary(min_size=1, max_size=40), st.integers(0, 1000), st.sampled_from(["high", "low"]))
def test_bits(bitmap: bytes, at: int, first: str) -> None:
    order = range(7, -1, -1) if first == "high" else range(8)
    bits = [byte >> bit & 1 for byte in bitmap for bit in order]
    at %= len(bits)
    run = len(list(takewhile(lambda bit: bit == bits[at], bits[at:])))
    assert Bits(bitmap, first_bit=first).run(at) == (bool(bits[at]), run)
