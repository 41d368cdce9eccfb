"""The manual pages beside imgmount(1): ``imgmount --print man-formats|man-mount``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.cli.helper import parser
from imgmount.cli.roff import entries, example, head, roff, see_also

if TYPE_CHECKING:
    from imgmount.core.format import Format


def formats_page() -> Iterator[str]:
    """imgmount-formats(7): every format, with what its files are called, its limits and options."""
    from imgmount.registry import TABLES, all_formats

    yield from head(
        "imgmount-formats", 7, "Miscellaneous Information", "disk image formats that imgmount reads"
    )
    yield f".SH DESCRIPTION\n{roff(_FORMATS)}"
    for kind, title in zip(TABLES, _KINDS, strict=True):
        yield f".SH {title}"
        yield from entries((fmt.name, _explained(fmt)) for fmt in all_formats(kind))
    yield see_also("imgmount(1)", "mount.imgmount(8)")


def _explained(fmt: Format) -> str:
    parts = [fmt.title]
    if fmt.extensions:
        parts.append(f"Files: {' '.join(fmt.extensions)}")
    if views := getattr(fmt, "views", ()):
        parts.append(f"Views, for --fs: {', '.join(views)}")
    if fmt.checks:
        parts.append(f"Verified: {fmt.checks}")
    if fmt.limits:
        parts.append(f"Limits: {fmt.limits}")
    for option in fmt.options:
        value = "|".join(option.values) or option.metavar
        parts.append(f"-X {option.name}={value}: {option.help}")
    if fmt.needs:
        parts.append(f"Needs the Python packages of imgmount[{fmt.needs}]")
    return "\n".join(f"{part}." for part in parts)


def mount_page() -> Iterator[str]:
    """mount.imgmount(8): what mount(8) calls, and the options of fstab."""
    from imgmount.fuse.options import IGNORED

    yield from head(
        "mount.imgmount", 8, "System Administration", "mount a disk image from mount(8), fstab or systemd"
    )
    yield ".SH SYNOPSIS"
    yield ".B mount \\-t fuse.imgmount\n[\\fB\\-o\\fR \\fIOPTIONS\\fR] \\fIIMAGE DIR\\fR"
    yield f".PP\n{roff(parser().usage or '')}"
    yield f".SH DESCRIPTION\n{roff(_MOUNT)}"
    yield ".SH COMMAND LINE"
    actions = parser()._actions  # noqa: SLF001  argparse has no public list
    yield from entries((_named(action), f"{action.help}.") for action in actions if action.help)
    yield ".SH MOUNT OPTIONS"
    yield from entries(MOUNT_OPTIONS.items())
    yield from entries([("any long option of imgmount(1)", _LONG)])
    yield f".PP\n{roff(_IGNORED.format(', '.join(sorted(IGNORED))))}"
    yield ".SH EXAMPLES\nIn /etc/fstab, mounted when somebody looks:" + "\n" + example(_FSTAB)
    yield ".PP\nBy hand:" + "\n" + example(_BY_HAND)
    yield ".SH EXIT STATUS"
    yield from entries(
        [("0", "The mount answers."), ("1", "The command line is wrong."), ("32", "The mount failed.")]
    )
    yield ".SH FILES"
    yield from entries([("/etc/fuse.conf", _FUSE_CONF)])
    yield see_also(
        "imgmount(1)", "imgmount-formats(7)", "mount(8)", "fstab(5)", "systemd.automount(5)", "mount.fuse3(8)"
    )


def _named(action: argparse.Action) -> str:
    return f"{', '.join(action.option_strings) or action.dest} {action.metavar or ''}".strip()


_KINDS: Final = ("CONTAINERS", "PARTITION TABLES", "FILE SYSTEMS")
_FORMATS: Final = (
    "An image is opened as deep as its bytes allow: compressed file, container, partition table, file "
    "system. Formats are recognised by what is in the file, never by its name. imgmount info says what an "
    "image is; --container, --partitions and --fs choose a format where the bytes allow several. Options of "
    "one format are given with -X, and some have a name of their own."
)
_MOUNT: Final = (
    "mount(8) calls mount.imgmount for the type imgmount, and mount.fuse.imgmount for the type "
    "fuse.imgmount, as which every mount appears in /proc/mounts. Neither is meant to be called by hand: "
    "imgmount(1) is. The command ends when the mount answers; umount(8) ends the mount."
)
_LONG: Final = (
    "Without its dashes: fs=joliet, view=all, password-file=FILE, idle-timeout=10min. A comma inside a value "
    "is written \\, with a backslash."
)
_IGNORED: Final = "Accepted for mount(8), and without effect here: {}, and all that begins with x-."
_FSTAB: Final = (
    "/srv/disc.iso  /mnt/disc  fuse.imgmount  noauto,x-systemd.automount,allow_other,auto_unmount  0 0"
)
_BY_HAND: Final = "mount -t fuse.imgmount -o allow_other,view=all disc.iso /mnt/disc"
_FUSE_CONF: Final = "Without the line user_allow_other, only root may give allow_other and allow_root."
MOUNT_OPTIONS: Final = {
    "allow_other": "All users may see the files, not only the one who mounts: what a mount by root needs.",
    "allow_root": "Root may see the files too.",
    "default_permissions": "The kernel checks the owners and modes of the files.",
    "uid=USER, gid=GROUP": "The owner and group of all files, by name or number.",
    "umask=OCTAL": "Permissions that are taken away from all files.",
    "auto_unmount": "The mount ends when its process does.",
    "noexec, noatime, nodiratime": "As for any file system. A mount is always ro, nosuid and nodev.",
    "remount": "With the options of the line above: change them, of a mount that there is.",
    "max_read=BYTES": "The largest read that the kernel asks for.",
}
