"""exFAT: images made by others, names and times, damage and hostile structures.

The fixtures test reading itself.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import random
import tarfile
from pathlib import Path

import pytest

from conformance import manifest, survive
from fixture import all_fixtures
from helpers import context, image
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.exfat import FORMAT
from imgmount.filesystems.exfat.records import facts_of
from imgmount.filesystems.exfat.volume import ExfatVolume
from imgmount.sources.file import FileDevice

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "exfat"}


def volume(device: BlockDevice | bytes | bytearray) -> ExfatVolume:
    opened = FORMAT.open(
        device if isinstance(device, BlockDevice) else MemoryDevice(bytes(device)), context()
    )
    assert isinstance(opened, ExfatVolume)
    return opened


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("exfat")
    found = {}
    for name, fixture in VARIANTS.items():
        (folder / name).mkdir()
        found[name] = fixture.image_path(folder / name).read_bytes()
    return found


def unpacked(name: str) -> bytes:
    packed = lzma.decompress(image(f"exfat/exfatprogs__exfatprogs__{name}.exfat.img.tar.xz").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile(next(member for member in archive if member.isreg()))
        assert member is not None
        return member.read()


def test_a_chain_that_loops_ends() -> None:
    lines = (
        image("manifests/exfat__exfatprogs__exfatprogs__loop_chain.exfat.img.tar.xz.tsk.sha256")
        .read_text()
        .splitlines()
    )
    expected = {
        path: (int(size), digest)
        for digest, size, path in (line.split("  ") for line in lines if line[0] != "#")
    }
    opened = volume(unpacked("loop_chain"))
    assert survive(lambda: opened) < 100
    listed = _good(opened.root)
    assert set(listed) >= {path for path, (size, _) in expected.items() if size and "bad_child" not in path}
    assert all(listed[path] == fact for path, fact in expected.items() if "bad_child" not in path)


def _good(directory: Directory, prefix: str = "") -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    for name, node in directory.listing().nodes.items():
        if isinstance(node, Directory):
            found |= _good(node, f"{prefix}{name}/")
        elif isinstance(node, File) and "bad_child" not in name:
            content = node.open()
            found[prefix + name] = (content.size, hashlib.sha256(content.pread(0, content.size)).hexdigest())
    return found


def test_deleted_entries_are_not_shown() -> None:
    opened = volume(unpacked("unused-dentries"))
    assert opened.root.listing().damage is None
    assert survive(lambda: opened) < 1000


def test_two_terabytes_open(tmp_path: Path) -> None:
    with tarfile.open(image("exfat/exfatprogs__exfatprogs__2tb_disk.exfat.img.tar.xz")) as archive:
        member = next(member for member in archive if member.isreg())
        archive.extract(member, tmp_path, filter="data")
    with FileDevice(tmp_path / member.name) as device:
        opened = volume(device)
        assert device.size > 1 << 40
        assert opened.root.listing().damage is None


def test_names_are_found_in_any_case_by_the_volumes_own_table(images: dict[str, bytes]) -> None:
    opened = volume(images["clusters4k"])
    assert opened.root.lookup("README.TXT").id == opened.root.lookup("readme.txt").id
    assert opened.root.lookup("\u00dcN\u00cfC\u00d6D\u00c9 \u4e2d\u6587 \U0001f4be").stat().size == len(
        b"unicode\n"
    )
    with pytest.raises(FileNotFoundError):
        opened.root.lookup("ready.txt")
    assert opened.label == "My exFAT"
    assert list(opened.verify()) == []


def test_times_have_zones_and_hundredths(images: dict[str, bytes]) -> None:
    facts = volume(images["clusters4k"]).root.lookup("readme.txt").stat()
    assert facts.mtime_ns == 1_600_000_000 * 10**9 + 500_000_000  # 14:26:40.5 at +02:00
    west = bytearray(32)
    west[12:16] = ((40 << 9 | 1 << 5 | 1) << 16).to_bytes(4, "little")
    west[23] = 0x80 | (-20 & 0x7F)  # five hours behind
    assert facts_of(bytes(west)).modified == (1_577_836_800 + 5 * 3600) * 10**9


def test_what_was_never_written_is_a_hole(images: dict[str, bytes]) -> None:
    root = volume(images["clusters4k"]).root
    for name, valid in (("valid.bin", 5000), ("valid-row.bin", 4096), ("never-written", 0)):
        node = root.lookup(name)
        assert isinstance(node, File)
        assert node.stat().allocated == valid
        *data, hole = node.open().extents(0, node.stat().size)
        assert hole.device is None
        assert sum(run.length for run in data) == valid


def test_a_damaged_set_is_left_out(images: dict[str, bytes], caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(images["clusters4k"])
    at = data.index("readme.txt".encode("utf-16-le"))
    data[at] ^= 1
    names = {name for name, _ in volume(data).root.entries()}
    assert names == {name for name, _ in volume(images["clusters4k"]).root.entries()} - {"readme.txt"}
    assert "wrong checksum" in caplog.text


def test_the_backup_is_used_and_named(images: dict[str, bytes]) -> None:
    opened = volume(images["backup"])
    assert "backup" in opened.info()["boot region"]
    assert [line for line in opened.verify() if line.startswith("main boot region")]
    assert volume(images["clusters4k"]).info()["state"] == "clean"


@pytest.mark.parametrize(
    ("offset", "value"), [(0x6C, 13), (0x6D, 30), (0x6E, 3), (0x60, 1), (0x5C, 0), (0x50, 1), (0x48, 1)]
)
def test_a_boot_sector_that_cannot_be_is_refused(offset: int, value: int, images: dict[str, bytes]) -> None:
    data = bytearray(images["clusters4k"])
    width = 1 if offset >= 0x6C else 4
    for start in (0, 12 * 512):
        data[start + offset : start + offset + width] = value.to_bytes(width, "little")
        if offset == 0x48:
            data[start + 0x4C : start + 0x50] = bytes(4)
    with pytest.raises(FormatError):
        volume(data)


def test_another_revision_is_refused_by_name(images: dict[str, bytes]) -> None:
    data = bytearray(images["clusters4k"])
    data[0x69] = 2
    with pytest.raises(UnsupportedError, match=r"revision 2"):
        volume(data)


def test_a_chain_cut_short_costs_what_comes_after(images: dict[str, bytes]) -> None:
    opened = volume(images["clusters4k"])
    node = opened.root.lookup("chained.bin")
    assert isinstance(node, File)
    content = node.open()
    data = bytearray(images["clusters4k"])
    first = opened.fat.chain(_first(opened), 1).firsts[0]
    link = opened.boot.fat_offset + 4 * first
    data[link : link + 4] = bytes(4)
    broken = volume(data).root.lookup("chained.bin")
    assert isinstance(broken, File)
    assert broken.open().pread(0, 4096) == content.pread(0, 4096)
    with pytest.raises(FormatError, match="free cluster"):
        broken.open().pread(4096, 1)


def _first(opened: ExfatVolume) -> int:
    node = opened.root.lookup("chained.bin")
    return int.from_bytes(node._stream[20:24], "little")  # type: ignore[attr-defined]


def test_a_fixture_reads_the_same_in_other_clusters(images: dict[str, bytes]) -> None:
    assert manifest(volume(images["clusters4k"]).root) == manifest(volume(images["clusters512"]).root)


def test_truncated_images_fail_where_they_end(images: dict[str, bytes]) -> None:
    data = images["clusters4k"]
    for part in range(10):
        survive(lambda part=part: volume(data[: len(data) * part // 10]))  # type: ignore[misc]


@pytest.mark.parametrize("variant", ["clusters4k", "clusters512"])
def test_random_damage_costs_its_place_alone(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    rng = random.Random(8)
    opened = volume(data)
    root = opened.place(opened.boot.root)
    fat = opened.boot.fat_offset
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            at = rng.choice((rng.randrange(512), fat + rng.randrange(8000), root + rng.randrange(4096)))
            damaged[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        survive(lambda damaged=damaged: volume(damaged))  # type: ignore[misc]
