"""AmigaDOS: what is right. Trees and contents: see the fixtures. Damage: see ``test_amigados_damage``."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from struct import pack_into

import pytest

from conformance import check_device, manifest
from filesystems.amiga import (
    BLOCK,
    COMMENT,
    DATE,
    FIRST_DATA,
    HASH_CHAIN,
    NEXT_LINK,
    PROTECTION,
    ROOT,
    SIZE,
    SLOT_59,
    Disk,
    fixture,
)  # fmt: skip
from helpers import IMAGES, context, image, tool
from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.core.device import gather
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.node import Directory, File, Symlink
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import ImageError, UnsupportedError
from imgmount.filesystems.amigados import FORMAT, probe
from imgmount.filesystems.amigados.blocks import HEAD, checksum, checksums, name_hash
from imgmount.filesystems.amigados.check import check
from imgmount.filesystems.amigados.deleted import deleted
from imgmount.registry import best_match
from imgmount.vfs.tree import View, build_vfs

KINDS = ["ofs", "ffs", "ofs-intl", "ffs-intl", "ofs-dirc", "ffs-dirc", "ofs-lnfs", "ffs-lnfs"]
VARIANTS = [f"dos{number}-{kind}" for number, kind in enumerate(KINDS)]
LISTED = re.compile(  # by xdftool; dates end in fiftieths of a second
    r"(?P<indent>(?:  )+)(?P<name>\S.*?) +(?P<size>\d+|DIR)"
    r"  (?P<flags>[hsparwed-]{8})  (?P<date>[\d.]{10} [\d:.]{11})  (?P<comment>.*)"
)
THIRD_PARTY = [
    row for row in json.loads((IMAGES / "INDEX.json").read_text()) if row["family"] == "adf"
] if (IMAGES / "INDEX.json").exists() else []  # fmt: skip


def text_of(raw: bytes) -> str:
    """A name that one tool writes in UTF-8 and another as the volume has it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@pytest.mark.parametrize("row", THIRD_PARTY, ids=lambda row: row["file"].rpartition("__")[2])
def test_other_peoples_disks(row: dict[str, list[str]]) -> None:
    with open_image(image(str(row["file"]))) as opened:
        filesystem = opened.volumes[0].filesystem
        found = manifest(filesystem.root)
        for listed in row.get("manifests", []):
            for line in (IMAGES / listed).read_bytes().splitlines():
                if line.startswith(b"#"):
                    continue
                digest, size, raw = line.split(b"  ", 2)
                name = text_of(raw)
                if ".xdftool." in listed:
                    name = name.split("/", 1)[1]  # the volume comes first
                fact = found[name]
                if isinstance(fact, str):  # ADFlib extracts links as texts
                    assert hashlib.sha256(fact[3:].encode()).hexdigest() == digest.decode()
                else:
                    assert fact == (int(size), digest.decode())


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_certain_and_sound(variant: str) -> None:
    device = MemoryDevice(fixture(variant))
    assert probe(device) is Match.CERTAIN
    volume = Disk(variant).open()
    assert list(check(volume)) == []
    assert volume.label == "V\xf6lume"
    assert volume.info()["type"].startswith(f"DOS\\{variant[3]}, {variant[5:8].upper()}")
    assert volume.root.stat().mtime_ns > 0


@pytest.mark.parametrize("variant", [*VARIANTS, "hd-dos0", "hardfile-dos7", "hardfile-1024"])
def test_every_fact_is_what_xdftool_lists(variant: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.adf" if len(fixture(variant)) == 901120 else "x.hdf")
    path.write_bytes(fixture(variant))
    opened = ["open", "bs=1024", "+"] if variant == "hardfile-1024" else []
    run = [tool("xdftool"), str(path), *opened, "list"]
    told = subprocess.run(
        run, check=True, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    ).stdout
    folders: list[Directory] = [Disk(variant).open().root]
    assert f"{datetime.fromtimestamp(folders[0].stat().mtime_ns // 1_000_000_000):%d.%m.%Y %H:%M:%S}" in told  # noqa: DTZ006
    lines = [line for line in map(LISTED.fullmatch, told.splitlines()) if line]
    assert len(lines) == len(manifest(folders[0]))
    for line in lines:
        del folders[len(line["indent"]) // 2 :]
        node = folders[-1].lookup(line["name"])
        stat = node.stat()
        seconds, rest = divmod(stat.mtime_ns, 1_000_000_000)
        assert f"{datetime.fromtimestamp(seconds):%d.%m.%Y %H:%M:%S}.{rest // 20_000_000:02}" == line["date"]  # noqa: DTZ006
        assert node.xattrs()["user.amiga.protection"].decode() == line["flags"]
        assert node.xattrs().get("user.amiga.comment", b"").decode() == line["comment"]
        if isinstance(node, Directory):
            assert line["size"] == "DIR"
            folders.append(node)
        else:
            assert line["size"] == str(stat.size)


@pytest.mark.parametrize("variant", ["dos0-ofs", "hardfile-dos3"])
def test_a_compressed_disk_is_the_same_disk(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "x.adz"
    path.write_bytes(gzip.compress(fixture(variant), 6))
    with open_image(path) as opened:
        assert str(opened) == "file > gzip > amigados"
        assert manifest(opened.volumes[0].filesystem.root) == manifest(Disk(variant).open().root)


@pytest.mark.parametrize("block_size", [512, 1024, 2048, 4096, 8192])
@pytest.mark.parametrize("dos_type", ["DOS0", "DOS3", "DOS7"])
def test_every_block_size(dos_type: str, block_size: int, tmp_path: Path) -> None:
    path, content = tmp_path / "x.hdf", b"".join(b"%07d\n" % number for number in range(100_000))
    (tmp_path / "content").write_bytes(content)
    steps = ["create", "size=4Mi", f"bs={block_size}", "+", "format", "Name", dos_type]
    for name in ("one", "two"):
        steps += ["+", "write", str(tmp_path / "content"), name]
    subprocess.run([tool("xdftool"), str(path), *steps], check=True, capture_output=True)
    with open_image(path) as opened:
        filesystem = opened.volumes[0].filesystem
        assert filesystem.info()["blocks"].startswith(f"{(4 << 20) // block_size} of {block_size} bytes")
        for name in ("one", "two"):
            with filesystem.root.lookup(name).open() as device:  # type: ignore[attr-defined]
                check_device(device, content)
        assert list(opened.volumes[0].check()) == []


def test_free_blocks_are_those_that_xdftool_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.adf"
    path.write_bytes(fixture("dos3-ffs-intl"))
    told = subprocess.run([tool("xdftool"), path, "info"], check=True, capture_output=True, text=True).stdout
    assert Disk("dos3-ffs-intl").open().info()["free"] == f"{told.split('free:')[1].split()[0]} blocks"
    assert Disk("dos1-ffs").open().info()["free"] == "0 blocks"


def test_a_disk_without_a_bootblock_is_likely_and_read() -> None:
    for variant in ("dos0-ofs", "dos1-ffs"):
        disk = Disk(variant)
        disk.data[:4] = b"\0\0\0\0"
        assert probe(MemoryDevice(bytes(disk.data))) is Match.LIKELY
        assert disk.open().info()["bootblock"] == "not DOS"
        with disk.open().root.lookup("size488").open() as content:  # type: ignore[attr-defined]
            assert content.pread(0, 7).startswith(b"0000")


def test_a_disk_that_only_boots_is_refused_with_the_reason() -> None:
    disk = Disk("dos0-ofs")
    disk.data[ROOT * BLOCK : (ROOT + 1) * BLOCK] = bytes(BLOCK)
    device = MemoryDevice(bytes(disk.data))
    assert probe(device) is Match.LIKELY
    with pytest.raises(UnsupportedError, match="no root block: a disk that is read by its own loader"):
        FORMAT.open(device, context())
    disk.data[:4] = b"ABCD"
    assert probe(MemoryDevice(bytes(disk.data))) is Match.NO


@pytest.mark.parametrize(
    ("boot", "kind"), [(b"NDOS", "an NDOS disk"), (b"KICK", "a Kickstart disk"), (b"DOS\0", "own loader")]
)
def test_disks_without_a_filesystem_are_shown_raw_with_the_reason(
    boot: bytes, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.adf"
    path.write_bytes(boot + b"track loader" * 75093)
    with open_image(path) as opened:
        vfs = build_vfs(opened, View.TREE)
        assert list(vfs.listing("").nodes) == ["disk.raw"]
        assert len(vfs.notes) == 1
        assert kind in vfs.notes[0]


@pytest.mark.parametrize(
    ("boot", "kind"), [(b"KICK", "Kickstart"), (b"DOS\0", "DOS, not bootable"), (b"ABCD", "not DOS")]
)
def test_bootblocks(boot: bytes, kind: str) -> None:
    disk = Disk("dos0-ofs")
    disk.data[:12] = boot + bytes(8)
    assert disk.open().info()["bootblock"] == kind


def test_tracks_that_the_filesystem_does_not_know() -> None:
    longer = fixture("dos0-ofs") + bytes(22 * BLOCK * 3)  # 83 tracks dumped, 80 formatted
    assert probe(MemoryDevice(longer)) is Match.CERTAIN
    shorter = Slice(MemoryDevice(fixture("dos0-ofs")), 0, 1700 * BLOCK)  # torn off
    assert probe(shorter) is Match.CERTAIN
    found = best_match(
        FilesystemFormat, MemoryDevice(fixture("hardfile-dos3") + bytes(20 * BLOCK))
    )  # no whole cylinder
    assert found is not None
    assert found[1].name == "amigados"


def test_names_are_found_in_any_case_that_the_filesystem_knows() -> None:
    intl, plain = Disk("dos3-ffs-intl").open().root, Disk("dos1-ffs").open().root
    for root in (intl, plain):
        assert root.lookup("SIZE512").id == root.lookup("size512").id
        with pytest.raises(FileNotFoundError):
            root.lookup("size514")
        with pytest.raises(FileNotFoundError):
            root.lookup("\u4e2d")
    assert (
        intl.lookup("FRAN\xc7AIS \xe9T\xc9 \xf7\xff").id == intl.lookup("fran\xe7ais \xc9t\xe9 \xf7\xff").id
    )
    assert plain.lookup("FRAN\xe7AIS \xc9T\xe9 \xf7\xff")
    with pytest.raises(FileNotFoundError):
        plain.lookup("FRAN\xc7AIS \xc9T\xc9 \xf7\xff")


def test_the_encoding_can_be_chosen() -> None:
    assert (
        "fran\u0437ais \u0419t\u0439 \u0447\u044f"
        in Disk("dos3-ffs-intl").open(encoding="cp1251").root.listing().nodes
    )


@pytest.mark.parametrize("block_size", [512, 1024, 2048, 8192])
def test_many_checksums_are_those_of_each(block_size: int) -> None:
    data = bytearray(bytes(range(256)) * 64) + b"\xff" * 16384
    blocks = [bytes(data[at : at + block_size]) for at in range(0, len(data), block_size)]
    assert checksums(bytes(data), block_size) == [checksum(block) for block in blocks]


def test_protection_and_comments_are_attributes() -> None:
    disk = Disk("dos3-ffs-intl")
    key = disk.key("size1")
    disk.write(key, COMMENT, b"\x04caf\xe9")
    disk.put(key, PROTECTION, 0b1111_0110)
    node = disk.open().root.lookup("size1")
    assert node.xattrs() == {"user.amiga.comment": "caf\xe9".encode(), "user.amiga.protection": b"hspar--d"}
    assert node.stat().mode & 0o777 == 0o444
    disk.put(key, PROTECTION, 0)
    assert disk.open().root.lookup("size1").stat().mode & 0o777 == 0o555


def test_dates_have_ticks() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.put(disk.key("size1"), 420, 8000, 61, 125)
    assert disk.open().root.lookup("size1").stat().mtime_ns % 60_000_000_000 == 2_500_000_000


def long_name(disk: Disk, key: int, name: bytes, comment: bytes) -> None:
    disk.write(key, COMMENT, bytes([len(name)]) + name + bytes([len(comment)]) + comment)


def test_a_comment_in_a_block_of_its_own() -> None:
    disk = Disk("dos7-ffs-lnfs")
    key, place = disk.key("size488"), disk.free_block()
    long_name(disk, key, b"size488", b"")
    disk.put(key, BLOCK - 72, place)
    disk.put(place, 0, 64, place, key)
    disk.write(place, HEAD, b"\x1e" + b"thirty characters of a comment")
    assert (
        disk.open().root.lookup("size488").xattrs()["user.amiga.comment"] == b"thirty characters of a comment"
    )
    assert [line for line in check(disk.open()) if "comment" in line] == []
    disk.put(place, 0, 65)
    assert "user.amiga.comment" not in disk.open().root.lookup("size488").xattrs()
    assert any(line.startswith("/size488: its comment: ") for line in check(disk.open()))


def test_short_names_under_the_dos_type_of_long_ones() -> None:
    disk = Disk("dos2-ofs-intl")
    disk.data[3] = 6
    disk.write(disk.key("size1"), COMMENT, b"\x09a comment")
    assert set(disk.open().root.listing().nodes) == set(Disk("dos2-ofs-intl").open().root.listing().nodes)
    assert disk.open().root.lookup("size1").xattrs()["user.amiga.comment"] == b"a comment"


def test_hard_links_are_the_same_file() -> None:
    disk = Disk("dos3-ffs-intl")
    target = disk.key("size513")
    first = disk.link(b"hard", name_hash(b"hard", 72, intl=True), target, -4)
    disk.put(target, NEXT_LINK, first)
    second = disk.link(b"harder", name_hash(b"harder", 72, intl=True), first, -4)  # a link to a link
    disk.put(first, NEXT_LINK, second)
    root = disk.open().root
    assert {root.lookup(name).id for name in ("hard", "harder", "size513")} == {target}
    assert root.lookup("hard").stat() == root.lookup("size513").stat()
    assert root.lookup("size513").stat().nlink == 3
    assert all("free in the bitmap" in line for line in check(disk.open()))


def test_a_hard_link_to_a_directory_is_a_symlink_to_it() -> None:
    disk = Disk("dos3-ffs-intl")
    deep = disk.key("level1/level2/level3")
    disk.link(b"short cut", name_hash(b"short cut", 72, intl=True), deep, 4)
    disk.link(b"here", name_hash(b"here", 72, intl=True), ROOT, 4)
    root = disk.open().root
    links = {
        name: node.readlink()
        for name in ("short cut", "here")
        if isinstance(node := root.lookup(name), Symlink)
    }
    assert links == {"short cut": "level1/level2/level3", "here": "."}


def test_soft_links() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.write(disk.link(b"soft", name_hash(b"soft", 72, intl=True), 0, 3), HEAD, b"Work:dir/\xe9\0")
    node = disk.open().root.lookup("soft")
    assert isinstance(node, Symlink)
    assert node.readlink() == "Work:dir/\xe9"


def test_ffs_files_are_runs_of_the_image() -> None:
    device = MemoryDevice(fixture("hardfile-dos3"))
    node = FORMAT.open(device, context()).root.lookup("36864")
    assert isinstance(node, File)
    with node.open() as content:
        runs = list(content.extents(0, content.size))
        assert {run.device for run in runs} == {device}
        assert len(runs) <= 3
        assert gather(runs) == content.pread(0, content.size)


@pytest.mark.parametrize("variant", ["dos0-ofs", "dos3-ffs-intl", "dos7-ffs-lnfs"])
def test_deleted_files_are_found_and_whole(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "x.adf"
    path.write_bytes(fixture(variant))
    before = manifest(Disk(variant).open().root)
    victims = ["second", "level1/level2/level3/level4/level5/level6/level7/level8/level9/file", "size489"]
    steps = [word for name in victims for word in ("+", "delete", name)][1:]
    subprocess.run(
        [tool("xdftool"), path, "protect", "size489", "rwed", "+", *steps], check=True, capture_output=True
    )
    disk = Disk(variant)
    disk.data = bytearray(path.read_bytes())
    volume = disk.open()
    found = dict(deleted(volume))
    for name in victims:
        node = found[name]
        assert isinstance(node, File)
        with node.open() as content:
            assert (content.size, hashlib.sha256(content.pread(0, content.size)).hexdigest()) == before[name]
    assert not set(found) & set(manifest(volume.root))


def test_the_command_line_lists_and_reads_deleted_files(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "x.adf"
    path.write_bytes(fixture("dos3-ffs-intl"))
    assert main(["ls", "--deleted", str(path)]) == 0
    names = capfdbinary.readouterr().out.split()
    assert names == sorted(name.encode() for name, _ in deleted(Disk("dos3-ffs-intl").open()))
    assert main(["cat", "--deleted", str(path), names[-1].decode()]) == 0
    assert capfdbinary.readouterr().out == b"f" * 300


def test_a_deleted_file_whose_blocks_are_used_again_cannot_be_read() -> None:
    disk = Disk("dos3-ffs-intl")
    volume = disk.open()
    name, node = next(
        (name, node) for name, node in deleted(volume) if isinstance(node, File) and node.stat().size
    )
    assert name.startswith("fill")
    block = disk.long(node.id, BLOCK - 204)
    pages = volume.bitmap.pages[0]
    at, bit = divmod(block - 2, 32)
    pack_into(">I", disk.data, pages * BLOCK + 4 + 4 * at, disk.long(pages, 4 + 4 * at) & ~(1 << bit))
    pack_into(">I", disk.data, pages * BLOCK, disk.long(pages, 0) + (1 << bit) & 0xFFFF_FFFF)
    again = dict(deleted(disk.open()))[name]
    assert isinstance(again, File)
    with again.open() as content, pytest.raises(ImageError, match="used again"):
        content.pread(0, content.size)


def test_of_two_deleted_files_with_the_same_block_neither_is_believed() -> None:
    disk = Disk("dos3-ffs-intl")
    names = [name for name, node in deleted(disk.open()) if isinstance(node, File) and node.stat().size]
    keys = {name: node.id for name, node in deleted(disk.open())}
    one, two, three = names[:3]
    disk.put(keys[two], FIRST_DATA, disk.long(keys[one], FIRST_DATA))
    found = dict(deleted(disk.open()))
    for name in (one, two):
        with found[name].open() as content, pytest.raises(ImageError, match="used again"):  # type: ignore[attr-defined]
            content.pread(0, content.size)
    with found[three].open() as content:  # type: ignore[attr-defined]
        assert content.pread(0, content.size) == b"f" * 300


def test_a_deleted_file_whose_block_is_now_a_header() -> None:
    disk = Disk("dos3-ffs-intl")
    one, two = [
        (name, node.id) for name, node in deleted(disk.open()) if isinstance(node, File) and node.stat().size
    ][:2]
    disk.put(one[1], FIRST_DATA, two[1])
    found = dict(deleted(disk.open()))
    with found[one[0]].open() as content, pytest.raises(ImageError, match="used again"):  # type: ignore[attr-defined]
        content.pread(0, 1)
    with found[two[0]].open() as content:  # type: ignore[attr-defined]
        assert content.pread(0, content.size) == b"f" * 300


def test_a_block_that_was_used_again_costs_itself() -> None:
    disk = Disk("dos3-ffs-intl")
    with disk.open().root.lookup("36864").open() as content:  # type: ignore[attr-defined]
        whole = content.pread(0, content.size)
        assert len(list(content.extents(0, 10 * BLOCK))) == 1
    header = disk.unlink("36864")
    disk.put(disk.key("size1"), FIRST_DATA, disk.long(header, FIRST_DATA - 4 * 5))
    with dict(deleted(disk.open()))["36864"].open() as content:  # type: ignore[attr-defined]
        assert content.pread(0, 5 * BLOCK) == whole[: 5 * BLOCK]
        assert content.pread(6 * BLOCK, 36864) == whole[6 * BLOCK :]
        for offset in (0, 5 * BLOCK):
            with pytest.raises(ImageError, match="used again"):
                content.pread(offset, 5 * BLOCK + 1)


def test_what_a_damaged_chain_has_lost_is_found_with_the_deleted() -> None:
    disk = Disk("dos3-ffs-intl")
    before, known = manifest(disk.open().root), set(dict(deleted(disk.open())))
    disk.put(disk.long(ROOT, SLOT_59), HASH_CHAIN, 0)
    lost = {name: node for name, node in deleted(disk.open()) if name not in known}
    assert len(lost) == 6
    assert not set(lost) & set(manifest(disk.open().root))
    for name, node in lost.items():
        with node.open() as content:  # type: ignore[attr-defined]
            assert (content.size, hashlib.sha256(content.pread(0, content.size)).hexdigest()) == before[name]


def test_directory_caches_are_compared_and_not_believed() -> None:
    disk = Disk("dos5-ffs-dirc")
    cache = disk.long(ROOT, BLOCK - 8)
    name = disk.data[cache * BLOCK + HEAD + 24 : cache * BLOCK + HEAD + 26]
    disk.write(cache, HEAD + 24, bytes([name[0] ^ 1]))
    assert set(disk.open().root.listing().nodes) == set(Disk("dos5-ffs-dirc").open().root.listing().nodes)
    assert any("in the directory cache" in line for line in check(disk.open()))
    disk.put(cache, 12, 1)
    assert any("in the hash table alone" in line for line in check(disk.open()))


def test_each_fact_in_a_directory_cache_is_compared() -> None:
    disk = Disk("dos5-ffs-dirc")
    record = disk.long(ROOT, BLOCK - 8) * BLOCK + HEAD
    name = disk.data[record + 24 : record + 24 + disk.data[record + 23]].decode("latin-1")
    header = int.from_bytes(disk.data[record : record + 4], "big")
    for offset, fact in ((PROTECTION, "protection"), (SIZE, "size"), (DATE + 4, "date")):
        changed = Disk("dos5-ffs-dirc")
        changed.put(header, offset, changed.long(header, offset) ^ 16)
        assert any(line.startswith(f"/{name}: {fact} ") for line in check(changed.open()))
    folder = Disk("dos5-ffs-dirc")
    folder.put(folder.key("level1"), DATE, 1)
    assert list(check(folder.open())) == []  # of a directory, the cache keeps the date of its creation
    disk.write(header, COMMENT, b"\3abc")
    assert list(check(disk.open())) == [f"/{name}: comment b'' in the directory cache, b'abc' in the header"]
