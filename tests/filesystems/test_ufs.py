"""UFS: facts as Linux sees them, images made on the spot, backups, attributes, damage.

The fixtures test reading itself.
"""

from __future__ import annotations

import os
import random
import stat
import struct
import subprocess
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from conformance import manifest, survive, tree
from counting_device import CountingDevice
from filesystems.inode_facts import facts_of, linux_facts, listed, visit
from fixture import all_fixtures
from helpers import context, tool
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ufs import FORMAT
from imgmount.filesystems.ufs.volume import UfsVolume
from imgmount.sources.file import FileDevice

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "ufs"}
PLACES = {
    "ufs1-little": 8192,
    "ufs1-big": 8192,
    "ufs2-little": 65536,
    "ufs2-big": 65536,
    "solaris-sparc": 8192,
    "old": 8192,
}


def volume(device: BlockDevice | bytes | bytearray) -> UfsVolume:
    opened = FORMAT.open(
        device if isinstance(device, BlockDevice) else MemoryDevice(bytes(device)), context()
    )
    assert isinstance(opened, UfsVolume)
    return opened


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("ufs")
    found = {}
    for name, fixture in VARIANTS.items():
        (folder / name).mkdir()
        found[name] = fixture.image_path(folder / name).read_bytes()
    return found


def put(opened: UfsVolume, data: bytes | bytearray, offset: int, value: int, width: int = 4) -> bytearray:
    changed = bytearray(data)
    changed[offset : offset + width] = value.to_bytes(width, opened.super.order)
    return changed


def inode_at(opened: UfsVolume, number: int) -> int:
    spb = opened.super
    group, index = divmod(number, spb.inodes_per_group)
    return (spb.group(group) + spb.inodes_at) * spb.fragment_size + index * spb.inode_size


# --- facts
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"ufs2-first"}))
def test_facts_are_those_that_linux_tells(variant: str, images: dict[str, bytes]) -> None:
    expected = linux_facts(VARIANTS[variant].expected.parent / "stat.txt")
    found = facts_of(volume(images[variant]).root)
    if variant == "ufs2-big":  # Linux reads half of the number there
        assert expected.pop("console")[-1] == 0
        assert found.pop("console")[-1] == os.makedev(5, 1)
    assert found == expected


@pytest.mark.parametrize(
    ("variant", "at", "stored", "fraction"),
    [
        ("ufs1-little", 28, 123456789, 123456789), ("ufs2-big", 64, 123456789, 123456789), ("solaris-x86", 28, 123456, 123456000),
        ("old", 28, 123456, 0), ("ufs1-little", 28, 0xFFFFFFFF, 999999999),
    ],
)  # fmt: skip
def test_fractions_of_seconds(
    variant: str, at: int, stored: int, fraction: int, images: dict[str, bytes]
) -> None:
    """makefs stores none: nanoseconds in 4.4BSD, microseconds in Solaris, nothing before."""
    opened = volume(images[variant])
    place = inode_at(opened, opened.root.lookup("odd").id) + at
    facts = volume(put(opened, images[variant], place, stored)).root.lookup("odd").stat()
    assert facts.mtime_ns == 1600000000 * 10**9 + fraction
    assert facts.atime_ns == 10**18


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("ufs1-little", "UFS1, little endian, as of 4.4BSD"), ("ufs2-big", "UFS2, big endian, as of 4.4BSD"),
        ("solaris-sparc", "UFS1, big endian, as of Solaris"), ("solaris-x86", "UFS1, little endian, as of Solaris"),
        ("old", "UFS1, big endian, as of 4.3BSD"),
    ],
)  # fmt: skip
def test_families_are_told_apart(variant: str, words: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    assert opened.info()["type"] == words
    assert opened.info()["state"] == "clean"
    assert list(opened.verify()) == []


def test_wide_owners_of_solaris_count_where_the_narrow_ones_say_so(images: dict[str, bytes]) -> None:
    opened = volume(images["solaris-sparc"])
    at = inode_at(opened, opened.root.lookup("block").id)
    data = put(opened, images["solaris-sparc"], at + 4, 0xFFFF, 2)
    for place, owner in ((116, 123456), (120, 654321)):
        data = put(opened, data, at + place, owner)
    facts = volume(data).root.lookup("block").stat()
    assert (facts.uid, facts.gid) == (123456, 567)


def test_device_numbers_of_solaris(images: dict[str, bytes]) -> None:
    opened = volume(images["solaris-sparc"])
    at = inode_at(opened, opened.root.lookup("console").id) + 40
    for stored, number in ((32 << 18 | 70000, (32, 70000)), (0x0501, (5, 1)), (0xFFFF0501, (5, 1))):
        data = put(opened, images["solaris-sparc"], at, stored)
        assert volume(data).root.lookup("console").stat().rdev == os.makedev(*number)


def test_groups_of_old_disks_rotate(images: dict[str, bytes]) -> None:
    """cgstart of fs.h: fs_fpg * c + fs_cgoffset * (c & ~fs_cgmask)."""
    opened = volume(images["old"])
    data = put(opened, put(opened, images["old"], 8192 + 24, 16), 8192 + 28, 0xFFFFFFF8)
    spb = volume(data).super
    assert [spb.group(number) - number * spb.group_size for number in (0, 1, 7, 8, 9)] == [0, 16, 112, 0, 16]


def test_bytes_of_plain_files_stay_in_the_image(images: dict[str, bytes]) -> None:
    device = MemoryDevice(images["ufs2-little"])
    root = volume(device).root
    for name in ("odd", "holes", "scattered"):
        node = root.lookup(name)
        assert isinstance(node, File)
        content = node.open()
        runs = list(content.extents(0, content.size))
        assert {run.device for run in runs} <= {None, device}
        assert (len(runs) == 1) == (name == "odd")


# --- made on the spot
# -------------------------------------------------------------------------------------------------


def makefs(folder: Path, *options: str) -> None:
    """Make ``folder/disk`` of ``folder/tree``."""
    command = [tool("makefs"), "-t", "ffs", *options, str(folder / "disk"), str(folder / "tree")]
    subprocess.run(command, check=True, capture_output=True)


GEOMETRIES = [(4096, 512), (4096, 4096), (8192, 1024), (16384, 2048), (32768, 32768), (65536, 8192)]


@pytest.mark.parametrize(("order", "version", "sizes"), list(product(("le", "be"), (1, 2), GEOMETRIES)))
def test_every_geometry(order: str, version: int, sizes: tuple[int, int], tmp_path: Path) -> None:
    rng = random.Random(sizes[0] + version)
    expected: dict[str, bytes] = {
        f"{size} bytes": rng.randbytes(size) for size in (0, 1, 511, 4096, 12 * sizes[0], 700_001)
    }
    (tmp_path / "tree" / "folder").mkdir(parents=True)
    for name, data in expected.items():
        (tmp_path / "tree" / name).write_bytes(data)
    options = f"version={version},bsize={sizes[0]},fsize={sizes[1]}"
    makefs(tmp_path, "-B", order, "-o", options, "-s", "16m")
    with FileDevice(tmp_path / "disk") as device:
        assert FORMAT.probe(device) is Match.CERTAIN
        opened = volume(device)
        assert list(opened.verify()) == []
        found = {}
        for name, node in tree(opened.root):
            if isinstance(node, File):
                content = node.open()
                found[name] = content.pread(0, content.size)
        assert found == expected


def test_the_first_listing_reads_little(tmp_path: Path) -> None:
    (tmp_path / "tree" / "folder").mkdir(parents=True)
    makefs(tmp_path, "-s", "1g")
    with FileDevice(tmp_path / "disk") as device:
        counted = CountingDevice(device)
        assert [name for name, _ in volume(counted).root.entries()] == ["folder"]
        assert counted.bytes < 64 << 10


# --- attributes
# -------------------------------------------------------------------------------------------------------


def attribute(prefix: str, namespace: int, name: bytes, value: bytes) -> bytes:
    """struct extattr of FreeBSD: the value begins, and the whole ends, at a multiple of eight."""
    head = (7 + len(name) + 7) // 8 * 8
    padding = -len(value) % 8
    raw = struct.pack(prefix + "IBBB", head + len(value) + padding, namespace, padding, len(name)) + name
    return raw.ljust(head, b"\0") + value + bytes(padding)


@pytest.mark.parametrize("variant", ["ufs2-little", "ufs2-big"])
def test_extended_attributes(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    prefix = "<" if opened.super.order == "little" else ">"
    wanted = {
        "user.note": b"hello",
        "user.empty": b"",
        "system.posix1e.acl_access": b"\x01\x02\x03\x04\x05\x06\x07\x08",
    }
    spaces = {"user": 1, "system": 2}
    parts = [(name.partition("."), value) for name, value in wanted.items()]
    area = b"".join(attribute(prefix, spaces[name[0]], name[2].encode(), value) for name, value in parts)
    at = inode_at(opened, opened.root.lookup("odd").id)
    data = bytearray(images[variant])
    block = struct.unpack_from(
        prefix + "q", data, inode_at(opened, opened.root.lookup("fragments").id) + 112
    )[0]
    start = block * opened.super.fragment_size
    data[start : start + len(area)] = area
    struct.pack_into(prefix + "I", data, at + 92, len(area))
    struct.pack_into(prefix + "qq", data, at + 96, block, 0)
    struct.pack_into(prefix + "q", data, at + 56, 1234567890)
    struct.pack_into(prefix + "i", data, at + 76, 5)
    struct.pack_into(prefix + "I", data, at + 88, 0x10)
    found = dict(volume(data).root.lookup("odd").xattrs())
    assert found.pop("user.ufs.birthtime") == b"1234567890.000000005"
    assert found.pop("user.ufs.flags") == b"0x10"
    assert found == wanted
    for length in (3, len(area) * 2, 0xFFFFFFF8):
        struct.pack_into(prefix + "I", data, start, length)
        with pytest.raises(FormatError, match="attribute"):
            volume(data).root.lookup("odd").xattrs()
    struct.pack_into(prefix + "I", data, at + 92, 0xFFFFFFFF)
    with pytest.raises(FormatError, match="attributes"):
        volume(data).root.lookup("odd").xattrs()


def test_the_content_of_a_snapshot_is_refused(images: dict[str, bytes]) -> None:
    opened = volume(images["ufs2-little"])
    data = put(opened, images["ufs2-little"], inode_at(opened, opened.root.lookup("odd").id) + 88, 0x200000)
    odd = volume(data).root.lookup("odd")
    assert odd.stat().size == 70001
    assert isinstance(odd, File)
    with pytest.raises(UnsupportedError, match="snapshot"):
        odd.open()


def test_whiteouts_are_no_entries(images: dict[str, bytes]) -> None:
    data = bytearray(images["ufs1-little"])
    at = data.index(b"fragments\0")
    data[at - 2] = 14
    assert "fragments" not in manifest(volume(data).root)


# --- damage
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", PLACES)
def test_the_backup_is_used_and_named(variant: str, images: dict[str, bytes]) -> None:
    expected = manifest(volume(images[variant]).root)
    data = bytearray(images[variant])
    data[PLACES[variant] : PLACES[variant] + 1376] = bytes(1376)
    device = MemoryDevice(bytes(data))
    assert FORMAT.probe(device) is Match.LIKELY
    opened = volume(device)
    assert "backup" in opened.info()["superblock"]
    assert any("backup" in line for line in opened.verify())
    assert manifest(opened.root) == expected


def test_a_copy_that_is_no_backup_is_not_taken_for_one(images: dict[str, bytes]) -> None:
    data = bytearray(images["ufs2-little"])
    stray = data[65536 : 65536 + 1376]
    for place in (65536, 81920):
        data[place : place + 1376] = bytes(1376)
    data[73728 : 73728 + 1376] = stray
    with pytest.raises(FormatError, match="no superblock"):
        volume(data)


def test_the_backups_that_freebsd_records_are_found(tmp_path: Path) -> None:
    (tmp_path / "tree" / "folder").mkdir(parents=True)
    makefs(tmp_path, "-B", "le", "-o", "version=2,bsize=4096,fsize=4096", "-s", "8m", "-f", "500")
    data = bytearray((tmp_path / "disk").read_bytes())
    spb = volume(data).super
    second = (spb.group(1) + spb.superblock_at) * spb.fragment_size
    for place in (8192, spb.superblock_at * spb.fragment_size):
        data[place : place + 1376] = bytes(1376)
    with pytest.raises(FormatError, match="no superblock"):
        volume(data)
    data[65516:65536] = struct.pack("<5I", 0x19540119, 3, spb.superblock_at, spb.group_size, spb.groups)
    assert volume(data).super.offset == second


def test_what_is_not_clean_is_said(images: dict[str, bytes]) -> None:
    data = bytearray(images["ufs2-little"])
    data[65536 + 209] = 0
    opened = volume(data)
    assert opened.info()["state"] == "not unmounted"
    assert "the volume was not unmounted properly" in list(opened.verify())
    data = bytearray(images["solaris-sparc"])
    data[8192 + 209] = 0xFD
    data = put(volume(data), data, 8192 + 4, 2)
    assert "the log has not been replayed" in list(volume(data).verify())


def test_a_damaged_group_is_named(images: dict[str, bytes]) -> None:
    opened = volume(images["ufs1-little"])
    spb = opened.super
    at = (spb.group(1) + spb.header_at) * spb.fragment_size
    assert [
        line
        for line in volume(put(opened, images["ufs1-little"], at + 12, 7)).verify()
        if line.startswith("group 1:")
    ]


@pytest.mark.parametrize("variant", PLACES)
def test_every_field_of_the_superblock_may_lie(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    data = bytearray(images[variant])
    data[opened.super.superblock_at * opened.super.fragment_size :][:1376] = bytes(1376)
    for offset in (*range(8, 212, 4), *range(1000, 1112, 4), *range(1312, 1376, 4)):
        for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
            device = MemoryDevice(bytes(put(opened, data, PLACES[variant] + offset, value)))
            try:
                found = volume(device)
                names = [name for name, _ in found.root.listing().nodes.items()]
                found.info()
                list(found.verify())
            except ImageError:
                continue
            assert len(names) < 1000


@pytest.mark.parametrize("variant", PLACES)
def test_every_field_of_an_inode_may_lie(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    for name in ("large", "deep", "long-link"):
        at = inode_at(opened, opened.root.lookup(name).id)
        for offset in range(0, opened.super.inode_size, 4):
            for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
                with suppress(ImageError):
                    visit(volume(put(opened, images[variant], at + offset, value)).root.lookup(name))


@pytest.mark.parametrize("variant", ["ufs1-big", "ufs2-little"])
def test_pointers_that_lead_to_themselves_end(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    prefix = "<" if opened.super.order == "little" else ">"
    wide = opened.super.is_ufs2
    at = inode_at(opened, opened.root.lookup("large").id)
    data = bytearray(images[variant])
    direct, size_at, code = (112, 16, "q") if wide else (40, 8, "i")
    width = 8 if wide else 4
    block = struct.unpack_from(prefix + code, data, at + direct)[0]
    for level in (12, 13, 14):
        struct.pack_into(prefix + code, data, at + direct + level * width, block)
    start = block * opened.super.fragment_size
    pointers = opened.super.block_size // width
    struct.pack_into(f"{prefix}{pointers}{code}", data, start, *([block] * pointers))
    struct.pack_into(prefix + "Q", data, at + size_at, 1 << 40)
    node = volume(data).root.lookup("large")
    assert isinstance(node, File)
    content = node.open()
    for offset in (0, 1 << 25, 1 << 31, (1 << 40) - 100):
        assert len(content.pread(offset, 4096)) in (100, 4096)
    struct.pack_into(prefix + "Q", data, at + size_at, (1 << 62) - 1)
    node = volume(data).root.lookup("large")
    assert isinstance(node, File)
    with pytest.raises(FormatError, match="past the last"):
        node.open().pread((1 << 61), 10)


def test_a_directory_has_one_place(images: dict[str, bytes]) -> None:
    """The innermost directory's file becomes an entry for the root: a loop."""
    data = bytearray(images["ufs1-little"])
    inner = volume(data).root
    for name in ["deep", "a", "b", "c"]:
        found = inner.lookup(name)
        assert isinstance(found, Directory)
        inner = found  # type: ignore[assignment]
    at = data.index(
        struct.pack("<I", inner.lookup("file").id) + struct.pack("<HBB", 512 - 24, 8, 4) + b"file"
    )
    struct.pack_into("<IHBB", data, at, 2, 512 - 24, 4, 4)
    opened = volume(data)
    assert survive(lambda: opened) < 1000
    assert any(
        "two places" in str(node.listing().damage)
        for node in listed(opened.root)
        if isinstance(node, Directory)
    )


@pytest.mark.parametrize("variant", PLACES)
def test_a_wrong_length_costs_its_section_alone(variant: str, images: dict[str, bytes]) -> None:
    opened = volume(images[variant])
    many = opened.root.lookup("many")
    assert isinstance(many, Directory)
    names = list(many.listing().nodes)
    data = images[variant]
    at = data.index(names[150].encode() + b"\0")
    for length in (0, 3, 7, 13, 600, 0xFFFF):
        damaged = volume(put(opened, data, at - 4, length, 2)).root.lookup("many")
        assert isinstance(damaged, Directory)
        listing = damaged.listing()
        assert len(names) - 40 <= len(listing.nodes) < len(names)
        assert "directory entry" in str(listing.damage)


def test_a_directory_of_holes_ends(images: dict[str, bytes]) -> None:
    opened = volume(images["ufs2-little"])
    at = inode_at(opened, opened.root.lookup("deep").id)
    data = put(opened, images["ufs2-little"], at + 16, 256 << 20, 8)
    data[at + 112 : at + 232] = bytes(120)
    folder = volume(data).root.lookup("deep")
    assert isinstance(folder, Directory)
    assert folder.listing().damage


@pytest.mark.parametrize("variant", PLACES)
def test_truncated_images_fail_where_they_end(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    spb = volume(data).super
    places = [spb.superblock_at, spb.header_at, spb.inodes_at, spb.group_size]
    for place in [PLACES[variant], PLACES[variant] + 1376, *(place * spb.fragment_size for place in places)]:
        for cut in (place - 1, place, place + 100):
            survive(lambda cut=cut: volume(data[:cut]))  # type: ignore[misc]
    for part in range(1, 10, 2):
        survive(lambda part=part: volume(data[: len(data) * part // 10]))  # type: ignore[misc]


@pytest.mark.parametrize("variant", PLACES)
def test_random_damage_costs_its_place_alone(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    rng = random.Random(4)
    opened = volume(data)
    places = [PLACES[variant], *(inode_at(opened, node.id) for _, node in tree(opened.root))]
    for _ in range(15):
        damaged = bytearray(data)
        for _ in range(8):
            at = rng.choice(places) + rng.randrange(256)
            damaged[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        survive(lambda damaged=damaged: volume(damaged))  # type: ignore[misc]


def test_kinds_that_cannot_be_are_refused(images: dict[str, bytes]) -> None:
    opened = volume(images["ufs1-little"])
    at = inode_at(opened, opened.root.lookup("odd").id)
    broken = volume(put(opened, images["ufs1-little"], at, 0x41ED, 2)).root
    with pytest.raises(FormatError, match="says otherwise"):
        broken.lookup("odd").stat()
    assert stat.S_ISREG(broken.lookup("block").stat().mode)
