"""ISO 9660 images of other people, and what other readers make of ours."""

from __future__ import annotations

import lzma
import random
import subprocess
from pathlib import Path

import pytest

from conformance import check_tree, manifest
from filesystems.iso_reader import exhaust, facts_of
from filesystems.iso_writer import SECTOR, volume
from helpers import IMAGES, context, image, tool
from imgmount.chain.open import open_image
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import ImageError
from imgmount.filesystems.iso9660.check import problems
from imgmount.filesystems.iso9660.volume import Iso9660

# Other people's images
# ----------------------------------------------------------------------------------------------------

MANIFESTS = sorted((IMAGES / "manifests").glob("iso9660__*.sha256"))


@pytest.mark.parametrize("listed", MANIFESTS, ids=lambda path: path.stem)
def test_other_peoples_images_hold_what_xorriso_extracts(listed: Path, tmp_path: Path) -> None:
    name = listed.stem.removeprefix("iso9660__")
    packed = image(f"iso9660/{name}")
    path = tmp_path / "image.iso"
    path.write_bytes(lzma.decompress(packed.read_bytes()) if packed.suffix == ".xz" else packed.read_bytes())
    lines = (line.split("  ", 2) for line in listed.read_text().splitlines() if not line.startswith("#"))
    expected = {path: (int(size), digest) for digest, size, path in lines}
    with open_image(path) as opened:
        assert str(opened) == "file > iso9660"
        assert opened.whole
        assert opened.whole.filesystem
        found = manifest(opened.whole.filesystem.root)
        check_tree(opened.whole.filesystem.root, found)
    files = {path: fact for path, fact in found.items() if isinstance(fact, tuple)}
    if "sl_coff" in name:  # the manifest lacks a file that 7-Zip lists with this size
        assert files.pop("0.BIN")[0] == 159920
    assert files == expected


@pytest.mark.parametrize("name", ["bad-dir", "malformed", "malformed2"])
def test_malformed_images_end_in_an_error_or_a_part_of_the_tree(name: str) -> None:
    data = image(f"iso9660/libcdio__libcdio__{name}.iso").read_bytes()
    try:
        opened = volume(data)
    except ImageError:
        return
    exhaust(opened.root)
    assert list(problems(opened))


def test_each_session_of_a_disc_has_its_own_volume() -> None:
    packed = image("iso9660/util-linux__util-linux__iso-multi-0-174-348-genisoimage.img.xz")
    disc = MemoryDevice(lzma.decompress(packed.read_bytes()))
    labels = [Iso9660(disc, context(), session_start=start).label for start in (0, 174, 348)]
    assert labels == ["first session", "second session", "third session"]
    last = Iso9660(Slice(disc, 348 * SECTOR, disc.size - 348 * SECTOR), context(), session_base=348)
    assert last.label == labels[2]
    assert manifest(last.root) == manifest(Iso9660(disc, context(), session_start=348).root)


# Oracles on the spot
# ------------------------------------------------------------------------------------------------------


def make_source(folder: Path) -> None:
    rng = random.Random(119)
    for number in range(60):
        parts = [f"d{rng.randrange(4)}" for _ in range(rng.randrange(4))]
        where = folder.joinpath(*parts)
        where.mkdir(parents=True, exist_ok=True)
        (where / f"file {number} {'ä' * rng.randrange(40)}.bin").write_bytes(
            rng.randbytes(rng.choice((0, 1, 2047, 2048, 2049, 9000)))
        )


@pytest.mark.parametrize("view", ["rockridge", "joliet", "iso"])
def test_7zip_and_xorriso_extract_the_same(view: str, tmp_path: Path) -> None:
    source, path, out = tmp_path / "source", tmp_path / "x.iso", tmp_path / "out"
    make_source(source)
    flags = {"rockridge": ["-R"], "joliet": ["-J", "-joliet-long"], "iso": ["-iso-level", "2"]}[view]
    subprocess.run(
        [tool("genisoimage"), "-quiet", "-input-charset", "utf-8", *flags, "-o", path, source], check=True
    )
    with open_image(path) as opened:
        assert opened.whole
        assert opened.whole.filesystem
        found = exhaust(opened.whole.filesystem.root)
        assert isinstance(opened.whole.filesystem, Iso9660)
        assert opened.whole.filesystem.view == view
        assert list(opened.whole.check()) == []
    if view != "iso":
        assert found == facts_of(source)
    subprocess.run([tool("7z"), "x", f"-o{out}", path], check=True, stdout=subprocess.DEVNULL)
    assert found == facts_of(out)
    if view != "joliet":
        extract = [
            tool("xorriso"),
            "-osirrox",
            "on",
            "-indev",
            str(path),
            "-extract",
            "/",
            str(tmp_path / "x"),
        ]
        subprocess.run(extract, check=True, capture_output=True)
        extracted = facts_of(tmp_path / "x")  # with plain names in lower case, if there are no others
        assert {name.upper(): fact for name, fact in found.items()} == {
            name.upper(): fact for name, fact in extracted.items()
        }
        subprocess.run(["chmod", "-R", "u+w", tmp_path / "x"], check=True)
