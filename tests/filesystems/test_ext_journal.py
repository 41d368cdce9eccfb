"""The journal of ext3 and ext4: volumes that were not unmounted, against what e2fsck makes of a copy.

debugfs writes the journals: of two states of a volume the blocks that differ, cut into transactions.
"""

from __future__ import annotations

import hashlib
import random
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance import manifest, survive
from fixture import unpack
from helpers import FIXTURES, context, tool
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.ext import FORMAT
from imgmount.filesystems.ext.checksums import metadata_crc
from imgmount.filesystems.ext.journal import MAGIC, Journal
from imgmount.filesystems.ext.volume import ExtVolume

Tree = dict[str, tuple[int, str] | str]


def volume(data: bytes | bytearray, **extra: str) -> ExtVolume:
    opened = FORMAT.open(MemoryDevice(bytes(data)), context(extra=extra))
    assert isinstance(opened, ExtVolume)
    return opened


def debugfs(disk: Path, *lines: str) -> None:
    """Run debugfs commands that write."""
    command = [tool("debugfs"), "-w", "-f", "-", str(disk)]
    done = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, check=True)
    assert b"not" not in done.stderr.lower(), done.stderr


def make(folder: Path, seed: int, block_size: int, features: str, journal: str) -> tuple[bytes, bytes]:
    """(a volume before, the same with what came after in its journal), made by mke2fs and debugfs."""
    rng = random.Random(seed)
    (folder / "tree/sub").mkdir(parents=True)
    for number in range(20):
        (folder / f"tree/sub/{number}").write_bytes(rng.randbytes(rng.randrange(3 * block_size)))
    before, after, dirty = folder / "before", folder / "after", folder / "dirty"
    subprocess.run(
        [tool("mke2fs"), "-q", "-t", "ext4", "-b", str(block_size), "-O", features, "-J", "size=4", "-d", folder / "tree",
         before, "16M"], check=True, capture_output=True,
    )  # fmt: skip
    after.write_bytes(before.read_bytes())
    new = rng.randbytes(5 * block_size)
    (folder / "new").write_bytes(
        MAGIC.to_bytes(4, "big") + new[4:block_size] + MAGIC.to_bytes(4, "big") + new
    )
    lines = [f"rm /sub/{number}" for number in rng.sample(range(20), 7)]
    lines += [f"write {folder}/new new{number}" for number in range(rng.randrange(3, 30))]
    debugfs(after, *lines, "mkdir more", f"write {folder}/new more/deep", "symlink link new0")
    old, fresh = before.read_bytes(), after.read_bytes()
    changed = [
        at // block_size
        for at in range(0, len(old), block_size)
        if old[at : at + block_size] != fresh[at : at + block_size]
    ]
    dirty.write_bytes(old)
    # three transactions: some blocks with noise, which the next ones write again or revoke, then all as they are to be
    noisy = rng.sample(changed, len(changed) // 2)
    unchanged = next(block for block in range((8 << 20) // block_size, 1 << 20) if block not in changed)
    # e2fsck takes the commits that debugfs writes behind revoke blocks for corrupt where sums are of version 1
    revoked = [] if journal == "-c" else [unchanged]
    (folder / "noise").write_bytes(rng.randbytes(block_size * (len(noisy) + 1)))
    (folder / "rest").write_bytes(b"".join(fresh[at * block_size : (at + 1) * block_size] for at in changed))
    lines = [
        f"jw -b {','.join(map(str, [*noisy, *revoked]))} {folder}/noise",
        *(f"jw -r {at}" for at in revoked),
    ]
    debugfs(dirty, f"jo {journal}", *lines, f"jw -b {','.join(map(str, changed))} {folder}/rest", "jc")
    return old, dirty.read_bytes()


def replayed_by_e2fsck(folder: Path, dirty: bytes) -> tuple[bytes, Tree]:
    """The volume after e2fsck, and the tree that debugfs reads from it."""
    disk, out = folder / "copy", folder / "out"
    disk.write_bytes(dirty)
    subprocess.run([tool("e2fsck"), "-fy", disk], check=False, capture_output=True)
    out.mkdir()
    subprocess.run([tool("debugfs"), "-R", f"rdump / {out}", disk], check=True, capture_output=True)
    found: Tree = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = "/"
        else:
            data = path.read_bytes()
            found[name] = (len(data), hashlib.sha256(data).hexdigest())
    return disk.read_bytes(), found


KINDS = {
    "plain": ("^metadata_csum,^64bit", ""),
    "wide": ("^metadata_csum,64bit", ""),
    "v1": ("^metadata_csum,^64bit", "-c"),
    "v2": ("metadata_csum,64bit", "-c -v 2"),
    "v3": ("metadata_csum,64bit", "-c -v 3"),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block_size", [1024, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_is_what_e2fsck_makes_of_a_copy(
    tmp_path: Path, kind: str, block_size: int, seed: int
) -> None:
    before, dirty = make(tmp_path, seed, block_size, *KINDS[kind])
    _, expected = replayed_by_e2fsck(tmp_path, dirty)
    opened = volume(dirty)
    assert opened.info()["journal"].startswith(f"replayed in memory: {2 if kind == 'v1' else 3} transactions")
    assert manifest(opened.root) == expected
    check_reads(opened)
    assert any("its journal is replayed" in line for line in opened.verify())
    assert not [line for line in opened.verify() if "checksum" in line]
    old = volume(dirty, **{"no-journal": "yes"})
    assert manifest(old.root) == manifest(volume(before).root) != expected
    assert old.info()["journal"].startswith("not replayed")


def check_reads(opened: ExtVolume) -> None:
    """Random reads from eight threads give what one read of the whole file gives."""
    content = opened.root.lookup("new0").open()  # type: ignore[attr-defined]
    whole = content.pread(0, content.size)
    rng = random.Random(1)
    spans = [(rng.randrange(len(whole)), rng.randrange(1, 9000)) for _ in range(300)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda span: content.pread(*span), spans))
    assert found == [whole[at : at + size] for at, size in spans]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make(tmp_path_factory.mktemp("logged"), 7, 1024, *KINDS["v3"])[1]


def journal_of(data: bytes) -> tuple[int, int]:
    """(where the journal begins, bytes) in a volume whose journal lies in one piece."""
    opened = volume(data, **{"no-journal": "yes"})
    file = opened.content(opened.inode(opened.super.journal_inode))
    return next(iter(file.extents(0, file.size))).offset, file.size


def blocks_of_kind(data: bytes, kind: int) -> list[int]:
    start, size = journal_of(data)
    mark = struct.pack(">II", MAGIC, kind)
    return [at for at in range(start + 1024, start + size, 1024) if data[at : at + 8] == mark]


def test_a_damaged_block_of_the_journal_costs_what_it_protects_and_is_told(logged: bytes) -> None:
    descriptors, commits, revokes = (blocks_of_kind(logged, kind) for kind in (1, 2, 5))
    assert (len(commits), len(revokes)) == (3, 1)
    for at, transactions in ((descriptors[0], 0), (revokes[0], 1), (descriptors[-1], 2), (commits[1], 1)):
        damaged = bytearray(logged)
        damaged[at + 20] ^= 1
        opened = volume(damaged)
        assert f"{transactions} transactions" in opened.info()["journal"]
        assert "up to damage (ext: the checksum of" in opened.info()["journal"]
    damaged = bytearray(logged)
    damaged[descriptors[-1] + 1024 + 9] ^= 1  # the first block of the last transaction
    assert any("of the journal is wrong" in line for line in volume(damaged).verify())


def test_the_copy_of_the_journals_inode_is_used(logged: bytes) -> None:
    expected = manifest(volume(logged).root)
    opened = volume(logged, **{"no-journal": "yes"})
    group, index = divmod(opened.super.journal_inode - 1, opened.super.inodes_per_group)
    at = opened.groups.inode_table(group) * opened.block_size + index * opened.super.inode_size
    damaged = bytearray(logged)
    damaged[at + 0x28 : at + 0x64] = bytes(60)
    assert manifest(volume(damaged).root) == expected


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0x00, 0, "magic of the journal"), (0x0C, 4096, "block size of the journal 4096 is not 1024"),
        (0x10, 1 << 31, "number of blocks"), (0x14, 0, "first block"), (0x1C, 1 << 20, "start of the log"),
        (0x28, 1 << 9, "features 0x200"), (0xFC, 1, "checksum of the journal's superblock"),
    ],
)  # fmt: skip
def test_a_journal_that_cannot_be_leaves_the_volume_as_it_is(
    logged: bytes, at: int, value: int, reason: str
) -> None:
    start, _ = journal_of(logged)
    damaged = bytearray(logged)
    damaged[start + at : start + at + 4] = value.to_bytes(4, "big")
    if at != 0xFC:
        damaged[start + 0xFC : start + 0x100] = bytes(4)
        sealed = metadata_crc(bytes(damaged[start : start + 1024]))
        damaged[start + 0xFC : start + 0x100] = sealed.to_bytes(4, "big")
    opened = volume(damaged)
    assert reason in opened.info()["journal"]
    assert manifest(opened.root) == manifest(volume(logged, **{"no-journal": "yes"}).root)
    assert any(reason in line for line in opened.verify())


def test_a_journal_on_another_device_is_named(logged: bytes) -> None:
    damaged = bytearray(logged)
    damaged[1024 + 0xE0 : 1024 + 0xE4] = bytes(4)
    flags = int.from_bytes(damaged[1024 + 0x64 : 1024 + 0x68], "little") & ~0x400
    damaged[1024 + 0x64 : 1024 + 0x68] = flags.to_bytes(4, "little")
    assert "another device" in volume(damaged).info()["journal"]


def test_fast_commits_behind_the_log_are_named(tmp_path: Path) -> None:
    unpack(FIXTURES / "filesystems/ext/fast-commits/disk.img.xz", tmp_path / "disk")
    opened = volume((tmp_path / "disk").read_bytes())
    assert opened.info()["journal"].endswith("but for fast commits, which are not read")
    assert set(opened.root.listing().nodes) == {"before", "lost+found"}


def test_counts_that_lie_are_bounded(logged: bytes) -> None:
    start, _ = journal_of(logged)
    rng = random.Random(3)
    used = [at for kind in (1, 2, 4, 5) for at in blocks_of_kind(logged, kind)]
    for _ in range(60):
        damaged = bytearray(logged)
        for _ in range(rng.choice((1, 4, 20))):
            at = rng.choice([start, *used]) + rng.randrange(256)
            damaged[at] = rng.choice((0, 255, rng.randrange(256)))
        survive(lambda damaged=damaged: volume(damaged), 200)  # type: ignore[misc]


def test_one_revoke_block_seen_a_million_times_ends() -> None:
    revoke = struct.pack(">IIII", MAGIC, 5, 1, 1024) + bytes(range(1, 253)) * 4
    head = struct.pack(">IIIIIIII", MAGIC, 4, 0, 1024, 1 << 20, 1, 1, 1) + struct.pack(">IIII", 0, 0, 1, 0)

    class Endless(BlockDevice):
        size = 1 << 30

        def _pread(self, offset: int, size: int) -> bytes:
            block = head.ljust(1024, b"\0") if offset < 1024 else revoke.ljust(1024, b"\0")
            return block[offset % 1024 : offset % 1024 + size]

    found = Journal(Endless(), 1024)
    assert found.transactions == 0
    assert "not read on" in str(found.fault)
