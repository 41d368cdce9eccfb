"""Reparse points, which Windows puts in the place of a file: how symbolic links and junctions read on POSIX.

Source: [MS-FSCC] 2.1.2. A link that Windows resolves on the same volume is shown relative to where it
stands. One that leaves the volume is shown with its drive or server as the first component, so that it leads
nowhere rather than out of the mount.
"""

from __future__ import annotations

from collections.abc import Callable
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK
from struct import Struct
from typing import Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.families.windows import names
from imgmount.families.windows.attributes import OFFLINE, RECALL

_HEADER: Final = Struct("<IHH")  # tag, length, reserved
_NAMES: Final = Struct("<HHHH")  # substitute name's offset and length, print name's
_FLAGS: Final = Struct("<I")  # of a symbolic link, behind its names
RELATIVE: Final = 1

MOUNT_POINT: Final = 0xA000_0003
SYMLINK: Final = 0xA000_000C
LX_SYMLINK: Final = 0xA000_001D
LINKS: Final = (MOUNT_POINT, SYMLINK, LX_SYMLINK)
WOF: Final = 0x8000_0017
# tags of the special files of WSL
SPECIALS: Final = {0x8000_0023: S_IFSOCK, 0x8000_0024: S_IFIFO, 0x8000_0025: S_IFCHR, 0x8000_0026: S_IFBLK}
CLOUD: Final = 0x9000_001A
ONEDRIVE: Final = 0x8000_0021
CLOUD_MASK: Final = 0xFFFF_0FFF  # the digit between tells the provider's layer
NAMES: Final = {
    MOUNT_POINT: "a junction",
    SYMLINK: "a symbolic link",
    LX_SYMLINK: "a symbolic link of WSL",
    WOF: "a compressed file, or a pointer into a WIM",
    CLOUD: "a cloud file",
    0x8000_0008: "a pointer into a WIM",
    0x8000_0013: "a deduplicated file",
    0xC000_0004: "a migrated file",
    0x8000_0006: "a migrated file",
    0x8000_0018: "a file of a container's layer",
    0x8000_001B: "an app's alias",
    ONEDRIVE: "a file of OneDrive",
    0x8000_0023: "a socket of WSL",
    0x8000_0024: "a FIFO of WSL",
    0x8000_0025: "a character device of WSL",
    0x8000_0026: "a block device of WSL",
}
ELSEWHERE: Final = (WOF, 0x8000_0008, 0x8000_0013, 0xC000_0004, 0x8000_0006)  # never in the file itself
PREFIXES: Final = ("\\??\\", "\\\\?\\", "\\\\.\\", "\\DosDevices\\", "\\GLOBAL??\\")


class Point(NamedTuple):
    """A reparse point; ``data`` is what follows its header of 8 bytes."""

    tag: int
    data: bytes


class Link(NamedTuple):
    """A symbolic link or junction.

    The substitute name as Windows writes it, and whether it starts where the link stands.
    """

    target: str
    relative: bool


def parse(buffer: bytes, fmt: str) -> Point:
    """The reparse point in ``buffer``, header first. Raises ``FormatError`` in the name of ``fmt``."""
    if len(buffer) < _HEADER.size:
        raise FormatError(fmt, f"a reparse point of {len(buffer)} bytes, its header alone is {_HEADER.size}")
    tag, length, _ = _HEADER.unpack_from(buffer)
    return Point(tag, buffer[_HEADER.size : _HEADER.size + length])


def name(tag: int) -> str:
    """What a reparse point with this tag is, for messages: "a deduplicated file"."""
    return NAMES.get(CLOUD if tag & CLOUD_MASK == CLOUD else tag, f"a reparse point {tag:#010x}")


def is_elsewhere(tag: int, attributes: int) -> bool:
    """Whether the content of a file with such a reparse point is somewhere else: its own data are a hole."""
    cloud = tag == ONEDRIVE or tag & CLOUD_MASK == CLOUD
    return tag in ELSEWHERE or (cloud and bool(attributes & (OFFLINE | RECALL)))


def link(point: Point, fmt: str) -> Link:
    """What a symbolic link or junction says. Raises ``FormatError`` in the name of ``fmt``."""
    start = _NAMES.size + (_FLAGS.size if point.tag == SYMLINK else 0)
    if len(point.data) < start:
        raise FormatError(fmt, f"a link of {len(point.data)} bytes, its header alone is {start}")
    offset, length, _, _ = _NAMES.unpack_from(point.data)
    raw = point.data[start + offset : start + offset + length]
    if len(raw) != length:
        raise FormatError(fmt, f"a link's target at {offset}+{length} of {len(point.data) - start} bytes")
    relative = point.tag == SYMLINK and bool(_FLAGS.unpack_from(point.data, _NAMES.size)[0] & RELATIVE)
    return Link(names.decode(raw), relative)


def posix_target(point: Point, depth: int, inside: Callable[[str], bool], fmt: str) -> str:
    """The target of one of ``LINKS`` in a directory ``depth`` levels below the root, for ``readlink``.

    It never leads out. ``inside`` is asked for a target with a drive letter, without that and with slashes:
    whether it is on this volume. Raises ``FormatError``.
    """
    if point.tag == LX_SYMLINK:
        text = point.data[4:].decode("utf-8", "surrogateescape").replace("\0", "")  # behind a version
        return _from_root(text, depth) if text.startswith("/") else kept_in(text, depth)
    target, relative = link(point, fmt)
    if relative and not target.startswith(("\\", "/")):
        return kept_in(names.shown_path(target.replace("\\", "/")), depth)
    prefix = next((prefix for prefix in PREFIXES if target.startswith(prefix)), "")
    target = names.shown_path(target.removeprefix(prefix).replace("\\", "/"))
    drive, colon, path = target.partition(":")
    if colon and len(drive) == 1:
        return _from_root(path, depth) if inside(path) else f"{drive}:/{kept_in(path, 0)}"
    if target.startswith("//"):
        return kept_in(f"UNC{target[1:]}", depth)
    return kept_in(target, depth) if prefix else _from_root(target, depth)


def _from_root(path: str, depth: int) -> str:
    """A path from the root of the volume, as seen from ``depth`` levels below it."""
    return kept_in("../" * depth + path.strip("/"), depth)


def kept_in(path: str, depth: int) -> str:
    """A relative path, in which ``..`` takes back the name before it, as in Windows, and stays at the root.

    In POSIX ``link/..`` is the folder above the link's target, which may be outside of the mount.
    """
    path = path.lstrip("/") or "."
    if ".." not in path:
        return path
    up, down = 0, list[str]()
    for part in path.split("/"):
        if part != "..":
            down += [part] if part not in ("", ".") else []
        elif down:
            down.pop()
        else:
            up += up < depth
    return "/".join([".."] * up + down) or "."
