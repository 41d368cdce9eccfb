"""Filesystems and encrypted volumes that are known by sight and not read: the raw view comes with a reason.

Source: each one's on-disk format documentation; the places of labels as libblkid reports them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.core.node import Filesystem
from imgmount.errors import UnknownFormatError, UnsupportedError


class Look(NamedTuple):
    """What a filesystem looks like: all ``marks`` (offset, bytes); where its label and UUID are."""

    name: str
    marks: tuple[tuple[int, bytes], ...]
    label: tuple[int, int] | None = None
    uuid: int | None = None
    encoding: str = "utf-8"


_SWAP_PAGES: Final = (4096, 8192, 16384, 65536)

LOOKS: Final = (
    *(Look("Amiga AFS", ((0, mark),)) for mark in (b"AFS\1", b"muAF")),
    *(Look("Amiga PFS", ((0, mark),)) for mark in (b"PFS\1", b"PFS\2", b"PFS\3", b"muPF")),
    *(Look("Amiga SFS", ((0, mark),)) for mark in (b"SFS\0", b"SFS\2")),
    Look("bcachefs", ((4120, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")),), (4168, 32), 4152),
    Look("bcachefs", ((4120, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),), (4168, 32), 4152),
    Look("BeFS", ((544, b"1SFB"),), (512, 32)),
    Look("BeFS", ((544, b"BFS1"),), (512, 32)),
    Look("BeFS", ((32, b"BFS1"),), (0, 32)),
    Look("BitLocker", ((3, b"-FVE-FS-"),)),
    Look("Btrfs", ((0x10040, b"_BHRfS_M"),), (0x1012B, 256), 0x10020),
    Look("Core Storage (FileVault)", ((8, b"\1\0\x10\0"), (88, b"CS"))),
    Look("EROFS", ((1024, b"\xe2\xe1\xf5\xe0"),), (1088, 16), 1072),
    Look("F2FS", ((1024, b"\x10\x20\xf5\xf2"),), (1148, 512), 1132, "utf-16-le"),
    *(
        Look("HP-UX HFS", ((8192 + 0x55C, bytes.fromhex(magic)),))
        for magic in ("00095014", "00195612", "00612195", "05231994")
    ),
    Look("HPFS", ((0x2000, b"\x49\xe8\x95\xf9\xc5\xe9\x53\xfa"),), (43, 11), None, "cp850"),
    Look("JFS", ((0x8000, b"JFS1"),), (0x8098, 16), 0x8088),
    Look("LUKS 1", ((0, b"LUKS\xba\xbe\0\1"),)),
    Look("LUKS 2", ((0, b"LUKS\xba\xbe\0\2"),), (24, 48)),
    Look("NILFS2", ((1024, b"\2\0\0\0\0\0\x34\x34"),), (1192, 80), 1176),
    Look("ReFS", ((3, b"ReFS\0\0\0\0"), (16, b"FSRS"))),
    Look("ReiserFS", ((0x10034, b"ReIsEr"),), (0x10064, 16), 0x10054),
    Look("Reiser4", ((0x10000, b"ReIsEr4"),), (0x10024, 16), 0x10014),
    *(
        Look("Linux swap", ((page - 10, b"SWAPSPACE2"), (1024, b"\1\0\0\0")), (1052, 16), 1036)
        for page in _SWAP_PAGES
    ),
    *(Look("Linux swap, version 0", ((page - 10, b"SWAP-SPACE"),)) for page in _SWAP_PAGES),
    Look("Linux swap that holds a hibernated system", ((4086, b"S1SUSPEND"),)),
    Look("VMFS", ((0x100000, b"\x0d\xd0\x01\xc0"),)),
    Look("VMFS", ((0x200000, b"\x5e\xf1\xab\x2f"),)),
    Look("ZFS", ((0x4000, b"\1\1\0\0\0\0\0\0\0\0\0\1"), (0x4014, b"\0\0\0\7version"))),
)


# other programs that read it; each takes the file of the raw view
READERS: Final = {
    ("bcachefs", "BeFS", "Btrfs", "EROFS", "F2FS", "HPFS", "JFS", "NILFS2", "ReiserFS"): (
        "'mount -o loop,ro' reads it"
    ),
    ("LUKS 1", "LUKS 2"): "'cryptsetup open' opens it",
    ("BitLocker",): "'cryptsetup bitlkOpen' or dislocker opens it",
    ("VMFS",): "vmfs-fuse or vmfs6-fuse reads it",
    ("ZFS",): "'zpool import -o readonly=on' reads it",
}


def _seen(device: BlockDevice) -> Look | None:
    """What ``device`` looks like. Marks share blocks, so each block is read once."""
    blocks: dict[int, bytes] = {}
    for look in LOOKS:
        for offset, mark in look.marks:
            block, skip = divmod(offset, 4096)
            if block not in blocks:
                blocks[block] = device.pread(block * 4096, 4096)
            if blocks[block][skip : skip + len(mark)] != mark:
                break
        else:
            return look
    return None


def probe(device: BlockDevice) -> Match:
    """LIKELY at most: marks outlive their filesystem, and what is read comes first."""
    return Match.LIKELY if _seen(device) else Match.NO


def open_unread(device: BlockDevice, _: Context) -> Filesystem:
    """Always raises ``UnsupportedError``: the name, and the label and UUID where they are known."""
    look = _seen(device)
    if look is None:
        raise UnknownFormatError("no known filesystem")
    facts = []
    if look.label is not None:
        raw = device.pread(*look.label)
        wide = look.encoding == "utf-16-le"
        label = raw.decode(look.encoding, "replace").partition("\0")[0] if wide else text(raw, look.encoding)
        facts += [f"label {label!r}"] if label else []
    if look.uuid is not None and len(raw := device.pread(look.uuid, 16)) == 16 and any(raw):
        from uuid import UUID

        facts.append(f"UUID {UUID(bytes=raw)}")
    about = f" ({', '.join(facts)})" if facts else ""
    error = UnsupportedError(f"{look.name}: this filesystem is recognised but not read{about}")
    raise error.advise(*(text for names, text in READERS.items() if look.name in names))


FORMAT: Final = FilesystemFormat(
    name="unread",
    title="filesystems that are recognised only",
    probe=probe,
    open=open_unread,
    limits=f"named and shown raw: {', '.join(dict.fromkeys(look.name for look in LOOKS))}",
)
