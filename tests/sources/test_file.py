from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from conformance import check_device
from imgmount.chain.open import open_image
from imgmount.errors import ImageError, MissingPartError, MountError
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings


def test_a_file_is_a_device(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(data := os.urandom(123_457))
    with FileDevice(path) as device:
        check_device(device, data)
    device.close()
    assert device.fd == -1


def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, reason in [
        (tmp_path, "directory"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "fifo", "neither"),
    ]:
        with pytest.raises(MountError, match=reason):
            FileDevice(path)
    with pytest.raises(MountError, match="neither"):
        FileDevice(Path("/dev/null"))


def test_a_loop_of_links_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.001").symlink_to("b.001")
    (tmp_path / "b.001").symlink_to("a.001")
    with pytest.raises(MountError, match="symbolic links"):
        open_image(tmp_path / "a.001")


def test_an_empty_file_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ImageError, match="empty"):
        open_image(tmp_path / "empty")


def test_a_file_that_shrinks_is_an_error_and_not_a_short_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(8192))
    with FileDevice(path) as device:
        os.truncate(path, 5000)
        assert device.pread(0, 5000) == bytes(5000)
        with pytest.raises(ImageError, match="shrunk"):
            device.pread(4096, 4096)


def test_holes_are_known_where_the_host_knows_them(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(3 << 20)
    with FileDevice(path) as device:
        assert device.size == 3 << 20
        data = device.next_data(0)
        assert data in (0, 1 << 20)
        assert device.next_hole(data) >= (1 << 20) + 4096
        assert device.next_data(device.size) == device.size
        assert device.next_hole(device.size) == device.size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "image.vmdk").write_bytes(b"image")
    (folder / "Extent.BIN").write_bytes(b"extent")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").symlink_to("Extent.BIN")
    (folder / "subfolder").mkdir()
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize(
    "name",
    ["Extent.BIN", "extent.bin", "EXTENT.bin", "C:\\disks\\Extent.BIN", "/etc/../Extent.BIN", "./extent.bin"],
)
def test_a_sibling_is_found_beside_the_image_only(folder: Path, name: str) -> None:
    siblings = FolderSiblings(folder / "image.vmdk")
    device = siblings.open(name)
    assert device.pread(0, 10) == b"extent"
    assert siblings.open(name) is device
    assert siblings.files.paths == [folder / "Extent.BIN"]
    siblings.close()
    siblings.close()


@pytest.mark.parametrize(
    "name", ["link", "LINK", "inner", "fifo", "subfolder", "..", ".", "", "a\0b", "/", "../secret"]
)
def test_nothing_else_is(folder: Path, name: str) -> None:
    siblings = FolderSiblings(folder / "image.vmdk")
    with pytest.raises(MissingPartError):
        siblings.open(name)
    assert siblings.files.paths == []


def test_device_nodes_are_refused(folder: Path) -> None:
    try:
        os.mknod(folder / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("device nodes need root")
    siblings = FolderSiblings(folder / "image.vmdk")
    with pytest.raises(MissingPartError):
        siblings.open("zero")
    assert siblings.names() == ["Extent.BIN", "image.vmdk"]


def test_a_link_to_the_image_leads_to_its_own_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shortcut").symlink_to(folder / "image.vmdk")
    siblings = FolderSiblings(tmp_path / "shortcut")
    assert siblings.open("extent.bin").size == 6
    siblings.close()


def test_an_exact_name_goes_before_another_case(folder: Path) -> None:
    (folder / "extent.bin").write_bytes(b"lower")
    siblings = FolderSiblings(folder / "image.vmdk")
    assert siblings.open("extent.bin").pread(0, 10) == b"lower"
    assert siblings.open("Extent.BIN").pread(0, 10) == b"extent"
    siblings.close()
