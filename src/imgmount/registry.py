"""Every format, one line each, sorted: the module's name and the magics that make it worth importing.

A format without magics is imported and asked every time. Adding a format is one module, one line here, one fixture folder.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any, Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Format, Kind, Magic, Match
from imgmount.errors import ImageError, MountError

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A module below its kind's package, and the magics of which one must be there."""

    module: str
    magics: tuple[Magic, ...] = ()


def _entry(module: str, *magics: tuple[int, bytes]) -> Entry:
    return Entry(module, tuple(Magic(*magic) for magic in magics))


CONTAINERS: Final = (
    _entry("bzip2", (0, b"BZh")),
    _entry("gzip", (0, b"\x1f\x8b\x08")),
    _entry("lzma", (0, b"\x5d\0\0")),
    _entry("wux", (0, b"WUX0\x2e\xd0\x99\x10")),
    _entry("xz", (0, b"\xfd7zXZ\0")),
    _entry("zstd", (0, b"\x28\xb5\x2f\xfd"), *((0, bytes((low, 0x2A, 0x4D, 0x18))) for low in range(0x50, 0x60))),
)

PARTITIONS: Final = (
    _entry("gpt", *((side * sector, b"EFI PART") for sector in (512, 1024, 2048, 4096) for side in (1, -1))),
    _entry("mbr", (510, b"\x55\xaa")),
)

FILESYSTEMS: Final = (
    _entry("cramfs", *((start + 16, b"Compressed ROMFS") for start in (0, 512))),
    # the boot sector, and its backup for sectors of 512 to 4096 bytes
    _entry("exfat", *((start + 3, b"EXFAT   ") for start in (0, *(12 * sector for sector in (512, 1024, 2048, 4096))))),
    # besides the superblock's own: those of its first backup, for blocks of 1, 2 and 4 KiB
    _entry("ext", *((start + 0x38, b"\x53\xef") for start in (1024, 8193 * 1024, 16384 * 2048, 32768 * 4096))),
    _entry("fat"),
    _entry("iso9660", (0x8001, b"CD001"), (0x8009, b"CDROM")),
    _entry("romfs", (0, b"-rom1fs-")),
    _entry("squashfs", *((0, magic) for magic in (b"hsqs", b"sqsh", b"shsq", b"qshs"))),
    # the third descriptor of the recognition sequence, or on a bridge disc one after ISO 9660's; 2048 or a larger block apart
    _entry(
        "udf",
        *((0x8001 + 0x800 * step, data) for step in (*range(1, 9), 10, 12, 14, 16, 32) for data in (b"NSR02", b"NSR03")),
    ),
)

_TABLES: Final[dict[Kind, tuple[str, tuple[Entry, ...]]]] = {
    Kind.CONTAINER: ("imgmount.containers", CONTAINERS),
    Kind.PARTITIONS: ("imgmount.partitions", PARTITIONS),
    Kind.FILESYSTEM: ("imgmount.filesystems", FILESYSTEMS),
}


def load(kind: Kind, module: str) -> Format[Any]:
    """The format that ``module`` defines."""
    package, _ = _TABLES[kind]
    fmt: Format[Any] = import_module(f"{package}.{module}").FORMAT
    return fmt


def all_formats(kind: Kind) -> list[Format[Any]]:
    """Every format of a kind, in order of module name."""
    return [load(kind, entry.module) for entry in _TABLES[kind][1]]


def _has(device: BlockDevice, magic: Magic) -> bool:
    offset = magic.offset if magic.offset >= 0 else device.size + magic.offset
    return offset >= 0 and device.pread(offset, len(magic.data)) == magic.data


def matches(kind: Kind, device: BlockDevice) -> list[tuple[Match, Format[Any]]]:
    """The formats that claim ``device``, surest first. One whose place cannot be read claims nothing."""
    found = []
    for entry in _TABLES[kind][1]:
        try:
            if entry.magics and not any(_has(device, magic) for magic in entry.magics):
                continue
            fmt = load(kind, entry.module)
            match = fmt.probe(device)
        except ImageError as exc:
            log.debug("%s: %s", entry.module, exc)
            continue
        if match:
            found.append((match, fmt))
    return sorted(found, key=lambda pair: (-pair[0], pair[1].name))


def best_match(kind: Kind, device: BlockDevice, wanted: str | None = None) -> tuple[Match, Format[Any]] | None:
    """The format that ``device`` is in and how sure that is, or None. ``wanted`` settles a tie, and is believed without proof.

    Two formats that are both certain are reported: which one is right is the user's to say.
    """
    found = matches(kind, device)
    if wanted is not None:
        named = [pair for pair in found if pair[1].answers_to(wanted)]
        return named[0] if named else (Match.NO, _named(kind, wanted))
    if len(found) > 1 and found[1][0] is Match.CERTAIN:
        names = " and ".join(fmt.name for match, fmt in found if match is Match.CERTAIN)
        raise ImageError(f"the image is {names} at once: choose with --{_OPTION[kind]}")
    return found[0] if found else None


def _named(kind: Kind, name: str) -> Format[Any]:
    for fmt in all_formats(kind):
        if fmt.answers_to(name):
            return fmt
    raise MountError(f"no {kind.value} format is called {name!r}; see 'imgmount formats'")


_OPTION: Final = {Kind.CONTAINER: "container", Kind.PARTITIONS: "partitions", Kind.FILESYSTEM: "fs"}
