"""Archives of files, known by sight and not read: what they are, and the program that unpacks them.

A zip with a disk image and a virtual appliance, which is a tar, are containers and come first.
"""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.errors import NotADiskError


class Look(NamedTuple):
    """What an archive begins with, (offset, bytes), its name and what unpacks it."""

    offset: int
    mark: bytes
    name: str
    program: str


LOOKS: Final = (
    Look(0, b"PK\3\4", "zip", "unzip"),
    Look(0, b"PK\5\6", "zip", "unzip"),
    Look(0, b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
    Look(0, b"Rar!\x1a\x07", "rar", "unrar x"),
    Look(257, b"ustar", "tar", "tar -xf"),
    *(Look(0, b"07070" + kind, "cpio", "cpio -i") for kind in (b"1", b"2", b"7")),
    Look(0, b"!<arch>\ndebian-binary", "deb", "dpkg-deb -x"),
    Look(0, b"!<arch>\n", "ar", "ar x"),
    Look(0, b"\xed\xab\xee\xdb", "rpm", "bsdtar -xf"),
    Look(0, b"MSCF\0\0\0\0", "cabinet", "cabextract"),
    Look(0, b"xar!", "xar", "7z x"),
    *(Look(2, b"-lh%c-" % method, "LHA", "lha x") for method in b"014567d"),
    Look(7, b"**ACE**", "ACE", "unace x"),
    Look(0, b"StuffIt (c)", "StuffIt", "unar"),
    Look(10, b"rLau", "StuffIt", "unar"),
)
HEAD: Final = max(look.offset + len(look.mark) for look in LOOKS)


def _seen(device: BlockDevice) -> Look | None:
    head = device.pread(0, HEAD)
    return next((look for look in LOOKS if head.startswith(look.mark, look.offset)), None)


def probe(device: BlockDevice) -> Match:
    """LIKELY at most: a disk may begin with anything."""
    return Match.LIKELY if _seen(device) else Match.NO


def refuse(device: BlockDevice, _: Context) -> NoReturn:
    """Raise ``NotADiskError`` with the program that opens the archive."""
    look = _seen(device)
    if look is None:
        raise NotADiskError("no archive of files")
    raise NotADiskError(f"a {look.name} archive of files, no disk image: '{look.program}' unpacks it")


FORMAT: Final = FilesystemFormat(
    name="archive",
    title="archives of files",
    probe=probe,
    open=refuse,
    limits=f"named, with what unpacks them: {', '.join(dict.fromkeys(look.name for look in LOOKS))}",
)
