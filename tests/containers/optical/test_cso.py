"""CSO, ZSO and DAX that are damaged or hostile, the other CISO, LZ4 without its library; what others made."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path

import pytest

from conformance import check_device, sha256
from helpers import FIXTURES, IMAGES, context, image
from imgmount.chain.open import open_image
from imgmount.codecs import lz4
from imgmount.containers.optical import cso, dax, zso
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Match
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError

CONTAINERS = FIXTURES / "containers"
CSO = (CONTAINERS / "cso" / "v1" / "plain.cso").read_bytes()
ZSO = (CONTAINERS / "zso" / "plain" / "packed.zso").read_bytes()
DAX = (CONTAINERS / "dax" / "plain" / "v1.dax").read_bytes()
FORMATS: dict[str, tuple[ContainerFormat, bytes]] = {
    "cso": (cso.FORMAT, CSO),
    "zso": (zso.FORMAT, ZSO),
    "dax": (dax.FORMAT, DAX),
}
INDEX = 24


def opened(name: str, data: bytes) -> BlockDevice:
    device: BlockDevice = FORMATS[name][0].open(MemoryDevice(data), context())
    return device


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


@pytest.mark.parametrize("name", ["cso", "zso"])
@pytest.mark.parametrize("entry", [0x7FFFFFFF, 0, 24], ids=["past the end", "zero", "descending"])
def test_a_wrong_index_entry_costs_its_blocks_alone(name: str, entry: int) -> None:
    data = FORMATS[name][1]
    content = opened(name, data).pread(0, 1 << 20)
    damaged = opened(name, patched(data, INDEX + 4 * 10, struct.pack("<I", entry)))
    with pytest.raises(FormatError):
        damaged.pread(10 * 2048, 2048)
    assert damaged.pread(0, 9 * 2048) == content[: 9 * 2048]
    assert damaged.pread(11 * 2048, 40000) == content[11 * 2048 : 11 * 2048 + 40000]


@pytest.mark.parametrize("name", FORMATS)
def test_damage_costs_its_block_alone(name: str) -> None:
    data, block = FORMATS[name][1], 8192 if name == "dax" else 2048
    content = opened(name, data).pread(0, 1 << 20)
    first = struct.unpack_from("<2I", data, 32 if name == "dax" else INDEX)
    damaged = opened(name, patched(data, first[0], b"\xff" * (first[1] - first[0])))
    with pytest.raises(FormatError, match="block 0"):
        damaged.pread(0, 1)
    assert damaged.pread(block, len(content)) == content[block:]


@pytest.mark.parametrize(
    ("name", "offset", "new"),
    [
        *((name, 8, struct.pack("<Q", size)) for name in ("cso", "zso") for size in (0, 1 << 60, 1 << 40)),
        *((name, 16, struct.pack("<I", size)) for name in ("cso", "zso") for size in (0, 1, 1 << 31)),
        *((name, 21, bytes([32])) for name in ("cso", "zso")),
        ("dax", 4, struct.pack("<I", 0)),
        ("dax", 4, struct.pack("<I", 0xFFFFFFFF)),
        ("dax", 12, struct.pack("<I", 0xFFFFFFFF)),
    ],
)
def test_impossible_headers_are_refused(name: str, offset: int, new: bytes) -> None:
    with pytest.raises(FormatError):
        opened(name, patched(FORMATS[name][1], offset, new))


@pytest.mark.parametrize(("name", "offset"), [("cso", 20), ("zso", 20), ("dax", 8)])
def test_unknown_versions_are_refused_by_number(name: str, offset: int) -> None:
    with pytest.raises(UnsupportedError, match=f"{name}: version 9"):
        opened(name, patched(FORMATS[name][1], offset, b"\x09"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_file_is_an_error_wherever_it_is_cut(name: str) -> None:
    data = FORMATS[name][1]
    for end in [*range(4, 40, 5), *range(40, len(data), len(data) // 50), len(data) - 1]:
        try:
            disk = opened(name, data[:end])
        except ImageError:
            continue
        with pytest.raises(ImageError):
            disk.pread(0, disk.size)


def test_the_ciso_of_gamecube_discs_is_another_format() -> None:
    gamecube = (
        struct.pack("<4sI", b"CISO", 0x200000) + bytes([1, 1, 0, 1]).ljust(0x8000 - 8, b"\0") + bytes(100)
    )
    assert cso.FORMAT.probe(MemoryDevice(gamecube)) is Match.NO
    assert cso.FORMAT.probe(MemoryDevice(CSO)) is Match.CERTAIN
    assert cso.FORMAT.probe(MemoryDevice(patched(CSO, 4, bytes(4)))) is Match.CERTAIN


def test_lz4_without_its_library_decodes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    block = pytest.importorskip("lz4.block")
    rng = random.Random(1)
    samples = [
        b"",
        b"a",
        b"ab" * 5000,
        bytes(100_000),
        rng.randbytes(3000),
        b"".join(rng.choices([b"abc", b"f" * 30], k=5000)),
    ]
    monkeypatch.setattr(lz4, "_library", None)
    for sample in samples:
        coded = block.compress(sample, store_size=False)
        assert lz4.decode(coded, len(sample)) == sample
        assert lz4.decode(coded + b"padding", len(sample)) == sample
        for wrong in (len(sample) + 1, max(0, len(sample) - 1)):
            if wrong and wrong != len(sample):
                with pytest.raises(FormatError):
                    lz4.decode(coded, wrong)
    for _ in range(300):
        with pytest.raises(FormatError):
            assert len(lz4.decode(rng.randbytes(40), 1 << 16)) == 0


@pytest.mark.parametrize("row", [row for row in json.loads((IMAGES / "INDEX.json").read_text())
                                 if row["family"] == "cso" and Path(row["file"]).suffix != ".iso"]
                         if IMAGES.exists() else [], ids=lambda row: str(row["file"]))  # fmt: skip
def test_images_that_others_made(row: dict[str, object]) -> None:
    with open_image(image(str(row["file"]))) as found:
        assert [found.disk.size, sha256(found.disk)] == row["raw"]


def test_dax_with_deflate_that_has_no_header() -> None:
    """Some writers leave the zlib header and checksum out, in whole files."""
    disc = opened("dax", DAX).pread(0, 1 << 20)
    for padded in (False, True):
        blocks = [disc[at : at + 8192] for at in range(0, len(disc), 8192)]
        coded = [raw_deflate(block.ljust(8192, b"\0") if padded else block) for block in blocks]
        places, at = [], 32 + 6 * len(coded)
        for data in coded:
            places.append(at)
            at += len(data)
        header = struct.pack("<4sIII16x", b"DAX\0", len(disc), 0, 0)
        tables = struct.pack(f"<{len(coded)}I{len(coded)}H", *places, *map(len, coded))
        device = opened("dax", header + tables + b"".join(coded))
        check_device(device, disc)


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()
