"""``-o`` options as mount(8), fstab and systemd write them: ours, those of libfuse, and ignored ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from imgmount.errors import MountError

# For libfuse and the kernel: mount.fuse3(8).
ALWAYS: Final = ("ro", "nosuid", "nodev")
KERNEL: Final = frozenset({"noexec", "noatime", "nodiratime"})
PASSED: Final = KERNEL | {"allow_other", "allow_root", "default_permissions", "auto_unmount"}
PASSED_WITH_VALUE: Final = frozenset({"max_read"})
MAX_ID: Final = (1 << 32) - 1  # which stands for nobody at all

# Words for fstab, mount(8) and systemd, not for the filesystem, and what is so in any case.
IGNORED: Final = frozenset({
    "_netdev", "async", "atime", "auto", "defaults", "dev", "diratime", "exec", "fail", "group", "iversion",
    "lazytime", "loud", "mand", "noauto", "nodev", "nofail", "noiversion", "nolazytime", "nomand", "nonempty",
    "norelatime", "nostrictatime", "nosuid", "nouser", "owner", "relatime", "ro", "rw", "silent",
    "strictatime", "subtype=imgmount", "suid", "sync", "user", "users",
})  # fmt: skip
IGNORED_PREFIXES: Final = ("x-", "X-", "comment=", "uhelper=", "helper=")


class MountOptions:
    """What ``-o`` said. ``ours`` are long options of the command line."""

    def __init__(self) -> None:
        self.remount = False
        self.passed: list[str] = []
        self.ours: list[str] = []
        self.uid: int | None = None
        self.gid: int | None = None
        self.umask: int | None = None


def parse(texts: Sequence[str], known: Mapping[str, bool], *, sloppy: bool = False) -> MountOptions:
    r"""Sort the options of all ``-o`` arguments.

    ``known`` are the long options of the command line, and whether each takes a value. A comma inside a value
    is written ``\,``. Raises ``MountError`` that names a wrong option, and an unknown one if not ``sloppy``.
    """
    result = MountOptions()
    for option in (option for text in texts for option in split(text) if option):
        name, equals, value = option.partition("=")
        long = name.replace("_", "-")
        if option in IGNORED or option.startswith(IGNORED_PREFIXES):
            continue
        if (option in PASSED) or (equals and name in PASSED_WITH_VALUE and value.isdecimal()):
            result.passed.append(option)
        elif option == "remount":
            result.remount = True
        elif equals and name in WITH_VALUE:
            setattr(result, name, WITH_VALUE[name](value))
        elif long in known:
            if known[long] is not bool(equals):
                what = f"needs a value: {name}=..." if known[long] else "takes no value"
                raise MountError(f"mount option {name!r} {what}")
            result.ours.append(f"--{long}{equals}{value}")
        elif not sloppy:
            raise MountError(f"unknown mount option {option!r}")
    return result


def split(text: str) -> list[str]:
    r"""``a,b=1\,2`` -> ``["a", "b=1,2"]``."""
    parts, escaped = [""], False
    for char in text:
        if char == "," and not escaped:
            parts.append("")
        elif char == "\\" and not escaped:
            escaped = True
            continue
        else:
            parts[-1] += char
        escaped = False
    return parts


def escape(value: str) -> str:
    r"""``value`` for a list of options of libfuse: a backslash before commas and backslashes."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _uid(value: str) -> int:
    from pwd import getpwnam

    return _number("uid", value, lambda: getpwnam(value).pw_uid)


def _gid(value: str) -> int:
    from grp import getgrnam

    return _number("gid", value, lambda: getgrnam(value).gr_gid)


def _number(name: str, value: str, look_up: Callable[[], int]) -> int:
    """The number of a user or group, given as such or by its name."""
    if value.isascii() and value.isdecimal() and int(value) < MAX_ID:
        return int(value)
    try:
        return look_up()
    except (KeyError, ValueError):
        raise MountError(f"mount option {name}={value!r}: neither a name nor a number here") from None


def _umask(value: str) -> int:
    if not re.fullmatch("[0-7]{1,4}", value):
        raise MountError(f"mount option umask={value!r}: not an octal number like 022")
    return int(value, 8)


WITH_VALUE: Final = {"uid": _uid, "gid": _gid, "umask": _umask}
