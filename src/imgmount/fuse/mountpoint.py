"""The host's mount table: what is mounted where, folders to mount on, and how to let go of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOTCONN
from pathlib import Path
from typing import Final

from imgmount.errors import MountError

FSTYPE: Final = "fuse.imgmount"
AUTOFS: Final = "autofs"
MADE_HERE: Final = "user.imgmount.made"  # on a folder that is to be removed with its mount
MOUNTINFO: Final = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """One live mount of ours. ``device`` is the major:minor pair that names its bdi."""

    source: str
    target: Path
    options: tuple[str, ...]
    device: str


def mounts() -> Iterator[Mount]:
    """Every live imgmount mount, oldest first: proc(5), mountinfo."""
    # not splitlines: a name may hold any other line end
    for line in MOUNTINFO.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        ours, _, theirs = line.partition(" - ")
        if not theirs.startswith(f"{FSTYPE} "):
            continue
        fields, (_, source, more) = ours.split(" "), theirs.split(" ", 2)
        options = dict.fromkeys(_unescape(f"{fields[5]},{more}").split(","))
        yield Mount(_unescape(source), Path(_unescape(fields[4])), tuple(options), fields[2])


def _unescape(field: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes as octal."""
    raw = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def prepare(target: Path) -> bool:
    """Make ``target`` an empty folder to mount on. True if it was made here, and is to be removed afterwards.

    A mount whose daemon has died is cleared away first. Raises ``MountError``.
    """
    try:
        entries = os.scandir(target)
    except FileNotFoundError:
        return make(target)
    except NotADirectoryError:
        raise MountError(f"{target}: is not a directory") from None
    except OSError as exc:
        if exc.errno != ENOTCONN:
            raise MountError(f"{target}: {exc.strerror}") from exc
        detach(target, lazy=True)
        return prepare(target)
    with entries:
        if _is_taken(target):
            raise MountError(f"{target}: something is mounted there already")
        if next(entries, None) is not None:
            raise MountError(f"{target}: is not empty")
    return False


def _is_taken(target: Path) -> bool:
    """Whether something is mounted there. The trigger of an automount does not count: we mount over it."""
    if not os.path.ismount(target):
        return False
    place = str(target.resolve())
    kinds = [kind for where, kind in _table() if where == place]
    return kinds[-1:] != [AUTOFS]


def _table() -> Iterator[tuple[str, str]]:
    """(mount point, kind of file system) of every mount, oldest first."""
    for line in MOUNTINFO.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        ours, dash, theirs = line.partition(" - ")
        if dash:
            yield _unescape(ours.split(" ")[4]), theirs.split(" ", 1)[0]


def make(target: Path) -> bool:
    """Make a folder that is to be removed when nothing is mounted there any more. Raises ``MountError``."""
    try:
        target.mkdir(parents=False)
    except OSError as exc:
        raise MountError(f"{target}: cannot be created: {exc.strerror}") from exc
    with contextlib.suppress(OSError):  # not every host file system has such attributes
        os.setxattr(target, MADE_HERE, b"1")
    return True


def discard(target: Path) -> None:
    """Remove a folder that was made for a mount, and the one around it if that was made for it as well."""
    with contextlib.suppress(OSError):
        if os.getxattr(target, MADE_HERE):
            target.rmdir()
            discard(target.parent)


def find(wanted: Path) -> Mount:
    """The newest mount at a mount point, or of an image. Raises ``MountError``."""
    target = Path(os.path.abspath(wanted))  # noqa: PTH100  resolve() would ask a mount that may be dead
    real = os.path.realpath(wanted.parent) + os.sep + wanted.name
    found = [
        mount
        for mount in mounts()
        if mount.target in (target, Path(real)) or mount.source == os.path.realpath(wanted)
    ]
    if not found:
        raise MountError(f"{wanted}: is not mounted by imgmount")
    return found[-1]


def detach(target: Path, *, lazy: bool = False) -> None:
    """Unmount, as root or through fusermount3.

    Raises ``MountError`` with what the system says: busy, not yours...
    """
    commands = [["umount", *(["-l"] if lazy else []), "--", str(target)]] if os.geteuid() == 0 else []
    fusermount = shutil.which("fusermount3") or shutil.which("fusermount")
    if fusermount:
        commands.append([fusermount, "-u", *(["-z"] if lazy else []), "--", str(target)])
    message = "neither umount nor fusermount3 is installed"
    for command in commands:
        # no shell, fixed words
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 0:
            return
        message = (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1]
    raise MountError(f"{target}: {message}")
