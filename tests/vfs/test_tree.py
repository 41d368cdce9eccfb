"""Which files a mount shows, for each kind of image and view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fake_tree import Fixed, Plain
from imgmount import registry
from imgmount.chain.open import Image, open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import (
    ContainerFormat,
    Context,
    FilesystemFormat,
    Match,
    Options,
    Partition,
    PartitionsFormat,
)
from imgmount.core.node import Directory, Filesystem, Node, Symlink
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError, UnknownFormatError, UnsupportedError
from imgmount.vfs.nodes import RawFile
from imgmount.vfs.tree import View, build_vfs

SECTOR = 512


class Tree(Filesystem):
    """One file, called after the first letters of its device.

    A device that says bad or unread cannot be opened.
    """

    def __init__(self, device: BlockDevice, _: Context) -> None:
        self.label = device.pread(0, 8).decode().strip()
        if self.label == "fs-bad":
            raise FormatError("fake", "no root", offset=0)
        if self.label == "fs-new":
            raise UnsupportedError("fake: version 9")
        self.uuid = f"{self.label[3:]}-uuid" if device.pread(8, 4) == b"uuid" else ""

    @property
    def root(self) -> Directory:
        return Fixed(0, {self.label: Plain(1, MemoryDevice(b"content"))})


def probe_tree(device: BlockDevice) -> Match:
    return Match.CERTAIN if device.pread(0, 3) == b"fs-" else Match.NO


def probe_table(device: BlockDevice) -> Match:
    return Match.LIKELY if device.pread(8, 5) == b"table" else Match.NO


def read_table(device: BlockDevice, _: Context) -> Sequence[Partition]:
    count = device.pread(13, 1)[0]
    return [
        Partition(
            5 if number == 3 else number,
            "0x07",
            f"part {number}",
            part,
            uuid=part.pread(12, 8).decode().strip("\0"),
        )
        for number in range(1, count + 1)
        if (part := Slice(device, number * SECTOR, SECTOR))
    ]


FORMATS = {
    ContainerFormat: [],
    PartitionsFormat: [PartitionsFormat(name="table", title="A table", open=read_table, probe=probe_table)],
    FilesystemFormat: [FilesystemFormat(name="tree", title="A tree", open=Tree, probe=probe_tree)],
}


@pytest.fixture(autouse=True)
def fake_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    def matches(kind: type[Any], device: BlockDevice, **_: bool) -> list[tuple[Match, Any]]:
        return [(fmt.probe(device), fmt) for fmt in FORMATS[kind] if fmt.probe(device)]  # type: ignore[attr-defined]

    monkeypatch.setattr(registry, "matches", matches)


def disk(tmp_path: Path, *parts: bytes, head: bytes = b"") -> Image:
    sectors = [(head.ljust(8) + b"table" + bytes([len(parts)])) if parts else head, *parts]
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(sector.ljust(SECTOR, b"\0") for sector in sectors))
    return open_image(path)


def paths(image: Image, view: View) -> list[str]:
    return [path for path, _ in build_vfs(image, view).walk()]


def test_one_filesystem_is_the_root(tmp_path: Path) -> None:
    image = disk(tmp_path, head=b"fs-one  ")
    assert paths(image, View.TREE) == ["/fs-one"]
    assert paths(image, View.RAW) == ["/disk.raw"]
    assert paths(image, View.ALL) == ["/disk.raw", "/disk", "/disk/fs-one"]
    assert str(image) == "file > tree"


def test_one_partition_is_the_root(tmp_path: Path) -> None:
    assert paths(disk(tmp_path, b"fs-a    "), View.TREE) == ["/fs-a"]


def test_several_are_folders_by_slot_number_with_labels(tmp_path: Path) -> None:
    image = disk(tmp_path, b"fs-a/b  ", b"swap", b"fs-..   ")
    vfs = build_vfs(image, View.TREE)
    assert [path for path, _ in vfs.walk()] == [
        "/p1", "/p1/fs-a∕b", "/p5", "/p5/fs-..", "/p2.raw",
        "/by-label", "/by-label/fs-a∕b", "/by-label/part 2", "/by-label/fs-..",
    ]  # fmt: skip
    link = vfs.find("/by-label/part 2")
    assert isinstance(link, Symlink)
    assert link.readlink() == "../p2.raw"
    assert vfs.notes == ["p2: no known filesystem: raw view"]
    assert str(image) == "file > table[3] > tree"


def test_links_by_uuid_lead_to_what_is_shown_of_a_volume(tmp_path: Path) -> None:
    image = disk(tmp_path, b"fs-a/b  uuid", b"swap        ../guid", b"fs-c    uuidguid", b"fs-c    uuidguid")
    vfs = build_vfs(image, View.TREE)
    targets = {path: node.readlink() for path, node in vfs.walk("/by-uuid") if isinstance(node, Symlink)}
    assert targets == {
        "/by-uuid/a\u2215b-uuid": "../p1", "/by-uuid/..\u2215guid": "../p2.raw",
        "/by-uuid/c-uuid": "../p5", "/by-uuid/guid": "../p5", "/by-uuid/c-uuid (1)": "../p4", "/by-uuid/guid (1)": "../p4",
    }  # fmt: skip
    assert len({vfs.inode(path, node) for path, node in vfs.walk()}) == len(list(vfs.walk()))


def test_raw_shows_the_disk_and_its_parts(tmp_path: Path) -> None:
    image = disk(tmp_path, b"fs-a    ", b"swap")
    assert paths(image, View.RAW) == ["/disk.raw", "/p1.raw", "/p2.raw"]
    assert paths(image, View.ALL) == ["/disk.raw", "/p1.raw", "/p2.raw", "/p1", "/p1/fs-a"]


def test_a_filesystem_that_leaves_room_for_a_table_is_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hybrid = FilesystemFormat(name="tree", title="A tree", open=Tree, probe=probe_tree, system_area=True)
    monkeypatch.setitem(FORMATS, FilesystemFormat, [hybrid])
    image = disk(tmp_path, b"fs-part ", head=b"fs-disc ")
    assert paths(image, View.TREE) == ["/fs-disc"]
    assert "/p1/fs-part" in paths(image, View.ALL)


def test_another_filesystem_around_a_table_whose_parts_hold_some_is_told_and_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = disk(tmp_path, b"fs-part ", head=b"fs-disc ")
    assert paths(image, View.TREE) == ["/fs-part"]
    assert {"/disk/fs-disc", "/p1/fs-part"} <= set(paths(image, View.ALL))
    assert "hidden, --partitions none shows it" in caplog.text


def test_a_filesystem_around_a_table_whose_parts_hold_none_is_the_root(tmp_path: Path) -> None:
    image = disk(tmp_path, b"noise", head=b"fs-disc ")
    assert paths(image, View.TREE) == ["/fs-disc"]
    assert "/p1.raw" in paths(image, View.RAW)
    with open_image(image.path, Options(partitions="table")) as divided:
        assert [volume.name for volume in divided.volumes] == ["p1"]


def test_nothing_to_browse_gives_the_raw_view_with_a_reason(tmp_path: Path) -> None:
    vfs = build_vfs(disk(tmp_path, head=b"noise"), View.TREE)
    assert [path for path, _ in vfs.walk()] == ["/disk.raw"]
    assert vfs.notes == ["no known filesystem: raw view"]


@pytest.mark.parametrize("parts", [(b"noise",), (b"noise", b"noise"), ()])
def test_a_tree_that_is_insisted_on_is_an_error_without_one(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    image = disk(tmp_path, *parts, head=b"noise")
    assert build_vfs(image, View.TREE).root
    with pytest.raises(UnknownFormatError, match=r"no known filesystem|no part of it"):
        build_vfs(image, View.TREE, or_raw=False)


def test_a_feature_that_is_missing_is_named(tmp_path: Path) -> None:
    vfs = build_vfs(disk(tmp_path, head=b"fs-new  "), View.TREE)
    assert vfs.notes == ["fake: version 9: raw view"]


def test_a_damaged_filesystem_is_an_error_but_not_for_the_raw_view(tmp_path: Path) -> None:
    image = disk(tmp_path, head=b"fs-bad  ")
    with pytest.raises(FormatError, match="no root"):
        build_vfs(image, View.TREE)
    assert paths(image, View.RAW) == ["/disk.raw"]


def test_a_damaged_volume_beside_a_sound_one_is_raw(tmp_path: Path) -> None:
    image = disk(tmp_path, b"fs-bad  ", b"fs-ok   ")
    vfs = build_vfs(image, View.TREE)
    assert [path for path, _ in vfs.walk()][:3] == ["/p2", "/p2/fs-ok", "/p1.raw"]
    assert vfs.notes == ["p1: fake: no root, at 0x0: raw view"]


def test_raw_files_hold_the_bytes(tmp_path: Path) -> None:
    vfs = build_vfs(disk(tmp_path, b"fs-a    ", b"swap"), View.RAW)
    node = vfs.find("/p2.raw")
    assert node.stat().size == SECTOR
    with node.open() as device:  # type: ignore[attr-defined]
        assert device.pread(0, 5) == b"swap\0"
    with node.open() as device:  # type: ignore[attr-defined]
        assert device.pread(0, 4) == b"swap", "closing one handle leaves the disk open"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ImageError, match="empty"):
        open_image(tmp_path / "empty")


def test_a_partition_that_lies_outside_the_disk_does_not_spoil_the_others() -> None:
    beyond = Slice(MemoryDevice(bytes(SECTOR)), 10 * SECTOR, 4 * SECTOR)
    assert RawFile(2, beyond, 0).stat().allocated == 4 * SECTOR
    with pytest.raises(ImageError, match="outside"):
        RawFile(2, beyond, 0).open().pread(0, 1)


def deleted_files(_: Tree) -> Iterator[tuple[str, Node]]:
    """Deleted files, one of which has the name of another's folder."""
    for number, path in enumerate(("a/b/x", "y", "a/b", "a/b/x", "../z")):
        yield path, Plain(number, MemoryDevice(path.encode()))


def test_deleted_files_lie_in_their_folders(tmp_path: Path) -> None:
    image_path = tmp_path / "x.img"
    image_path.write_bytes(b"fs-bin".ljust(4 * SECTOR))
    with open_image(image_path) as image:
        volume = image.volumes[0]
        assert volume.format is not None
        plain = volume.format
        volume.format = FilesystemFormat(**{**vars(plain), "deleted": deleted_files})
        vfs = build_vfs(image, View.DELETED)
        assert [path for path, _ in vfs.walk()] == [
            "/a",
            "/a/b",
            "/a/b/x",
            "/a/b/x (1)",
            "/a/b (1)",
            "/y",
            "/__",
            "/__/z",
        ]
        assert len({vfs.inode(path, node) for path, node in vfs.walk()}) == 8
        volume.format = plain
        assert not list(build_vfs(image, View.DELETED).walk())
        assert build_vfs(image, View.DELETED).notes == [
            "disk: deleted files of this file system cannot be found"
        ]
