"""Processes and mounts: which one serves a mount, and which ones keep it busy. Source: proc(5).

Only names and links below ``/proc`` are read, never a file of the mount: its daemon may be dead or slow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from imgmount.fuse.mountpoint import Mount, mounts

PROC: Final = Path("/proc")
TITLE: Final = "imgmount:"  # before the number of the mount's device, in the daemon's name
MAX_LINKS: Final = 4096  # open files looked at, of each process
MAX_MAPS: Final = 1 << 20  # bytes of a process's list of mapped files


class Process(NamedTuple):
    """A process and its name."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


def name_daemon(target: Path) -> None:
    """Give this process the name by which ``servers`` knows it. The mount is there, and is not asked."""
    place = Path(os.path.realpath(target.parent), target.name)
    mount = next((mount for mount in reversed(list(mounts())) if mount.target == place), None)
    if mount is not None:
        with suppress(OSError):
            (PROC / "self" / "comm").write_text(_title(mount))


def servers(found: list[Mount]) -> dict[str, int]:
    """The process that serves each mount, by the mount's device. Those of another user are not believed."""
    owners = {_title(mount): (mount, _owner(mount)) for mount in found}
    serving = {}
    for process in _processes():
        mount, owner = owners.get(process.name, (None, None))
        with suppress(OSError):
            if mount is not None and (PROC / str(process.pid)).stat().st_uid == owner:
                serving[mount.device] = process.pid
    return serving


def _title(mount: Mount) -> str:
    return TITLE + mount.device.partition(":")[2]


def _owner(mount: Mount) -> int:
    return next((int(word[8:]) for word in mount.options if word.startswith("user_id=")), 0)


def holders(target: Path) -> Iterator[Process]:
    """The processes that work or have a file open at ``target`` or below, as far as they may be looked at."""
    own, below = str(target), f"{str(target).rstrip('/')}/"
    for process in _processes():
        if any(path == own or path.startswith(below) for path in _paths(PROC / str(process.pid))):
            yield process


def _processes() -> Iterator[Process]:
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended
                name = (entry / "comm").read_bytes().decode("utf-8", "replace")
                yield Process(int(entry.name), name.removesuffix("\n"))


def _paths(process: Path) -> Iterator[str]:
    """What the process has open: folders, its program, files, mapped files."""
    links = [process / name for name in ("cwd", "root", "exe")]
    with suppress(OSError), os.scandir(process / "fd") as entries:
        links += [Path(entry.path) for entry, _ in zip(entries, range(MAX_LINKS), strict=False)]
    for link in links:
        with suppress(OSError):
            yield os.readlink(link)  # noqa: PTH115  a path that may name no file
    with suppress(OSError), (process / "maps").open(encoding="utf-8", errors="surrogateescape") as file:
        lines = (line.split(None, 5) for line in file.read(MAX_MAPS).split("\n"))
        yield from (fields[5] for fields in lines if len(fields) == 6)
