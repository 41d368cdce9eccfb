"""HFS+: what fixtures do not show. Volumes of Linux, of xorriso and of our own writer."""

from __future__ import annotations

import hashlib
import lzma
import random
import struct
import subprocess
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance import check_device, survive, tree
from counting_device import CountingDevice
from families.apple.compressed import IN_FORK, INLINE, compressed, header
from filesystems.hfsplus_writer import (
    PRIVATE_FILES,
    ROOT,
    Volume,
    checksum,
    journal_header,
    journal_of,
)
from filesystems.inode_facts import facts_of, linux_facts
from fixture import Fixture, all_fixtures
from helpers import context, image, tool, wrong
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.hfsplus import FORMAT
from imgmount.filesystems.hfsplus.journal import ReplayedVolume
from imgmount.filesystems.hfsplus.replay import Replay
from imgmount.filesystems.hfsplus.volume import HfsPlusVolume
from imgmount.vfs.vfs import Vfs

FIXTURES = [one for one in all_fixtures() if one.format == "hfsplus"]
LINUX = [one for one in FIXTURES if one.variant.startswith("linux")]
NOISE = random.Random(4).randbytes(1 << 20)


def opened(data: bytes | BlockDevice, **options: str) -> HfsPlusVolume:
    device = MemoryDevice(data) if isinstance(data, bytes) else data
    volume = FORMAT.open(device, context(extra=options))
    assert isinstance(volume, HfsPlusVolume)
    return volume


def paths(volume: HfsPlusVolume) -> Vfs:
    return Vfs(volume.root, {}, (), 0)


def content(volume: HfsPlusVolume, path: str) -> bytes:
    node = paths(volume).find(path)
    assert isinstance(node, File)
    return node.open().pread(0, 1 << 24)


def problems(volume: HfsPlusVolume) -> list[str]:
    return wrong(FORMAT.check(volume))


@pytest.mark.parametrize("fixture", LINUX, ids=str)
def test_facts_are_those_that_linux_tells(fixture: Fixture, tmp_path: Path) -> None:
    with fixture.open(tmp_path) as opened_image:
        root = opened_image.volumes[0].filesystem.root
        ours = facts_of(root)
        expected = linux_facts(fixture.expected.parent / "stat.txt")
        assert ours.keys() == expected.keys()
        for path, facts in expected.items():
            mode = facts[0]
            assert mode is not None
            if (
                mode & 0xF000 == 0x4000
            ):  # Linux counts entries where we count nothing, and folders as one link
                assert ours[path] == (mode, 0, *facts[2:4], ours[path][4], *facts[5:]), path
            else:
                assert ours[path] == facts, path
        linked = [
            node.id for path, node in tree(root) if path in ("odd", "deep/linked", "deep/a/linked again")
        ]
        assert len(linked) == 3
        assert len(set(linked)) == 1


@pytest.mark.parametrize("fixture", LINUX, ids=str)
def test_attributes_are_those_that_linux_set(fixture: Fixture, tmp_path: Path) -> None:
    with fixture.open(tmp_path) as opened_image:
        volume = opened_image.volumes[0].filesystem
        found = {path: node.xattrs() for path, node in tree(volume.root)}
        assert found["readme.txt"]["user.com.example.note"] == b"an attribute"
        assert found["deep"]["user.com.example.folder"] == b"of a folder"
        for path in ("odd", "deep/linked", "deep/a/linked again"):
            assert found[path]["user.com.example.two"] == b"two"
        assert found["readme.txt"]["user.com.apple.FinderInfo"] == b"TEXTttxt".ljust(32, b"\0")
        assert found["empty"]["user.com.apple.FinderInfo"] == b"?" * 8 + bytes(24)  # Linux says so


def test_files_in_many_pieces_map_to_the_host_file(tmp_path: Path) -> None:
    fixture = next(one for one in LINUX if one.variant == "linux-small-blocks")
    with fixture.open(tmp_path) as opened_image:
        disk = opened_image.layers[0].device
        vfs = Vfs(opened_image.volumes[0].filesystem.root, {}, (), 0)
        node = vfs.find("/scattered")
        assert isinstance(node, File)
        runs = list(node.open().extents(0, 1 << 20))
        assert len(runs) > 8
        assert {run.device for run in runs} == {disk}
        assert sum(run.length for run in runs) == 60001


def test_twenty_thousand_files_of_xorriso(tmp_path: Path) -> None:
    folder, rng, source = tmp_path / "tree", random.Random(8), {}
    for number in range(20):
        (folder / f"d{number:02}").mkdir(parents=True)
        for n in range(1000):
            path = f"d{number:02}/file number {n:04}.txt"
            source[path] = rng.randbytes(rng.randrange(120))
            (folder / path).write_bytes(source[path])
    disk = tmp_path / "disk.iso"
    command = [tool("xorriso"), "-as", "mkisofs", "-quiet", "-hfsplus", "-o", str(disk), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    with open_image(disk) as opened_image:
        volume = next(one for one in opened_image.volumes if one.index == 3)
        counted = CountingDevice(volume.device)
        filesystem = FORMAT.open(counted, volume.context)
        assert [name for name, _ in filesystem.root.entries()] == [f"d{n:02}" for n in range(20)]
        assert counted.bytes <= 128 << 10
        found = {path: node for path, node in tree(filesystem.root) if isinstance(node, File)}
        assert found.keys() == source.keys()
        for path, node in found.items():
            assert node.open().pread(0, 1000) == source[path], path
        assert wrong(FORMAT.check(filesystem)) == []


def test_hard_links_to_folders_share_what_is_in_them() -> None:
    writer = Volume(blocks=300)
    below = writer.folder(ROOT, "below")
    target = writer.folder_target(2)
    writer.file(target, "inside", b"shared")
    writer.folder(target, "sub")
    writer.folder_link(ROOT, "one", target)
    writer.folder_link(below, "two", target)
    volume = opened(writer.image())
    vfs = paths(volume)
    assert sorted(path for path, _ in vfs.walk()) == [
        "/below", "/below/two", "/below/two/inside", "/below/two/sub", "/one", "/one/inside", "/one/sub",
    ]  # fmt: skip
    assert vfs.find("/one").id == vfs.find("/below/two").id
    assert content(volume, "/below/two/inside") == b"shared"
    assert problems(volume) == []


@pytest.mark.parametrize("fixture", [one for one in FIXTURES if "options" not in one.facts], ids=str)
def test_labels_and_uuids_are_those_of_blkid(fixture: Fixture, tmp_path: Path) -> None:
    with fixture.open(tmp_path) as opened_image:
        volume = next(one for one in opened_image.volumes if one.known_format is FORMAT)
        disk = tmp_path / "volume"
        disk.write_bytes(volume.device.pread(0, volume.device.size))
        for name, ours in (("UUID", volume.filesystem.uuid), ("LABEL", volume.filesystem.label)):
            command = [tool("blkid"), "-p", "-o", "value", "-s", name, str(disk)]
            told = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
            assert ours == told or (name == "LABEL" and fixture.variant == "wrapped")


def test_a_folder_linked_into_itself_is_not_entered_again() -> None:
    writer = Volume(blocks=300)
    target = writer.folder_target(2)
    writer.folder_link(ROOT, "one", target)
    writer.folder_link(target, "again", target)
    volume = opened(writer.image())
    vfs = paths(volume)
    assert [path for path, _ in vfs.walk(problem=lambda *_: None)] == ["/one", "/one/again"]
    with pytest.raises(UnsupportedError, match="linked into itself"):
        list(vfs.find("/one/again").entries())  # type: ignore[attr-defined]


def test_links_that_lead_nowhere_say_so_and_hide_nothing() -> None:
    writer = Volume(blocks=300)
    writer.link_target(b"x", 1)
    writer.link(ROOT, "broken", 999)
    writer.file(ROOT, "whole", b"whole")
    volume = opened(writer.image())
    nodes = dict(volume.root.entries())
    assert nodes.keys() == {"broken", "whole"}
    for ask in (nodes["broken"].stat, nodes["broken"].open):  # type: ignore[attr-defined]
        with pytest.raises(FormatError, match="iNode999, which is missing"):
            ask()
    assert any("iNode999" in line for line in problems(volume))


def test_the_private_folders_are_shown_when_asked_for() -> None:
    writer = Volume(blocks=300)
    target = writer.link_target(b"content", 1)
    writer.link(ROOT, "name", target)
    data = writer.image()
    assert [name for name, _ in opened(data).root.entries()] == ["name"]
    volume = opened(data, hidden="yes")
    private = "\u2400" * 4 + "HFS+ Private Data"
    assert sorted(name for name, _ in volume.root.entries()) == ["name", private]
    assert content(volume, f"/{private}/iNode{target}") == b"content"


def test_names_are_found_in_both_forms_and_in_any_case() -> None:
    writer = Volume(blocks=300)
    for name in ("\u00e9t\u00e9", "\u1e69 \u2126", "a/b", "Icon\r", "\U0001f600", "MiXeD", "\u212b"):
        writer.file(ROOT, name, name.encode())
    volume = opened(writer.image())
    names = [name for name, _ in volume.root.entries()]
    assert sorted(names) == sorted(
        ["\u00e9t\u00e9", "\u1e69 \u2126", "a:b", "Icon\u240d", "\U0001f600", "MiXeD", "\u212b"]
    )
    for name in names:
        for form in ("NFC", "NFD"):
            if "\u2126" not in name and "\u212b" not in name:
                assert content(volume, "/" + unicodedata.normalize(form, name)), name
    assert content(volume, "/MIXED") == content(volume, "/mixed") == b"MiXeD"
    assert content(volume, "/\u00c9T\u00c9") == "\u00e9t\u00e9".encode()
    stored = [name for name, _ in opened(writer.image(), names="stored").root.entries()]
    assert "e\u0301te\u0301" in stored
    assert "Icon\r" in stored


def test_case_counts_where_the_volume_says_so() -> None:
    writer = Volume(blocks=300, hfsx=True, binary=True)
    writer.file(ROOT, "name", b"small")
    writer.file(ROOT, "Name", b"large")
    writer.file(ROOT, "\u00e9", b"accent")
    volume = opened(writer.image())
    assert content(volume, "/name") == b"small"
    assert content(volume, "/Name") == b"large"
    assert content(volume, "/e\u0301") == b"accent"
    with pytest.raises(FileNotFoundError):
        content(volume, "/NAME")
    plain = Volume(blocks=300, hfsx=True)
    plain.file(ROOT, "name", b"x")
    assert content(opened(plain.image()), "/NAME") == b"x"


@pytest.mark.parametrize("kind", [*INLINE, *IN_FORK])
def test_compressed_files_are_read_by_eight_threads(kind: int) -> None:
    data = (b"compressible " * 9000 + NOISE[:200_000]) if kind in IN_FORK else NOISE[:40] * 20
    attribute, fork = compressed(kind, data)
    writer = Volume(blocks=600)
    writer.file(ROOT, "file", b"", fork, owner_flags=0x20, attributes={"com.apple.decmpfs": attribute})
    node = dict(opened(writer.image()).root.entries())["file"]
    assert isinstance(node, File)
    assert node.stat().size == len(data)
    assert "user.com.apple.decmpfs" not in node.xattrs()
    assert not node.streams() or kind in INLINE
    check_device(node.open(), data)


def test_the_flag_and_the_attribute_of_compression_must_both_be_there() -> None:
    writer = Volume(blocks=300)
    attribute, _ = compressed(3, b"x" * 100)
    writer.file(ROOT, "flag alone", b"plain", owner_flags=0x20)
    writer.file(ROOT, "attribute alone", b"plain", attributes={"com.apple.decmpfs": attribute})
    writer.file(
        ROOT, "type 5", b"", owner_flags=0x20, attributes={"com.apple.decmpfs": header(5, 500) + bytes(20)}
    )
    volume = opened(writer.image())
    nodes = dict(volume.root.entries())
    with pytest.raises(FormatError, match=r"has no com\.apple\.decmpfs"):
        content(volume, "/flag alone")
    assert nodes["flag alone"].stat().size == 5
    assert content(volume, "/attribute alone") == b"plain"
    assert nodes["attribute alone"].xattrs()["user.com.apple.decmpfs"] == attribute
    with pytest.raises(UnsupportedError, match="generation store"):
        content(volume, "/type 5")
    lines = problems(volume)
    assert any("generation store" in line for line in lines)
    assert any("has no com.apple.decmpfs" in line for line in lines)


def test_attributes_of_all_sizes_are_read() -> None:
    writer = Volume(blocks=900)
    values = {"com.example.small": b"s", "com.example.empty": b"", "com.example.large": NOISE[:9000]}
    number = writer.file(ROOT, "file", b"x", NOISE[:5000], attributes=values, finder=b"TEXTttxt\x01\x00")
    writer.attribute(number, "com.example.pieces", NOISE[: 30 * 4096 // 2], piece=1)
    writer.attribute(number, "com.example.too large", NOISE[:100_000])
    volume = opened(writer.image())
    node = dict(volume.root.entries())["file"]
    expected = {f"user.{name}": value for name, value in values.items()}
    expected |= {
        "user.com.example.pieces": NOISE[: 30 * 4096 // 2],
        "user.com.apple.ResourceFork": NOISE[:5000],
    }
    expected["user.com.apple.FinderInfo"] = b"TEXTttxt\x01\x00".ljust(32, b"\0")
    found = dict(node.xattrs())
    assert found.pop("user.hfsplus.birthtime") == b"1000000000"
    assert found == expected
    assert problems(volume) == []


def dirty(start: int, size: int = 512 << 10, **how: Any) -> tuple[bytes, bytes, bytes, int]:
    """(before, after, before with a journal that leads to after, where the journal is)."""
    before, after = (Volume(blocks=700, journal=size) for _ in range(2))
    for writer, count in ((before, 10), (after, 40)):
        for n in range(count):
            writer.file(ROOT, f"file {n}", b"%d " % n * 50)
    old, new = before.image(), after.image()
    place = new.index(journal_header(512, 512, size)[:8])
    log, _ = journal_of(old, new, size, start, **how)
    return old, new, old[:place] + log + old[place + size :], place


def listed(volume: HfsPlusVolume) -> set[str]:
    return {name for name, _ in volume.root.entries()}


@pytest.mark.parametrize("start", [512, 300 << 10, (512 << 10) - 4608, (512 << 10) - 512])
def test_a_journal_is_replayed_in_memory(start: int) -> None:
    old, new, data, _ = dirty(start)
    volume = opened(data)
    assert listed(volume) == {f"file {n}" for n in range(40)}
    assert all(content(volume, f"/file {n}") == b"%d " % n * 50 for n in range(40))
    assert volume.info()["journal"].startswith("replayed")
    assert problems(volume) == [f"the journal was not empty: {volume.replay.state}"]
    before = opened(data, **{"no-journal": "yes"})
    assert listed(before) == {f"file {n}" for n in range(10)}
    assert problems(opened(old)) == problems(opened(new)) == []


def test_a_journal_that_macos_wrote_restores_what_it_holds() -> None:
    """The log still holds what was written last: told to be replayed, it must give back what is wiped."""
    source = image("hfsplus/danifunker__rusty-backup__test_hfsplus_journaled_clean.img.xz")
    clean = lzma.decompress(source.read_bytes())
    place = clean.index(b"xLNJ")
    head = bytearray(clean[place : place + 44])
    head[8:16] = (512).to_bytes(8, "little")  # where the log begins
    head[36:40] = bytes(4)
    head[36:40] = checksum(bytes(head)).to_bytes(4, "little")
    dirty_disk = bytearray(clean)
    dirty_disk[place : place + 44] = head
    expected = bytes(dirty_disk)
    whole = Replay(MemoryDevice(expected), wanted=True)
    assert whole.fault is None
    assert whole.transactions == 4
    assert whole.device.pread(0, len(clean)) == expected
    assert isinstance(whole.device, ReplayedVolume)
    for to, size, _ in whole.device.patches:
        if to > 2048:  # the header says where the journal is
            dirty_disk[to : to + size] = bytes(size)
    assert bytes(dirty_disk) != expected
    assert Replay(MemoryDevice(bytes(dirty_disk)), wanted=True).device.pread(0, len(clean)) == expected


def test_a_journal_that_another_system_knew_nothing_of_is_left_alone() -> None:
    _, _, data, _ = dirty(512)
    foreign = bytearray(data)
    foreign[1024 + 8 : 1024 + 12] = b"H+Lx"
    volume = opened(bytes(foreign))
    assert len(listed(volume)) == 10
    assert "without journals" in volume.info()["journal"]


def test_a_damaged_journal_is_told_and_the_volume_read() -> None:
    _, _, data, place = dirty(512)
    for at in (place + 36, place + 512 + 8, place + 512 + 24, place + 512 + 4096):
        damaged = bytearray(data)
        damaged[at] ^= 1
        volume = opened(bytes(damaged))
        assert len(listed(volume)) == 10
        assert volume.info()["journal"].startswith("damaged")
        assert any("journal" in line for line in problems(volume))


@pytest.mark.parametrize(("lists", "whole"), [(1, 5), (3, 1), (2, 2), (6, 0)])
def test_a_transaction_that_was_not_written_whole_is_dropped(lists: int, whole: int) -> None:
    size = 512 << 10
    _, _, data, place = dirty(512, size, lists=lists)
    log = data[place : place + size]
    end = int.from_bytes(log[16:24], "little")
    damaged = bytearray(data)
    damaged[place + end - 100] ^= 1  # in the last block of all
    replay = Replay(MemoryDevice(bytes(damaged)), wanted=True)
    assert replay.transactions == whole
    assert "transaction" in str(replay.fault)


@pytest.mark.parametrize("told", [1, 3, 5])
def test_transactions_behind_the_end_that_is_told_count(told: int) -> None:
    _, _, data, _ = dirty(300 << 10, lists=1, told=told)
    assert len(listed(opened(data))) == 40
    _, _, without, _ = dirty(300 << 10, lists=1, told=told, sequence=-1)
    assert Replay(MemoryDevice(without), wanted=True).transactions == told


def test_the_copy_of_the_header_serves_where_the_first_is_gone() -> None:
    writer = Volume(blocks=300)
    writer.file(ROOT, "name", b"content")
    data = bytearray(writer.image())
    data[:2048] = bytes(2048)
    volume = opened(bytes(data))
    assert content(volume, "/name") == b"content"
    assert "damaged" in volume.info()["header"]
    assert problems(volume) == [f"the volume header is damaged; its copy is at {len(data) - 1024:#x}"]
    with pytest.raises(FormatError):
        FORMAT.probe(MemoryDevice(bytes(data)))
    assert FORMAT.rescue is not None
    assert FORMAT.rescue(MemoryDevice(bytes(data))) == Match.LIKELY
    assert not FORMAT.rescue(MemoryDevice(bytes(2 << 20) + bytes(data)))


def test_verify_sees_what_is_wrong() -> None:
    writer = Volume(blocks=700, node=4096)
    for n in range(200):
        writer.file(ROOT, f"file {n}", b"x" * n, piece=1)
    clean = writer.image()
    volume = opened(clean)
    assert problems(volume) == []
    catalog = volume.header.forks[2].runs[0][0] * 4096
    leaf = catalog + 4096 * 2
    for at, change, words in (
        (1024 + 0x23, b"\x01", "files in the catalog"),
        (1024 + 0x33, b"\x77", "free blocks"),
        (catalog + 14 + 9, b"\x05", "records in its leaves"),
        (leaf + 3, b"\x63", "neighbours"),
        (leaf + 9, b"\x07", "height 7"),
        (len(clean) - 1024, b"??", "copy of the volume header is damaged"),
    ):
        damaged = bytearray(clean)
        damaged[at : at + len(change)] = change
        assert any(words in line for line in problems(opened(bytes(damaged)))), words


def test_apple_made_volumes_of_others(tmp_path: Path) -> None:
    """The partition of a macOS disk image, unpacked by 7-Zip: hard links, type 8, a large attribute."""
    source = image("dmg/deploymenttheory__go-apfs-v2__hfs-basic.dmg")
    command = [tool("7z"), "x", "-tdmg", f"-o{tmp_path}", str(source), "4.hfs"]
    subprocess.run(command, check=True, capture_output=True)
    with open_image(tmp_path / "4.hfs") as opened_image:
        vfs = Vfs(opened_image.volumes[0].filesystem.root, {}, (), 0)
        manifests = source.parent.parent / "manifests"
        for line in (manifests / f"dmg__{source.name}.sha256").read_text().splitlines():
            digest, size, path = line.split("  ", 2) if line[0] != "#" else ("", "", "")
            if len(digest) == 64:
                node = vfs.find(f"/{path}")
                assert isinstance(node, File)
                data = node.open().pread(0, 1 << 22)
                assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), digest), path
        for line in (manifests / f"dmg__{source.name}.xattrs.sha256").read_text().splitlines():
            if line[0] != "#":
                digest, size, place = line.split("  ", 2)
                path, _, name = place.rpartition(":")
                value = vfs.find(f"/{path}").xattrs()[f"user.{name}"]
                assert (len(value), hashlib.sha256(value).hexdigest()) == (int(size), digest), place
        assert vfs.find("/hello.txt").id == vfs.find("/hardlink-to-hello").id
        assert vfs.find("/hello.txt").stat().nlink == 2


def test_forks_outside_the_volume_are_told_when_they_are_read() -> None:
    writer = Volume(blocks=300)
    writer.file(ROOT, "long", b"x" * 5000, sizes=(1 << 40, None))
    writer.file(ROOT, "huge", b"x" * 10, sizes=((1 << 64) - 1, None))
    writer.file(ROOT, "whole", b"whole")
    volume = opened(writer.image())
    assert content(volume, "/whole") == b"whole"
    nodes = dict(volume.root.entries())
    for name, size in (("long", 1 << 40), ("huge", (1 << 64) - 1)):
        node = nodes[name]
        assert isinstance(node, File)
        device = node.open()
        assert (node.stat().size, device.size) == (size, size)
        assert device.pread(0, 10) == b"x" * 10
        with pytest.raises(ImageError, match="byte 8192"):
            device.pread(8192, 10)
    assert sum("bytes in" in line for line in problems(volume)) == 2


def test_loops_short_nodes_and_wild_places_end() -> None:
    writer = Volume(blocks=700)
    for n in range(300):
        writer.file(ROOT, f"file {n}", b"x", piece=1)
    clean = writer.image()
    catalog = opened(clean).header.forks[2].runs[0][0] * 4096
    rng = random.Random(6)
    nodes = 30
    for _ in range(60):
        damaged = bytearray(clean)
        for _ in range(rng.randrange(1, 4)):
            node = catalog + 4096 * rng.randrange(nodes)
            where = rng.choice([rng.randrange(14), 4096 - rng.randrange(1, 80), rng.randrange(4096)])
            damaged[node + where] = rng.choice([0, 1, 2, 255, rng.randrange(256)])
        survive(partial(opened, bytes(damaged)))


def test_indexes_that_lead_back_are_left() -> None:
    writer = Volume(blocks=700)
    for n in range(300):
        writer.file(ROOT, f"file {n}", b"x")
    data = bytearray(writer.image())
    volume = opened(bytes(data))
    root = volume.catalog.header.root
    at = volume.header.forks[2].runs[0][0] * 4096 + root * 4096
    node = volume.catalog.node(root)
    for end in node.starts[1:]:
        data[at + end - 4 : at + end] = root.to_bytes(4, "big")
    volume = opened(bytes(data))
    with pytest.raises(ImageError, match="in two places"):
        _ = volume.root
    assert any("in two places" in line for line in problems(volume))


def test_random_damage_anywhere_is_an_image_error() -> None:
    writer = Volume(blocks=400, journal=64 << 10)
    attribute, fork = compressed(8, NOISE[:1000] * 200)
    writer.file(ROOT, "packed", b"", fork, owner_flags=0x20, attributes={"com.apple.decmpfs": attribute})
    target = writer.link_target(b"linked", 1)
    writer.link(ROOT, "link", target)
    writer.file(ROOT, "pieces", NOISE[:80_000], NOISE[:9000], piece=1, attributes={"big": NOISE[:9000]})
    writer.file(ROOT, "symlink", b"to/somewhere", mode=0o120755)
    clean = writer.image()
    used = [at for at in range(0, len(clean), 512) if any(clean[at : at + 512])]
    used = [at for at in used if NOISE[:16] not in clean[at : at + 512]]
    rng = random.Random(12)
    for _ in range(120):
        damaged = bytearray(clean)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.choice(used) + rng.randrange(512)] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        survive(partial(opened, bytes(damaged)))


def test_what_is_no_volume_is_refused() -> None:
    for data in (b"", bytes(600), bytes(4096), bytes(1024) + b"H+\0\4" + bytes(4000), NOISE[:5000]):
        with pytest.raises(FormatError):
            FORMAT.probe(MemoryDevice(data))
    wrapper = bytearray(8192)
    wrapper[1024:1026], wrapper[1024 + 0x7C : 1024 + 0x82] = b"BD", b"H+\xff\xff\xff\xff"
    with pytest.raises(FormatError, match="block size 0 is not"):
        FORMAT.probe(MemoryDevice(bytes(wrapper)))
    struct.pack_into(">HIxxxxHxxxxxxB", wrapper, 1024 + 0x12, 16, 512, 1, 1)
    with pytest.raises(FormatError, match="65535 blocks of 512 bytes inside an HFS volume"):
        FORMAT.probe(MemoryDevice(bytes(wrapper)))


def test_private_names_are_hidden_in_the_root_alone() -> None:
    writer = Volume(blocks=300)
    below = writer.folder(ROOT, "below")
    writer.folder(below, PRIVATE_FILES)
    volume = opened(writer.image())
    found = [path for path, _ in paths(volume).walk()]
    assert found == ["/below", "/below/" + "\u2400" * 4 + "HFS+ Private Data"]


def test_forks_may_be_shown_as_appledouble_files() -> None:
    writer = Volume(blocks=300)
    writer.file(ROOT, "both", b"data", b"resources", finder=b"TEXTttxt")
    writer.file(ROOT, "plain", b"data")
    volume = opened(writer.image(), forks="appledouble")
    assert sorted(listed(volume)) == ["._both", "both", "plain"]
    assert content(volume, "/._both").endswith(b"resources")
    assert b"TEXTttxt" in content(volume, "/._both")
    assert content(volume, "/both/..namedfork/rsrc") == b"resources"
    assert content(volume, "/._both")[:4] == bytes.fromhex("00051607")
