"""A host that refuses to mount: what is said is one line, with what to do next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import FIXTURES, SRC
from imgmount.fuse import refusal

WUX = FIXTURES / "containers/wux/plain/game.wux"
WITHOUT = "; without FUSE: imgmount ls, cat, extract"
FLAGS = f"start the container with --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined{WITHOUT}"
NO_DEVICE = "there is no /dev/fuse that can be opened"
FORBIDDEN = "the kernel does not allow it"

SAID = {
    "fuse: device not found, try 'modprobe fuse' first": (NO_DEVICE, f"as root, run 'modprobe fuse'{WITHOUT}", FLAGS),
    "fuse: failed to open /dev/fuse: Operation not permitted": (NO_DEVICE, f"as root, run 'modprobe fuse'{WITHOUT}", FLAGS),
    "fusermount3: mount failed: Operation not permitted": (
        FORBIDDEN, f"fusermount3 must be set-uid root, and is not under NoNewPrivileges{WITHOUT}", FLAGS,
    ),
    "fuse: failed to exec fusermount3: No such file or directory": (
        "fusermount3, which mounts for users, cannot be run", f"install the package 'fuse3'{WITHOUT}", "",
    ),
    "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf": (
        "allow_other and allow_root are for root here",
        "leave them out, or have root add the line user_allow_other to /etc/fuse.conf", "",
    ),
    "fusermount3: user has no write access to mountpoint /mnt": (
        "the folder is another user's", "choose one of your own", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("contained", [False, True])
def test_what_is_printed_becomes_a_line_that_helps(
    said: str, contained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    meaning, here, there = SAID[said]
    monkeypatch.setattr(refusal, "MARKS", ())
    for name in refusal.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if contained:
        monkeypatch.setenv("container", "podman")
    remedy = there if contained and there else here
    assert refusal.explain(Path("/mnt"), f"one line\n{said}\n") == f"/mnt: {meaning}: {remedy}"


def test_what_is_not_known_is_told_as_it_is() -> None:
    assert refusal.explain(Path("/mnt"), "a\nfusermount3: too many\n") == "/mnt: fusermount3: too many"
    assert refusal.explain(Path("/mnt"), "") == "/mnt: the mount failed, and nothing says why"


# what is done in a mount namespace of its own, before and around the program
BARE = "mount -t tmpfs bare /dev; mknod -m 666 /dev/null c 1 3; exec"
HOSTS = {
    "no device": (BARE, NO_DEVICE),
    "not allowed": ("exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin", FORBIDDEN),
    "no fusermount3": (
        "mount --bind /dev/null $(command -v fusermount3); exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin",
        "fusermount3, which mounts for users, cannot be run",
    ),
    "no libfuse": (
        "for file in $(ldconfig -p | grep -o '/.*/libfuse3.so.*'); do mount --bind /dev/null $file; done; exec",
        "libfuse 3 cannot be loaded: install the package 'fuse3'; without FUSE: imgmount ls, cat, extract",
    ),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("options", [[], ["-f"]])
def test_a_host_that_refuses_is_one_line(host: str, options: list[str], tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can take something away from a mount namespace")
    before, said = HOSTS[host]
    words = [sys.executable, "-m", "imgmount", "--raw", *options, str(WUX), str(tmp_path / "mnt")]
    env = os.environ | {"PYTHONPATH": SRC, "container": "podman"}
    env.pop("FUSE_LIBRARY_PATH", None)  # that of this process
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{before} "$@"', "sh", *words],
        check=False, capture_output=True, text=True, timeout=30, env=env,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"imgmount: {WUX}: ")
    assert said in line
    assert not (tmp_path / "mnt").exists()
