"""XFS beyond its fixtures: extents, attributes, refusals by name, damage, images of others."""

from __future__ import annotations

import gzip
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import manifest, tree
from fixture import unpack
from helpers import FIXTURES, context, image, tool
from imgmount.chain import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.xfs import DI_FLAGS, FORMAT, NUMBERED_RUNS, XfsVolume
from imgmount.sources.file import FileDevice

pytest.importorskip("pyfsxfs")
FOLDER = FIXTURES / "filesystems/xfs"


@pytest.fixture(scope="module", params=["v4", "v5"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("xfs") / "image"
    unpack(FOLDER / request.param / f"{request.param}.img.xz", path)
    return path.read_bytes()


class Patched(BlockDevice):
    """``data`` with other bytes in places, without a copy of it."""

    def __init__(self, data: bytes, changes: dict[int, int]) -> None:
        self._data = data
        self._changes = changes
        self.size = len(data)

    def _pread(self, offset: int, size: int) -> bytes:
        read = bytearray(self._data[offset : offset + size])
        for at, value in self._changes.items():
            if offset <= at < offset + size:
                read[at - offset] = value
        return bytes(read)


def volume(device: bytes | BlockDevice) -> XfsVolume:
    opened = FORMAT.open(MemoryDevice(device) if isinstance(device, bytes) else device, context())
    assert isinstance(opened, XfsVolume)
    return opened


def patch(at: int, value: bytes) -> dict[int, int]:
    return {at + index: byte for index, byte in enumerate(value)}


def test_files_are_extents_and_holes(data: bytes) -> None:
    opened = volume(data)
    node = opened.root.lookup("pieces.bin")
    assert isinstance(node, File)
    content = node.open()
    runs = [(run.length, run.device is None) for run in content.extents(0, content.size)]
    assert [hole for _, hole in runs if not hole] == [False] * 3
    assert {run.device for run in content.extents(0, content.size)} == {None, opened.device}
    with_library = opened.entry(node.id).read_buffer_at_offset(content.size, 0)
    assert content.pread(0, content.size) == with_library


def test_extended_attributes(data: bytes) -> None:
    assert volume(data).root.lookup("README").xattrs() == {"user.note": b"v" * 10, "trusted.large": b"v" * 3000}


def test_facts(data: bytes) -> None:
    opened = volume(data)
    assert opened.label in ("xfs_four", "xfs_five")
    assert opened.info()["uuid"].startswith("11111111-2222-3333-4444-")
    null = opened.root.lookup("null").stat()
    assert (null.mode, null.rdev) == (0o020666, 0x103)
    stat = opened.root.lookup("README").stat()
    assert (stat.mode, stat.uid, stat.gid, stat.nlink) == (0o100640, 1000, 100, 1)


def test_a_realtime_file_is_refused_by_name(data: bytes) -> None:
    opened = volume(data)
    number = opened.root.lookup("odd.bin").id
    flags = opened.superblock.inode_offset(number) + DI_FLAGS
    device = Patched(data, patch(16, struct.pack(">Q", 100)) | patch(flags, b"\0\1"))
    node = volume(device).root.lookup("odd.bin")
    assert isinstance(node, File)
    with pytest.raises(UnsupportedError, match="realtime"):
        node.open()
    other = volume(device).root.lookup("README")
    assert isinstance(other, File)
    assert other.open().pread(0, 9) == b"An XFS vo"


@pytest.mark.parametrize(
    ("at", "value", "error", "words"),
    [
        (4, bytes(4), FormatError, "blocks of 0 bytes"),
        (4, b"\0\0\x10\1", FormatError, "blocks of 4097 bytes"),
        (100, b"\xb4\xa6", UnsupportedError, "version 6"),
        (8, bytes(8), FormatError, "0 blocks"),
    ],
)
def test_a_superblock_that_makes_no_sense(data: bytes, at: int, value: bytes, error: type[ImageError], words: str) -> None:
    with pytest.raises(error, match=words):
        volume(Patched(data, patch(at, value)))


def test_features_of_the_future_are_refused(data: bytes) -> None:
    device = Patched(data, patch(100, b"\xb4\xa5") | patch(216, b"\0\0\2\0"))
    with pytest.raises(UnsupportedError, match="incompatible features 0x200"):
        volume(device)
    assert FORMAT.probe(device)


def test_a_missing_library_is_named_with_the_pip_line(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfsxfs", None)
    with pytest.raises(UnsupportedError, match=r"pip install imgmount\[xfs\]"):
        volume(data)


def survey(device: BlockDevice) -> None:
    """Read everything; only an ``ImageError`` may come of it."""
    try:
        levels = [volume(device).root]
    except ImageError:
        return
    for _ in range(100):
        if not levels:
            break
        for node in list(levels.pop().listing().nodes.values())[:100]:
            if isinstance(node, Directory):
                levels.append(node)
            try:
                if isinstance(node, File):
                    content = node.open()
                    content.pread(0, 1 << 16)
                    content.pread(max(0, content.size - 5), 5)
                elif isinstance(node, Symlink):
                    node.readlink()
                node.xattrs()
            except ImageError:
                continue


def test_random_damage_never_escapes_as_another_error(data: bytes) -> None:
    rng = random.Random(5)
    magics = (b"IN\x81\xa0", b"IN\x41\xe8", b"XD2D", b"XDB3", b"XDD3")
    used = [at for at in range(0, len(data), 512) if data[at : at + 4] in magics]
    for _ in range(100):
        changes = {}
        for _ in range(rng.choice((1, 8, 60))):
            at = rng.choice(used) + rng.randrange(512) if rng.random() < 0.9 else rng.randrange(512)
            changes[at] = rng.choice((0, 255, rng.randrange(256)))
        survey(Patched(data, changes))


def test_truncation(data: bytes) -> None:
    rng = random.Random(2)
    for cut in [0, 4, 511, 512, 4096, *(rng.randrange(1 << 20) for _ in range(20))]:
        survey(MemoryDevice(data[:cut]))


def test_a_directory_of_thousands(tmp_path: Path) -> None:
    proto, disk, source = tmp_path / "proto", tmp_path / "disk", tmp_path / "source"
    source.write_bytes(b"x")
    names = [f"file_{number:05}_{'y' * (number % 60)}" for number in range(3000)]
    proto.write_text("\n".join(["-", "0 0", "d--755 0 0", *(f"{name} ---644 0 0 {source}" for name in names), "$"]) + "\n")
    command = [tool("mkfs.xfs"), "-q", "-f", "-d", f"name={disk},file=1,size=300m", "-p", str(proto)]
    subprocess.run(command, check=True, capture_output=True)
    with open_image(disk) as opened:
        assert sorted(name for name, _ in opened.volumes[0].filesystem.root.entries()) == sorted(names)


def test_groups_whose_size_is_not_a_power_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto, disk = tmp_path / "proto", tmp_path / "disk"
    lines, contents = ["-", "0 0", "d--755 0 0"], {}
    for number in range(12):  # each directory goes to another group
        contents[f"d{number}/f"] = random.Random(number).randbytes(50_000)
        (tmp_path / f"f{number}").write_bytes(contents[f"d{number}/f"])
        lines += [f"d{number} d--755 0 0", f"f ---644 0 0 {tmp_path}/f{number}", "$"]
    proto.write_text("\n".join([*lines, "$"]) + "\n")
    command = [tool("mkfs.xfs"), "-q", "-f", "-d", f"name={disk},file=1,size=300m", "-p", str(proto)]
    subprocess.run(command, check=True, capture_output=True)
    with FileDevice(disk) as device:
        opened = volume(device)
        group_bits = opened.superblock.inode_shift + opened.superblock.group_shift
        assert opened.superblock.group_blocks == 19200
        nodes = {path: node for path, node in tree(opened.root) if isinstance(node, File)}
        mapped = {path: node.open().pread(0, 1 << 20) for path, node in nodes.items()}
        assert mapped == contents
        assert {node.id >> group_bits for node in nodes.values()} == {0, 1, 2, 3}
        extents = [run.device for node in nodes.values() for run in node.open().extents(0, 1 << 20)]
        monkeypatch.setattr(opened, "tells_runs", False)  # a version that nobody has looked at
        assert {path: node.open().pread(0, 1 << 20) for path, node in nodes.items()} == contents
        assert opened.library.module.get_version() not in NUMBERED_RUNS or set(extents) == {device}


def test_the_volume_of_util_linux() -> None:
    with open_image(image("xfs/util-linux__util-linux__xfs.img.xz")) as opened:
        assert str(opened) == "file > xz > xfs"
        assert opened.volumes[0].filesystem.label == "test-xfs"
        assert list(opened.volumes[0].filesystem.root.entries()) == []


def test_the_disk_of_discutils(tmp_path: Path) -> None:
    lines = image("manifests/vhdx__LTRData__DiscUtils__xfs.vhdx.gz.special.sha256").read_text().splitlines()
    packed, disk = tmp_path / "xfs.vhdx", tmp_path / "disk"
    with gzip.open(image("vhdx/LTRData__DiscUtils__xfs.vhdx.gz")) as source, packed.open("wb") as out:
        shutil.copyfileobj(source, out)
    subprocess.run([tool("qemu-img"), "convert", "-O", "raw", packed, disk], check=True)
    with open_image(disk) as opened:
        (root,) = [volume.filesystem.root for volume in opened.volumes if volume.problem is None]
        found = manifest(root)
    facts = [line.split("  ", 2) for line in lines if not line.startswith("#")]
    assert len(facts) > 4000
    for digest, size, path in facts:
        assert found[path] == (int(size), digest), path
