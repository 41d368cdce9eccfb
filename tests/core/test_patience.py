"""What takes time is announced once, by the thread that is to hand over, before it is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgmount.core.cache import ReadCache
from imgmount.core.patience import takes_time, this_thread
from imgmount.sources.file import FileDevice


@pytest.fixture
def handed() -> Iterator[list[str]]:
    """What this thread has done when it was told that something takes time."""
    done: list[str] = []
    this_thread.hand_over = lambda: done.append("handed over")
    yield done
    this_thread.hand_over = None


def test_a_thread_hands_over_once(handed: list[str]) -> None:
    takes_time()
    takes_time()
    assert handed == ["handed over"]


def test_decoding_takes_time_and_what_is_decoded_does_not(handed: list[str]) -> None:
    cache = ReadCache()

    def load(index: int) -> bytes:
        assert handed, "before it begins"
        return bytes([index])

    assert cache.fetch((1, 5), load) == b"\5"
    this_thread.hand_over = lambda: handed.append("again")
    assert cache.fetch((1, 5), load) == b"\5"
    assert handed == ["handed over"]


def test_the_disk_takes_time_and_the_page_cache_does_not(
    handed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(200)))

    def not_at_hand(*_: object) -> int:
        raise BlockingIOError

    with FileDevice(tmp_path / "file") as device:
        assert device.pread(100, 100) == bytes(range(100, 200))
        assert not handed
        monkeypatch.setattr(os, "preadv", not_at_hand)
        assert device.pread(100, 100) == bytes(range(100, 200))
    assert handed == ["handed over"]
