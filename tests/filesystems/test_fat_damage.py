"""FAT: damage costs its place and nothing else; loops end; hostile numbers are refused."""

from __future__ import annotations

import random
import subprocess
import warnings
from pathlib import Path

import pytest

from conformance import manifest, tree
from fatvolumes import VARIANTS, fixture_images, record, small, volume, walk
from helpers import tool
from imgmount.core.device import gather
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.fat.check import check
from imgmount.filesystems.fat.second_opinion import compare
from imgmount.registry import matches


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return fixture_images(tmp_path_factory.mktemp("fat"))


def test_the_parameter_block_at_its_extremes_never_crashes(images: dict[str, bytes]) -> None:
    for variant in ("fat12", "fat32"):
        for offset in range(0x0B, 0x34):
            for byte in (0, 0xFF):
                data = bytearray(images[variant][: 1 << 17])
                data[offset] = byte
                try:
                    walk(volume(data))
                except ImageError:
                    continue


@pytest.mark.parametrize("variant", ["fat12", "fat32"])
def test_truncation(variant: str, images: dict[str, bytes]) -> None:
    """Every prefix opens or is refused in one line, and shows no wrong byte."""
    whole = images[variant]
    complete = {
        path: node.open().pread(0, 1 << 20)
        for path, node in tree(volume(whole).root)
        if isinstance(node, File)
    }
    for step in range(20):
        data = whole[: len(whole) * step // 20 + step * 7]
        try:
            opened = volume(data)
        except FormatError:
            assert len(data) < 512
            continue
        walk(opened)
        for name, node in opened.root.listing().nodes.items():
            if isinstance(node, File):
                try:
                    content = node.open().pread(0, 1 << 20)
                except ImageError:
                    continue
                assert content == complete[name]
        list(check(opened))


def test_a_chain_that_loops_costs_only_its_file() -> None:
    """2 -> 3 -> 4 -> 3: the three clusters can be read, what would follow cannot."""
    root = record(b"LOOP       ", 0, 2, 5000) + record(b"GOOD       ", 0, 9, 5)
    opened = volume(
        small(root, {2: 3, 3: 4, 4: 3, 9: 0xFFFF}, {2: b"a" * 512, 3: b"b" * 512, 4: b"c" * 512, 9: b"fine!"})
    )
    loop, good = (node.open() for _, node in opened.root.entries() if isinstance(node, File))
    assert good.pread(0, 5) == b"fine!"
    assert loop.pread(0, 1536) == b"a" * 512 + b"b" * 512 + b"c" * 512
    with pytest.raises(FormatError, match="loops"):
        loop.pread(1536, 1)
    with pytest.raises(FormatError, match="loops"):
        gather(loop.extents(0, 5000))
    assert any("loops" in line for line in check(opened))


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (0, "free"),
        (1, "cluster 1, outside 2 to"),
        (0xFFF7, "bad"),
        (0xFFF0, "cluster 65520, outside"),
        (0xFFFF, "ends"),
    ],
)
def test_a_broken_chain_can_be_read_up_to_the_break(link: int, reason: str) -> None:
    opened = volume(
        small(record(b"BROKEN     ", 0, 2, 2000), {2: 3, 3: link}, {2: b"x" * 512, 3: b"y" * 512})
    )
    content = next(node.open() for _, node in opened.root.entries() if isinstance(node, File))
    assert content.pread(0, 1024) == b"x" * 512 + b"y" * 512
    with pytest.raises(FormatError, match=reason):
        content.pread(1000, 100)
    assert list(check(opened))


@pytest.mark.parametrize("first", [0, 1, 5002, 0xFFFF])
def test_a_file_that_begins_nowhere(first: int) -> None:
    opened = volume(small(record(b"NOWHERE    ", 0, first, 10)))
    content = next(node.open() for _, node in opened.root.entries() if isinstance(node, File))
    with pytest.raises(FormatError):
        content.pread(0, 1)


def test_the_last_cluster_linked_past_the_end() -> None:
    opened = volume(small(record(b"LAST       ", 0, 5000, 4096), {5000: 5001, 5001: 5002}))
    content = next(node.open() for _, node in opened.root.entries() if isinstance(node, File))
    assert content.pread(0, 1024) == bytes(1024)
    with pytest.raises(FormatError, match="5002"):
        content.pread(1024, 1)


@pytest.mark.parametrize("bits", [12, 16])
def test_an_impossible_link_is_looked_up_in_the_other_fat(
    bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    end = (1 << bits) - 1
    clusters = {2: b"x" * 512, 5: b"y" * 512, 9: b"z" * 512}
    disk = small(record(b"FILE       ", 0, 2, 1500), {2: 5, 5: 9, 9: end}, clusters, bits=bits)
    start = 512 + 5 * bits // 8
    disk[start : start + 2] = b"\1\0" if bits == 16 else bytes([disk[start] & 0x0F | 0x10, 0])
    opened = volume(disk)
    content = next(node.open() for _, node in opened.root.entries() if isinstance(node, File))
    assert content.pread(0, 1500) == b"x" * 512 + b"y" * 512 + b"z" * 476
    assert "using FAT 1" in caplog.text
    assert any("FAT 0 and FAT 1 differ, first about cluster " in line for line in check(opened))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_destroyed_first_fat(
    variant: str, images: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    bpb = volume(images[variant]).bpb
    data = bytearray(images[variant])
    data[bpb.fat_offset : bpb.fat_offset + bpb.fat_size] = bytes(bpb.fat_size)
    assert manifest(volume(data).root) == manifest(volume(images[variant]).root)
    assert "using FAT 1" in caplog.text


def test_directories_that_contain_each_other() -> None:
    inner = record(b".          ", 0x10, 2) + record(b"..         ", 0x10, 0)
    inner += record(b"AGAIN      ", 0x10, 2) + record(b"DOWN       ", 0x10, 3)
    deeper = record(b"UP         ", 0x10, 2) + record(b"FILE       ", 0, 4, 3)
    disk = small(
        record(b"TOP        ", 0x10, 2), {2: 0xFFFF, 3: 0xFFFF, 4: 0xFFFF}, {2: inner, 3: deeper, 4: b"abc"}
    )
    opened = volume(disk)
    assert walk(opened) == (5, 3)
    again = opened.root.lookup("TOP")
    assert isinstance(again, Directory)
    loop = again.lookup("AGAIN")
    assert isinstance(loop, Directory)
    with pytest.raises(FormatError, match="belongs to another"):
        list(loop.entries())
    assert any("begins in cluster 2 of another file" in line for line in check(opened))


def test_a_tree_that_shares_directories_does_not_explode() -> None:
    """Thirty directories, each naming the next twice: 2**30 paths to whoever follows them all."""
    links = dict.fromkeys(range(2, 33), 0xFFFF)
    clusters = {}
    for cluster in range(2, 32):
        clusters[cluster] = record(b"A          ", 0x10, cluster + 1) + record(
            b"B          ", 0x10, cluster + 1
        )
    nodes, _ = walk(volume(small(record(b"TOP        ", 0x10, 2), links, clusters)))
    assert nodes == 1 + 2 * 30


@pytest.mark.parametrize("first", [0, 1, 60000])
def test_a_directory_without_clusters(first: int) -> None:
    opened = volume(small(record(b"NOWHERE    ", 0x10, first) + record(b"GOOD       ")))
    listing = opened.root.listing()
    assert listing.damage is None
    nowhere = listing["NOWHERE"]
    assert isinstance(nowhere, Directory)
    assert nowhere.listing().damage is not None


def test_a_directory_that_goes_on_for_ever_is_damaged() -> None:
    full = record(b"A          ") * 16
    opened = volume(small(record(b"DIR        ", 0x10, 2), {2: 3, 3: 2}, {2: full, 3: full}))
    listing = opened.root.listing()["DIR"]
    assert isinstance(listing, Directory)
    found = listing.listing()
    assert len(found.nodes) == 32
    assert "loops" in str(found.damage)


def test_verify_finds_shared_and_lost_clusters_and_wrong_sizes() -> None:
    root = (
        record(b"ONE        ", 0, 2, 1024)
        + record(b"TWO        ", 0, 8, 1024)
        + record(b"LONG       ", 0, 20, 10)
    )
    disk = small(root, {2: 3, 3: 0xFFFF, 8: 3, 20: 21, 21: 0xFFFF, 30: 31, 31: 0xFFFF})
    assert list(check(volume(disk))) == [
        "/TWO: shares clusters with another file",
        "/LONG: 10 bytes need 1 clusters, the chain has 2",
        "2 clusters are in use by no file, the first is 30",
    ]


def test_random_damage_never_escapes_as_another_error(images: dict[str, bytes]) -> None:
    rng = random.Random(3)
    for variant in ("fat12", "fat16"):
        used = len(images[variant].rstrip(b"\0"))
        for _ in range(40):
            data = bytearray(images[variant])
            for _ in range(20):
                data[rng.randrange(used if rng.random() < 0.5 else 40000)] = rng.randrange(256)
            try:
                opened = volume(data)
            except ImageError:
                continue
            walk(opened)
            list(check(opened))
            _ = opened.label, opened.info()


def test_pyfatfs_is_not_asked_about_loops() -> None:
    pytest.importorskip("pyfatfs")
    root = record(b"DIR        ", 0x10, 2) + record(b"LOOP       ", 0, 4, 9000)
    opened = volume(small(root, {2: 2, 4: 4}, {2: record(b"A          ") * 16}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = list(compare(opened))
    assert any("was not asked" in line for line in lines)


@pytest.mark.parametrize("sector", [512, 4096])
def test_the_backup_of_the_boot_sector_is_used_and_told(tmp_path: Path, sector: int) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(300 << 20 if sector == 4096 else 40 << 20)
    subprocess.run(
        [tool("mkfs.fat"), "-F", "32", "-s", "1", "-S", str(sector), "-n", "KEPT", disk],
        check=True,
        capture_output=True,
    )
    data = bytearray(disk.read_bytes())
    whole = volume(data)
    data[:sector] = bytes(sector)
    device = MemoryDevice(bytes(data))
    assert [(match, fmt.name) for match, fmt in matches(FilesystemFormat, device)] == [(Match.LIKELY, "fat")]
    opened = volume(data)
    assert (opened.label, opened.bpb.root_cluster) == ("KEPT", whole.bpb.root_cluster)
    assert f"{6 * sector:#x}" in opened.info()["boot sector"]
    assert any("the boot sector is damaged" in line for line in check(opened))
    data[opened.bpb.fat_offset : opened.bpb.fat_offset + 4] = bytes(4)
    assert matches(FilesystemFormat, MemoryDevice(bytes(data))) == [], "nothing proves the backup"


FLOPPIES = {  # KB -> sectors a cluster, sectors of a FAT, root entries, media byte
    160: (1, 1, 64, 0xFE), 180: (1, 2, 64, 0xFC), 320: (2, 1, 112, 0xFF), 360: (2, 2, 112, 0xFD), 720: (2, 3, 112, 0xF9),
    1200: (1, 7, 224, 0xF9), 1440: (1, 9, 224, 0xF0), 2880: (2, 9, 240, 0xF0),
}  # fmt: skip


@pytest.mark.parametrize("size", FLOPPIES)
def test_floppies_without_a_parameter_block(tmp_path: Path, size: int) -> None:
    """mkfs.fat and mtools fill a floppy; then its parameter block is wiped, as DOS 1 had none."""
    per_cluster, fat, entries, media = FLOPPIES[size]
    disk, text = tmp_path / "disk", tmp_path / "TEXT"
    with disk.open("wb") as file:
        file.truncate(size << 10)
    options = [
        "-F",
        "12",
        "-s",
        str(per_cluster),
        "-r",
        str(entries),
        "-M",
        f"{media:#x}",
        "-R",
        "1",
        "-f",
        "2",
    ]
    subprocess.run([tool("mkfs.fat"), *options, disk], check=True, capture_output=True)
    text.write_bytes(bytes(range(250)) * 20)
    subprocess.run([tool("mcopy"), "-i", disk, text, "::TEXT"], check=True, capture_output=True)
    data = bytearray(disk.read_bytes())
    if volume(data).bpb.fat_size != fat * 512:
        pytest.skip("mkfs.fat chose another size of the FAT than DOS did")
    expected = volume(data).root.lookup("TEXT").open().pread(0, 9999)  # type: ignore[attr-defined]
    data[:512] = bytes(512)
    assert [(match, fmt.name) for match, fmt in matches(FilesystemFormat, MemoryDevice(bytes(data)))] == [
        (Match.LIKELY, "fat")
    ]
    opened = volume(data)
    assert opened.root.lookup("TEXT").open().pread(0, 9999) == expected  # type: ignore[attr-defined]
    assert f"{size} KB" in opened.info()["boot sector"]
    assert not [line for line in check(opened) if "boot sector" in line]
    data[opened.bpb.root_offset + 11] = 0xFF
    assert matches(FilesystemFormat, MemoryDevice(bytes(data))) == []
