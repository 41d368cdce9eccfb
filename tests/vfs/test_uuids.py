"""Identifiers are those that other tools print: blkid's of filesystems, sfdisk's of GPT partitions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from helpers import tool
from imgmount.chain.open import open_image
from imgmount.core.node import Symlink
from imgmount.vfs.tree import View, build_vfs
from vdisk import run

MIB = 1 << 20
MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-L", "an ext"),
    "vfat": ("mkfs.fat", "-F", "16", "-n", "A FAT"),
    "exfat": ("mkfs.exfat", "-L", "an exFAT"),
    "ntfs": ("mkntfs", "-q", "-F", "-f", "-L", "an NTFS"),
    "xfs": ("mkfs.xfs", "-q", "-L", "an XFS"),
}


def make(path: Path, kind: str) -> str:
    """A filesystem of 320 MiB; the result is its identifier."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(320 * MIB)
    maker, *words = MAKERS[kind]
    run(tool(maker), *words, path)
    return subprocess.check_output(
        [tool("blkid"), "-p", "-o", "value", "-s", "UUID", path], text=True
    ).strip()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_filesystems_identifier_is_that_of_blkid(tmp_path: Path, kind: str) -> None:
    expected = make(tmp_path / "disk", kind)
    with open_image(tmp_path / "disk") as opened:
        assert opened.volumes[0].filesystem.uuid == expected
        assert expected in opened.volumes[0].filesystem.info().values()


def test_a_gpt_disk_has_links_for_both_identifiers(tmp_path: Path) -> None:
    disk, expected = tmp_path / "disk", {}
    with disk.open("wb") as file:
        file.truncate(650 * MIB)
    script = "label: gpt\nstart=2048, size=655360\nstart=657408, size=655360\n"
    subprocess.run([tool("sfdisk"), "-q", disk], input=script, text=True, check=True, capture_output=True)
    for number, part in enumerate(
        json.loads(subprocess.check_output(["sfdisk", "-J", disk]))["partitiontable"]["partitions"], 1
    ):
        kind = ("ext4", "vfat")[number - 1]
        expected[make(tmp_path / kind, kind)] = expected[part["uuid"].lower()] = f"../p{number}"
        with (tmp_path / kind).open("rb") as source, disk.open("r+b") as target:
            target.seek(part["start"] * 512)
            target.write(source.read(64 * MIB))
    with open_image(disk) as opened:
        vfs = build_vfs(opened, View.TREE)
        links = {
            path.rpartition("/")[2]: node.readlink()
            for path, node in vfs.walk("/by-uuid")
            if isinstance(node, Symlink)
        }
        assert links == expected
        assert vfs.listing("/by-label").nodes.keys() == {"an ext", "A FAT"}
