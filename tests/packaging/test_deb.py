"""The Debian package: lintian has nothing to say, and what it installs works and goes again.

It is installed in a copy of this machine, an overlay over its root in a mount namespace of its own, of which nothing is left.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import FIXTURES, tool
from imgmount import __version__

TOP = FIXTURES.parent
IMAGE = FIXTURES / "filesystems" / "iso9660" / "rockridge" / "rockridge.iso.xz"
FILE = "dir/sub/Case"
SETUP = """
mount -t tmpfs tmpfs "$1" && cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount --rbind /dev root/dev && mount -t proc proc root/proc && mount -t tmpfs tmpfs root/tmp
mkdir root/tmp/mnt root/tmp/changed && mount --bind upper root/tmp/changed
cp "$2" root/tmp/imgmount.deb && cp "$3" root/tmp/disc.iso.xz
echo ready && read -r end || umount -a -t fuse.imgmount
"""
ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "XDG_RUNTIME_DIR=/tmp")
ORDINARY = "setpriv --reuid=65534 --regid=65534 --clear-groups"

Machine = Callable[[str], str]


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("dh_python3")
    command = map(str, (TOP / "scripts" / "build-deb.sh", sys.executable, tmp_path_factory.mktemp("deb")))
    return Path(subprocess.run([*command], capture_output=True, text=True, check=True).stdout.strip())


@pytest.fixture(scope="module")
def machine(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Runs a script as root in a copy of this machine where the package is installed."""
    if os.geteuid() != 0:
        pytest.skip("only root can install a package, in a copy of the machine too")
    box = tmp_path_factory.mktemp("box")
    words: list[str | Path] = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", SETUP, "-"]
    with subprocess.Popen([*words, box, deb, IMAGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("an overlay over the root of the machine cannot be mounted here")

        def run(script: str) -> str:
            inside = (
                "nsenter",
                f"--mount=/proc/{holder.pid}/ns/mnt",
                "chroot",
                str(box / "root"),
                *ENVIRONMENT,
            )
            done = subprocess.run(
                [*inside, "sh", "-euc", script], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
            return done.stdout

        try:
            run("dpkg --install /tmp/imgmount.deb")
            yield run
        finally:
            holder.stdin.close()


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    done = subprocess.run(
        [tool("lintian"), "--allow-root", "-EI", deb], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_an_ordinary_user_reads_an_image(machine: Machine) -> None:
    assert machine("imgmount --version") == f"imgmount {__version__}\n"
    assert "file > xz > iso9660" in machine(f"{ORDINARY} imgmount info /tmp/disc.iso.xz")


@pytest.mark.parametrize("kind", ["imgmount", "fuse.imgmount"])
def test_mount_finds_the_helper(machine: Machine, kind: str) -> None:
    size, digest = json.loads((IMAGE.parent / "expected.json").read_text())["trees"]["disk"][FILE]
    mounted = machine(
        f"mount -t {kind} /tmp/disc.iso.xz /tmp/mnt; cd /tmp/mnt; sha256sum <{FILE}; stat -c %s {FILE}; cd /; umount /tmp/mnt"
    )
    assert mounted.split() == [digest, "-", str(size)]


def test_python_finds_the_library(machine: Machine) -> None:
    ask = "import imgmount; print(imgmount.open_image('/tmp/disc.iso.xz'))"
    assert machine(f'/usr/bin/python3 -c "{ask}"') == "file > xz > iso9660\n"


@pytest.mark.parametrize(
    "page", ["imgmount.1", "imgmount-formats.7", "mount.imgmount.8", "mount.fuse.imgmount.8"]
)
def test_man_shows_the_page(machine: Machine, page: str) -> None:
    name, _, section = page.rpartition(".")
    assert "NAME" in machine(f"man -P cat {section} {name} | col -b")


@pytest.mark.parametrize(
    ("shell", "script", "found"),
    [
        ("bash", "source /usr/share/bash-completion/completions/imgmount; complete -p imgmount", "imgmount"),
        ("zsh", "autoload -Uz compinit; compinit -D -u; print $_comps[imgmount]", "_imgmount"),
        ("fish", "complete -C 'imgmount ver'", "verify"),
    ],
)
def test_the_shell_completes(machine: Machine, shell: str, script: str, found: str) -> None:
    tool(shell)
    assert found in machine(f"{shell} -c {shlex.quote(script)}")


def test_systemd_finds_the_unit(machine: Machine) -> None:
    tool("systemd-analyze")
    assert machine("systemd-analyze --user verify imgmount@disc.iso.service") == ""


def test_desktops_know_the_types_of_images(machine: Machine) -> None:
    """Their databases are made anew by triggers of dpkg, without a word in our package."""
    tool("update-mime-database")
    tool("update-desktop-database")
    assert machine("grep wux /usr/share/mime/globs2") == "50:application/x-wux:*.wux\n"
    opened = machine("grep x-wux /usr/share/applications/mimeinfo.cache")
    assert opened == "application/x-wux=imgmount-mount.desktop;\n"


def test_it_is_removed_without_a_trace(machine: Machine) -> None:
    """The last test: nothing but what dpkg writes down about itself is left."""
    machine("dpkg --purge imgmount")
    left = machine("find /tmp/changed -path '*imgmount*' -not -path '/tmp/changed/var/*'")
    assert left == ""
