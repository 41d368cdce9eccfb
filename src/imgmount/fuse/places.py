"""Where an image is mounted that is given no mount point, and under what name.

File managers list what is mounted below the home or in a folder for media, unless a folder on the way is
hidden: such is the rule of GLib, ``g_unix_mount_guess_should_display``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zlib import crc32

from imgmount.errors import MountError
from imgmount.fuse.mountpoint import make, mounts

GATHERED: Final = "imgmount"  # below the home: mounts of images whose own folders will not do
MAX_NAME: Final = 60
LOCK: Final = "imgmount.lock"
_UNWELCOME: Final = frozenset('/\\:*?"<>|')  # in names, on one system or another


def default_target(image: Path, label: str, *, listed: bool) -> Path:
    """A folder to be made, named after the volume or the image: beside the image, else below the home.

    With ``listed`` a place that file managers list comes first. Raises ``MountError``.
    """
    home, run_time = _home(), os.environ.get("XDG_RUNTIME_DIR")
    places = [image.resolve().parent]
    places += [home / GATHERED] if home else []
    places += [Path(run_time)] if run_time else []
    if listed:
        places.sort(key=lambda place: not is_listed(place))
    parent = next((place for place in places if _can_hold(place)), None)
    if parent is None:
        folders = " nor to ".join(map(str, places))
        raise MountError(f"{image}: give a mount point, a folder of your own: you may not write to {folders}")
    if not parent.exists():
        make(parent)
    name = folder_name(label) or folder_name(image.stem if image.suffix else f"{image.name} files") or "disk"
    names = (name if number == 0 else f"{name} ({number})" for number in range(1000))
    return next(parent / name for name in names if not os.path.lexists(parent / name))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # a user without one
        return None


def _can_hold(place: Path) -> bool:
    return os.access(place if place.exists() else place.parent, os.W_OK | os.X_OK)


def is_listed(place: Path) -> bool:
    """Whether file managers list what is mounted in ``place``."""
    if any(part.startswith(".") for part in place.parts):
        return False
    return any(place.is_relative_to(shown) for shown in ("/media", "/run/media", _home() or "/media"))


def folder_name(text: str) -> str:
    """``text`` as the name of a folder that is not hidden and that any file system can have; may be empty."""
    safe = "".join(
        char if char.isprintable() and char not in _UNWELCOME else "_" for char in " ".join(text.split())
    )
    return safe.strip(" .")[:MAX_NAME].rstrip(" .") if safe.strip("_. ") else ""


def mounted_at(image: Path) -> Path | None:
    """Where the user has mounted ``image`` already: the newest mount that answers."""
    source = os.path.realpath(image)
    for mount in reversed(list(mounts())):
        if mount.source == source and os.access(mount.target, os.R_OK):
            return mount.target
    return None


@contextlib.contextmanager
def one_at_a_time(image: Path) -> Iterator[None]:
    """Have others that open ``image`` wait: the second click of two shall find the mount of the first.

    Each image has a byte of one file to lock, in a way that the daemon does not inherit.
    """
    folder = os.environ.get("XDG_RUNTIME_DIR")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            if folder:
                file = stack.enter_context((Path(folder) / LOCK).open("w"))
                fcntl.lockf(file, fcntl.LOCK_EX, 1, crc32(os.fsencode(os.path.realpath(image))))
        yield
