from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import check_device
from imgmount.core.device import BlockDevice, Extent, gather
from imgmount.core.slices import Concat, MemoryDevice, Slice, Strided, ZeroDevice
from imgmount.errors import FormatError, ImageError

DATA = bytes(range(256)) * 5
Model = tuple[BlockDevice, bytes]


def memory() -> st.SearchStrategy[Model]:
    return st.binary(max_size=200).map(lambda data: (MemoryDevice(data), data))


def slices(inner: st.SearchStrategy[Model]) -> st.SearchStrategy[Model]:
    @st.composite
    def strategy(draw: st.DrawFn) -> Model:
        device, data = draw(inner)
        offset = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, len(data) - offset))
        return Slice(device, offset, size), data[offset : offset + size]

    return strategy()


def concats(inner: st.SearchStrategy[Model]) -> st.SearchStrategy[Model]:
    @st.composite
    def strategy(draw: st.DrawFn) -> Model:
        runs, pieces = [], []
        for _ in range(draw(st.integers(0, 5))):
            device, data = draw(inner)
            offset = draw(st.integers(0, len(data)))
            runs.append(Extent(len(data) - offset, device, offset))
            pieces.append(data[offset:])
            hole = draw(st.integers(0, 20))
            runs.append(Extent(hole))
            pieces.append(bytes(hole))
        return Concat(runs), b"".join(pieces)

    return strategy()


def strided(inner: st.SearchStrategy[Model]) -> st.SearchStrategy[Model]:
    @st.composite
    def strategy(draw: st.DrawFn) -> Model:
        device, data = draw(inner)
        payload = draw(st.integers(1, 20))
        skip = draw(st.integers(0, 10))
        stride = skip + payload + draw(st.integers(0, 10))
        sectors = [data[at + skip : at + skip + payload] for at in range(0, len(data), stride)]
        return Strided(device, stride, skip, payload), b"".join(one for one in sectors if len(one) == payload)

    return strategy()


DEVICES = st.recursive(
    memory(), lambda inner: st.one_of(slices(inner), concats(inner), strided(inner)), max_leaves=6
)


@given(DEVICES, st.integers(0, 300), st.integers(0, 300))
def test_any_composition_is_what_its_bytes_say(model: Model, offset: int, size: int) -> None:
    device, data = model
    assert device.size == len(data)
    assert device.pread(0, device.size) == data
    assert device.pread(offset, size) == data[offset : offset + size]
    runs = list(device.extents(offset, size))
    assert gather(runs) == data[offset : offset + size]
    assert all(run.length > 0 for run in runs)
    assert not any(isinstance(run.device, (Slice, Concat, ZeroDevice)) for run in runs)


def test_a_slice_of_a_slice_is_a_slice_of_what_lies_below() -> None:
    base = MemoryDevice(DATA)
    inner = Slice(Slice(base, 10, 500), 20, 100)
    assert (inner.device, inner.offset, inner.size) == (base, 30, 100)
    check_device(inner, DATA[30:130])


def test_a_slice_may_claim_more_than_there_is_and_never_reads_its_neighbours() -> None:
    base = MemoryDevice(DATA)
    outer = Slice(base, 0, 100)
    inner = Slice(outer, 90, 50)
    assert inner.pread(0, 10) == DATA[90:100]
    with pytest.raises(ImageError):
        inner.pread(5, 6)
    with pytest.raises(ImageError):
        Slice(base, len(DATA) + 5, 5).pread(0, 1)


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (5, -1)])
def test_a_slice_is_not_negative(offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="Slice"):
        Slice(MemoryDevice(DATA), offset, size)


def test_holes_are_holes() -> None:
    device = Concat(
        [Extent(5), Extent(0, MemoryDevice(b"")), Extent(3, MemoryDevice(b"abcdef"), 2), Extent(4)]
    )
    check_device(device, bytes(5) + b"cde" + bytes(4))
    assert [run.device is None for run in device.extents(0, 12)] == [True, False, True]
    check_device(ZeroDevice(10_000), bytes(10_000))
    assert list(ZeroDevice(1 << 60).extents(1 << 59, 1 << 58)) == [Extent(1 << 58)]
    check_device(Concat([]), b"")


def test_sectors_without_their_headers() -> None:
    sectors = b"".join(
        bytes([number]) * 16 + bytes([100 + number]) * 2048 + bytes(288) for number in range(20)
    )
    check_device(
        Strided(MemoryDevice(sectors), 2352, 16, 2048),
        b"".join(bytes([100 + number]) * 2048 for number in range(20)),
    )
    cut = Strided(MemoryDevice(sectors[: 2352 + 16 + 2047]), 2352, 16, 2048)
    assert cut.size == 2048


def test_a_structure_must_be_whole() -> None:
    device = MemoryDevice(DATA)
    assert device.read_exactly(len(DATA) - 4, 4, "test") == DATA[-4:]
    assert device.read_exactly(len(DATA), 0, "test") == b""
    for offset, size in [(len(DATA) - 3, 4), (-1, 1), (5, -1), (1 << 64, 1)]:
        with pytest.raises(FormatError, match="test: "):
            device.read_exactly(offset, size, "test")
