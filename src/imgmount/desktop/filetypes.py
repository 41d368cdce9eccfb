"""The types of files that images come in. Names are those of freedesktop.org, else of CDEmu, else our own.

imgmount goes by content alone. A desktop goes by names first, and reads the start of a file where they do not
decide: what is marked at its end, or nowhere, it knows by its name only.
"""

from __future__ import annotations

from typing import Final

from imgmount.desktop.filetype import FileType, Mark
from imgmount.registry import SYNC

DISC: Final = "media-optical"
FLOPPY: Final = "media-floppy"
BEFORE_NAMES: Final = 80  # the least priority with which a desktop believes content more than a name

_MBR: Final = (
    Mark(510, b"\x55\xaa"),
    *(Mark(446 + 16 * slot, b"\0", mask=b"\x7f") for slot in range(4)),  # active, or not
)
_ZIP: Final = Mark(0, b"PK\3\4")


def _packed(packer: str, parent: str, suffix: str, *more: str) -> FileType:
    """A disk in a compressed file, which only its double name tells from any other."""
    return FileType(
        f"application/x-raw-disk-image-{packer}-compressed",
        (packer,),
        f"Disk image ({packer}-compressed)",
        globs=(*(f"*.{disk}.{suffix}" for disk in ("img", "iso", "dd", "dmg", "adf", "hdf")), *more),
        only=(),
        parent=parent,
    )


def _of_any_file(
    name: str, *formats: str, globs: tuple[str, ...] = (), also: tuple[str, ...] = ()
) -> FileType:
    """What holds a file of any kind: another program's in the first place."""
    return FileType(name, formats, globs=globs, also=also, only=(), shared=True)


FILE_TYPES: Final = (
    # disks and their file systems as they are
    FileType(
        "application/x-raw-disk-image",
        (
            *("apm", "atari", "bsd", "gpt", "lvm2", "mbr", "sgi", "sun"),
            *("apfs", "exfat", "ext", "fat", "hfs", "hfsplus", "mfs", "minix", "ntfs", "ufs", "xfs"),
            *("ndif", "shrinkwrap"),  # marked in their resource forks, and called like any other disk
        ),
        globs=("*.dd", "*.hfs", "*.ima", "*.img"),
        weak=("*.dsk", "*.raw"),
        more=(
            _MBR,
            (Mark(54, b"FAT1"), Mark(510, b"\x55\xaa")),
            (Mark(82, b"FAT32   "), Mark(510, b"\x55\xaa")),
            # ext: the magic, and a state and a way to behave in errors that have one byte
            (Mark(1080, b"\x53\xef"), Mark(1083, b"\0"), Mark(1085, b"\0")),
            (Mark(1024, b"BD"), Mark(1038, b"\0\3")),  # HFS: where its bitmap is
            (Mark(1024, b"\xd2\xd7"), Mark(1038, b"\0\4")),  # MFS: where its directory is
            # Minix: the magic, and a state that has one byte
            *(
                (Mark(1040, magic), Mark(1043, b"\0"))
                for magic in (b"\x7f\x13", b"\x8f\x13", b"\x68\x24", b"\x78\x24")
            ),
            *(
                (Mark(1040, magic), Mark(1042, b"\0"))
                for magic in (b"\x13\x7f", b"\x13\x8f", b"\x24\x68", b"\x24\x78")
            ),
            (Mark(1048, b"\x5a\x4d\0\0"),),  # Minix 3
            (Mark(188, b"\x60\x0d\xde\xee"), Mark(508, b"\xda\xbe")),
        ),
        also=("application/vnd.efi.img",),
    ),
    FileType(
        "application/x-amiga-disk-format",
        ("amigados", "rdb", "uae_adf"),
        icon=FLOPPY,
        # HDF5 owns *.hdf as well: the content decides
        globs=("*.adf", "*.hdf"),
        more=tuple((Mark(0, b"DOS%c" % kind),) for kind in range(8)),
        priority=BEFORE_NAMES,
    ),
    FileType("application/x-dms", ("dms",), "Amiga floppy packed with DMS", FLOPPY, ("*.dms",)),
    FileType("application/vnd.squashfs", ("squashfs",), globs=("*.sfs", "*.sqsh", "*.squashfs")),
    FileType("application/x-cramfs", ("cramfs",), "cramfs file system", globs=("*.cramfs",)),
    FileType("application/x-romfs", ("romfs",), "romfs file system", globs=("*.romfs",)),
    FileType("application/x-ms-wim", ("wim",), globs=("*.esd", "*.swm", "*.wim")),
    # compressed disks
    _packed("bzip2", "application/x-bzip", "bz2"),
    _packed("gzip", "application/gzip", "gz", "*.adz", "*.hdz"),
    _packed("lzma", "application/x-lzma", "lzma"),
    _packed("xz", "application/x-xz", "xz"),
    _packed("zstd", "application/zstd", "zst"),
    FileType("application/x-cloop", ("cloop",), "Compressed loop image", globs=("*.cloop",)),
    FileType(
        "application/x-ipsw",
        ("zip",),
        "Apple firmware",
        globs=("*.ipsw",),
        only=(),
        parent="application/zip",
    ),
    # discs
    FileType(
        "application/x-cd-image",
        ("eltorito", "iso9660", "sessions", "udf", "gcfst", "wii"),
        icon=DISC,
        globs=("*.iso", "*.udf"),
        only=((Mark(0x8001, b"CD001"),), (Mark(0x8009, b"CDROM"),), (Mark(0x8001, b"BEA01"),)),
        priority=60,  # a disc that boots from a stick has the mark of a disk as well
        also=("application/vnd.efi.iso",),
    ),
    FileType(
        "application/x-cd-sectors",
        ("rawsectors",),
        "Sectors of a CD",
        DISC,
        only=((Mark(0, SYNC),),),
        priority=BEFORE_NAMES,  # called *.bin or *.img, like anything else
    ),
    FileType("application/x-ccd", ("ccd",), "CloneCD disc image", DISC, ("*.ccd",)),
    FileType(
        "application/x-compressed-iso", ("cso",), icon=DISC, globs=("*.cso",), also=("application/x-cso",)
    ),
    FileType(
        "application/x-daa",
        ("daa",),
        "PowerISO disc image",
        DISC,
        ("*.daa",),
        only=((Mark(0, b"DAA\0"),), (Mark(0, b"DAA VOL\0"),)),
    ),
    FileType(
        "application/x-gbi",
        ("daa",),
        "gBurner disc image",
        DISC,
        ("*.gbi",),
        only=((Mark(0, b"GBI\0"),), (Mark(0, b"GBI VOL\0"),)),
    ),
    FileType("application/x-dax", ("dax",), "PSP disc image (DAX)", DISC, ("*.dax",)),
    FileType(
        "application/x-discjuggler-cd-image",
        ("cdi",),
        icon=DISC,
        globs=("*.cdi",),
        also=("application/x-cdi",),
    ),
    FileType("application/x-ecm", ("ecm",), "CD image without error codes", DISC, ("*.ecm",)),
    FileType("application/x-gd-rom-cue", ("gdi",), icon=DISC, globs=("*.gdi",)),
    FileType("application/x-isz", ("isz",), "UltraISO compressed disc", DISC, ("*.isz",)),
    FileType("application/x-mame-chd", ("chd",), icon=DISC, globs=("*.chd",)),
    FileType("application/x-mds", ("mds",), "Alcohol 120% disc image", DISC, ("*.mds",)),
    FileType("application/x-nrg", ("nrg",), "Nero disc image", DISC, ("*.nrg",)),
    FileType("application/x-zso", ("zso",), "PSP or PS2 disc image (ZSO)", DISC, ("*.zso",)),
    # texts that describe discs, and that people edit
    FileType("application/x-cue", ("cue",), shared=True),
    FileType("application/x-cdrdao-toc", ("toc",), shared=True),
    # Nintendo
    FileType(
        "application/x-gamecube-rom",
        ("gcfst",),
        icon=DISC,
        globs=("*.gcm",),
        only=((Mark(0x1C, b"\xc2\x33\x9f\x3d"),),),
        also=("application/x-gamecube-iso-image",),
    ),
    FileType(
        "application/x-wii-rom",
        ("wbfs", "wdf", "wia", "wii"),
        icon=DISC,
        globs=("*.wbfs", "*.wdf", "*.wia"),
        only=(
            (Mark(0x18, b"\x5d\x1c\x9e\xa3"),),
            (Mark(0, b"WBFS"),),
            (Mark(0, b"WII\1DISC"),),
            (Mark(0, b"WIA\1"),),
        ),
        also=("application/x-wii-iso-image", "application/x-wbfs", "application/x-wia"),
    ),
    FileType(
        "application/x-rvz",
        ("wia",),
        "GameCube or Wii disc image (RVZ)",
        DISC,
        ("*.rvz",),
        only=((Mark(0, b"RVZ\1"),),),
    ),
    FileType("application/x-gcz", ("gcz",), "GameCube or Wii disc image (GCZ)", DISC, ("*.gcz",)),
    FileType(
        "application/x-gc-ciso",
        ("ciso_gc",),
        "GameCube or Wii disc image (CISO)",
        DISC,
        ("*.ciso",),
        # a CISO of a PSP has other values behind the mark
        only=((Mark(0, b"CISO"), Mark(4, b"\0\0", b"\xff\x7f"), Mark(8, b"\1\0", b"\xff\xfe")),),
        priority=60,
    ),
    FileType("application/x-tgc", ("tgc",), "GameCube disc in a demo disc's file", DISC, ("*.tgc",)),
    FileType(
        "application/x-wux",
        ("wux", "wiiufst"),
        "Wii U disc image (WUX)",
        DISC,
        ("*.wux",),
        only=((Mark(0, b"WUX0\x2e\xd0\x99\x10"),),),
    ),
    FileType("application/x-wud", ("wiiu",), "Wii U disc image", DISC, ("*.wud",)),
    FileType("application/x-wiiu-nfs", ("nfs",), "Wii disc on a Wii U", DISC, ("hif_??????.nfs",)),
    FileType("application/x-wiiu-title", ("nus",), "Wii U title", DISC, ("title.tmd",)),
    FileType("application/x-wua", ("zar",), "Wii U files for Cemu", DISC, ("*.wua",)),
    # disks of machines
    FileType("application/x-bochs-disk", ("bochs",), "Bochs disk", globs=("*.bochs",)),
    FileType("application/x-android-sparse-image", ("simg",), "Android sparse image", globs=("*.simg",)),
    FileType(
        "application/ovf",
        ("ova",),
        globs=("*.ova",),
        only=(),
        parent="application/x-tar",
        also=("application/x-virtualbox-ova",),
    ),
    FileType(
        "application/x-parallels-disk",
        ("parallels",),
        "Parallels disk",
        globs=("*.hds",),
        only=(
            (Mark(0, b"WithoutFreeSpace"),),
            (Mark(0, b"WithouFreSpacExt"),),
            (Mark(0, b"<Parallels_disk_image", reach=256),),
        ),
        priority=BEFORE_NAMES,  # its description is an XML file like any other
    ),
    FileType("application/x-qed-disk", ("qed",)),
    FileType("application/x-qemu-disk", ("qcow", "qcow2")),
    FileType("application/x-vdi-disk", ("vdi",), also=("application/x-virtualbox-vdi",)),
    FileType(
        "application/x-vhd-disk",
        ("vhd",),
        parent="application/x-raw-disk-image",  # and no VHDL source
        also=("application/x-virtualbox-vhd",),
    ),
    FileType("application/x-vhdx-disk", ("vhdx",), also=("application/x-virtualbox-vhdx",)),
    FileType(
        "application/x-vmdk-disk",
        ("vmdk",),
        also=("application/x-virtualbox-vmdk",),
        only=(
            (Mark(0, b"KDMV"),),
            (Mark(0, b"COWD"),),
            (Mark(0, b"# Disk DescriptorFile"),),
            (Mark(0, b"\xbe\xba\xfe\xca\0\0\0\0"),),
        ),
    ),
    # evidence
    FileType("application/x-ad1", ("ad1",), "AccessData logical image", globs=("*.ad1",)),
    FileType("application/x-aff", ("aff",), "Advanced Forensic Format image", globs=("*.aff",)),
    FileType(
        "application/x-aff4",
        ("aff4",),
        "Advanced Forensic Format 4 image",
        globs=("*.aff4",),
        only=((_ZIP, Mark(30, b"container.description")),),
        priority=60,
        parent="application/zip",
    ),
    FileType(
        "application/x-ewf",
        ("ewf", "ltree"),
        "Expert Witness image",
        globs=("*.e01", "*.ex01", "*.l01", "*.lx01", "*.s01"),
    ),
    # Apple
    FileType("application/x-apple-diskimage", ("udif", "encrypted"), globs=("*.dmg",)),
    FileType(
        "application/x-apple-sparseimage", ("sparseimage",), "Apple sparse image", globs=("*.sparseimage",)
    ),
    FileType("application/x-apple-asif", ("asif",), "Apple sparse image (ASIF)", globs=("*.asif",)),
    FileType(
        "application/x-disk-copy",
        ("dart", "dc42"),
        "Macintosh floppy image",
        FLOPPY,
        globs=("*.dc42",),
        weak=("*.image",),
        only=(),
    ),
    # any file in another
    FileType("application/applefile", ("applesingle",), "AppleSingle file", "package-x-generic", shared=True),
    _of_any_file("application/mac-binhex40", "binhex", "macforks", globs=("*.hqx",)),
    _of_any_file("application/x-macbinary", "macbinary", "macforks"),
    _of_any_file("application/x-bzip", "bzip2", also=("application/x-bzip2", "application/bzip2")),
    _of_any_file("application/gzip", "gzip", also=("application/x-gzip",)),
    _of_any_file("application/x-lzma", "lzma"),
    _of_any_file("application/x-xz", "xz"),
    _of_any_file("application/zip", "zip"),
    _of_any_file("application/zstd", "zstd"),
)

# Formats without a type.
NO_FILE: Final = {
    "apple_unread": "is refused",
    "archive": "is for an archive manager",
    "sparsebundle": "is a folder",
    "unread": "is refused",
}
