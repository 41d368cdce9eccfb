"""Where the files lie that an image names: beside it, in the folders of --refs, and under ``any`` where it says."""

from __future__ import annotations

import os
import resource
from itertools import pairwise
from pathlib import Path

import pytest

from helpers import tool
from imgmount.chain.open import open_image
from imgmount.core.format import Options
from imgmount.errors import ImageError, MissingPartError, MountError, UnsupportedError
from imgmount.sources.siblings import FolderSiblings
from vdisk import create, run, scribble

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """home/disk, and other files called base in far/, third/ and home/below/."""
    for name in ("home", "far", "third", "home/below"):
        (tmp_path / name).mkdir()
    (tmp_path / "home/disk").write_bytes(b"disk")
    for folder in ("far", "third", "home/below"):
        (tmp_path / folder / "base").write_bytes(folder.encode())
    (tmp_path / "third/only").write_bytes(b"only")
    (tmp_path / "home/link").symlink_to("../far/base")
    os.mkfifo(tmp_path / "home/fifo")
    return tmp_path


def found(tree: Path, name: str, *refs: str) -> bytes:
    siblings = FolderSiblings(tree / "home/disk", refs)
    try:
        return siblings.open(name).pread(0, 100)
    finally:
        siblings.close()


def test_folders_are_looked_into_in_order_behind_the_images_own(tree: Path) -> None:
    far, third = str(tree / "far"), str(tree / "third")
    for name in ("base", "/nowhere/base", "../base", "BASE", "C:\\disks\\base"):
        assert found(tree, name, far, third) == b"far"
        assert found(tree, name, third, "same-dir", far) == b"third"
    assert found(tree, "only", far, third) == b"only"
    (tree / "home/Base").write_bytes(b"home")
    assert found(tree, "base", far) == b"far", "an exact name anywhere goes before another case"
    (tree / "home/base").write_bytes(b"home")
    assert found(tree, "base", far) == b"home"
    assert FolderSiblings(tree / "home/disk", [far, third]).names() == ["Base", "base", "disk", "only"]


@pytest.mark.parametrize("refs", [(), ("same-dir",)])
@pytest.mark.parametrize("name", ["base", "below/base", "{}/far/base", "file:{}/far/base", "link"])
def test_nothing_is_followed_unasked(tree: Path, name: str, refs: tuple[str, ...]) -> None:
    name = name.format(tree)
    with pytest.raises(MissingPartError, match="--refs DIR") as caught:
        found(tree, name, *refs)
    assert name in str(caught.value)
    assert ("--refs any" in str(caught.value)) == ("/" in name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("{}/far/base", b"far"),
        ("file:{}/far/base", b"far"),
        ("file://{}/far/base", b"far"),
        ("below/base", b"home/below"),
        ("./below//base", b"home/below"),
        ("below\\base", b"home/below"),
        ("link", b"far"),
        ("../third/only", b"only"),
        ("below/../../third/only", b"only"),
        ("{}/home/../third/only", b"only"),
        ("..\\third\\only", b"only"),
    ],
)
def test_any_follows_what_the_image_says(tree: Path, name: str, content: bytes) -> None:
    assert found(tree, name.format(tree), "any") == content


def test_under_any_what_the_image_says_goes_before_what_lies_beside_it(tree: Path) -> None:
    (tree / "home/base").write_bytes(b"home")
    assert found(tree, f"{tree}/far/base", "any") == b"far"
    assert found(tree, f"{tree}/nowhere/base", "any") == b"home"
    assert found(tree, "base", "any", str(tree / "far")) == b"home"


@pytest.mark.parametrize("refs", [(), ("any",), ("{}/far", "any")])
@pytest.mark.parametrize(
    "name",
    [
        *("..", "fifo", "/dev/null", "/dev/zero", "{}/far", "", "/", "a\0b", "\ud800"),
    ],
)
def test_what_is_never_followed(tree: Path, name: str, refs: tuple[str, ...]) -> None:
    with pytest.raises(MissingPartError):
        found(tree, name.format(tree), *(ref.format(tree) for ref in refs))


@pytest.mark.parametrize("refs", [(), ("any",)])
@pytest.mark.parametrize(
    "name", ["nbd://host/base", "json:{}", "https://host/base", "fat:/tmp", "ssh://me@host/base"]
)
def test_what_is_no_file_is_refused(tree: Path, name: str, refs: tuple[str, ...]) -> None:
    (tree / "home/base").write_bytes(b"home")
    with pytest.raises(UnsupportedError, match="is not a file"):
        found(tree, name, *refs)


def test_a_colon_may_be_in_a_files_name(tree: Path) -> None:
    (tree / "home/Game: the disc.bin").write_bytes(b"track")
    assert found(tree, "Game: the disc.bin") == b"track"


@pytest.mark.parametrize("ref", ["nowhere", "home/disk"])
def test_a_folder_that_is_none_is_refused(tree: Path, ref: str) -> None:
    with pytest.raises(MountError, match="--refs"):
        open_image(tree / "home/disk", Options(refs=[str(tree / ref)]))


def backed(image: Path, base: object, size: int = MIB, fmt: str = "qcow2") -> Path:
    run(tool("qemu-img"), "create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", fmt, image, size)
    return image


def test_parents_name_files_beside_themselves(tmp_path: Path) -> None:
    """home/top -> far/middle -> far/base, and a home/base that is not meant."""
    (tmp_path / "home").mkdir()
    (tmp_path / "far").mkdir()
    base = scribble(create(tmp_path / "far/base", "raw", MIB), "raw", MIB)
    scribble(create(tmp_path / "home/base", "raw", MIB), "raw", MIB, seed=2)
    middle = backed(tmp_path / "far/middle", "base", fmt="raw")
    top = backed(tmp_path / "home/top", middle)
    with pytest.raises(MissingPartError, match="--refs any follows"):
        open_image(top)
    for refs in (["any"], [str(tmp_path / "far")]):
        with open_image(top, Options(refs=refs)) as opened:
            assert opened.disk.pread(0, MIB) == base.read_bytes()
            assert opened.opened == [top, middle, base]


def test_loops_and_depth_end_under_any(tmp_path: Path) -> None:
    folders = [tmp_path / f"d{number}" for number in range(70)]
    for folder, following in pairwise(folders):
        folder.mkdir()
        backed(folder / "disk", following / "disk")
    folders[-1].mkdir()
    backed(folders[-1] / "disk", folders[0] / "disk")
    with pytest.raises(ImageError, match="more than 64"):
        open_image(folders[0] / "disk", Options(refs=["any"]))
    backed(folders[5] / "disk", folders[3] / "disk")
    with pytest.raises(ImageError, match="own parent"):
        open_image(folders[3] / "disk", Options(refs=["any"]))
    (tmp_path / "alias").symlink_to(folders[3])
    backed(folders[5] / "disk", tmp_path / "alias/disk")
    with pytest.raises(ImageError, match="own parent"):
        open_image(folders[3] / "disk", Options(refs=["any"]))


def test_more_files_than_a_process_usually_has_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1400:
        pytest.skip("the system allows no more descriptors")
    names = [f"part{number}" for number in range(1200)]
    for name in names:
        (tmp_path / name).touch()
    siblings = FolderSiblings(tmp_path / "image")
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        for name in names:
            siblings.open(name)
    finally:
        siblings.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
