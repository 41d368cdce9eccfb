"""The images that are read: made by other programs where there is one, once, and kept."""

from __future__ import annotations

import plistlib
import shutil
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .process import quietly

DOLPHIN = "/usr/games/dolphin-tool"
_MIB = 1 << 20
_SECTOR, _CSO_BLOCK = 512, 2048


@dataclass(frozen=True)
class Work:
    """The folder of the images, and how many bytes of data each has."""

    folder: Path
    size: int


@dataclass(frozen=True)
class Image:
    """``make`` writes it to a path of that name, in a folder that is otherwise its own."""

    name: str
    make: Callable[[Work, Path], None]

    def path(self, work: Work) -> Path:
        path, own = work.folder / self.name, work.folder / f"making-{self.name}"
        if not path.exists():
            print(f"making {path}", flush=True)
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir(parents=True)
            self.make(work, own / self.name)  # a run that is broken off leaves no half image
            (own / self.name).rename(path)
            shutil.rmtree(own)
        return path


def _programs(work: Work, target: Path) -> None:
    """The libraries of this machine, which compress as programs do, and differ from place to place."""
    left = work.size
    with target.open("wb") as out:
        for path in sorted(Path("/usr/lib").rglob("*.so.*"), key=lambda path: path.name):
            if path.is_file() and not path.is_symlink():
                left -= out.write(path.read_bytes()[:left])
    if left:
        raise ValueError(f"/usr/lib has {left} bytes less than the images are to have")


DATA = Image("data.raw", _programs)


def _convert(driver: str, *options: str) -> Callable[[Work, Path], None]:
    return lambda work, target: quietly(
        "qemu-img", "convert", "-O", driver, *options, DATA.path(work), target
    )


def _ewf(work: Work, target: Path) -> None:
    options = ("-u", "-f", "encase6", "-c", "deflate:fast", "-S", "8GiB", "-t")
    quietly("ewfacquire", *options, target.with_suffix(""), DATA.path(work))


def _squashfs(work: Work, target: Path) -> None:
    quietly("mksquashfs", DATA.path(work), target, "-comp", "zstd", "-noappend")


def _cso(work: Work, target: Path) -> None:
    """CISO 1, in blocks of 2 KiB."""
    data = DATA.path(work).read_bytes()
    blocks = [data[at : at + _CSO_BLOCK] for at in range(0, len(data), _CSO_BLOCK)]
    table, offset, stored = [], 24 + 4 * (len(blocks) + 1), []
    with ThreadPoolExecutor() as pool:
        for block, packed in zip(blocks, pool.map(partial(zlib.compress, wbits=-15), blocks), strict=True):
            plain = len(packed) >= len(block)
            stored.append(block if plain else packed)
            table.append(offset | plain << 31)
            offset += len(stored[-1])
    header = struct.pack("<4sIQIBB2x", b"CISO", 24, len(data), _CSO_BLOCK, 1, 0)
    target.write_bytes(header + struct.pack(f"<{len(table) + 1}I", *table, offset) + b"".join(stored))


def _udzo(chunk: int) -> Callable[[Work, Path], None]:
    """UDIF with zlib in chunks of so many bytes, without checksums."""

    def make(work: Work, target: Path) -> None:
        data = DATA.path(work).read_bytes()
        with ThreadPoolExecutor() as pool:
            pieces = list(
                pool.map(zlib.compress, (data[at : at + chunk] for at in range(0, len(data), chunk)))
            )
        sectors, runs, fork = len(data) // _SECTOR, b"", b"".join(pieces)
        offset = 0
        for first, piece in zip(range(0, sectors, chunk // _SECTOR), pieces, strict=True):
            count = min(chunk // _SECTOR, sectors - first)
            runs += struct.pack(">2I4Q", 0x80000005, 0, first, count, offset, len(piece))
            offset += len(piece)
        runs += struct.pack(">2I4Q", 0xFFFFFFFF, 0, sectors, 0, offset, 0)
        table = struct.pack(">4sI3Q2I24x136xI", b"mish", 1, 0, sectors, 0, 0x208, 0, len(pieces) + 1) + runs
        entry = {"Attributes": "0x0050", "CFName": "disk", "Data": table, "ID": "0", "Name": "disk"}
        xml = plistlib.dumps({"resource-fork": {"blkx": [entry]}})
        koly = struct.pack(">4s3I5Q2I16x136x", b"koly", 4, 512, 1, 0, 0, len(fork), 0, 0, 1, 1)
        koly += struct.pack(">2Q120x136xIQ12x", len(fork), len(xml), 1, sectors)
        target.write_bytes(fork + xml + koly)

    return make


def _rvz(work: Work, target: Path) -> None:
    """A GameCube disc with the data behind its header."""
    disc, user = target.with_suffix(".iso"), target.with_name("user")
    header = bytearray(0x10000)
    header[:6] = b"GBNP01"
    struct.pack_into(">I", header, 0x1C, 0xC2339F3D)
    disc.write_bytes(header + DATA.path(work).read_bytes())
    options = ("-f", "rvz", "-b", "131072", "-c", "zstd", "-l", "5")
    quietly(DOLPHIN, "convert", "-u", user, "-i", disc, "-o", target, *options)


def _of_file(*command: str) -> Callable[[Work, Path], None]:
    """What ``command`` makes of a folder with the data as one file; it has places for {tree} and {target}."""

    def make(work: Work, target: Path) -> None:
        tree = target.with_name("tree")
        tree.mkdir()
        (tree / DATA.name).hardlink_to(DATA.path(work))
        quietly(*(word.format(tree=tree, target=target) for word in command))

    return make


def _of_names(folders: int, files: int, *commands: tuple[str, ...]) -> Callable[[Work, Path], None]:
    """What ``commands`` make of so many small files, in so many folders each with its share, or all in one of its own."""

    def make(_: Work, target: Path) -> None:
        tree = target.with_name("tree")
        for number in range(files):
            path = tree / f"folder {number * folders // files:03}" / f"file number {number:05}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{number}\n")
        for command in commands:
            quietly(*(word.format(tree=tree, target=target) for word in command))

    return make


_ISO = ("genisoimage", "-quiet", "-R", "-J", "-o", "{target}", "{tree}")
_EXT4 = ("mke2fs", "-q", "-t", "ext4", "-d", "{tree}", "{target}", "64M")
_NTFS = (  # wimlib writes to a volume that is not mounted
    ("truncate", "-s", "256M", "{target}"),
    ("mkntfs", "-F", "-Q", "{target}"),
    ("wimlib-imagex", "capture", "{tree}", "{target}.wim", "--compress=none"),
    ("wimlib-imagex", "apply", "{target}.wim", "1", "{target}"),
)

VHD = Image("disk.vhd", _convert("vpc"))
VHDX = Image("disk.vhdx", _convert("vhdx"))
VMDK = Image("disk.vmdk", _convert("vmdk"))
STREAM = Image("stream.vmdk", _convert("vmdk", "-o", "subformat=streamOptimized"))
QCOW2 = Image("disk.qcow2", _convert("qcow2"))
QCOW2_ZLIB = Image("zlib.qcow2", _convert("qcow2", "-c", "-o", "compression_type=zlib"))
QCOW2_ZSTD = Image("zstd.qcow2", _convert("qcow2", "-c", "-o", "compression_type=zstd"))
E01 = Image("disk.E01", _ewf)
SQUASHFS = Image("file.squashfs", _squashfs)
CSO = Image("disc.cso", _cso)
UDZO_256 = Image("256.dmg", _udzo(256 << 10))
UDZO_1024 = Image("1024.dmg", _udzo(_MIB))
RVZ = Image("disc.rvz", _rvz)
ISO = Image("file.iso", _of_file(*_ISO))
WIM = Image("file.wim", _of_file("wimlib-imagex", "capture", "{tree}", "{target}", "--compress=LZX"))
ISO_NAMES = Image("names.iso", _of_names(250, 50_000, _ISO))
NTFS_NAMES = Image("names.ntfs", _of_names(200, 40_000, *_NTFS))
EXT4_NAMES = Image("names.ext4", _of_names(1, 1000, _EXT4))
