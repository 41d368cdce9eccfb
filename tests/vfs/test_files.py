"""Files of an image in the hands of Python's own libraries, and questions about paths."""

from __future__ import annotations

import csv
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, cast

import pytest

from fake_tree import Fixed, Plain, Torn
from helpers import FIXTURES
from imgmount import Image, open_image
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.vfs.files import TreeFiles
from imgmount.vfs.vfs import Vfs
from linux_disk import qcow2_of

NUMBERS = b"".join(b"%d,%d\r\n" % (number, number * number) for number in range(20000))
STICK = FIXTURES / "partitions/mbr/usb-stick/stick.img.xz"


def picture() -> bytes:
    """A PNG of one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")), chunk(b"IEND", b"")]
    )


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "etc").mkdir()
    (folder / "etc/numbers.csv").write_bytes(NUMBERS)
    (folder / "red.png").write_bytes(picture())
    with zipfile.ZipFile(folder / "some.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.csv", NUMBERS)
    with tarfile.open(folder / "some.tar.gz", "w:gz") as tar:
        tar.add(folder / "red.png", "red.png")
    (folder / "link").symlink_to("/etc/numbers.csv")
    (folder / "dead").symlink_to("nowhere")
    return qcow2_of(
        folder, folder.parent / "disk.qcow2", "ea_set etc/numbers.csv user.note hello", "mknod pipe p"
    )


@pytest.fixture
def image(disk: Path) -> Iterator[Image]:
    with open_image(disk) as image:
        yield image


def test_python_libraries_read_from_it(image: Image) -> None:
    with image.open("etc/numbers.csv", "r", newline="") as text:
        assert sum(int(square) for _, square in csv.reader(text)) == sum(n * n for n in range(20000))
    with image.open("some.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("inner.csv") == NUMBERS
    with image.open("some.tar.gz") as file, tarfile.open(fileobj=file) as tar:
        assert (red := tar.extractfile("red.png")) is not None
        assert red.read() == picture()
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    with image.open("red.png") as file, pillow.open(file) as red_pixel:
        assert red_pixel.getpixel((0, 0)) == (255, 0, 0)


def test_a_file_object_is_a_binary_file_like_any_other(image: Image) -> None:
    with image.open("/etc/numbers.csv") as file:
        assert file.readline() == b"0,0\r\n"
        assert file.peek(3)[:3] == b"1,1"
        assert file.seek(-8, io.SEEK_END) == len(NUMBERS) - 8
        assert file.read() == NUMBERS[-8:]
        assert file.name == "/etc/numbers.csv"
        with io.BufferedReader(file) as again:
            again.seek(0)
            assert again.read() == NUMBERS
    assert file.closed
    with image.open("link", "r", encoding="ascii") as text:
        assert text.readlines()[:2] == ["0,0\n", "1,1\n"]


@pytest.mark.parametrize("mode", ["w", "wb", "r+b", "x"])
def test_no_file_is_written(image: Image, mode: str) -> None:
    with pytest.raises(OSError, match="read only"):
        image.open("etc/numbers.csv", cast("Literal['rb']", mode))


def test_threads_read_the_same_file(image: Image) -> None:
    def whole(_: int) -> bytes:
        with image.open("etc/numbers.csv") as file:
            return b"".join(file)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(whole, range(32))) == {NUMBERS}


def test_questions_about_paths(image: Image) -> None:
    assert sorted(image.listdir()) == [
        *("dead", "etc", "link", "lost+found", "pipe", "red.png", "some.tar.gz", "some.zip")
    ]
    assert image.listdir("/etc/") == image.listdir("etc/../etc") == ["numbers.csv"]
    assert isinstance(image.find(), Directory)
    assert isinstance(image.find("link", follow=False), Symlink)
    assert image.stat("link").size == len(NUMBERS)
    assert image.stat("link", follow=False).size == len("/etc/numbers.csv")
    assert image.readlink("link") == "/etc/numbers.csv"
    assert image.xattrs("link") == {"user.note": b"hello"}
    assert image.xattrs("red.png") == {}
    assert [image.exists(path) for path in ("etc", "link", "dead", "etc/x", "red.png/x")] == [True] * 2 + [
        False
    ] * 3


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("etc", IsADirectoryError),
        ("nothing", FileNotFoundError),
        ("dead", FileNotFoundError),
        ("red.png/x", NotADirectoryError),
        ("pipe", OSError),
    ],
)
def test_what_cannot_be_opened(image: Image, path: str, error: type[OSError]) -> None:
    with pytest.raises(error):
        image.open(path)


def test_what_is_no_link_and_no_folder(image: Image) -> None:
    with pytest.raises(OSError, match="Not a symbolic link"):
        image.readlink("etc")
    with pytest.raises(NotADirectoryError):
        image.listdir("red.png")


def test_walking_and_views() -> None:
    with open_image(STICK) as image:
        files = dict(image.walk("p1"))
        assert list(files) == [path for path, _ in image.vfs.walk("/p1")]
        assert image.stat("p1/readme.txt") == files["/p1/readme.txt"].stat()
        raw = image.view("raw")
        assert raw.listdir() == ["disk.raw", "p1.raw", "p2.raw"]
        with raw.open("p2.raw") as file:
            assert file.read() == image.volumes[1].device.pread(0, image.volumes[1].device.size)
        with pytest.raises(ValueError, match="sideways"):
            image.view("sideways")


def test_a_damaged_folder_is_an_error_where_names_would_be_lost() -> None:
    whole = Plain(2, MemoryDevice(b"x"))
    files = TreeFiles(Vfs(Fixed(0, {"torn": Torn(1, {"a": whole, "b": whole})}), {}, [], 0))
    with pytest.raises(FormatError, match="torn"):
        files.listdir("torn")
    damage: list[tuple[str, ImageError]] = []
    assert [path for path, _ in files.walk("", lambda path, error: damage.append((path, error)))] == [
        *("/torn", "/torn/a")
    ]
    assert [path for path, _ in damage] == ["/torn"]


class Counted(MemoryDevice):
    closed = 0

    def close(self) -> None:
        self.closed += 1


class Handed(Plain):
    """Its content is the device itself."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        return self.device


def test_closing_a_file_object_closes_the_content_once() -> None:
    content = Counted(b"some\nlines\n")
    files = TreeFiles(Vfs(Fixed(0, {"file": Handed(1, content)}), {}, [], 0))
    with files.open("file", "r") as text:
        assert text.readlines() == ["some\n", "lines\n"]
        assert content.closed == 0
    text.close()
    assert content.closed == 1
