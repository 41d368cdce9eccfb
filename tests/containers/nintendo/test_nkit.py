from __future__ import annotations

import hashlib
import lzma
import struct
from typing import Any

import pytest

from helpers import FIXTURES, context, wrong
from imgmount.containers.nintendo.ciso_gc import FORMAT as CISO
from imgmount.containers.nintendo.wbfs import FORMAT as WBFS
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, KeyRequiredError, UnsupportedError
from imgmount.families.nintendo import junk
from imgmount.families.nintendo.nkit import NKit

COMMON = bytes.fromhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
BLOCK = 0x20000


def stored(name: str) -> bytes:
    return lzma.decompress((FIXTURES / "containers" / name).read_bytes())


@pytest.fixture(scope="module")
def wii() -> bytes:
    return stored("ciso_gc/nkit/wii.ciso.xz")


@pytest.fixture(scope="module")
def gamecube() -> bytes:
    return stored("ciso_gc/nkit/gc.ciso.xz")


def opened(image: bytes, *, key: bool = True) -> Any:
    return CISO.open(MemoryDevice(image), context(keys={"wii-common": COMMON} if key else {}))


def changed(image: bytes, at: int, new: bytes) -> bytes:
    return image[:at] + new + image[at + len(new) :]


def test_without_a_key_what_is_stored_can_be_read(wii: bytes) -> None:
    whole, device = opened(wii), opened(wii, key=False)
    for number, is_stored in enumerate(wii[8 : 8 + device.size // BLOCK]):
        if is_stored:
            assert device.pread(number * BLOCK, BLOCK) == whole.pread(number * BLOCK, BLOCK)
        elif number * BLOCK > 0x70000:
            with pytest.raises(KeyRequiredError, match="'wii-common'"):
                device.pread(number * BLOCK, 1)


def test_verify_hashes_the_disc(wii: bytes, gamecube: bytes) -> None:
    assert wrong(opened(wii).verify()) == []
    assert wrong(opened(gamecube).verify()) == []
    device = WBFS.open(MemoryDevice(stored("wbfs/nkit/gc.wbfs.xz")), context())
    assert wrong(device.verify()) == []  # type: ignore[attr-defined]
    bad = changed(gamecube, 0x8000 + 0x700, b"changed")
    (problem,) = wrong(opened(bad).verify())
    assert problem.startswith("SHA-1 is ")


def bits_at(image: bytes) -> int:
    return image.rindex(b"NKIT  v2") + 68


def test_junk_that_the_hashes_do_not_prove_is_an_error(wii: bytes) -> None:
    at = bits_at(wii)
    whole = opened(wii)
    expected = whole.pread(0, whole.size)
    block = next(number for number in range(20, 50) if wii[at + number // 8] >> 7 - number % 8 & 1)
    device = opened(changed(wii, at + block // 8, bytes([wii[at + block // 8] ^ 0x80 >> block % 8])))
    with pytest.raises(FormatError, match="group 1 of the partition at 0x50000 cannot be rebuilt"):
        device.pread(block * BLOCK, 1)
    far = 0x70000 + 2 * (2 << 20)  # another group of hashes
    assert device.pread(far, 0x20000) == expected[far : far + 0x20000]


@pytest.mark.parametrize(("at", "new"), [(0, b"ABCD"), (6, b"\7")])
def test_junk_may_be_made_of_the_partitions_own_id(wii: bytes, at: int, new: bytes) -> None:
    """NKit takes the id in the partition, which need not be that of the disc."""
    whole = opened(wii)
    device = opened(changed(wii, 0x8000 + at, new))
    assert device.pread(0x70000, 0x400000) == whole.pread(0x70000, 0x400000)


def test_on_the_gamecube_junk_is_that_of_the_discs_id(gamecube: bytes) -> None:
    device = opened(gamecube)
    assert device.pread(0x1F8000, 0x8000) == junk.stream(b"GIMP", 0, 0x1F8000, 0x8000)
    assert device.pread(0x1F7FF0, 0x20) == junk.stream(b"GIMP", 0, 0x1F7FF0, 0x20)


def header(version: bytes = b"2", size: int = 68, flags: int = 0x5F, disc: int = 0x200000) -> bytes:
    return (b"NKIT  v" + version + struct.pack(">HHQ", size, flags, disc)).ljust(68, b"\1")


def test_fields_are_there_as_the_flags_say() -> None:
    bits = bytes(range(256)) * 128
    sums = [b"c" * 4, b"m" * 16, b"s" * 20, b"x" * 8]
    head = b"NKIT  v2" + struct.pack(">HHQ", 20 + 20, 0x09, 1 << 20) + sums[2]
    assert NKit.read(MemoryDevice(head + bits), 0, 0x200000, "wbfs") == NKit(1 << 20, sums[2], bits[:508])
    head = b"NKIT  v2" + struct.pack(">HHQ", 68, 0x1F, 5) + b"".join(sums)
    nkit = NKit.read(MemoryDevice(b"_" * 9 + head + bits), 9, 0x8000, "wbfs")
    assert nkit == NKit(5, sums[2], bits[: -(-8511160320 // 0x8000 // 8)])
    assert [number for number in range(32) if nkit.is_junk(number)] == [15, 22, 30, 31]
    assert not nkit.is_junk(1 << 40)


@pytest.mark.parametrize("head", [b"", b"NKIT", b"NKIT v01".ljust(99), header()[:11]])
def test_nothing_of_nkits(head: bytes) -> None:
    assert NKit.read(MemoryDevice(head), 0, BLOCK, "ciso_gc") is None


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (header(b"1"), "ciso_gc: NKit version 1"),
        (header(b"3"), "ciso_gc: NKit version 3"),
        (header(flags=0x5E), "ciso_gc: NKit with flags 0x5e"),
        (header(flags=0xDF), "ciso_gc: NKit with flags 0xdf"),
    ],
)
def test_what_is_not_read_is_named(head: bytes, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        NKit.read(MemoryDevice(head + bytes(1 << 16)), 0, BLOCK, "ciso_gc")


@pytest.mark.parametrize(
    "head", [header(size=11), header(size=0xFFFF), header(size=12), header(disc=0), header(disc=1 << 40)]
)
def test_headers_that_lie(head: bytes) -> None:
    with pytest.raises(FormatError, match="NKit"):
        NKit.read(MemoryDevice(head + bytes(1 << 17)), 0, BLOCK, "ciso_gc")
    with pytest.raises(FormatError):
        NKit.read(MemoryDevice(header() + bytes(10)), 0, BLOCK, "ciso_gc")


@pytest.mark.parametrize("place", range(8))
def test_truncated(wii: bytes, place: int) -> None:
    """A file that is cut short has no NKit header: it is a CISO without what is missing."""
    whole: BlockDevice = opened(wii)
    try:
        device: BlockDevice = opened(wii[: len(wii) * place // 8])
    except ImageError:
        return
    for offset in range(0, device.size, 0x8000):
        try:
            data = device.pread(offset, 0x8000)
        except ImageError:
            continue
        assert data in (whole.pread(offset, 0x8000), bytes(0x8000))


def test_the_fixture_is_what_it_says(wii: bytes) -> None:
    at = bits_at(wii) - 68
    device = opened(wii)
    assert hashlib.md5(device.pread(0, device.size)).digest() == wii[at + 24 : at + 40]
