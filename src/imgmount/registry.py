"""Every format, one line each, sorted: the module's name and the magics that make it worth importing.

A format without magics is imported and asked every time. Adding a format is one module, one line here, one
fixture folder.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Final, NamedTuple, TypeVar

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, FilesystemFormat, Format, Magic, Match, PartitionsFormat
from imgmount.errors import ImageError, MountError

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Format)


class Entry(NamedTuple):
    """A module below its kind's package, and the magics of which one must be there.

    ``rescue`` is whether its format has a second probe, see ``Format.rescue``. A ``sheet`` is a small text.
    """

    module: str
    magics: tuple[Magic, ...] = ()
    rescue: bool = False
    sheet: bool = False


def _entry(module: str, *magics: tuple[int, bytes], rescue: bool = False, sheet: bool = False) -> Entry:
    return Entry(module, tuple(Magic(*magic) for magic in magics), rescue, sheet)


SYNC: Final = b"\x00" + b"\xff" * 10 + b"\x00"
ISO_9660: Final = b"\x01CD001"
EL_TORITO: Final = b"\0CD001\x01EL TORITO SPECIFICATION"
# Sectors of CDs: their size without 0, 96 or 16 bytes of subchannel, and where user data starts in them. The
# descriptor is in sector 16, or 150 further if a pregap is stored.
CD_SECTORS: Final = ((2352, 16), (2352, 24), (2340, 4), (2340, 12), (2336, 8), (2332, 8), (2056, 8))
RAW_DESCRIPTORS: Final = (
    *(
        sector * (size + extra) + skip
        for sector in (16, 166)
        for size, skip in CD_SECTORS
        for extra in (0, 96, 16)
    ),
    *(sector * 2048 for sector in (16, 166)),
)
# MacBinary: a zero, and how long the name is
MACBINARY: Final = tuple((0, bytes((0, length))) for length in range(1, 64))
UDF_ANCHORS: Final = (b"\x02\0\x02\0", b"\x02\0\x03\0")  # in block 256, of revisions up to and from 2.00

# of the superblock of UFS, and of its backup in group 0 for blocks of 4 to 64 KiB
UFS_PLACES: Final = (0, 8192, 16384, 32768, 65536, 73728, 81920, 98304, 131072, 262144)
UFS_MAGICS: Final = tuple(
    value.to_bytes(4, order)
    for value in (0x11954, 0x19540119, 0x19012038, 0xDECADE)
    for order in ("little", "big")
)

CONTAINERS: Final = (
    _entry("amiga.dms", (0, b"DMS!")),
    _entry("amiga.uae_adf", (0, b"UAE-1ADF")),
    _entry("apple.applesingle", (0, b"\0\x05\x16\0")),
    _entry("apple.asif", (0, b"shdw")),
    _entry("apple.binhex", (0, b"(This file must be converted with BinHex")),
    _entry("apple.dart", *((2, size.to_bytes(2, "big")) for size in (400, 720, 800, 1440))),
    _entry("apple.dc42", (0x52, b"\1\0")),
    _entry("apple.encrypted", (0, b"encrcdsa"), (-8, b"cdsaencr")),
    _entry("apple.macbinary", *MACBINARY),
    _entry("apple.ndif"),
    _entry(
        "apple.recognised",
        *(
            (0, magic)
            for magic in (b"AEA1", b"AA01", b"YAA1", b"pbze", b"pbzx", b"pbz4", b"pbzb", b"\xfe\xef\x01")
        ),
    ),
    _entry("apple.shrinkwrap"),
    _entry("apple.sparsebundle", (0, b"<?xml"), (0, b"<plist"), (0, b"<!DOCTYPE plist")),
    _entry("apple.sparseimage", (0, b"sprs")),
    _entry("apple.udif"),
    _entry("compressed.bzip2", (0, b"BZh")),
    _entry("compressed.cloop", (0, b"#!/bin/sh\n#V2.0 Format\n")),
    _entry("compressed.gzip", (0, b"\x1f\x8b\x08")),
    _entry("compressed.lzma", (0, b"\x5d\0\0")),
    _entry("compressed.xz", (0, b"\xfd7zXZ\0")),
    _entry("compressed.zip", (0, b"PK\3\4")),
    _entry(
        "compressed.zstd",
        (0, b"\x28\xb5\x2f\xfd"),
        *((0, bytes((low, 0x2A, 0x4D, 0x18))) for low in range(0x50, 0x60)),
    ),
    _entry("evidence.aff", (0, b"AFF10\r\n\0")),
    _entry("evidence.aff4", (0, b"PK\x03\x04")),
    _entry(
        "evidence.ewf",
        *((0, b"%cVF\t\r\n\xff\0" % letter) for letter in b"EL"),
        *((0, magic) for magic in (b"EVF2\r\n\x81\0", b"LEF2\r\n\x81\0", b"ADCRYPT\0")),
    ),
    _entry("nintendo.ciso_gc", (0, b"CISO")),
    _entry("nintendo.gcz", (0, b"\x01\xc0\x0b\xb1")),
    _entry("nintendo.nfs", (0, b"EGGS")),
    _entry("nintendo.tgc", (0, b"\xae\x0f\x38\xa2")),
    _entry("nintendo.wbfs", (0, b"WBFS")),
    _entry("nintendo.wdf", (0, b"WII\1DISC")),
    _entry("nintendo.wia", (0, b"WIA\1"), (0, b"RVZ\1")),
    _entry("nintendo.wux", (0, b"WUX0\x2e\xd0\x99\x10")),
    _entry("optical.ccd", (0, b"[CloneCD]"), (3, b"[CloneCD]")),
    _entry("optical.cdi", (-8, b"\x04\0\0\x80"), (-8, b"\x05\0\0\x80"), (-8, b"\x06\0\0\x80")),
    _entry("optical.chd", (0, b"MComprHD")),
    _entry("optical.cso", (0, b"CISO")),
    _entry("optical.cue", sheet=True),
    _entry("optical.daa", (0, b"DAA\0"), (0, b"GBI\0"), (0, b"DAA VOL\0"), (0, b"GBI VOL\0")),
    _entry("optical.dax", (0, b"DAX\0")),
    _entry("optical.ecm", (0, b"ECM\0")),
    _entry("optical.gdi", sheet=True),
    _entry("optical.isz", (0, b"IsZ!")),
    _entry("optical.mds", (0, b"MEDIA DESCRIPTOR")),
    _entry("optical.nrg", (-8, b"NERO"), (-12, b"NER5")),
    _entry(
        "optical.rawsectors",
        (0, SYNC),
        *((at, ISO_9660) for at in RAW_DESCRIPTORS),
        *((256 * 2048, tag) for tag in UDF_ANCHORS),
    ),
    _entry("optical.toc", sheet=True),
    _entry("optical.zso", (0, b"ZISO")),
    _entry(
        "recognised",
        (0, b"BWT5 STREAM SIGN"),
        (0, b"Adaptec CeQuadrat VirtualCD File"),
        (0, b"Roxio Image File Format 3.0"),
        (8, b"imag"),
        (-64, b"bbis"),
        (0, b"AARUFRMT"),
        (0, b"DICMFRMT"),
        (0, b"JISO"),
        (0, b"CAPS"),
        (0, b"SCP"),
        (0, b"Formatted Disk Image file"),
        (0, b"HXCPICFE"),
        (0, b"UAE--ADF"),
    ),
    _entry("vdisk.bochs", (0, b"Bochs Virtual HD Image")),
    _entry("vdisk.ova", (257, b"ustar")),
    _entry(
        "vdisk.parallels",
        (0, b"WithoutFreeSpace"),
        (0, b"WithouFreSpacExt"),
        (0, b"<?xml"),
        (0, b"<Parallels_disk_image"),
    ),
    _entry("vdisk.qcow", (0, b"QFI\xfb\0\0\0\1")),
    _entry("vdisk.qcow2", (0, b"QFI\xfb")),
    _entry("vdisk.qed", (0, b"QED\0")),
    _entry("vdisk.simg", (0, b"\x3a\xff\x26\xed")),
    _entry("vdisk.vdi", (0x40, b"\x7f\x10\xda\xbe")),
    _entry("vdisk.vhd", (0, b"conectix"), (-512, b"conectix"), (-511, b"conectix")),
    _entry("vdisk.vhdx", (0, b"vhdxfile")),
    _entry(
        "vdisk.vmdk",
        (0, b"KDMV"),
        (0, b"COWD"),
        (0, b"\xbe\xba\xfe\xca\0\0\0\0"),
        *((0, first) for first in (b"#", b" ", b"\t", b"\r", b"\n", b"\xef\xbb\xbf", b"version", b"Version")),
    ),
)

PARTITIONS: Final = (
    _entry("apm", *((size, b"PM\0\0") for size in (512, 1024, 2048, 4096))),
    _entry("atari"),
    _entry("bsd", (512, b"WEV\x82"), (64, b"WEV\x82"), (512, b"\x59\x4c\x46\xc4")),
    _entry("eltorito", *((2048 * sector, EL_TORITO) for sector in range(17, 20))),
    _entry("gpt", *((side * sector, b"EFI PART") for sector in (512, 1024, 2048, 4096) for side in (1, -1))),
    _entry("lvm2", *((512 * sector, b"LABELONE") for sector in range(4))),
    _entry("mbr", (510, b"\x55\xaa")),
    _entry(
        "rdb",
        *(
            (place, b"RDSK")
            for place in sorted({size * n for size in (512, 1024, 2048, 4096) for n in range(16)})
        ),
    ),
    _entry("sessions", (0x8000, ISO_9660)),
    _entry("sgi", (0, b"\x0b\xe5\xa9\x41")),
    _entry("sun", (508, b"\xda\xbe"), (524, b"\xee\xde\x0d\x60")),
    _entry("wbfs", (0, b"WBFS")),
    _entry("wii", (0x18, b"\x5d\x1c\x9e\xa3")),
    _entry("wiiu", (0x10000, b"\xcc\x54\x9e\xb9")),
)

FILESYSTEMS: Final = (
    _entry("ad1", (0, b"ADSEGMENTEDFILE\0")),
    _entry("amigados", rescue=True),
    _entry("apfs", (32, b"NXSB"), rescue=True),
    _entry(
        "archive",
        *((0, magic) for magic in (b"PK\3\4", b"PK\5\6", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"07070")),
        *(
            (0, magic)
            for magic in (b"!<arch>\n", b"\xed\xab\xee\xdb", b"MSCF\0\0\0\0", b"xar!", b"StuffIt (c)")
        ),
        (2, b"-lh"),
        (7, b"**ACE**"),
        (10, b"rLau"),
        (257, b"ustar"),
    ),
    _entry("cramfs", *((start + 16, b"Compressed ROMFS") for start in (0, 512))),
    # the boot sector, and its backup for sectors of 512 to 4096 bytes
    _entry(
        "exfat",
        *((start + 3, b"EXFAT   ") for start in (0, *(12 * sector for sector in (512, 1024, 2048, 4096)))),
    ),
    # besides the superblock's own: those of its first backup, for blocks of 1, 2 and 4 KiB
    _entry(
        "ext", *((start + 0x38, b"\x53\xef") for start in (1024, 8193 * 1024, 16384 * 2048, 32768 * 4096))
    ),
    _entry("fat", *((11, size.to_bytes(2, "little")) for size in (512, 1024, 2048, 4096)), rescue=True),
    _entry("gcfst", (0x18, b"\x5d\x1c\x9e\xa3"), (0x1C, b"\xc2\x33\x9f\x3d")),
    _entry("hfs", (1024, b"BD"), rescue=True),
    # the volume header, or the HFS volume around one
    _entry("hfsplus", (1024, b"H+\0\4"), (1024, b"HX\0\5"), (1148, b"H+"), rescue=True),
    _entry("iso9660", (0x8001, b"CD001"), (0x8009, b"CDROM"), rescue=True),
    _entry("logical_evidence"),
    _entry("macforks", *MACBINARY, (0, b"(This file must be converted with BinHex")),
    _entry("mfs", (1024, b"\xd2\xd7")),
    _entry(
        "minix",
        *(
            (1040, magic.to_bytes(2, order))
            for magic in (0x137F, 0x138F, 0x2468, 0x2478)
            for order in ("little", "big")
        ),
        *((1048, magic) for magic in (b"\x5a\x4d", b"\x4d\x5a")),
    ),
    _entry("ntfs", (3, b"NTFS    "), rescue=True),
    _entry("nus", (0, b"\0\1\0\4")),
    _entry("recognised"),
    _entry("romfs", (0, b"-rom1fs-")),
    # the first two are SquashFS's own, the others those of device makers
    _entry(
        "squashfs",
        *((0, magic) for magic in (b"hsqs", b"sqsh", b"shsq", b"qshs", b"hsqt", b"tqsh", b"sqlz", b"zlqs")),
    ),
    # the third descriptor of the recognition sequence, or on a bridge disc one after ISO 9660's; 2048 or a
    # larger block apart
    _entry(
        "udf",
        *(
            (0x8001 + 0x800 * step, data)
            for step in (*range(1, 9), 10, 12, 14, 16, 32)
            for data in (b"NSR02", b"NSR03")
        ),
        rescue=True,
    ),
    _entry("ufs", *((start + 0x55C, magic) for start in UFS_PLACES for magic in UFS_MAGICS)),
    _entry("wiiufst", (0, b"\xcc\x93\xa4\xf5")),
    _entry("wim", (0, b"MSWIM\0\0\0"), (0, b"WLPWM\0\0\0")),
    _entry("xfs", (0, b"XFSB"), rescue=True),
    _entry("zar", (-8, b"\x61\xbf\x3a\x01\x16\x9f\x52\xd6")),
)

# The format of a small text with such a name, even if it is damaged: a sheet is never shown as a disk.
SHEETS: Final = {".ccd": "ccd", ".cue": "cue", ".gdi": "gdi", ".toc": "toc"}
MAX_SHEET: Final = 1 << 20

HEAD: Final = 64 << 10  # holds most magics

# Where each kind of format lives, and its lines.
TABLES: Final[dict[type[Format], tuple[str, tuple[Entry, ...]]]] = {
    ContainerFormat: ("imgmount.containers", CONTAINERS),
    PartitionsFormat: ("imgmount.partitions", PARTITIONS),
    FilesystemFormat: ("imgmount.filesystems", FILESYSTEMS),
}


def load(kind: type[F], module: str) -> F:
    """The format that ``module`` defines."""
    package, _ = TABLES[kind]
    fmt: F = import_module(f"{package}.{module}").FORMAT
    return fmt


def all_formats(kind: type[F]) -> list[F]:
    """Every format of a kind, in order of name."""
    return sorted((load(kind, entry.module) for entry in TABLES[kind][1]), key=lambda fmt: fmt.name)


class _Glance:
    """The bytes of a device at the places of magics. Most are at its start, which is read once."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        try:
            self._head = device.pread(0, HEAD)
        except ImageError:
            self._head = b""  # there may be sound bytes in it: each place is read by itself
        self.is_text = _is_small_text(device.size, self._head[:1024])

    def has(self, magic: Magic) -> bool:
        """Whether ``magic`` is there. Raises ``ImageError``."""
        offset, data = magic
        if offset < 0:
            offset += self._device.size
        if 0 <= offset <= len(self._head) - len(data):
            return self._head.startswith(data, offset)
        return offset >= 0 and self._device.pread(offset, len(data)) == data


def matches(kind: type[F], device: BlockDevice, *, rescue: bool = True) -> list[tuple[Match, F]]:
    """The formats that claim ``device``, surest first. A format whose magic cannot be read claims nothing.

    Where no signature or structure is found, ``rescue`` asks a second time: for the other copy.
    """
    found = []
    glance = _Glance(device)
    for entry in TABLES[kind][1]:
        fmt = _asked(kind, entry, device, glance)
        if fmt is not None:
            found.append(fmt)
    if rescue and all(match <= Match.FALLBACK for match, _ in found):
        found += _rescued(kind, device)
    return sorted(found, key=lambda pair: (-pair[0], pair[1].name))


def _asked(kind: type[F], entry: Entry, device: BlockDevice, glance: _Glance) -> tuple[Match, F] | None:
    if entry.sheet and not glance.is_text:
        return None
    try:
        if entry.magics and not any(map(glance.has, entry.magics)):
            return None
        fmt = load(kind, entry.module)
        match = fmt.probe(device)
    except ImageError as exc:
        log.debug("%s: %s", entry.module, exc)
        return None
    return (match, fmt) if match else None


def _rescued(kind: type[F], device: BlockDevice) -> list[tuple[Match, F]]:
    """What ``rescue`` of each format finds: LIKELY at most, so that a sound table goes first."""
    found = []
    for entry in TABLES[kind][1]:
        if not entry.rescue:
            continue
        fmt = load(kind, entry.module)
        try:
            match = fmt.rescue(device) if fmt.rescue else Match.NO
        except ImageError as exc:
            log.debug("%s: %s", entry.module, exc)
            continue
        if match:
            found.append((min(match, Match.LIKELY), fmt))
    return found


def best_match(
    kind: type[F], device: BlockDevice, wanted: str | None = None, *, rescue: bool = True
) -> tuple[Match, F] | None:
    """The format that ``device`` is in and how sure that is, or None.

    ``wanted`` settles a tie, and is believed without proof. ``rescue`` is as in ``matches``.

    Two formats that are both certain are an error: the user must say which one is right.
    """
    found = matches(kind, device, rescue=rescue)
    if wanted is not None:
        claims = [pair for pair in found if pair[1].answers_to(wanted)]
        return claims[0] if claims else (Match.NO, named(kind, wanted))
    found = [pair for pair in found if not (isinstance(pair[1], PartitionsFormat) and pair[1].beside)]
    if len(found) > 1 and found[0][0] is found[1][0] and found[0][0] >= Match.CERTAIN:
        names = " and ".join(fmt.name for match, fmt in found if match is found[0][0])
        raise ImageError(f"the image is {names} at once: choose with --{_CHOICES[kind]}")
    return found[0] if found else None


def _is_small_text(size: int, head: bytes) -> bool:
    return size <= MAX_SHEET and (head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" not in head)


def sheet_by_name(device: BlockDevice, name: str) -> str | None:
    """The format of a text file that describes a disc, by the name of the file.

    It settles a tie, and refuses what no probe recognises. None if ``device`` is no text.
    """
    return SHEETS.get(name[-4:].lower()) if _is_small_text(device.size, device.pread(0, 1024)) else None


def beside(device: BlockDevice) -> list[PartitionsFormat]:
    """The formats of partitions that ``device`` holds beside its table, if it has one."""
    return [fmt for _, fmt in matches(PartitionsFormat, device) if fmt.beside]


def named(kind: type[F], name: str) -> F:
    """The format that is called ``name``. Raises ``MountError``."""
    # mostly a format has the name of its module: the others need not be imported then
    entries = sorted(TABLES[kind][1], key=lambda entry: entry.module.rpartition(".")[2] != name)
    for entry in entries:
        fmt = load(kind, entry.module)
        if fmt.answers_to(name):
            return fmt
    raise MountError(f"no {kind.kind} format is called {name!r}; see 'imgmount formats'")


_CHOICES: Final[dict[type[Format], str]] = {
    ContainerFormat: "container",
    PartitionsFormat: "partitions",
    FilesystemFormat: "fs",
}
