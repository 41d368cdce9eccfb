"""Apple's images and filesystems."""

from __future__ import annotations

import bz2
import importlib
import lzma
import plistlib
import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.images import DATA, MIB, NAMES, TREE, Image, Work, of
from benchmarks.mounts import Tool
from benchmarks.reading import FIND
from benchmarks.row import FILE, RAW_VIEW, and_random, disk, file, qemu, tree, unpack

FIXTURES = Path(__file__).parents[2] / "fixtures"
_SECTOR = 512
PASSWORD = "correct horse"  # that of the fixtures
_XORRISO = "xorriso -as mkisofs -quiet -R -hfsplus -V Disc -o {target} {source}"


def _fixtures(name: str, folder: str) -> Any:
    """A module that writes fixtures."""
    sys.path.append(str(FIXTURES / folder))
    return importlib.import_module(name)


def _lzfse(data: bytes) -> bytes:
    packed: bytes = importlib.import_module("lzfse").compress(data)
    return packed


def _udif(kind: int, pack: Callable[[bytes], bytes], chunk: int = MIB) -> Callable[[Work, Path], None]:
    """Chunks of so many bytes, all of one kind, without checksums."""

    def make(work: Work, target: Path) -> None:
        data = DATA.path(work).read_bytes()
        with ThreadPoolExecutor() as pool:
            pieces = list(pool.map(pack, (data[at : at + chunk] for at in range(0, len(data), chunk))))
        sectors, runs, fork = len(data) // _SECTOR, b"", b"".join(pieces)
        offset = 0
        for first, piece in zip(range(0, sectors, chunk // _SECTOR), pieces, strict=True):
            count = min(chunk // _SECTOR, sectors - first)
            runs += struct.pack(">2I4Q", kind, 0, first, count, offset, len(piece))
            offset += len(piece)
        runs += struct.pack(">2I4Q", 0xFFFFFFFF, 0, sectors, 0, offset, 0)
        table = struct.pack(">4sI3Q2I24x136xI", b"mish", 1, 0, sectors, 0, 0x208, 0, len(pieces) + 1) + runs
        entry = {"Attributes": "0x0050", "CFName": "disk", "Data": table, "ID": "0", "Name": "disk"}
        xml = plistlib.dumps({"resource-fork": {"blkx": [entry]}})
        koly = struct.pack(">4s3I5Q2I16x136x", b"koly", 4, 512, 1, 0, 0, len(fork), 0, 0, 1, 1)
        koly += struct.pack(">2Q120x136xIQ12x", len(fork), len(xml), 1, sectors)
        target.write_bytes(fork + xml + koly)

    return make


def _encrypted(work: Work, target: Path) -> None:
    sparse, data = _fixtures("apple_sparse", "containers"), DATA.path(work).read_bytes()
    head, aes, mac = sparse.header2(len(data), 128, _SECTOR, 0x1000)
    with target.open("wb") as out:
        out.write(head.ljust(0x1000, b"\0"))
        for number in range(len(data) // _SECTOR):
            iv = sparse.hmac.digest(mac, number.to_bytes(4, "big"), "sha1")[:16]
            out.write(sparse.cipher(aes, iv, data[number * _SECTOR : (number + 1) * _SECTOR]))


def _apfs(source: Image, password: str = "") -> Callable[[Work, Path], None]:
    """A volume with all that is in a folder."""

    def make(work: Work, target: Path) -> None:
        writer, top = _fixtures("writer", "filesystems/apfs"), source.path(work)
        items = []
        for path in sorted(top.rglob("*")):
            content = {"mode": 0o40755} if path.is_dir() else {"data": path.read_bytes()}
            items.append(writer.Item(str(path.relative_to(top)), **content))
        container = writer.Container()
        container.limit = 100
        container.add(writer.Volume("Volume", items, password=password))
        target.write_bytes(container.build())

    return make


UDZO_256 = Image("256.dmg", _udif(0x80000005, zlib.compress, 256 << 10))
UDZO_1024 = Image("1024.dmg", _udif(0x80000005, zlib.compress))
UDBZ = Image("bzip2.dmg", _udif(0x80000006, bz2.compress))
ULFO = Image("lzfse.dmg", _udif(0x80000007, _lzfse))
ULMO = Image("lzma.dmg", _udif(0x80000008, lzma.compress))
UDRO = Image("stored.dmg", _udif(1, bytes, 2 * MIB))
ENCRYPTED = Image("encrypted.dmg", _encrypted)
HFSPLUS = Image("file.hfsplus.iso", of(TREE, _XORRISO))  # a hybrid, whose p3 it is
APFS = Image("file.apfs", _apfs(TREE))
APFS_ENCRYPTED = Image("encrypted.apfs", _apfs(TREE, PASSWORD))
HFSPLUS_NAMES = Image("names.hfsplus.iso", of(NAMES, _XORRISO))
APFS_NAMES = Image("names.apfs", _apfs(NAMES))

PARTITIONS = ("--partitions", "apm")
WITH_PASSWORD = ("--password", PASSWORD)
FOLDER = Tool("bindfs, host's folder", ("bindfs", "-r", "{image}", "{target}"), image=NAMES)

ROWS = (
    *and_random(disk("dmg-256", "DMG zlib, 256 KiB", UDZO_256, qemu("dmg"))),
    *and_random(disk("dmg-1024", "DMG zlib, 1 MiB", UDZO_1024, qemu("dmg"))),
    disk("udbz", "DMG bzip2", UDBZ, unpack("udif", "bzip2")),
    disk("ulfo", "DMG LZFSE", ULFO, unpack("udif", "LZFSE")),
    disk("ulmo", "DMG LZMA", ULMO, unpack("udif", "LZMA")),
    disk("udro", "DMG, stored", UDRO, RAW_VIEW),
    disk("dmg-encrypted", "DMG, encrypted", ENCRYPTED, unpack("encrcdsa", "AES"), options=WITH_PASSWORD),
    file("hfsplus", "HFS+, one file", HFSPLUS, RAW_VIEW, answers=f"p3/{FILE}", options=PARTITIONS),
    file("apfs", "APFS, one file", APFS, RAW_VIEW),
    file("apfs-encrypted", "APFS, encrypted", APFS_ENCRYPTED, options=WITH_PASSWORD),
    tree(
        "hfsplus-find",
        "HFS+, find 20,000 files",
        HFSPLUS_NAMES,
        FIND,
        FOLDER,
        folder="p3",
        options=PARTITIONS,
    ),
    tree("apfs-find", "APFS, find 20,000 files", APFS_NAMES, FIND, FOLDER),
)
