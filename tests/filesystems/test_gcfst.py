from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from conformance import tree
from helpers import context, image
from imgmount.chain.open import open_image
from imgmount.core.node import File, Filesystem
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.gcfst import FORMAT, probe

FST = 0x4000
Node = tuple[int, int, int, int]  # kind, name, A, B


def disc(nodes: Sequence[Node], names: bytes, size: int = 0x8000, gamecube: bool = True) -> MemoryDevice:
    data = bytearray(size)
    data[:6] = b"GXXE01"
    data[0x20:0x24] = "\u30c6\u30b9".encode("cp932")
    fst = b"".join(struct.pack(">III", kind << 24 | name, a, b) for kind, name, a, b in nodes) + names
    struct.pack_into(">I", data, 0x1C if gamecube else 0x18, 0xC2339F3D if gamecube else 0x5D1C9EA3)
    shift = 0 if gamecube else 2
    struct.pack_into(">III", data, 0x424, FST >> shift, -(-len(fst) // 4) * 4 >> shift, len(fst))
    data[FST : FST + len(fst)] = fst
    return MemoryDevice(bytes(data))


def opened(nodes: Sequence[Node], names: bytes) -> Filesystem:
    return FORMAT.open(disc(nodes, names), context())


def paths(volume: Filesystem) -> list[str]:
    return [path for path, _ in tree(volume.root) if path.startswith("files/")]


def test_names_from_japan_and_names_that_are_none() -> None:
    names = b"\0" + "\u30c6\u30b9\u30c8.txt".encode("cp932") + b"\0../../etc\0..\0a\x81\0"
    starts = [0, 1, names.index(b"../.."), names.index(b"..\0a"), names.index(b"a\x81"), 1]
    volume = opened([(1, 0, 0, 7), *((0, start, 0x100, 1) for start in starts)], names)
    expected = [
        "_",
        "\u30c6\u30b9\u30c8.txt",
        "..\u2215..\u2215etc",
        "__",
        "a\udc81",
        "\u30c6\u30b9\u30c8 (1).txt",
    ]
    assert paths(volume) == [f"files/{name}" for name in expected]
    assert volume.label == "\u30c6\u30b9"


@pytest.mark.parametrize(
    "nodes",
    [
        [(1, 0, 0, 3), (1, 0, 0, 1), (0, 0, 0, 1)],  # ends before itself
        [(1, 0, 0, 3), (1, 0, 0, 0), (0, 0, 0, 1)],  # the root again
        [(1, 0, 0, 3), (1, 0, 0, 4), (0, 0, 0, 1)],  # past its parent's end
        [(1, 0, 0, 2), (7, 0, 0, 1)],
        [(1, 0, 0, 2), (0, 0xFFFFFF, 0, 1)],
    ],
)
def test_loops_and_lies_end_the_listing(nodes: list[Node]) -> None:
    volume = opened(nodes, b"x\0")
    with pytest.raises(FormatError, match=r"(directory|node) 1"):
        paths(volume)


def test_overlapping_files_and_files_past_the_end() -> None:
    volume = opened(
        [(1, 0, 0, 5), (0, 0, 0, 0), (0, 2, 0, 64), (0, 4, 32, 64), (0, 6, 0x7FF0, 0x20)], b"a\0b\0c\0d\0"
    )
    files = {
        path[6:]: node
        for path, node in tree(volume.root)
        if isinstance(node, File) and path.startswith("files/")
    }
    assert files["a"].open().size == 0
    assert files["b"].open().pread(32, 32) == files["c"].open().pread(0, 32)
    with pytest.raises(ImageError):
        files["d"].open().pread(0, 0x20)
    assert len({node.id for node in files.values()}) == 4


def test_wii_offsets_are_stored_divided_by_four() -> None:
    volume = FORMAT.open(disc([(1, 0, 0, 2), (0, 0, 0x1000 >> 2, 9)], b"a\0", gamecube=False), context())
    node = dict(tree(volume.root))["files/a"]
    assert isinstance(node, File)
    assert [(run.length, run.offset) for run in node.open().extents(0, 9)] == [(9, 0x1000)]


@pytest.mark.parametrize("root", [(0, 0, 0, 1), (1, 0, 0, 0), (1, 0, 0, 0xFFFF)])
def test_no_root_no_volume(root: Node) -> None:
    device = disc([root], b"\0")
    assert not probe(device)
    with pytest.raises(FormatError):
        FORMAT.open(device, context())


RAW = "0d2bd897f33aba706fd767155d871dc34f7a8c0f07092b3a737faad087a51328"


@pytest.mark.parametrize("name", ["dolphin-tool-js__{}.iso", "igir__{}.gcz", "igir__{}.rvz", "igir__{}.wia"])
def test_discs_made_by_others(name: str) -> None:
    from conformance import manifest, sha256

    with open_image(image(f"gc-wii/emmercm__{name.format('GameCube-240pSuite-1.19')}")) as found:
        assert str(found).endswith("gcfst")
        assert sha256(found.disk) == RAW
        banner = manifest(found.volumes[0].filesystem.root)["files/opening.bnr"]
        assert banner == (6496, "12683444190965f7603993dc1b1d435018e121bddc7f660260dcb440244f2dca")


def test_nkit_is_told() -> None:
    with open_image(image("gc-wii/emmercm__igir__GameCube-240pSuite-1.19.nkit.iso")) as found:
        assert found.volumes[0].filesystem.info()["nkit"].startswith("v01")
        assert found.volumes[0].filesystem.label == "GAMECUBE HOMEBREW BOOTLOADER"
