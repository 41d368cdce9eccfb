"""The host's mount table: what is mounted where, folders to mount on, and how to let go of them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from errno import ENOTCONN
from pathlib import Path
from typing import Final, NamedTuple

from imgmount.core.program import failure_of
from imgmount.errors import MountError
from imgmount.fuse.options import ALWAYS, KERNEL

FSTYPE: Final = "fuse.imgmount"
AUTOFS: Final = "autofs"
MADE_HERE: Final = "user.imgmount.made"  # on a folder that is to be removed with its mount
MOUNTINFO: Final = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """One live mount. ``device`` is the major:minor pair that names its bdi."""

    kind: str
    source: str
    target: Path
    options: tuple[str, ...]
    device: str


def mounts() -> Iterator[Mount]:
    """Every live imgmount mount, oldest first."""
    return (mount for mount in _table() if mount.kind == FSTYPE)


def _table() -> Iterator[Mount]:
    """Every mount of whatever kind, oldest first: proc(5), mountinfo."""
    # not splitlines: a name may hold any other line end
    for line in MOUNTINFO.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(" ")
        if "-" not in fields[6:]:  # the last, which is empty
            continue
        kind, source, more = fields[fields.index("-", 6) + 1 :]
        options = dict.fromkeys(_unescape(f"{fields[5]},{more}").split(","))
        yield Mount(kind, _unescape(source), Path(_unescape(fields[4])), tuple(options), fields[2])


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
            raise MountError(f"{target}: something is mounted there already: 'imgmount list' shows images")
        if next(entries, None) is not None:
            raise MountError(f"{target}: is not empty: choose an empty folder, or a new name")
    return False


def _is_taken(target: Path) -> bool:
    """Whether something is mounted there. The trigger of an automount does not count: we mount over it."""
    if not os.path.ismount(target):
        return False
    place = target.resolve()
    kinds = [mount.kind for mount in _table() if mount.target == place]
    return kinds[-1:] != [AUTOFS]


def make(target: Path) -> bool:
    """Make a folder that is to be removed when nothing is mounted there any more. Raises ``MountError``."""
    try:
        target.mkdir(parents=False)
    except FileNotFoundError:
        raise MountError(f"{target}: cannot be created: there is no folder {target.parent}") from None
    except OSError as exc:
        raise MountError(f"{target}: cannot be created: {exc.strerror}: choose a folder of your own") from exc
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
    import shutil

    fusermount = shutil.which("fusermount3") or shutil.which("fusermount")
    if fusermount:
        commands.append([fusermount, "-u", *(["-z"] if lazy else []), "--", str(target)])
    failure: str | None = "neither umount nor fusermount3 is installed"
    for command in commands:
        failure = failure_of(command)
        if failure is None:
            return
    raise MountError(f"{target}: {failure}")


def remount(target: Path, options: Sequence[str]) -> None:
    """Have the kernel treat a mount of ours by other flags: noexec, noatime...

    What the image shows stays as it is. Raises ``MountError``.
    """
    mount = find(target)
    flags = ",".join(["remount", *ALWAYS, *(option for option in options if option in KERNEL)])
    # -i: without the helper that has called this
    failure = failure_of(["mount", "-i", "-o", flags, "--", mount.source, str(mount.target)])
    if failure is not None:
        raise MountError(f"{target}: {failure}")
