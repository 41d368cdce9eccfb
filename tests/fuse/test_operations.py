"""The adapter, through the kernel: a made-up tree is mounted once, and must answer as the tree says."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fake_tree as fake
from helpers import SRC


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fake")
    host, target = folder / "host file, with comma", folder / "mnt"
    host.write_bytes(fake.PATTERN)
    target.mkdir()
    subprocess.run(
        [sys.executable, fake.__file__, target, host],
        check=True,
        timeout=20,
        env=os.environ | {"PYTHONPATH": SRC},
    )
    yield target
    subprocess.run(["fusermount3", "-u", str(target)], check=True, timeout=20)


def spans(size: int, count: int = 300) -> list[tuple[int, int]]:
    rng = random.Random(size)
    return [(rng.randrange(size), rng.choice((1, 511, 4096, 65537, 300_000))) for _ in range(count)]


def expected(name: str) -> bytes:
    pattern = fake.PATTERN
    if name == "shuffled":
        return b"".join(pattern[number * 4096 : (number + 1) * 4096] for number in reversed(range(200)))
    hole = bytes(fake.HOLE)
    if name == "holey":
        return hole + pattern[4096 : 4096 + 65536] + hole + pattern[:1000] + hole
    return pattern[:-77] if name == "coded" else pattern


@pytest.mark.parametrize("name", ["plain", "shuffled", "holey", "coded"])
def test_bytes_arrive_whole_and_at_random_from_eight_threads(mount: Path, name: str) -> None:
    content = expected(name)
    assert (mount / name).read_bytes() == content
    fd = os.open(mount / name, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with ThreadPoolExecutor(8) as pool:
        for (offset, size), data in pool.map(
            lambda span: (span, os.pread(fd, span[1], span[0])), spans(len(content))
        ):
            assert data == content[offset : offset + size]
    assert os.pread(fd, 10, len(content)) == b""
    os.close(fd)


def test_damage_costs_only_its_place(mount: Path) -> None:
    fd = os.open(mount / "broken", os.O_RDONLY)
    assert os.pread(fd, 65536, 0) == fake.PATTERN[:65536]
    assert os.pread(fd, 65536, 128 << 10) == fake.PATTERN[128 << 10 : 192 << 10]
    with pytest.raises(OSError, match="Input/output error"):
        os.pread(fd, 4096, 80 << 10)
    os.close(fd)


def test_a_file_that_runs_past_the_end_of_the_image_can_be_read_up_to_there(mount: Path) -> None:
    fd = os.open(mount / "cut", os.O_RDONLY)
    assert os.fstat(fd).st_size == 16384
    assert os.pread(fd, 8192, 0) == fake.PATTERN[-8192:]
    with pytest.raises(OSError, match="Input/output error"):
        os.pread(fd, 4096, 8192)
    os.close(fd)


def test_a_bug_is_an_errno_and_the_mount_lives_on(mount: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        (mount / "crash").read_bytes()
    assert (mount / "plain").stat().st_size == len(fake.PATTERN)


def test_stat_says_what_the_node_says(mount: Path) -> None:
    facts = (mount / "plain").stat()
    assert stat.filemode(facts.st_mode) == "-rw-r-----"
    assert (facts.st_uid, facts.st_gid, facts.st_nlink) == (os.getuid(), os.getgid(), 1)
    assert (facts.st_mtime_ns, facts.st_atime_ns, facts.st_ctime_ns) == (fake.YEAR_2001,) * 3
    assert facts.st_blocks == (1 << 20) // 512
    assert (
        mount / "empty"
    ).stat().st_ctime_ns == fake.YEAR_2001 + 2  # no change of it is known but its birth
    odd = (mount / "odd \udcff\n name").stat()
    assert (odd.st_uid, odd.st_gid, odd.st_atime_ns, odd.st_ctime_ns) == (1234, 5678, 0, fake.YEAR_2001 + 1)
    null = (mount / "null").stat()
    assert stat.S_ISCHR(null.st_mode)
    assert null.st_rdev == os.makedev(1, 3)
    assert (mount / "empty").stat().st_nlink == 2


def test_the_time_of_birth_is_told_where_it_is_known(mount: Path) -> None:
    words = ["stat", "--format=%.9W %.9Z %s %i", str(mount / "empty"), str(mount / "plain")]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    birth, change, size, inode = lines[0].split()
    assert (size, int(inode)) == ("0", (mount / "empty").stat().st_ino)
    assert birth in (change, "0.000000000")  # a kernel before 6.6 does not ask for it
    assert lines[1].split()[0] == "0.000000000"


def test_holes_are_seen_and_take_no_space(mount: Path) -> None:
    assert (mount / "holey").stat().st_blocks == -(-66536 // 512)
    fd = os.open(mount / "holey", os.O_RDONLY)
    assert os.lseek(fd, 0, os.SEEK_DATA) == fake.HOLE
    assert os.lseek(fd, fake.HOLE, os.SEEK_HOLE) == fake.HOLE + 65536
    assert os.lseek(fd, fake.HOLE + 65536, os.SEEK_DATA) == 2 * fake.HOLE + 65536
    with pytest.raises(OSError, match="No such device or address") as failed:
        os.lseek(fd, 2 * fake.HOLE + 66536, os.SEEK_DATA)
    assert failed.value.errno == errno.ENXIO
    os.close(fd)


def test_a_large_directory_is_listed_once_each_with_full_attributes(mount: Path) -> None:
    with os.scandir(mount / "many") as entries:
        found = {entry.name: entry.stat().st_size for entry in entries}
    assert found == {f"file {number:04}": number % 9 for number in range(fake.MANY)}
    assert len(list((mount / "many").iterdir())) == fake.MANY


def test_inode_numbers_are_the_same_in_listing_and_stat(mount: Path) -> None:
    with os.scandir(mount) as entries:
        assert all(entry.inode() == entry.stat(follow_symlinks=False).st_ino for entry in entries)


def test_a_damaged_directory_shows_what_is_left_and_does_not_call_the_rest_absent(mount: Path) -> None:
    assert [path.name for path in (mount / "torn").iterdir()] == ["kept"]
    assert (mount / "torn" / "kept").read_bytes() == b"kept"
    with pytest.raises(OSError, match="Input/output error"):
        (mount / "torn" / "lost").stat()


def test_an_entry_without_a_readable_inode_is_listed_with_the_others(mount: Path) -> None:
    assert sorted(path.name for path in (mount / "blurred").iterdir()) == ["kept", "lost"]
    assert (mount / "blurred" / "kept").read_bytes() == b"kept"
    with pytest.raises(OSError, match="Input/output error"):
        (mount / "blurred" / "lost").stat()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nothing", errno.ENOENT),
        ("plain/below", errno.ENOTDIR),
        ("many/nothing", errno.ENOENT),
        ("many/a/b", errno.ENOENT),
    ],
)
def test_questions_about_paths(mount: Path, path: str, code: int) -> None:
    with pytest.raises(OSError, match=r"No such|Not a") as failed:
        (mount / path).stat()
    assert failed.value.errno == code


def test_symlinks_and_xattrs(mount: Path) -> None:
    assert str((mount / "link").readlink()) == "many/../plain"
    assert (mount / "link").stat().st_size == len(fake.PATTERN)
    assert set(os.listxattr(mount / "plain")) == {"user.fake.number", "user.fake.empty"}
    assert os.getxattr(mount / "plain", "user.fake.number") == b"1"
    assert os.getxattr(mount / "plain", "user.fake.empty") == b""
    assert os.getxattr(mount / "gone", "user.imgmount.guess") == b"its content"
    assert "user.imgmount.guess" in os.listxattr(mount / "gone")
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(mount / "plain", "user.absent")
    for absent in (
        "security.selinux",
        "system.posix_acl_access",
    ):  # ls(1) asks no other file if it hears this of one
        with pytest.raises(OSError, match="not supported"):
            os.getxattr(mount / "plain", absent)


def test_nothing_can_be_written(mount: Path) -> None:
    for attempt in (
        lambda: (mount / "plain").open("ab"),
        (mount / "new").touch,
        (mount / "plain").unlink,
        (mount / "d").mkdir,
    ):
        with pytest.raises(OSError, match="Read-only file system"):
            attempt()


def test_the_mount_table_and_statfs(mount: Path) -> None:
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if str(mount) in line)
    source, _, fstype, options, *_ = line.split()
    assert source.endswith("host\\040file,\\040with\\040comma")
    assert fstype == "fuse.imgmount"
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))
    facts = os.statvfs(mount)
    assert facts.f_blocks * facts.f_frsize == 123 << 20
    assert (facts.f_bfree, facts.f_namemax) == (0, 255)


def test_a_second_reader_is_not_held_up_by_an_open_listing(mount: Path) -> None:
    with os.scandir(mount / "many") as entries:
        next(entries)
        assert (mount / "plain").read_bytes() == fake.PATTERN
        assert sum(1 for _ in entries) == fake.MANY - 1


def test_a_file_read_again_after_many_others_is_still_itself(mount: Path) -> None:
    """Files have no handles: more of them than are kept at hand, by several readers, and the first once more."""
    with (mount / "plain").open("rb") as first:
        head = first.read(100)
        for number in range(600):
            assert (mount / "many" / f"file {number:04}").read_bytes() == b"x" * (number % 9)
        os.posix_fadvise(first.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        first.seek(0)
        assert first.read(100) == head == fake.PATTERN[:100]
