"""WIM: what the fixtures cannot show."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from itertools import accumulate
from pathlib import Path

import pytest

from conformance import check_tree, manifest, sha256, tree
from counting_device import CountingDevice
from filesystems.wim_writer import HEADER, Entry, Wim, metadata
from fixture import Fixture, all_fixtures, fixture_trees, unpack
from helpers import FIXTURES, context, image, tool, wrong
from imgmount.chain.open import Image, open_image
from imgmount.codecs import libwim
from imgmount.core.cache import Content, ReadCache
from imgmount.core.device import BlockDevice
from imgmount.core.format import Options
from imgmount.core.node import Directory, File, Node, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, MissingPartError, MountError, UnsupportedError
from imgmount.filesystems.wim import FORMAT
from imgmount.filesystems.wim.chunks import Layout, SolidLayout
from imgmount.filesystems.wim.volume import WimVolume
from imgmount.jobs.verify import problems


class _Noting(CountingDevice):
    """``seen`` are the (start, end) of all reads."""

    def __init__(self, device: BlockDevice) -> None:
        super().__init__(device)
        self.seen: list[tuple[int, int]] = []

    def _pread(self, offset: int, size: int) -> bytes:
        self.seen.append((offset, offset + size))
        return super()._pread(offset, size)


WIM = FIXTURES / "filesystems/wim"
NEEDS_LIBWIM = ("lzms", "esd", "solidlzx")  # the metadata of all three is LZMS
READABLE = [one for one in all_fixtures() if one.format == "wim" and one.variant not in NEEDS_LIBWIM]


def volume(opened: Image) -> WimVolume:
    filesystem = opened.volumes[0].filesystem
    assert isinstance(filesystem, WimVolume)
    return filesystem


def find(root: Directory, path: str) -> Node:
    node: Node = root
    for name in path.split("/"):
        assert isinstance(node, Directory)
        node = node.lookup(name)
    return node


def content(root: Directory, path: str) -> bytes:
    node = find(root, path)
    assert isinstance(node, File)
    device = node.open()
    return device.pread(0, device.size)


def unpacked(variant: str, folder: Path) -> Path:
    """The files of a fixture, unpacked; the path of ``disk.wim`` or ``part.swm``."""
    for stored in (WIM / variant).glob("*.xz"):
        unpack(stored, folder / stored.stem)
    return folder / ("part.swm" if variant == "split" else "disk.wim")


@pytest.mark.parametrize("fixture", READABLE, ids=str)
def test_without_libwim_all_but_lzms_is_read(
    fixture: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libwim, "library", lambda: None)
    with fixture.open(tmp_path) as opened:
        check_tree(volume(opened).root, fixture_trees(fixture.facts)["disk"])


@pytest.mark.parametrize("variant", NEEDS_LIBWIM)
def test_without_libwim_lzms_says_what_to_install(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libwim, "library", lambda: None)
    with (
        open_image(unpacked(variant, tmp_path)) as opened,
        pytest.raises(UnsupportedError, match="apt install libwim15"),
    ):
        content(volume(opened).root, "prose")


def test_facts_of_unix(tmp_path: Path) -> None:
    with open_image(unpacked("lzx", tmp_path)) as opened:
        root = volume(opened).root
        stat = find(root, "readme.txt").stat()
        assert (stat.mode, stat.size, stat.nlink) == (0o100750, 20, 1)
        assert (stat.atime_ns, stat.mtime_ns) == (1600000000123456700, 1500000000987654300)
        xattrs = find(root, "readme.txt").xattrs()
        assert (xattrs["user.note"], xattrs["user.long"]) == (b"of readme.txt", b"v" * 501)
        assert xattrs["user.wim.attributes"] == b"0x00000080"
        assert find(root, "deep/a").xattrs()["user.note"] == b"of deep/a"
        names = [find(root, path) for path in ("prose", "deep/linked", "deep/a/linked too")]
        assert len({node.id for node in names}) == 1
        assert {(node.stat().nlink, node.stat().uid, node.stat().gid) for node in names} == {(3, 1234, 7000)}
        link = find(root, "short-link")
        assert isinstance(link, Symlink)
        assert link.stat().size == len(link.readlink())
        assert find(root, "CASE").id == find(root, "Case").id != find(root, "case").id
        assert root.xattr_prefixes == ("user.", "trusted.", "security.", "system.")


def test_facts_of_windows(tmp_path: Path) -> None:
    with open_image(unpacked("ntfs", tmp_path)) as opened:
        root = volume(opened).root
        xattrs = find(root, "streams.txt").xattrs()
        assert xattrs["user.ads.Zone.Identifier"].startswith(b"[ZoneTransfer]")
        assert len(xattrs["user.ads.big one"]) == 9000
        assert xattrs["user.wim.attributes"] == b"0x00000020"
        assert xattrs["user.wim.created"].startswith(b"2026-")
        assert xattrs["user.wim.owner"] == xattrs["user.wim.group"] == b"S-1-5-32-544"
        assert xattrs["user.wim.security_descriptor"][:4] == b"\1\0\4\x80"
        assert find(root, "dir").xattrs()["user.ads.on a directory"]
        tag, size, _ = struct.unpack_from(
            "<IHH", point := find(root, "junction").xattrs()["user.wim.reparse"]
        )
        assert (tag, size) == (0xA000_0003, len(point) - 8)
        assert root.xattr_prefixes == ("user.",)


def test_a_compressed_file_of_ntfs_is_refused_not_shown_as_its_hole(tmp_path: Path) -> None:
    """wimlib captures it raw: its own data are zeros, and what Windows makes of them is in a stream."""
    unpack(FIXTURES / "filesystems/ntfs/features/features.img.xz", tmp_path / "disk.ntfs")
    capture(tmp_path / "disk.ntfs", tmp_path / "raw.wim", "--compress=none")
    with open_image(tmp_path / "raw.wim") as opened:
        root = volume(opened).root
        node = find(root, "lzx.txt")
        assert node.stat().size > 100000
        with pytest.raises(
            UnsupportedError, match="a compressed file, or a pointer into a WIM, whose content"
        ):
            content(root, "lzx.txt")
        assert node.xattrs()["user.wim.reparse"][:4] == b"\x17\0\0\x80"
        assert content(root, "streams.txt")


def capture(source: Path, target: Path, *options: str) -> None:
    command = [tool("wimlib-imagex"), "capture", str(source), str(target), *options]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("opened_part", ["part.swm", "part2.swm", "part3.swm"])
def test_a_set_opens_from_any_part(opened_part: str, tmp_path: Path) -> None:
    unpacked("split", tmp_path)
    (tmp_path / "part2.swm").rename(tmp_path / "PART2.SWM")
    (tmp_path / "part3.swm").rename(tmp_path / "other name.swm")
    path = tmp_path / {"part2.swm": "PART2.SWM", "part3.swm": "other name.swm"}.get(opened_part, opened_part)
    expected = next(one for one in all_fixtures() if one.variant == "split" and one.format == "wim")
    with open_image(path) as opened:
        assert manifest(volume(opened).root) == fixture_trees(expected.facts)["disk"]
        assert volume(opened).info()["parts"] == "3 of 3"
        assert volume(opened).info()["missing content"] == "none"


def test_parts_that_are_missing(tmp_path: Path) -> None:
    unpacked("split", tmp_path)
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / "part3.swm").rename(away / "part3.swm")
    with open_image(tmp_path / "part.swm") as opened:
        info = volume(opened).info()
        assert (info["parts"], info["missing parts"]) == ("2 of 3", "3")
        lost = []
        for path, node in tree(volume(opened).root):
            if isinstance(node, File):
                try:
                    node.open()
                except MissingPartError as exc:
                    assert "--refs" in str(exc)  # noqa: PT017
                    lost.append(path)
        assert lost
        assert info["missing content"] == f"{len(lost)} blobs"
        assert "part 3 is missing" in wrong(opened.volumes[0].check())
    with open_image(tmp_path / "part.swm", Options(refs=[str(away)])) as opened:
        assert volume(opened).info()["parts"] == "3 of 3"
    (tmp_path / "part.swm").unlink()
    with (
        open_image(tmp_path / "part2.swm") as opened,
        pytest.raises(MissingPartError, match=r"'part\.swm', part 1 of 3"),
    ):
        volume(opened)


def test_a_delta_wim_finds_its_base(tmp_path: Path) -> None:
    source, base, delta = tmp_path / "source", tmp_path / "base", tmp_path / "delta"
    for folder in (source, base, delta):
        folder.mkdir()
    (source / "old").write_bytes(b"was there before" * 5000)
    capture(source, base / "base.wim", "--compress=LZX")
    (source / "new").write_bytes(b"came later" * 5000)
    capture(source, delta / "delta.wim", f"--delta-from={base / 'base.wim'}")
    with open_image(delta / "delta.wim") as opened:
        root = volume(opened).root
        assert content(root, "new") == b"came later" * 5000
        assert find(root, "old").stat().size == 0
        with pytest.raises(MissingPartError):
            content(root, "old")
        assert volume(opened).info()["missing content"] == "1 blobs"
    with open_image(delta / "delta.wim", Options(refs=[str(base)])) as opened:
        assert content(volume(opened).root, "old") == b"was there before" * 5000
        assert volume(opened).info()["missing content"] == "none"


def test_images_are_read_when_they_are_entered(tmp_path: Path) -> None:
    with open_image(unpacked("images", tmp_path)) as opened:
        wim = volume(opened)
        assert [name for name, _ in wim.root.entries()] == ["1", "2", "3", "Home", "Pro\\x2fN"]
        assert all(node.stat() for _, node in wim.root.entries())
        assert [one._metadata for one in wim.images] == [None] * 3
        assert wim.blobs._tables == []
        assert content(wim.root, "2/only.txt") == b"only here\n"
        assert [one._metadata is None for one in wim.images] == [True, False, True]
        assert wim.info()["image 1"].startswith("Home, edition Core, build 10.0.26100.1742, x64, en-GB, ")
        assert wim.info()["boot image"] == "3"
        one, two = find(wim.root, "1/prose"), find(wim.root, "2/the same prose")
        assert one.id != two.id


def test_entering_one_of_ten_images_reads_its_metadata_alone() -> None:
    images = [metadata([Entry(f"{image} {number}") for number in range(300)]) for image in range(1, 11)]
    starts = list(accumulate(map(len, images), initial=HEADER))
    device = _Noting(MemoryDevice(Wim(images).pack()))
    root = FORMAT.open(device, context()).root
    assert all(node.stat() for _, node in root.entries())
    assert all(end <= starts[0] or start >= starts[-1] for start, end in device.seen)
    device.seen.clear()
    seventh = root.lookup("7")
    assert isinstance(seventh, Directory)
    assert [name for name, _ in seventh.entries()] == [f"7 {number}" for number in range(300)]
    assert all((starts[6] <= start and end <= starts[7]) or start >= starts[-1] for start, end in device.seen)


@pytest.mark.parametrize(("chosen", "shown"), [("1", "readme.txt"), ("Pro/N", "only.txt"), ("2", "only.txt")])
def test_one_image_of_several(chosen: str, shown: str, tmp_path: Path) -> None:
    with open_image(unpacked("images", tmp_path), Options(extra={"image": chosen})) as opened:
        assert shown in dict(volume(opened).root.entries())


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="image '9' is neither a number from 1 to 3 nor"):
        volume(open_image(unpacked("images", tmp_path), Options(extra={"image": "9"})))


def test_verify_reads_everything(tmp_path: Path) -> None:
    path = unpacked("xpress64k", tmp_path)
    with open_image(path) as opened:
        assert wrong(opened.volumes[0].check()) == []
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with open_image(path) as opened:
        found = wrong(opened.volumes[0].check())
        assert len(found) == 2
        assert found[0].endswith("do not match the integrity table")
        assert found[1].startswith(("SHA-1 of content is ", "the stored SHA-1 of content "))


@pytest.mark.parametrize("variant", ["esd", "split", "pipable", "none", "images"])
def test_verify_finds_nothing_wrong(variant: str, tmp_path: Path) -> None:
    with open_image(unpacked(variant, tmp_path)) as opened:
        assert wrong(opened.volumes[0].check()) == []


def test_verify_decodes_a_solid_wim_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = SolidLayout.decode

    def counted(layout: SolidLayout, first: int, count: int) -> Content:
        decoded.extend(range(first, first + count))
        return decode(layout, first, count)

    monkeypatch.setattr(SolidLayout, "decode", counted)
    with open_image(unpacked("esd", tmp_path)) as opened:
        assert list(problems(opened)) == []
    assert len(decoded) < 2 * len(
        set(decoded)
    )  # the files, in the order of the tree, would decode them again and again


def test_small_content_is_checked_on_read(tmp_path: Path) -> None:
    path = unpacked("none", tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"A WIM for imgmount.", b"A WIM for somebody."))
    with open_image(path) as opened:
        with pytest.raises(ChecksumError, match="does not match its SHA-1"):
            content(volume(opened).root, "readme.txt")
        assert content(volume(opened).root, "Case") == b"upper\n"


def test_a_chunk_larger_than_the_cache_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = Layout.decode

    def counted(layout: Layout, first: int, count: int) -> Content:
        decoded.append(first)
        return decode(layout, first, count)

    monkeypatch.setattr(Layout, "decode", counted)
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(noise := os.urandom(700_000))
    (source / "two").write_bytes(noise[::-1])
    capture(source, tmp_path / "disk.esd", "--solid", "--solid-chunk-size=1M")
    with open_image(tmp_path / "disk.esd", cache=ReadCache(1 << 20)) as opened:
        root = volume(opened).root
        device = find(root, "one").open()  # type: ignore[attr-defined]
        decoded.clear()
        for offset in range(0, device.size, 65536):
            assert device.pread(offset, 65536) == noise[offset : offset + 65536]
        assert len(decoded) <= 2
        assert sha256(find(root, "two").open()) == sha256_of(noise[::-1])  # type: ignore[attr-defined]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "name", ["cyclic", "dotdot", "duplicate_names", "corrupted_file_1", "corrupted_file_2"]
)
def test_the_hostile_images_of_wimlib_are_contained(name: str, tmp_path: Path) -> None:
    shutil.copy(image(f"wim/ebiggers__wimlib__{name}.wim"), tmp_path / "disk.wim")
    with open_image(tmp_path / "disk.wim") as opened:
        root = volume(opened).root
        if name == "cyclic":
            assert root.listing().damage is None
            looped = find(root, "1")
            assert isinstance(looped, Directory)
            assert looped.listing().damage is not None
        elif name == "dotdot":
            assert {part for path, _ in tree(root) for part in path.split("/")} == {
                "\\x2e\\x2e",
                "etc",
                "passwd",
            }
        elif name == "duplicate_names":
            assert [node for node, _ in root.entries()] == ["1", "1 (1)", "1 (2)"]
        else:
            assert len(wrong(opened.volumes[0].check())) == 1
            with pytest.raises(Exception, match=r"SHA-1|does not decompress"):
                content(root, "file")


def test_old_attributes_of_linux() -> None:
    with open_image(image("wim/ebiggers__wimlib__linux_xattrs_old.wim")) as opened:
        found = find(volume(opened).root, "file").xattrs()
        assert [found[f"user.{name}"] for name in ("a", "aaaa", "bb", "bbbb")] == [b"v", b"v", b"vb", b"vbbb"]


def test_a_packed_wim_is_read_too(tmp_path: Path) -> None:
    shutil.copy(WIM / "lzx/disk.wim.xz", tmp_path)
    with open_image(tmp_path / "disk.wim.xz") as opened:
        assert str(opened) == "file > xz > wim"
        assert content(volume(opened).root, "readme.txt") == b"A WIM for imgmount.\n"
