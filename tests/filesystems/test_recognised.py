"""Filesystems that are only recognised: named by what other tools make, and by marks where no tool is at hand."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from helpers import context, image, tool
from imgmount.chain.open import open_image
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError, UnsupportedError
from imgmount.filesystems.recognised import FORMAT, LOOKS, READERS
from imgmount.vfs.tree import View, build_vfs

UUID = "12345678-9abc-def0-1122-334455667788"


@pytest.mark.parametrize(
    ("size", "command", "words"),
    [
        (
            "128M",
            ["mkfs.btrfs", "-q", "-L", "a label", "-U", UUID],
            rf"^Btrfs: .*label 'a label', UUID {UUID}",
        ),
        ("64M", ["mkfs.f2fs", "-q", "-l", "a label"], r"^F2FS: .*label 'a label', UUID"),
        ("16M", ["mkfs.jfs", "-q", "-L", "a label"], r"^JFS: .*label 'a label', UUID"),
        (
            "40M",
            ["mkfs.reiserfs", "-q", "-f", "-l", "a label", "-u", UUID],
            rf"^ReiserFS: .*label 'a label', UUID {UUID}",
        ),
        ("140M", ["mkfs.nilfs2", "-q", "-L", "a label"], r"^NILFS2: .*label 'a label', UUID"),
        ("4M", ["mkswap", "-L", "a label", "-U", UUID], rf"^Linux swap: .*label 'a label', UUID {UUID}"),
        ("4M", ["mkswap", "-p", "65536"], r"^Linux swap: "),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_tools_make_is_named(tmp_path: Path, size: str, command: list[str], words: str) -> None:
    disk = tmp_path / "disk"
    subprocess.run(["truncate", "-s", size, disk], check=True)
    made = subprocess.run(
        [tool(command[0]), *command[1:], disk], check=False, capture_output=True, cwd=tmp_path
    )
    if made.returncode:
        pytest.skip(f"{command[0]} does not make one here")
    with open_image(disk) as opened:
        (volume,) = opened.volumes
        with pytest.raises(UnsupportedError, match=words):
            _ = volume.filesystem
        vfs = build_vfs(opened, View.TREE)
        assert vfs.listing("").nodes.keys() == {"disk.raw"}
        assert volume.problem is not None
        advice = "; 'mount -o loop,ro' reads it" if command[0].startswith("mkfs.") else ""
        assert vfs.notes == [f"{volume.problem}{advice}: raw view"]


def test_what_other_programs_read_is_known_by_its_name() -> None:
    assert {name for names in READERS for name in names} <= {look.name for look in LOOKS}


@pytest.mark.parametrize("version", [1, 2])
def test_luks_is_named(tmp_path: Path, version: int) -> None:
    disk = tmp_path / "disk"
    subprocess.run(["truncate", "-s", "32M", disk], check=True)
    fast = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "-q", "--key-file", "-"]
    command = [tool("cryptsetup"), "luksFormat", f"--type=luks{version}", *fast, str(disk)]
    if subprocess.run(command, check=False, input=b"key", capture_output=True).returncode:
        pytest.skip("cryptsetup does not make one here")
    with open_image(disk) as opened:
        assert str(opened.volumes[0].problem).startswith(f"LUKS {version}: ")


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_marks_are_enough(look: object) -> None:
    data = bytearray(0x200000 + 4096)
    for offset, mark in look.marks:  # type: ignore[attr-defined]
        data[offset : offset + len(mark)] = mark
    device = MemoryDevice(bytes(data))
    assert FORMAT.probe(device)
    with pytest.raises(UnsupportedError, match="recognised but not read"):
        FORMAT.open(device, context())
    for offset, mark in look.marks:  # type: ignore[attr-defined]
        short = MemoryDevice(bytes(data[: offset + len(mark) - 1]))
        assert not FORMAT.probe(short)


def test_noise_and_zeros_are_nothing() -> None:
    assert not FORMAT.probe(MemoryDevice(bytes(1 << 20)))
    rng = random.Random(1)
    for _ in range(50):
        assert not FORMAT.probe(MemoryDevice(rng.randbytes(0x12000)))
    with pytest.raises(ImageError, match="no known filesystem"):
        FORMAT.open(MemoryDevice(b""), context())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("btrfs/kdave__btrfs-progs__compress.raw.xz", "Btrfs"),
        ("btrfs/util-linux__util-linux__btrfs.img.xz", "Btrfs"),
        ("other-fs/util-linux__util-linux__erofs.img.xz", "EROFS"),
        ("other-fs/util-linux__util-linux__hpfs.img.xz", "HPFS"),
        ("other-fs/util-linux__util-linux__jfs.img.xz", "JFS"),
        ("other-fs/util-linux__util-linux__reiser3.img.xz", "ReiserFS"),
    ],
)
def test_images_of_others_are_named(name: str, words: str) -> None:
    with open_image(image(name)) as opened:
        problems = [str(volume.problem) for volume in opened.volumes]
        assert any(
            problem.startswith(f"{words}: this filesystem is recognised but not read") for problem in problems
        ), problems
