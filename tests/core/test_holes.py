"""Holes of a device: those that its format knows, and those of the host file under them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from imgmount.core import holes
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.holes import allocated, next_data, next_hole, stretches
from imgmount.core.slices import Concat, MemoryDevice, Slice
from imgmount.errors import ImageError
from imgmount.sources.file import FileDevice

PAGE = 4096


def sparse(path: Path, rng: random.Random) -> FileDevice:
    """400 pages of which some are stored."""
    with path.open("wb") as file:
        for page in sorted(rng.sample(range(400), 90)):
            file.seek(page * PAGE)
            file.write(rng.randbytes(PAGE))
        file.truncate(400 * PAGE)
    return FileDevice(path)


def sought(device: BlockDevice) -> int:
    """The bytes that are no holes, one stretch after the other."""
    total = position = 0
    while (start := next_data(device, position)) < device.size:
        position = next_hole(device, start)
        total += position - start
    return total


@pytest.mark.parametrize("seed", range(20))
def test_what_is_allocated_is_the_sum_of_the_stretches(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    memory = MemoryDevice(b"m" * (20 * PAGE))
    with sparse(tmp_path / "one", rng) as one, sparse(tmp_path / "two", rng) as two:
        runs = []
        for _ in range(rng.randrange(1, 60)):
            device = rng.choice((None, one, one, two, memory))
            length = rng.randrange(1, 20 * PAGE)
            runs.append(Extent(length, device, rng.randrange(device.size - length + 1) if device else 0))
        disk = Concat(runs)
        assert allocated(disk) == sought(disk) == sum(size for _, size in stretches(disk, 3 * PAGE))
        assert 0 <= allocated(disk) <= disk.size


def test_a_device_in_too_many_pieces_is_data_from_there_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "MAX_RUNS", 10)
    memory = MemoryDevice(b"m" * 100)
    disk = Concat([run for _ in range(20) for run in (Extent(100), Extent(100, memory))])
    assert allocated(disk) == 5 * 100 + 30 * 100


class Torn(MappedDevice):
    """A hole, some data, then nothing that can be mapped."""

    size = 1000

    def __init__(self) -> None:
        self._data = MemoryDevice(b"d" * 1000)

    def _map(self, offset: int) -> Extent:
        if offset < 300:
            return Extent(300 - offset)
        if offset < 500:
            return Extent(500 - offset, self._data, offset)
        raise ImageError("torn")


def test_what_cannot_be_mapped_counts_as_data() -> None:
    assert allocated(Torn()) == 200 + 500
    assert allocated(Slice(MemoryDevice(b"x" * 10), 5, 100)) == 100


def test_a_host_file_in_too_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sparse(tmp_path / "one", random.Random(1)) as one:
        exact = allocated(one)
        monkeypatch.setattr(holes, "MAX_RUNS", 5)
        assert exact < allocated(one) <= one.size


def test_what_one_file_has_stored_says_nothing_of_another(tmp_path: Path) -> None:
    for page, name in enumerate(("one", "two")):
        with (tmp_path / name).open("wb") as file:
            file.seek(page << 20)
            file.write(b"x" * (1 << 20))
            file.truncate(2 << 20)
    with FileDevice(tmp_path / "one") as one, FileDevice(tmp_path / "two") as two:
        if next_data(two, 0) == 0:
            pytest.skip("the host keeps no holes")
        assert (
            allocated(Concat([Extent(1 << 20, one), Extent(1 << 20, two), Extent(2 << 20, two)])) == 2 << 20
        )


def test_stretches_are_cut_and_holes_cost_nothing() -> None:
    memory = MemoryDevice(b"m" * 100)
    disk = Concat([Extent(1 << 60), Extent(100, memory), Extent(1 << 60), Extent(10, memory)])
    far = 1 << 60
    assert list(stretches(disk, 40)) == [(far, 40), (far + 40, 40), (far + 80, 20), (2 * far + 100, 10)]
    assert list(stretches(Torn(), 400)) == [(300, 400), (700, 300)]
    assert list(stretches(Concat([Extent(100)]), 40)) == []


def test_what_cannot_be_mapped_is_found_behind_a_hole_and_has_no_end() -> None:
    assert next_data(Torn(), 0) == 300
    assert next_data(Torn(), 600) == 600
    assert next_hole(Torn(), 300) == next_hole(Torn(), 700) == 1000
