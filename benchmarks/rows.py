"""What is measured: an image, what is done with it, and the programs that people do this with today."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from . import images
from .images import DATA, Image
from .mounts import Tool
from .reading import AT_RANDOM, BY_TWO, FIND, FIND_AGAIN, LIST_AGAIN, SEQUENTIAL, START, Reading

FILE = DATA.name  # of the images with one large file
DISK = "disk.raw"


@dataclass(frozen=True)
class Decoder:
    """A program that decodes a whole image and ends. ``command`` has places for {image} and {scratch}, a folder."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """``answers`` is what imgmount shows of the image, with ``options``, and what is read."""

    name: str
    title: str
    image: Image
    reading: Reading
    answers: str
    options: tuple[str, ...]
    peers: tuple[Tool | Decoder, ...]


def _qemu(driver: str) -> Tool:
    command = [
        "qemu-storage-daemon",
        "--daemonize",
        "--blockdev",
        "driver=file,node-name=f,filename={image},read-only=on",
        "--blockdev",
        f"driver={driver},node-name=r,file=f,read-only=on",
        "--export",
        "type=fuse,id=e,node-name=r,mountpoint={target}",
    ]
    return Tool(command[0], tuple(command), on_file=True)


def _tool(command: str, answers: str) -> Tool:
    words = command.split()
    return Tool(words[0], (*words, "{image}", "{target}"), answers)


def _xmount(kind: str, image: Image) -> Tool:
    command = ("xmount", "--in", kind, "{image}", "--out", "raw", "{target}")
    return Tool(command[0], command, str(Path(image.name).with_suffix(".dd")))


def _fuse2fs(folder: str) -> Tool:
    return _tool("fuse2fs -o ro", folder)


EWFMOUNT = _tool("ewfmount", "ewf1")
SQUASHFUSE = (_tool("squashfuse", FILE), _tool("squashfuse_ll", FILE))
FUSEISO = _tool("fuseiso -n", "")
ARCHIVEMOUNT = _tool("archivemount -o readonly", "")
NTFS_3G = _tool("ntfs-3g -o ro", "")
WIMMOUNT = Tool("wimmount", ("wimmount", "{image}", "1", "{target}"), FILE)
ZLIB = Decoder(
    "zlib, one thread", (sys.executable, "-S", str(Path(__file__).with_name("unpack_cso.py")), "{image}")
)
DOLPHIN = Decoder(
    "dolphin-tool convert",
    (images.DOLPHIN, "convert", "-u", "{scratch}/user", "-i", "{image}", "-o", "{scratch}/disc", "-f", "iso"),
)


def _disk(name: str, title: str, image: Image, *peers: Tool | Decoder, reading: Reading = SEQUENTIAL) -> Row:
    return Row(name, title, image, reading, DISK, ("--raw",), peers)


def _file(name: str, title: str, image: Image, reading: Reading, *peers: Tool) -> Row:
    return Row(name, title, image, reading, FILE, (), peers)


def _tree(name: str, title: str, image: Image, reading: Reading, *peers: Tool, folder: str = "") -> Row:
    return Row(name, title, image, reading, folder, (), peers)


_FOLDER = "folder 000"  # the one of the ext4 image

ROWS = (
    _disk("raw", "raw, in order", DATA, _qemu("raw"), _xmount("raw", DATA)),
    _disk("raw-two", "raw, two readers", DATA, _qemu("raw"), _xmount("raw", DATA), reading=BY_TWO),
    _disk("raw-random", "raw, 4 KiB at random", DATA, _qemu("raw"), _xmount("raw", DATA), reading=AT_RANDOM),
    _disk("vhd", "VHD", images.VHD, _qemu("vpc")),
    _disk("vhdx", "VHDX", images.VHDX, _qemu("vhdx"), _tool("vhdimount", "vhdi1")),
    _disk("vmdk", "VMDK", images.VMDK, _qemu("vmdk"), _tool("vmdkmount", "vmdk1")),
    _disk("vmdk-stream", "VMDK streamOptimized", images.STREAM, _qemu("vmdk"), _tool("vmdkmount", "vmdk1")),
    _disk("qcow2", "QCOW2", images.QCOW2, _qemu("qcow2"), _tool("qcowmount", "qcow1")),
    _disk("qcow2-zlib", "QCOW2 zlib", images.QCOW2_ZLIB, _qemu("qcow2"), _tool("qcowmount", "qcow1")),
    _disk("qcow2-zstd", "QCOW2 zstd", images.QCOW2_ZSTD, _qemu("qcow2")),
    _disk("e01", "E01", images.E01, EWFMOUNT, _xmount("ewf", images.E01)),
    _disk("dmg-256", "DMG zlib, 256 KiB", images.UDZO_256, _qemu("dmg")),
    _disk("dmg-1024", "DMG zlib, 1 MiB", images.UDZO_1024, _qemu("dmg")),
    _disk("cso", "CSO", images.CSO, ZLIB),
    _disk("rvz", "RVZ zstd, GameCube", images.RVZ, DOLPHIN),
    _file("squashfs", "SquashFS zstd, in order", images.SQUASHFS, SEQUENTIAL, *SQUASHFUSE),
    _file("squashfs-two", "SquashFS zstd, two readers", images.SQUASHFS, BY_TWO, *SQUASHFUSE),
    _file("squashfs-random", "SquashFS zstd, 4 KiB at random", images.SQUASHFS, AT_RANDOM, *SQUASHFUSE),
    _file("iso", "ISO, one file", images.ISO, SEQUENTIAL, _tool("fuseiso -n", FILE)),
    _file("wim", "WIM LZX, in order", images.WIM, SEQUENTIAL, WIMMOUNT),
    _file("wim-random", "WIM LZX, 4 KiB at random", images.WIM, AT_RANDOM, WIMMOUNT),
    _tree("iso-find", "ISO, find 50,000 files", images.ISO_NAMES, FIND, FUSEISO, ARCHIVEMOUNT),
    _tree("iso-find-again", "ISO, the same again, warm", images.ISO_NAMES, FIND_AGAIN, FUSEISO, ARCHIVEMOUNT),
    _tree("ntfs-find", "NTFS, find 40,000 files", images.NTFS_NAMES, FIND, NTFS_3G),
    _tree(
        "ext4-ls",
        "ext4, ls -l 1,000 files, warm",
        images.EXT4_NAMES,
        LIST_AGAIN,
        _fuse2fs(_FOLDER),
        folder=_FOLDER,
    ),
    _disk("start-qcow2", "start, QCOW2", images.QCOW2, _qemu("qcow2"), reading=START),
    _disk("start-e01", "start, E01", images.E01, EWFMOUNT, _xmount("ewf", images.E01), reading=START),
    _file("start-squashfs", "start, SquashFS", images.SQUASHFS, START, *SQUASHFUSE),
    _file("start-wim", "start, WIM", images.WIM, START, WIMMOUNT),
    _tree("start-iso", "start, ISO of 50,000 files", images.ISO_NAMES, START, FUSEISO, ARCHIVEMOUNT),
    _tree("start-ntfs", "start, NTFS of 40,000 files", images.NTFS_NAMES, START, NTFS_3G),
    _tree("start-ext4", "start, ext4", images.EXT4_NAMES, START, _fuse2fs("")),
)
