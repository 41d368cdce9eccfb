"""NTFS in every size of clusters: what ntfs-3g writes is what we read, and TSK lists the same."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from conformance import check_device, tree
from filesystems.ntfs_images import volume
from helpers import tool
from imgmount.core.node import Directory, File, Node
from imgmount.filesystems.ntfs.check import check
from imgmount.sources.file import FileDevice

FOLDERS = (1, 40, 400)
SIZES = [*(("-c", str(512 << shift)) for shift in range(8)), ("-s", "4096", "-c", "4096")]
LARGE = [("-c", str(128 << 10)), ("-c", str(2 << 20))]  # TSK knows no such clusters


@contextmanager
def mounted(disk: Path, target: Path) -> Iterator[Path]:
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no FUSE here, by which ntfs-3g writes")
    target.mkdir()
    options = "compression,streams_interface=xattr"
    subprocess.run([tool("ntfs-3g"), "-o", options, disk, target], check=True, capture_output=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", target], check=True)


def fill(root: Path, rng: random.Random) -> None:
    """Folders of some lengths, and a file of each kind."""
    for count in FOLDERS:
        (root / f"folder of {count}").mkdir()
        for number in range(count):
            (root / f"folder of {count}/an entry with a long name {number:03} Ж 中 😀.txt").touch()
    (root / "resident").write_bytes(rng.randbytes(300))
    (root / "plain").write_bytes(rng.randbytes(300_001))
    os.link(root / "plain", root / "folder of 1/hard link")
    (root / ("x" * 251 + ".txt")).write_bytes(b"long\n")
    with (root / "sparse").open("wb") as out:
        out.seek(3 << 20)
        out.write(b"behind a hole")
    os.setxattr(root / "resident", "user.stream", rng.randbytes(5000))
    (root / "packed").mkdir()
    flags = int.from_bytes(os.getxattr(root / "packed", "system.ntfs_attrib"), "little") | 0x800
    os.setxattr(root / "packed", "system.ntfs_attrib", flags.to_bytes(4, "little"))
    (root / "packed/words").write_bytes(b"the same words again and again\n" * 9000)
    pieces = [rng.randbytes(512) for _ in range(260)]
    with (root / "one").open("wb", 0) as one, (root / "two").open("wb", 0) as two:
        for number, piece in enumerate(pieces):
            where = (one, two)[number % 2]
            where.seek(number // 2 * 70_000)
            where.write(piece)


def hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
        for path in root.rglob("*")
    }


@pytest.mark.parametrize(
    "options", [*SIZES, *LARGE], ids=lambda options: options[-1] + "s" * (len(options) > 2)
)
def test_what_ntfs_3g_writes_is_read(options: tuple[str, ...], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 30 if options in LARGE else 256 << 20)
    subprocess.run([tool("mkntfs"), "-Q", "-F", "-q", *options, disk], check=True, capture_output=True)
    with mounted(disk, tmp_path / "mnt") as root:
        fill(root, random.Random(7))
    with mounted(disk, tmp_path / "again") as root:
        expected = hashes(root)
        stream = os.getxattr(root / "resident", "user.stream")
    with FileDevice(disk) as device:
        opened = volume(device)
        found = dict(tree(opened.root))
        assert {
            name: _hash(node) if isinstance(node, File) else "/" for name, node in found.items()
        } == expected
        assert found["resident"].xattrs()["user.ads.stream"] == stream
        assert found["plain"].id == found["folder of 1/hard link"].id
        for count in FOLDERS:
            folder = found[f"folder of {count}"]
            assert isinstance(folder, Directory)
            assert len(list(folder.names())) == count + (count == 1)
        for name in ("one", "packed/words"):
            pieces = check_file(found[name])
            assert name != "one" or options in LARGE or pieces > 100
        assert list(check(opened)) == []
    if options in LARGE:
        return
    listing = subprocess.run([tool("fls"), "-rpu", disk], check=True, capture_output=True, text=True).stdout
    names = re.findall(r"(?m)^./. [\d-]+:\t([^:\n]+)$", listing)
    assert {name for name in names if not name.startswith("$")} == set(found)


def check_file(node: Node) -> int:
    """Read a file at random in eight threads; in how many pieces it is."""
    assert isinstance(node, File)
    with node.open() as device:
        check_device(device, device.pread(0, device.size))
        return len(list(device.extents(0, device.size)))


def _hash(node: File) -> str:
    with node.open() as device:
        return sha256(device.pread(0, device.size)).hexdigest()
