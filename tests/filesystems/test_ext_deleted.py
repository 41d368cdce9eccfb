"""Deleted files of ext2, ext3 and ext4, made and deleted by debugfs: what they were, and what TSK says of them."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from filesystems.deleted_files import check_damage_ends_where_it_is, content
from filesystems.test_ext_journal import debugfs, volume
from helpers import tool
from imgmount.core.node import Directory, File, Node, Symlink
from imgmount.errors import FormatError
from imgmount.filesystems.ext import FORMAT

FILES = ("file1", "dir/a", "dir/sub/b", "gone/deep/c", "gone/d")
GONE = {*FILES, "gone", "gone/deep", "gone/link", "empty"}
SIZES = (70_000, 7, 140_000, 300_001, 12_288)
PLAIN = ("-t", "ext4", "-O", "^metadata_csum,^64bit", "-b", "1024")


def content_of(name: str) -> bytes:
    size = SIZES[FILES.index(name)]
    return b"".join(b"%08d %s\n" % (n, name.encode()) for n in range(size // 8 + 1))[:size]


def make(folder: Path, *options: str) -> Path:
    """A volume with all files."""
    tree, disk = folder / "tree", folder / "disk"
    for name in FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content_of(name))
    (tree / "empty").write_bytes(b"")
    (tree / "kept").write_bytes(b"kept")
    (tree / "gone/link").symlink_to("some/where")
    command = [tool("mke2fs"), "-q", "-F", *options, "-d", str(tree), str(disk), "8M"]
    subprocess.run(command, check=True, capture_output=True)
    return disk


def delete(disk: Path) -> None:
    debugfs(disk, *(f"rm {name}" for name in (*FILES, "empty", "gone/link")), "rmdir gone/deep", "rmdir gone")


def deleted(data: bytes | bytearray | Path) -> dict[str, Node]:
    assert FORMAT.deleted is not None
    return dict(FORMAT.deleted(volume(data.read_bytes() if isinstance(data, Path) else data)))


def ask(disk: Path, request: str) -> str:
    command = [tool("debugfs"), "-R", request, str(disk)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def number_of(disk: Path, name: str) -> int:
    return int(re.findall(r"Inode: (\d+)", ask(disk, f"stat {name}"))[0])


def table_block(disk: Path, inode: int) -> int:
    return int(re.findall(r"located at block (\d+)", ask(disk, f"imap <{inode}>"))[0])


def log(disk: Path, *blocks: int) -> None:
    """Write blocks as they are to the journal, and home again: so the log has copies of them."""
    data, size = disk.read_bytes(), 1024
    (disk.parent / "blocks").write_bytes(b"".join(data[at * size : (at + 1) * size] for at in blocks))
    debugfs(disk, "jo", f"jw -b {','.join(map(str, blocks))} {disk.parent}/blocks", "jc")
    subprocess.run([tool("e2fsck"), "-fy", disk], check=False, capture_output=True)
    assert not volume(disk.read_bytes()).needs_recovery


def emptied(inode: int) -> list[str]:
    """What the kernel does to an inode of extents besides."""
    return [f"sif <{inode}> size 0", f"sif <{inode}> blocks 0", f"sif <{inode}> block[0] 0xf30a", *(
        f"sif <{inode}> block[{n}] {4 if n == 1 else 0}" for n in range(1, 12)
    )]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ext2", "-b", "1024"), ("-t", "ext3", "-b", "4096"), ("-t", "ext4", "-b", "4096"), PLAIN,
        ("-t", "ext4", "-O", "bigalloc", "-C", "16384"),
    ],
    ids=["ext2", "ext3", "ext4", "plain", "bigalloc"],
)  # fmt: skip
def test_the_sleuth_kit_agrees_and_content_is_what_it_was(options: tuple[str, ...], tmp_path: Path) -> None:
    disk = make(tmp_path, *options)
    before = {name: number_of(disk, name) for name in GONE}
    delete(disk)
    ours = deleted(disk)
    assert {name: node.id for name, node in ours.items()} == before
    if "16384" not in options:  # TSK opens no volume with bigalloc
        listing = subprocess.run([tool("fls"), "-rdp", disk], check=True, capture_output=True, text=True)
        theirs = {match[2]: int(match[1]) for match in re.finditer(r"\* (\d+):\t(.*)", listing.stdout)}
        assert theirs == before
    for name in FILES:
        assert content(ours[name]) == content_of(name), name
        assert ours[name].guess == "no other file had its inode since"
    link = ours["gone/link"]
    assert isinstance(link, Symlink)
    assert link.readlink() == "some/where"
    assert isinstance(ours["gone/deep"], Directory)
    with pytest.raises(FormatError, match="was emptied when the file was deleted"):
        content(ours["empty"])


def test_blocks_that_are_used_again_are_refused(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    block = int(ask(disk, "bmap file1 5"))
    delete(disk)
    debugfs(disk, f"setb {block}")
    found = deleted(disk)["file1"]
    assert isinstance(found, File)
    assert found.open().pread(0, 5 * 1024) == content_of("file1")[: 5 * 1024]
    assert found.open().pread(6 * 1024, 999) == content_of("file1")[6 * 1024 :][:999]
    with pytest.raises(FormatError, match=f"block {block} of a deleted file is in use by another"):
        content(found)


def test_an_inode_that_is_used_again_is_refused(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    debugfs(
        disk, "ln kept another", "unlink kept", "rm file1", f"sif <{number_of(disk, 'file1')}> mode 0040755"
    )
    found = deleted(disk)
    for name, reason in (("kept", "is in use by another"), ("file1", "was used for another kind since")):
        with pytest.raises(FormatError, match=reason):
            content(found[name])


def test_a_map_that_has_lost_blocks_is_refused(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    number = number_of(disk, "file1")
    delete(disk)
    debugfs(disk, f"sif <{number}> blocks 999")
    with pytest.raises(FormatError, match="69 of the 499 blocks of the deleted file are known"):
        content(deleted(disk)["file1"])


def test_the_journal_tells_what_was_in_an_emptied_inode(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    number = number_of(disk, "file1")
    log(disk, table_block(disk, number))
    debugfs(disk, "rm file1", *emptied(number))
    found = deleted(disk)["file1"]
    assert content(found) == content_of("file1")
    assert "its blocks are those that the journal had for it last" in found.guess
    debugfs(disk, f"sif <{number}> generation 7")
    with pytest.raises(FormatError, match="was emptied"):
        content(deleted(disk)["file1"])


def test_the_journal_tells_names_that_were_wiped(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    log(disk, int(ask(disk, "bmap / 0")))
    number = number_of(disk, "file1")
    debugfs(disk, "rm file1")
    data = bytearray(disk.read_bytes())
    root = int(ask(disk, "bmap / 0")) * 1024
    at = data.index(b"file1", root) - 8
    assert at < root + 1024
    data[at : at + 16] = bytes(16)
    found = deleted(data)
    assert (found["file1"].id, list(found)) == (number, ["file1"])
    assert content(found["file1"]) == content_of("file1")


def test_orphans_are_whole(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    first, second = number_of(disk, "file1"), number_of(disk, "dir/a")
    debugfs(
        disk, "unlink file1", "unlink dir/a", f"sif <{first}> links_count 0", f"sif <{second}> links_count 0",
        f"sif <{first}> dtime {second}", f"ssv last_orphan {first}",
    )  # fmt: skip
    data = bytearray(disk.read_bytes())
    folder = int(ask(disk, "bmap dir 0")) * 1024
    at = folder + data[folder : folder + 1024].rindex(b"\1\1a") - 6
    data[at : at + 12] = bytes(12)  # the name of one is wiped
    found = deleted(data)
    assert {name: content(node) for name, node in found.items()} == {
        "file1": content_of("file1"),
        f"(lost names)/inode {second}": content_of("dir/a"),
    }


def test_the_file_of_orphans_is_read(tmp_path: Path) -> None:
    disk = make(tmp_path, "-t", "ext4", "-O", "^metadata_csum,^64bit,orphan_file", "-b", "1024")
    number = number_of(disk, "file1")
    debugfs(disk, "unlink file1", f"sif <{number}> links_count 0")
    orphans = int(re.findall(r"Orphan file inode:\s+(\d+)", ask(disk, "stats"))[0])
    data = bytearray(disk.read_bytes())
    place = int(ask(disk, f"bmap <{orphans}> 0")) * 1024
    assert not any(data[place : place + 1000])
    data[place + 8 : place + 12] = number.to_bytes(4, "little")
    assert content(deleted(data)["file1"]) == content_of("file1")


def test_inodes_without_a_name_are_found(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    number = number_of(disk, "file1")
    debugfs(disk, "rm file1")
    data = bytearray(disk.read_bytes())
    at = data.index(b"file1", int(ask(disk, "bmap / 0")) * 1024) - 8
    data[at : at + 4] = bytes(4)
    ((name, node),) = deleted(data).items()
    assert name == f"(lost names)/inode {number}"
    assert (content(node), node.guess) == (content_of("file1"), "")


def test_entries_that_are_still_there_are_not_deleted(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    log(disk, int(ask(disk, "bmap / 0")), int(ask(disk, "bmap dir 0")))
    assert deleted(disk) == {}


def test_damage_ends_where_it_is(tmp_path: Path) -> None:
    disk = make(tmp_path, *PLAIN)
    log(disk, table_block(disk, number_of(disk, "file1")), int(ask(disk, "bmap / 0")))
    delete(disk)
    check_damage_ends_where_it_is(
        disk.read_bytes(),
        deleted,
        random.Random(3),
        rounds=40,
        changes=60,
        values=(0, 1, 0x7F, 0xFF),
        most=None,
    )
