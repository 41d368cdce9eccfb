"""The first listing of a terabyte: what the whole chain, probes and all, reads of the file for it, counted in bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import tool
from imgmount.chain.open import open_image
from imgmount.core.node import File
from imgmount.sources.file import FileDevice
from imgmount.vfs.tree import View, build_vfs

FILES = 60
MOST = 1 << 20


def make_ext4(disk: Path, content: Path) -> None:
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    subprocess.run(
        [tool("mke2fs"), "-q", "-F", "-t", "ext4", "-E", lazy, str(disk)], check=True, capture_output=True
    )
    commands = [f"write {content} file{number}" for number in range(FILES)] + [
        "mkdir folder",
        f"write {content} folder/inner",
    ]
    command = [tool("debugfs"), "-w", "-f", "-", str(disk)]
    subprocess.run(command, input="\n".join(commands), text=True, check=True, capture_output=True)


def make_ntfs(disk: Path, content: Path) -> None:
    command = [tool("mkntfs"), "-Q", "-F", "-q", "-s", "512", "-p", "0", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no sparse terabyte here")
    for number in range(FILES):
        subprocess.run(
            [tool("ntfscp"), "-q", "-f", str(disk), str(content), f"file{number}"],
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize("make", [make_ext4, make_ntfs])
def test_the_first_listing_of_a_terabyte_reads_little(
    make: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, content = tmp_path / "disk", tmp_path / "content"
    content.write_bytes(b"some content\n" * 3000)
    with disk.open("wb") as file:
        try:
            file.truncate(1 << 40)
        except OSError:
            pytest.skip("no sparse terabyte here")
    make(disk, content)
    reads: list[int] = []
    read = FileDevice._read

    def counted(device: FileDevice, offset: int, size: int) -> bytes:
        data = read(device, offset, size)
        reads.append(len(data))
        return data

    monkeypatch.setattr(FileDevice, "_read", counted)
    with open_image(disk) as image:
        vfs = build_vfs(image, View.TREE)
        nodes = vfs.listing("").nodes
        facts = {name: node.stat() for name, node in nodes.items()}
        spent = sum(reads)
        assert sum(fact.size == 39000 for fact in facts.values()) == FILES
        assert spent < MOST
        last = nodes[f"file{FILES - 1}"]
        assert isinstance(last, File)
        assert last.open().pread(0, 40000) == content.read_bytes()
