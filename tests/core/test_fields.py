from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmount.core.fields import NS, table, text
from imgmount.families.apple.times import hfs_time_ns
from imgmount.families.fat import times as fat_times
from imgmount.families.fat.times import dos_time_ns
from imgmount.families.optical.times import iso_long_time_ns, iso_time_ns
from imgmount.families.windows.times import filetime_ns
from imgmount.filesystems.amigados.times import amiga_time_ns


def utc(year: int, *rest: int) -> int:
    return int(datetime(year, *rest, tzinfo=UTC).timestamp()) * NS  # type: ignore[arg-type,misc]


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Seconds east of UTC in January, in the zone of whoever looks."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    fat_times._dos_hour_ns.cache_clear()
    yield {"UTC": 0, "Asia/Kolkata": 19800, "America/New_York": -18000}[request.param]
    monkeypatch.undo()
    time.tzset()
    fat_times._dos_hour_ns.cache_clear()


@given(
    st.lists(st.integers(0, 2**16 - 1)),
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["little", "big"]),
    st.integers(0, 1),
)
def test_a_table_is_what_struct_says(
    values: list[int], width: Literal[2, 4, 8], order: Literal["little", "big"], extra: int
) -> None:
    code = {2: "H", 4: "I", 8: "Q"}[width]
    data = struct.pack(f"{'<' if order == 'little' else '>'}{len(values)}{code}", *values)
    assert list(table(data + bytes(extra), width, order)) == values


@pytest.mark.parametrize(
    ("raw", "encoding", "expected"),
    [
        (b"LABEL   ", "ascii", "LABEL"),
        (b"ABC\0DEF", "ascii", "ABC"),
        (b"\0\0\0", "ascii", ""),
        (b"", "ascii", ""),
        (b"caf\xe9", "latin-1", "café"),
        (b"caf\xe9", "ascii", "caf\udce9"),
        ("ß \0".encode(), "utf-8", "ß"),
    ],
)
def test_text(raw: bytes, encoding: str, expected: str) -> None:
    assert text(raw, encoding) == expected


@pytest.mark.parametrize(
    ("date", "clock", "centis", "expected"),
    [
        (0x0021, 0x0000, 0, utc(1980, 1, 1)),
        (0x5022, 0x6000, 0, utc(2020, 1, 2, 12)),
        (0x5022, 0xBF7D, 199, utc(2020, 1, 2, 23, 59, 58) + 1_990_000_000),
        (0xFF9F, 0xBF7D, 0, None),  # December 2107: summer time differs by zone and year
        (0, 0, 0, 0),
        (0x5000, 0, 0, 0),  # month 0
        (0x51A1, 0, 0, 0),  # month 13
        (0x505E, 0, 0, 0),  # 30 February
        (0x5022, 0xC000, 0, 0),  # 24 o'clock
    ],
)
def test_dos_time_is_the_clock_that_was_stored(
    date: int, clock: int, centis: int, expected: int | None, zone: int
) -> None:
    found = dos_time_ns(date, clock, centis)
    if expected is None:
        assert time.localtime(found // NS)[:6] == (2107, 12, 31, 23, 59, 58)
        return
    assert found == (expected - zone * NS if expected else 0)


def test_filetime() -> None:
    assert filetime_ns(0) == 0
    assert filetime_ns(116_444_736_000_000_000) == 0
    assert filetime_ns(132_223_104_000_000_001) == utc(2020, 1, 1) + 100
    assert filetime_ns(1) == utc(1601, 1, 1) + 100
    assert filetime_ns(2**64 - 1) > 0


def test_hfs_time(zone: int) -> None:
    assert hfs_time_ns(0) == 0
    assert hfs_time_ns(2_082_844_800) == 0
    assert hfs_time_ns(3_660_681_600) == utc(2020, 1, 1)
    assert hfs_time_ns(3_660_681_600, local=True) == utc(2020, 1, 1) - zone * NS
    assert hfs_time_ns(2**32 - 1) == utc(2040, 2, 6, 6, 28, 15)


def test_amiga_time(zone: int) -> None:
    assert amiga_time_ns(0, 0, 0) == utc(1978, 1, 1) - zone * NS
    assert amiga_time_ns(15_340, 754, 1725) == utc(2020, 1, 1, 12, 34, 34) + NS // 2 - zone * NS
    assert amiga_time_ns(2**32 - 1, 0, 0) == amiga_time_ns(0, 1440, 0) == amiga_time_ns(0, 0, 3000) == 0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (bytes([120, 1, 2, 3, 4, 5, 0]), utc(2020, 1, 2, 3, 4, 5)),
        (bytes([120, 1, 2, 3, 4, 5, 4]), utc(2020, 1, 2, 2, 4, 5)),
        (bytes([120, 1, 2, 3, 4, 5, 256 - 22]), utc(2020, 1, 2, 8, 34, 5)),
        (bytes([255, 12, 31, 23, 59, 59, 0]), utc(2155, 12, 31, 23, 59, 59)),
        (bytes(7), 0),
        (bytes([120, 13, 2, 3, 4, 5, 0]), 0),
        (bytes([120, 1, 2, 3, 4, 60, 0]), 0),
    ],
)
def test_iso_time(raw: bytes, expected: int) -> None:
    assert iso_time_ns(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"2020010203040567\0", utc(2020, 1, 2, 3, 4, 5) + 670_000_000),
        (b"2020010203040567\x04", utc(2020, 1, 2, 2, 4, 5) + 670_000_000),
        (b"0000000000000000\0", 0),
        (bytes(17), 0),
        (b" " * 17, 0),
        (b"20200102030405-7\0", 0),
        (b"2020010203 40567\0", 0),
        (b"0001010100000000\x7f", 0),
        (b"9999123123595900\x80", 0),
    ],
)
def test_iso_long_time(raw: bytes, expected: int) -> None:
    assert iso_long_time_ns(raw.ljust(17, b"\0")) == expected


@given(st.binary(min_size=17, max_size=17))
def test_no_bytes_make_a_time_raise(raw: bytes) -> None:
    words = struct.unpack("<8H", raw[:16])
    for found in (
        iso_time_ns(raw[:7]),
        iso_long_time_ns(raw),
        dos_time_ns(words[0], words[1], raw[2]),
        hfs_time_ns(words[0] << 16 | words[1], local=True),
        amiga_time_ns(words[0] << 16 | words[1], words[2], words[3]),
        filetime_ns(int.from_bytes(raw[:8], "little")),
    ):
        assert isinstance(found, int)
