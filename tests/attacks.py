"""Images that name files they have no business with.

Each maker writes one that would show ``name``, were it opened.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fixture import unpack
from helpers import FIXTURES, tool
from vdisk import run

SIZE = 6 << 20
SECTOR = 512
VHD_BLOCKS = 0x800  # where they begin in the VHD fixture
METADATA = 3 << 20  # where the VHDX fixture has it
SECRET = b"*** the secret of another folder, which nobody may see ***\n"
Maker = Callable[[Path, str], None]


class Attack(NamedTuple):
    """``make(path, name)`` writes an image at ``path``; ``target`` is the kind of file that it expects ``name`` to be."""

    make: Maker
    target: str = "raw"
    suffix: str = ""


def secrets(folder: Path) -> None:
    """A secret in every form that a parent can have: ``secret.raw``, ``secret.vhd``..."""
    raw = folder / "secret.raw"
    raw.write_bytes((SECRET * (SIZE // len(SECRET) + 1))[:SIZE])
    for fmt, suffix, options in (
        ("qcow2", "qcow2", "compat=1.1"),
        ("vhdx", "vhdx", "block_size=1M"),
        ("vpc", "vhd", "force_size=on"),
        ("vmdk", "vmdk", "subformat=monolithicFlat"),
    ):
        run(tool("qemu-img"), "convert", "-O", fmt, "-o", options, raw, folder / f"secret.{suffix}")


def qcow2(path: Path, name: str, fmt: str = "", *, data: bool = False) -> None:
    """Written by hand: qemu refuses some names."""
    extensions = b""
    for kind, content in ((0xE2792ACA, fmt.encode()), (0x44415441, name.encode() if data else b"")):
        if content:
            extensions += struct.pack(">II", kind, len(content)) + content.ljust(
                -(-len(content) // 8) * 8, b"\0"
            )
    extensions += bytes(8)
    place, length = (0, 0) if data else (104 + len(extensions), len(name.encode()))
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, place, length, 16, SIZE, 0, 1, 0x10000, 0, 0, 0, 0)
    head += (
        struct.pack(">QQQII", 4 if data else 0, 0, 2 if data else 0, 4, 104)
        + extensions
        + (b"" if data else name.encode())
    )
    l2 = b"".join(struct.pack(">Q", 1 << 63 | at) for at in range(0, SIZE, 0x10000)) if data else b""
    l1 = struct.pack(">Q", 1 << 63 | 0x20000 if data else 0)
    path.write_bytes(head.ljust(0x10000, b"\0") + l1.ljust(0x10000, b"\0") + l2.ljust(0x10000, b"\0"))


def qcow(path: Path, name: str) -> None:
    head = struct.pack(">4sIQIIQBBHIQ", b"QFI\xfb", 1, 48, len(name.encode()), 0, SIZE, 12, 9, 0, 0, 4096)
    path.write_bytes((head + name.encode()).ljust(8192, b"\0"))


def qed(path: Path, name: str, features: int) -> None:
    head = struct.pack(
        "<4sIIIQQQQQII", b"QED\0", 65536, 4, 1, features, 0, 0, 65536, SIZE, 64, len(name.encode())
    )
    path.write_bytes((head + name.encode()).ljust(5 * 65536, b"\0"))


def vmdk(path: Path, *lines: str) -> None:
    path.write_text(
        "\n".join(["# Disk DescriptorFile", "version=1", "CID=00000001", 'createType="custom"', *lines])
        + "\n"
    )


def vmdk_extent(path: Path, name: str, kind: str) -> None:
    vmdk(
        path,
        "parentCID=ffffffff",
        f'RW {SIZE // SECTOR} {kind} "{name.replace(chr(34), "")}"' + " 0" * (kind == "FLAT"),
    )


def vmdk_parent(path: Path, name: str) -> None:
    run(tool("qemu-img"), "create", "-q", "-f", "vmdk", path.with_name("delta-s001.vmdk"), SIZE)
    extent = f'RW {SIZE // SECTOR} SPARSE "delta-s001.vmdk"'
    vmdk(path, "parentCID=00000001", f'parentFileNameHint="{name.replace(chr(34), "")}"', extent)


def vhd(path: Path, name: str, code: bytes) -> None:
    """The fixture's child, whose parent is ``secret.vhd``, called ``name`` by one locator, or by the header."""
    unpack(FIXTURES / "containers/vhd/differencing/child.vhd.xz", path)
    parent = (path.parent.parent / "outside/secret.vhd").read_bytes()
    child = bytearray(path.read_bytes())
    encoded = name.encode({b"MacX": "utf-8", b"Wi2r": "latin-1", b"Wi2k": "latin-1"}.get(code, "utf-16-le"))
    child[0x228:0x238] = parent[0x44:0x54]
    child[0x240:0x440] = (b"" if code else name.encode("utf-16-be")[:512]).ljust(512, b"\0")
    child[0x440:0x500] = struct.pack(">4sIIIQ", code or b"\0\0\0\0", 1, len(encoded), 0, VHD_BLOCKS).ljust(
        192, b"\0"
    )
    child[0x600:0x60C] = b"\xff" * 12  # no block is stored: all is the parent's
    child[0x224:0x228] = bytes(4)
    child[0x224:0x228] = struct.pack(">I", ~sum(child[0x200:0x600]) & 0xFFFFFFFF)
    path.write_bytes(
        child[:VHD_BLOCKS] + encoded.ljust(-(-len(encoded) // SECTOR) * SECTOR, b"\0") + child[-SECTOR:]
    )


def vhdx(path: Path, name: str, key: str) -> None:
    """The fixture's child without its blocks, whose parent is ``secret.vhdx``, called ``name`` under one key of the locator."""
    unpack(FIXTURES / "containers/vhdx/differencing/child.vhdx.xz", path)
    parent = (path.parent.parent / "outside/secret.vhdx").read_bytes()
    newest = max((0x10000, 0x20000), key=lambda at: parent[at + 8 : at + 16][::-1])
    linkage = uuid.UUID(bytes_le=parent[newest + 0x20 : newest + 0x30])
    pairs, strings = b"", b""
    for words in (("parent_linkage", f"{{{linkage}}}"), (key, name)):
        places = []
        for word in words:
            places.append((20 + 24 + len(strings), len(word.encode("utf-16-le"))))
            strings += word.encode("utf-16-le")
        pairs += struct.pack("<IIHH", places[0][0], places[1][0], places[0][1], places[1][1])
    locator = (
        uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le
        + struct.pack("<HH", 0, 2)
        + pairs
        + strings
    )
    child = bytearray(path.read_bytes())
    item = child.index(uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le)
    child[item + 16 : item + 24] = struct.pack("<II", 0x20000, len(locator))
    child[METADATA + 0x20000 : METADATA + 0x20000 + len(locator)] = locator
    with path.open("wb") as file:  # mostly holes; no block is stored
        file.write(child[:0x50000])
        file.seek(METADATA)
        file.write(child[METADATA : METADATA + 0x30000])
        file.truncate(METADATA + (1 << 20))


def parallels(path: Path, name: str) -> None:
    shot = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
    image = f"<Image><GUID>{shot}</GUID><Type>Plain</Type><File>{name.replace('&', '&amp;')}</File></Image>"
    storage = f"<Storage><Start>0</Start><End>{SIZE // SECTOR}</End>{image}</Storage>"
    path.write_text(f"<Parallels_disk_image><StorageData>{storage}</StorageData></Parallels_disk_image>")


def cue(path: Path, name: str) -> None:
    path.write_text(
        f'FILE "{name.replace(chr(34), "")}" BINARY\n  TRACK 01 MODE1/2048\n    INDEX 01 00:00:00\n'
    )


def toc(path: Path, name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    path.write_text(f'CD_ROM\nTRACK MODE1\nDATAFILE "{escaped}"\n')


def gdi(path: Path, name: str) -> None:
    path.write_text(f'1\n1 0 4 2048 "{name.replace(chr(34), "")}" 0\n')


NAMED = {
    "qcow2 backing raw": Attack(lambda path, name: qcow2(path, name, "raw")),
    "qcow2 backing qcow2": Attack(lambda path, name: qcow2(path, name, "qcow2"), "qcow2"),
    "qcow2 backing guessed": Attack(qcow2),
    "qcow2 data file": Attack(lambda path, name: qcow2(path, name, data=True)),
    "qcow backing": Attack(qcow),
    "qed backing raw": Attack(lambda path, name: qed(path, name, 5)),
    "qed backing guessed": Attack(lambda path, name: qed(path, name, 1), "qcow2"),
    "vmdk FLAT": Attack(lambda path, name: vmdk_extent(path, name, "FLAT")),
    "vmdk VMFS": Attack(lambda path, name: vmdk_extent(path, name, "VMFS")),
    "vmdk parent": Attack(vmdk_parent, "vmdk"),
    "vhd W2ku": Attack(lambda path, name: vhd(path, name, b"W2ku"), "vhd"),
    "vhd W2ru": Attack(lambda path, name: vhd(path, name, b"W2ru"), "vhd"),
    "vhd Wi2k": Attack(lambda path, name: vhd(path, name, b"Wi2k"), "vhd"),
    "vhd Wi2r": Attack(lambda path, name: vhd(path, name, b"Wi2r"), "vhd"),
    "vhd MacX": Attack(lambda path, name: vhd(path, name, b"MacX"), "vhd"),
    "vhd header": Attack(lambda path, name: vhd(path, name, b""), "vhd"),
    "vhdx relative_path": Attack(lambda path, name: vhdx(path, name, "relative_path"), "vhdx"),
    "vhdx absolute_win32_path": Attack(lambda path, name: vhdx(path, name, "absolute_win32_path"), "vhdx"),
    "vhdx volume_path": Attack(lambda path, name: vhdx(path, name, "volume_path"), "vhdx"),
    "parallels": Attack(parallels),
    "cue": Attack(cue),
    "toc": Attack(toc),
    "gdi": Attack(gdi),
}
