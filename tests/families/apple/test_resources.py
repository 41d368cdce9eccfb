"""Resource forks: what rsrcfork reads too, and maps that lie."""

from __future__ import annotations

import io
import struct

import pytest

from counting_device import CountingDevice
from fixture import unpack
from helpers import FIXTURES
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.families.apple import appledouble, binhex, macbinary
from imgmount.families.apple.resources import ResourceFork
from imgmount.families.apple.types import ImageKind, kind_of


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    target = tmp_path_factory.mktemp("fork") / "rsrc"
    unpack(FIXTURES / "containers/ndif/rsrc/install.smi.rsrc.xz", target)
    return target.read_bytes()


def test_the_same_as_rsrcfork_reads(fork: bytes) -> None:
    rsrcfork = pytest.importorskip("rsrcfork")
    ours = ResourceFork(MemoryDevice(fork), "test")
    theirs = rsrcfork.ResourceFile(io.BytesIO(fork))
    expected = [
        (kind, number, res.name or b"", res.data)
        for kind, group in theirs.items()
        for number, res in group.items()
    ]
    assert [(one.type, one.id, one.name, ours.read(one)) for one in ours.resources] == expected
    assert ours.find(b"bcem", 128) is not None
    assert ours.find(b"bcem", 129) is None


def test_resources_are_read_when_they_are_wanted(fork: bytes) -> None:
    device = CountingDevice(MemoryDevice(fork))
    found = ResourceFork(device, "test")
    assert len(found.resources) > 1
    assert device.reads == 2  # the header and the map
    assert found.read(found.resources[0])
    assert device.reads == 4  # and a length and its data


def test_maps_that_lie_are_errors(fork: bytes) -> None:
    place, length = struct.unpack_from(">I4xI", fork, 4)
    for offset in range(place, place + length):
        for value in (0, 0x7F, 0xFF):
            data = bytearray(fork)
            data[offset] = value
            try:
                found = ResourceFork(MemoryDevice(bytes(data)), "test")
                for one in found.resources:
                    found.read(one)
            except ImageError:
                pass


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 16, struct.pack(">4I", 0, 0, 0, 0), struct.pack(">4I", 0, 16, 0, 1 << 30)]
)
def test_headers_that_lie_are_errors(header: bytes) -> None:
    with pytest.raises(FormatError):
        ResourceFork(MemoryDevice(header), "test")


def test_the_table_of_types() -> None:
    assert kind_of(b"dImg", b"dCpy") is ImageKind.DC42
    assert kind_of(b"DMd3", b"DART") is ImageKind.DART
    assert kind_of(b"rohd", b"ddsk") is ImageKind.NDIF
    assert kind_of(b"APPL", b"oneb") is ImageKind.NDIF
    assert kind_of(b"APPL", b"sImg") is ImageKind.RAW
    assert kind_of(b"APPL", b"ttxt") is None


def test_appledouble_that_lies() -> None:
    head = struct.pack(">2I16xH", 0x00051607, 0x20000, 1)
    for data in (
        b"",
        head[:20],
        head,
        head + struct.pack(">3I", 2, 38, 100),
        struct.pack(">2I16xH", 0x51607, 7, 0),
    ):
        with pytest.raises(FormatError):
            appledouble.entries(MemoryDevice(data), "test")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        binhex.MARK,
        binhex.MARK + b"\n:",
        binhex.MARK + b"\n:~~~~:",
        binhex.MARK + b"\n:" + b"!" * 100 + b":",
    ],
)
def test_binhex_that_lies(text: bytes) -> None:
    with pytest.raises(FormatError):
        binhex.decode(text)


def test_macbinary_wants_sizes_or_a_checksum() -> None:
    assert macbinary.parse(MemoryDevice(bytes(1024))) is None
    plausible = (
        bytes([0, 4]) + b"Name".ljust(63, b"\0") + b"TEXTttxt" + bytes(10) + struct.pack(">2I", 100, 0)
    )
    assert macbinary.parse(MemoryDevice(plausible.ljust(128, b"\0") + bytes(128))) is not None
    assert macbinary.parse(MemoryDevice(plausible.ljust(128, b"\0") + bytes(300))) is None
