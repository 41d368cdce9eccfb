"""``-o`` options as mount(8), fstab and systemd write them: ours, those of libfuse, and ignored ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from imgmount.errors import MountError

# For libfuse and the kernel: mount.fuse3(8).
PASSED: Final = frozenset(
    {"allow_other", "allow_root", "default_permissions", "auto_unmount", "noexec", "noatime", "nodiratime"}
)
PASSED_WITH_VALUE: Final = frozenset({"max_read"})
NUMBERS: Final = {"uid": 10, "gid": 10, "umask": 8}

# Words for fstab, mount(8) and systemd, not for the filesystem. A mount of ours is always ro,nosuid,nodev.
IGNORED: Final = frozenset({
    "_netdev", "async", "atime", "auto", "defaults", "dev", "diratime", "exec", "fail", "group", "iversion",
    "lazytime", "loud", "mand", "noauto", "nodev", "nofail", "noiversion", "nolazytime", "nomand", "nonempty",
    "norelatime", "nostrictatime", "nosuid", "nouser", "owner", "relatime", "ro", "rw", "silent",
    "strictatime", "suid", "sync", "user", "users",
})  # fmt: skip
IGNORED_PREFIXES: Final = ("x-", "X-", "comment=", "uhelper=", "helper=")


@dataclass(slots=True)
class MountOptions:
    """What ``-o`` said. ``ours`` are long options of the command line, without their dashes."""

    passed: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    uid: int | None = None
    gid: int | None = None
    umask: int | None = None


def parse(texts: Sequence[str], known: frozenset[str], *, sloppy: bool = False) -> MountOptions:
    r"""Sort the options of all ``-o`` arguments; ``known`` are the long options of the command line.

    A comma inside a value is written ``\,``. Raises ``MountError`` that names an unknown option, if not
    ``sloppy``.
    """
    result = MountOptions()
    for option in (option for text in texts for option in split(text) if option):
        name, equals, value = option.partition("=")
        if option in IGNORED or option.startswith(IGNORED_PREFIXES):
            continue
        if (option in PASSED) or (equals and name in PASSED_WITH_VALUE and value.isdecimal()):
            result.passed.append(option)
        elif equals and name in NUMBERS:
            setattr(result, name, _number(name, value))
        elif name.replace("_", "-") in known:
            result.ours.append(f"--{name.replace('_', '-')}{equals}{value}")
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


def _number(name: str, value: str) -> int:
    try:
        return int(value, NUMBERS[name])
    except ValueError:
        raise MountError(f"mount option {name}={value!r}: not a number") from None
