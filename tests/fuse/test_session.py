"""The life of a mount, with the real command: start, every way to end, crashes, users, crowds."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers import FIXTURES, SRC
from imgmount.chain.open import open_image
from imgmount.errors import MountError
from imgmount.fuse import session
from imgmount.fuse.options import MountOptions
from imgmount.vfs.tree import View, build_vfs

WUX = FIXTURES / "containers/wux/plain/game.wux"
FACT = json.loads((WUX.parent / "expected.json").read_text())["raw"]
NOBODY = 65534
SITE = str(Path(str(find_spec("mfusepy").origin)).parent)  # type: ignore[union-attr]


def imgmount(
    *words: str | Path, check: bool = True, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imgmount", *map(str, words)],
        check=check, capture_output=True, text=True, timeout=30, cwd=cwd, env=os.environ | {"PYTHONPATH": SRC},
    )  # fmt: skip


def daemon(target: Path) -> int:
    """The process that serves ``target``."""
    found = subprocess.run(
        ["pgrep", "-f", f"imgmount .*{target}$"], capture_output=True, text=True, check=True
    )
    (pid,) = found.stdout.split()
    return int(pid)


def eventually(condition: Callable[[], bool]) -> None:
    """The daemon ends after the unmount has returned: give it time."""
    for _ in range(400):
        if condition():
            return
        time.sleep(0.025)
    raise AssertionError("still not so after ten seconds")


def digest(path: Path) -> list[int | str]:
    data = path.read_bytes()
    return [len(data), hashlib.sha256(data).hexdigest()]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "mnt"
    if os.path.ismount(tmp_path / "mnt"):
        subprocess.run(["fusermount3", "-u", "-z", str(tmp_path / "mnt")], check=False)


@pytest.fixture(autouse=True)
def _hangups_count() -> Iterator[None]:
    """Whoever started the tests under nohup had SIGHUP ignored, and a daemon respects that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


ENDINGS: dict[str, Callable[[Path], object]] = {
    "umount": lambda target: subprocess.run(["umount", str(target)], check=True),
    "fusermount3": lambda target: subprocess.run(["fusermount3", "-u", str(target)], check=True),
    "imgmount -u": lambda target: imgmount("-u", target),
    "imgmount -u IMAGE": lambda _: imgmount("-u", WUX),
    "SIGTERM": lambda target: os.kill(daemon(target), signal.SIGTERM),
    "SIGINT": lambda target: os.kill(daemon(target), signal.SIGINT),
    "SIGHUP": lambda target: os.kill(daemon(target), signal.SIGHUP),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_every_way_to_end_leaves_nothing_behind(target: Path, end: Callable[[Path], object]) -> None:
    if end is ENDINGS["umount"] and os.geteuid():
        pytest.skip("plain umount of a FUSE mount is for root and for whoever is in fstab")
    imgmount("--raw", WUX, target)
    assert digest(target / "disk.raw") == FACT
    pid = daemon(target)
    end(target)
    eventually(lambda: not Path(f"/proc/{pid}").exists() and not any(target.parent.iterdir()))
    assert str(target) not in Path("/proc/mounts").read_text()


def test_a_folder_that_was_there_stays(target: Path) -> None:
    target.mkdir()
    imgmount("--raw", WUX, target)
    pid = daemon(target)
    imgmount("-u", target)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert list(target.iterdir()) == []


def test_in_the_foreground_it_stays_until_unmounted(target: Path) -> None:
    words = [sys.executable, "-m", "imgmount", "-f", "--raw", str(WUX), str(target)]
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": SRC})
    eventually((target / "disk.raw").exists)
    assert process.poll() is None
    imgmount("-u", target)
    assert process.wait(20) == 0
    assert not target.exists()


def test_a_mount_whose_daemon_was_killed_is_replaced(target: Path) -> None:
    target.mkdir()
    imgmount("--raw", WUX, target)
    pid = daemon(target)
    assert list(target.iterdir())  # the kernel keeps the listing, and must notice all the same
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(OSError, match="not connected"):
        list(target.iterdir())
    imgmount("--raw", WUX, target)
    assert digest(target / "disk.raw") == FACT
    imgmount("-u", target)
    assert str(target) not in Path("/proc/mounts").read_text()


def test_a_folder_made_for_a_mount_goes_with_it_though_the_daemon_was_killed(target: Path) -> None:
    imgmount("--raw", WUX, target)
    pid = daemon(target)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    imgmount("-u", target)
    assert not target.exists()


def test_an_image_that_shrinks_while_it_is_mounted_is_an_error_and_not_its_end(tmp_path: Path) -> None:
    image, target = tmp_path / "disk.img", tmp_path / "mnt"
    image.write_bytes(bytes(range(256)) * (16 << 10))
    imgmount("--raw", image, target)
    os.truncate(image, 1 << 20)
    with (target / "disk.raw").open("rb", buffering=0) as file:
        assert file.read(4096) == bytes(range(256)) * 16
        file.seek(2 << 20)
        with pytest.raises(OSError, match="Input/output error"):
            file.read(4096)
    copied = subprocess.run(["cp", target / "disk.raw", tmp_path / "copy"], check=False, capture_output=True)
    assert copied.returncode != 0
    imgmount("-u", target)


def test_a_daemon_forgets_keys_and_passwords(target: Path) -> None:
    secrets = {"IMGMOUNT_PASSWORD": "correct horse", "IMGMOUNT_KEYS": f"disc={'5a' * 16}"}
    env = os.environ | {"PYTHONPATH": SRC} | secrets
    subprocess.run([sys.executable, "-m", "imgmount", "--raw", WUX, target], check=True, timeout=30, env=env)
    pid = daemon(target)
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"IMGMOUNT_PASSWORD" in environment  # this is the block that the daemon was started with
    assert not any(value.encode() in environment for value in secrets.values())
    assert "CoreDumping:\t0" in Path(f"/proc/{pid}/status").read_text()
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0  # as of a process that must not be dumped
    imgmount("-u", target)


def test_a_mount_that_does_not_answer_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(session.Session):
        def serve(self, ready: Callable[[], None]) -> int:  # noqa: ARG002
            time.sleep(60)
            return 0

    monkeypatch.setattr(session, "MAX_WAIT", 0.2)
    target.mkdir()
    with open_image(WUX) as image:
        stuck = Stuck(image, WUX, build_vfs(image, View.RAW), target, MountOptions(), created=True)
        with pytest.raises(MountError, match=r"did not answer in 0\.2 seconds"):
            stuck.background()
    assert not target.exists()


def test_a_log_on_a_full_disk_costs_no_more_than_the_log(target: Path) -> None:
    done = imgmount("info", "--log-file", "/dev/full", "-vv", WUX)
    assert "Traceback" not in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_files_that_are_closed_do_no_harm(target: Path, closed: str) -> None:
    words = [sys.executable, "-m", "imgmount", "--raw", str(WUX), str(target)]
    env = os.environ | {"PYTHONPATH": SRC}
    subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *words], check=True, timeout=30, env=env)
    assert digest(target / "disk.raw") == FACT
    imgmount("-u", target)


def test_a_place_that_is_taken_is_refused(target: Path) -> None:
    imgmount("--raw", WUX, target)
    done = imgmount("--raw", WUX, target, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "mounted there already" in done.stderr
    imgmount("-u", target)


def test_two_mounts_of_one_image_and_sixteen_readers(tmp_path: Path) -> None:
    content = WUX.read_bytes()
    targets = [tmp_path / "one", tmp_path / "two"]
    for target in targets:
        imgmount("--raw", "--container", "raw", WUX, target)

    def read(number: int) -> None:
        rng = random.Random(number)
        fd = os.open(targets[number % 2] / "disk.raw", os.O_RDONLY)
        for _ in range(500):
            offset, size = rng.randrange(len(content)), rng.randrange(1, 100_000)
            os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, size, offset) == content[offset : offset + size]
        os.close(fd)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(16)))
    imgmount("-u", *targets)


def test_the_image_is_named_by_its_full_path_and_options_arrive(tmp_path: Path) -> None:
    image, target = tmp_path / "a, b.wux", tmp_path / "mnt"
    image.write_bytes(WUX.read_bytes())
    imgmount(
        "--raw",
        "-o",
        "noauto,uid=12,gid=34,umask=0444,noexec,x-gvfs-show",
        image.name,
        target.name,
        cwd=tmp_path,
    )
    facts = (target / "disk.raw").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (12, 34, 0)
    (line,) = (line for line in Path("/proc/mounts").read_text().splitlines() if str(target) in line)
    assert line.startswith(f"{tmp_path}/a,\\040b.wux {target} fuse.imgmount ro,nosuid,nodev,noexec")
    imgmount("-u", target)


def test_an_owner_that_the_user_names_counts_more_than_the_image(target: Path) -> None:
    iso = FIXTURES / "filesystems/iso9660/rockridge/rockridge.iso.xz"  # which has owners
    imgmount("-o", "uid=12,gid=34", iso, target)
    found = {(facts.st_uid, facts.st_gid) for path in target.iterdir() for facts in [path.lstat()]}
    imgmount("-u", target)
    assert found == {(12, 34)}


def test_a_remount_changes_the_mount_that_is_there(target: Path) -> None:
    if os.geteuid():
        pytest.skip("remounting is for root")
    done = imgmount("-o", "remount,ro", WUX, target, check=False)
    assert (done.returncode, done.stderr) == (1, f"imgmount: {WUX}: {target}: is not mounted by imgmount\n")
    imgmount("--raw", WUX, target)
    imgmount("-o", "remount,rw,noexec", WUX, target)
    (line,) = (line for line in Path("/proc/mounts").read_text().splitlines() if str(target) in line)
    assert " ro,nosuid,nodev,noexec," in line
    imgmount("-u", target)


def test_an_unknown_option_mounts_nothing(target: Path) -> None:
    done = imgmount("-o", "frobnicate", WUX, target, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"imgmount: {WUX}: unknown mount option 'frobnicate'"]
    assert not target.exists()


def test_without_a_mount_point_one_is_made_beside_the_image(tmp_path: Path) -> None:
    image = tmp_path / "game.wux"
    image.write_bytes(WUX.read_bytes())
    done = imgmount("--raw", image)
    assert done.stdout == f"{tmp_path / 'game'}\n"
    assert digest(tmp_path / "game" / "disk.raw") == FACT
    imgmount("-u", image)
    eventually(lambda: [path.name for path in tmp_path.iterdir()] == ["game.wux"])


def test_a_note_says_why_the_raw_view_is_shown(target: Path) -> None:
    done = imgmount(WUX, target)
    assert done.stderr.splitlines() == [f"imgmount: {WUX}: no known filesystem: raw view"]
    assert digest(target / "disk.raw") == FACT
    imgmount("-u", target)


def as_nobody(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join((SRC, SITE))}
    return subprocess.run(
        [str(word) for word in words],
        user=NOBODY, group=NOBODY, extra_groups=[], env=env, check=check, timeout=30, capture_output=True, text=True,
    )  # fmt: skip


# some machines keep /dev/fuse for root: here is one for everybody, which only this process and its children
# see
IN_NAMESPACE = """
mknod -m 666 "$3/fuse" c 10 229
mount --bind "$3/fuse" /dev/fuse
exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -ec '
    "$1" -m imgmount --raw "$2" "$3/mnt"
    sha256sum "$3/mnt/disk.raw"
    fusermount3 -u "$3/mnt"
' sh "$@"
"""


def test_an_ordinary_user_can_mount() -> None:
    if os.geteuid():
        pytest.skip("the other tests are this test: they do not run as root")
    python = next((path for path in (sys.executable, "/usr/bin/python3") if _allowed(path)), None)
    if python is None or as_nobody("test", "-r", WUX, check=False).returncode:
        pytest.skip("the user nobody cannot reach Python or the fixtures here")
    folder = Path(as_nobody("mktemp", "-d").stdout.strip())
    command = ["unshare", "--mount", "sh", "-ec", IN_NAMESPACE, "sh", python, str(WUX), str(folder)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join((SRC, SITE))}
    done = subprocess.run(command, env=env, check=False, timeout=30, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == FACT[1]
    eventually(lambda: not (folder / "mnt").exists())
    (folder / "fuse").unlink()
    folder.rmdir()


def _allowed(python: str) -> bool:
    """Whether an ordinary user may run ``python``, and whether it is new enough."""
    try:
        return (
            as_nobody(
                python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))", check=False
            ).returncode
            == 0
        )
    except OSError:
        return False
