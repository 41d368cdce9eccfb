"""Discs of Nintendo's consoles."""

from __future__ import annotations

import hashlib
import random
import struct
from pathlib import Path

from benchmarks.images import DATA, MIB, Image, Work, of
from benchmarks.process import quietly
from benchmarks.row import DISK, FILE, Decoder, and_random, disk, file, ours, tool

DOLPHIN = "/usr/games/dolphin-tool"
_SECTOR = 0x8000  # of a Wii U disc
_PARTITION = 0xF800000  # where wit places the only one


def _gamecube(work: Work, target: Path) -> None:
    """The data behind a header."""
    header = bytearray(0x10000)
    header[:6] = b"GBNP01"
    struct.pack_into(">I", header, 0x1C, 0xC2339F3D)
    target.write_bytes(header + DATA.path(work).read_bytes())


def _wii_folder(work: Work, target: Path) -> None:
    """What wit makes a Wii disc of, with the data as one file."""
    boot = bytearray(0x440)
    boot[:8] = b"RBNP01\0\0"
    struct.pack_into(">I", boot, 0x18, 0x5D1C9EA3)
    program = struct.pack(">I68xI68xI", 0x100, 0x80003100, 0x400).ljust(0x500, b"\0")
    loader = struct.pack(">16sIII4x", b"2026/11/23", 0x81200000, 0x200, 0x100) + bytes(0x300)
    system = {"boot.bin": bytes(boot), "bi2.bin": bytes(0x2000), "apploader.img": loader, "main.dol": program}
    for name in ("sys", "files"):
        (target / name).mkdir(parents=True)
    for name, content in system.items():
        (target / "sys" / name).write_bytes(content)
    (target / "files" / FILE).hardlink_to(DATA.path(work))


def _wii(work: Work, target: Path) -> None:
    """An encrypted disc; beside it, its title key, encrypted as in the disc and plain as in a WIA."""
    wia = target.with_suffix(".wia")
    quietly("wit", "copy", WII_FOLDER.path(work), target, "--trunc", "-q")
    quietly("wit", "copy", target, wia, "-q", "--wia", "--compr", "NONE")
    with target.open("rb") as disc, wia.open("rb") as plain:
        disc.seek(_PARTITION + 0x1DC)
        plain.seek(0xE0)
        plain.seek(int.from_bytes(plain.read(8), "big"))
        (work.folder / "wii.keys").write_text(f"{disc.read(8).hex()}={plain.read(16).hex()}\n")


def _rvz(disc: Image) -> Image:
    command = f"{DOLPHIN} convert -u {{target}}.user -i {{source}} -o {{target}}"
    return Image(f"{disc.name}.rvz", of(disc, f"{command} -f rvz -b 131072 -c zstd -l 5"))


def _wud(work: Work, target: Path) -> None:
    """The data's size, of which a third is empty, in pieces, and some is there twice."""
    data, rng = DATA.path(work).read_bytes(), random.Random(1)
    with target.open("wb") as out:
        while left := work.size - out.tell():
            at, length = rng.randrange(0, work.size, _SECTOR), rng.randrange(_SECTOR, 16 * MIB, _SECTOR)
            piece = bytes(length) if rng.random() < 1 / 3 else data[at : at + length]
            out.write(piece[:left])


def _wux(work: Work, target: Path) -> None:
    """As WudCompress does: each sector is stored where it comes first."""
    places: dict[bytes, int] = {}
    index, count = [], work.size // _SECTOR
    with WUD.path(work).open("rb") as disc, target.open("wb") as out:
        out.seek(-(-(32 + 4 * count) // _SECTOR) * _SECTOR)
        while sector := disc.read(_SECTOR):
            digest = hashlib.sha1(sector).digest()
            if digest not in places:
                places[digest] = len(places)
                out.write(sector)
            index.append(places[digest])
        out.seek(0)
        out.write(struct.pack("<4sIIIQQ", b"WUX0", 0x1099D02E, _SECTOR, 0, work.size, 0))
        out.write(struct.pack(f"<{count}I", *index))


GAMECUBE = Image("gamecube.iso", _gamecube)
WII_FOLDER = Image("wii", _wii_folder)
WII = Image("wii.iso", _wii)
WUD = Image("disc.wud", _wud)
WUX = Image("disc.wux", _wux)

CONVERT = Decoder(
    "dolphin-tool convert",
    (DOLPHIN, "convert", "-u", "{scratch}/user", "-i", "{image}", "-o", "{scratch}/disc", "-f", "iso"),
)
WFUSE = tool("wfuse", f"iso/part/data/files/{FILE}")
WII_KEYS = ("--keys", "{image.parent}/wii.keys")

ROWS = (
    disk("rvz", "RVZ zstd, GameCube", _rvz(GAMECUBE), CONVERT),
    disk("rvz-wii", "RVZ zstd, Wii", _rvz(WII), CONVERT),
    *and_random(file("wii", "Wii disc, one file", WII, WFUSE, answers=f"files/{FILE}", options=WII_KEYS)),
    disk("wux", "WUX", WUX, ours(WUD, "imgmount, WUD", DISK, "--raw")),
)
