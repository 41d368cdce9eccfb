"""One disc in every form that wit and dolphin-tool write.

The same bytes where the form keeps them all, and the same files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from

import pytest

from conformance import manifest
from helpers import FIXTURES
from imgmount.chain.open import Image, open_image
from imgmount.core.format import Options

WIT = shutil.which("wit")
DOLPHIN = shutil.which("dolphin-tool", path=f"{os.environ['PATH']}:/usr/games")
GENERATOR = [sys.executable, str(FIXTURES / "nintendo.py")]
LEVELS = [f"{codec}.{level}" for codec in ("BZIP2", "LZMA", "LZMA2") for level in (1, 5, 9)]
WIA_CODECS = [f"{codec}@1" for codec in ("NONE", "PURGE", *LEVELS)]  # chunks of 2 MiB
WIA_CODECS += [
    f"{codec}@20" for codec in ("NONE", "PURGE", *LEVELS[1::3])
]  # 40 MiB, as wit has it where nobody says
RVZ_LEVELS = {"none": [0], "zstd": range(1, 23), "lzma": range(1, 10), "lzma2": range(1, 10)}
CHUNKS = (0x8000, 0x20000, 0x80000, 0x200000)
OWN_NOTES = {
    "setup.txt",
    "setup.sh",
    "setup.bat",
    "align-files.txt",
    "disc",
}  # of wit, and a copy of the disc's header
ATTEMPTS = 3  # dolphin-tool's threads crash it once in a thousand times or so

pytestmark = pytest.mark.skipif(not WIT, reason="wit is not installed: nothing makes these discs")
needs_dolphin = pytest.mark.skipif(not DOLPHIN, reason="dolphin-tool is not installed: nothing makes RVZ")


def run(*words: object) -> None:
    for _ in range(ATTEMPTS):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        if done.returncode >= 0:  # below is the signal that killed it
            break
    assert done.returncode == 0, done.stderr


def wit(disc: Path, target: Path, *options: str) -> None:
    run(WIT, "copy", disc, target, "-q", "-o", *options)


def dolphin(disc: Path, target: Path, *options: object) -> None:
    run(DOLPHIN, "convert", "-u", target.parent / "user", "-i", disc, "-o", target, *options)


@dataclass
class Disc:
    """A disc, the key of its partition, and what wit finds in it."""

    path: Path
    volume: str
    keys: dict[str, bytes]
    tree: dict[str, tuple[int, str] | str]

    def open(self, path: Path) -> Image:
        return open_image(path, Options(keys=self.keys))

    def check(self, path: Path, *, lossless: bool = True) -> None:
        """``path`` has all of the disc, then perhaps zeros up to a whole block; or only its files."""
        expected = self.path.read_bytes()
        with self.open(path) as image:
            if lossless:
                data = image.disk.pread(0, image.disk.size)
                assert hashlib.sha256(data[: len(expected)]).digest() == hashlib.sha256(expected).digest()
                assert not any(data[len(expected) :])
            volumes = {volume.name: volume for volume in image.volumes}
            assert manifest(volumes[self.volume].filesystem.root) == self.tree


def extracted(disc: Path, folder: Path) -> dict[str, tuple[int, str] | str]:
    """path -> facts, as ``manifest`` has them, of what wit extracts."""
    run(WIT, "extract", disc, folder, "-q", "-o", "--psel", "DATA")
    top = next(iter(folder.glob("P-*")), folder)
    found: dict[str, tuple[int, str] | str] = {}
    for path in top.rglob("*"):
        name = str(path.relative_to(top))
        if name.partition("/")[0] not in OWN_NOTES:
            content = path.read_bytes() if path.is_file() else b""
            found[name] = (len(content), hashlib.sha256(content).hexdigest()) if path.is_file() else "/"
    return found


@pytest.fixture(scope="module")
def gamecube(tmp_path_factory: pytest.TempPathFactory) -> Disc:
    folder = tmp_path_factory.mktemp("gamecube")
    run(*GENERATOR, "gcm", folder / "disc.iso")
    return Disc(folder / "disc.iso", "disk", {}, extracted(folder / "disc.iso", folder / "x"))


@pytest.fixture(scope="module")
def wii(tmp_path_factory: pytest.TempPathFactory) -> Disc:
    """wit leaves clusters without files out, as no disc does.

    It fills them in again when it expands a WIA.
    """
    folder = tmp_path_factory.mktemp("wii")
    run(*GENERATOR, "dir", folder / "dir", "300001")
    wit(folder / "dir", folder / "sparse.iso", "--trunc")
    run(*GENERATOR, "near", folder / "sparse.iso")
    wit(folder / "sparse.iso", folder / "disc.wia", "--wia", "--compr", "NONE")
    wit(folder / "disc.wia", folder / "disc.iso", "--raw")
    wia = (folder / "disc.wia").read_bytes()
    (place,) = unpack_from(">Q", wia, 0xE0)
    title = (folder / "disc.iso").read_bytes()[0x50000 + 0x1DC :][:8]
    keys = {title.hex(): wia[place : place + 16]}
    return Disc(folder / "disc.iso", "p1", keys, extracted(folder / "disc.iso", folder / "x"))


@pytest.fixture(params=["gamecube", "wii"])
def disc(request: pytest.FixtureRequest) -> Disc:
    found: Disc = request.getfixturevalue(request.param)
    return found


WIT_LOSSLESS = ["--iso", "--wdf1", "--wdf2", "--ciso", "--wbfs", "--gcz"]


@pytest.mark.parametrize("form", WIT_LOSSLESS)
def test_wit_keeps_every_byte(disc: Disc, tmp_path: Path, form: str) -> None:
    wit(disc.path, tmp_path / "disc", form, "--raw")
    disc.check(tmp_path / "disc")


@pytest.mark.parametrize("form", WIT_LOSSLESS)
def test_wit_leaves_out_what_no_file_needs(disc: Disc, tmp_path: Path, form: str) -> None:
    wit(disc.path, tmp_path / "disc", form)
    disc.check(tmp_path / "disc", lossless=False)


@pytest.mark.parametrize("codec", WIA_CODECS)
def test_wia(disc: Disc, tmp_path: Path, codec: str) -> None:
    wit(disc.path, tmp_path / "disc", "--wia", "--compr", codec, "--raw")
    disc.check(tmp_path / "disc")


@pytest.mark.parametrize("encoding", ["DECRYPT", "ENCRYPT"])
def test_wii_discs_encoded_again(wii: Disc, tmp_path: Path, encoding: str) -> None:
    wit(wii.path, tmp_path / "disc", "--iso", "--enc", encoding)
    wii.check(tmp_path / "disc", lossless=False)


@needs_dolphin
@pytest.mark.parametrize("codec", RVZ_LEVELS)
def test_rvz_of_every_level(gamecube: Disc, tmp_path: Path, codec: str) -> None:
    for level in RVZ_LEVELS[codec]:
        dolphin(
            gamecube.path, tmp_path / f"{level}.rvz", "-f", "rvz", "-b", CHUNKS[0], "-c", codec, "-l", level
        )
        gamecube.check(tmp_path / f"{level}.rvz")


@needs_dolphin
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("codec", RVZ_LEVELS)
def test_rvz_of_every_chunk_size(disc: Disc, tmp_path: Path, codec: str, chunk: int) -> None:
    dolphin(
        disc.path,
        tmp_path / "disc.rvz",
        "-f",
        "rvz",
        "-b",
        chunk,
        "-c",
        codec,
        "-l",
        RVZ_LEVELS[codec][-1] // 2,
    )
    disc.check(tmp_path / "disc.rvz")


@needs_dolphin
@pytest.mark.parametrize("codec", ["none", "lzma", "lzma2"])
def test_wia_of_dolphin(disc: Disc, tmp_path: Path, codec: str) -> None:
    dolphin(disc.path, tmp_path / "disc.wia", "-f", "wia", "-b", CHUNKS[-1], "-c", codec, "-l", 5)
    disc.check(tmp_path / "disc.wia")


@needs_dolphin
@pytest.mark.parametrize("block", [0x4000, 0x8000, 0x20000])
def test_gcz_of_dolphin(disc: Disc, tmp_path: Path, block: int) -> None:
    dolphin(disc.path, tmp_path / "disc.gcz", "-f", "gcz", "-b", block)
    disc.check(tmp_path / "disc.gcz")


@needs_dolphin
def test_a_scrubbed_rvz(disc: Disc, tmp_path: Path) -> None:
    dolphin(disc.path, tmp_path / "disc.rvz", "-f", "rvz", "-b", CHUNKS[1], "-c", "zstd", "-l", 5, "-s")
    disc.check(tmp_path / "disc.rvz", lossless=False)


def test_a_title_in_its_parts(disc: Disc, tmp_path: Path) -> None:
    """As wit and Dolphin cut discs that do not fit on FAT."""
    data = disc.path.read_bytes()
    for number, start in enumerate(range(0, len(data), 0xC0000)):
        for name in (f"wit.iso.{number}".removesuffix(".0"), f"dolphin.part{number}.iso"):
            (tmp_path / name).write_bytes(data[start : start + 0xC0000])
    disc.check(tmp_path / "wit.iso")
    disc.check(tmp_path / "dolphin.part1.iso")
