"""ext2, ext3, ext4: images made by others, attributes, damage and hostile structures.

The fixtures test reading itself.
"""

from __future__ import annotations

import os
import random
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conformance import manifest, survive, tree
from fixture import all_fixtures, unpack
from helpers import context, image, tool
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match
from imgmount.core.node import Directory, File, Node
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.ext import FORMAT
from imgmount.filesystems.ext.volume import ExtVolume
from imgmount.sources.file import FileDevice

VARIANTS = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "ext"}
SUPER = 1024


def volume(device: BlockDevice | bytes | bytearray) -> ExtVolume:
    opened = FORMAT.open(
        device if isinstance(device, BlockDevice) else MemoryDevice(bytes(device)), context()
    )
    assert isinstance(opened, ExtVolume)
    return opened


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("ext")
    found = {}
    for name in ("ext2", "ext4", "inline", "backup"):
        (folder / name).mkdir()
        found[name] = VARIANTS[name].image_path(folder / name).read_bytes()
    return found


def put(data: bytes | bytearray, offset: int, value: int, width: int = 4) -> bytearray:
    changed = bytearray(data)
    changed[offset : offset + width] = value.to_bytes(width, "little")
    return changed


def unprotected(data: bytes) -> bytearray:
    """The volume without ``metadata_csum``, so that structures may lie."""
    flags = int.from_bytes(data[SUPER + 0x64 : SUPER + 0x68], "little")
    return put(data, SUPER + 0x64, flags & ~0x400)


def read_everything(device: BlockDevice) -> int:
    return survive(lambda: volume(device))


# --- images made by others
# ---------------------------------------------------------------------------------------------------

THIRD_PARTY = {
    "henrikstengaard__hst-imager__ext2.img": ("ext2", "", 1),
    "henrikstengaard__hst-imager__ext3.img": ("ext3", "", 1),
    "henrikstengaard__hst-imager__ext4.img": ("ext4", "", 1),
    "kdave__btrfs-progs__ext4.raw.xz": ("ext4", "", 1),
    "util-linux__util-linux__ext2.img.xz": ("ext2", "test-ext2", 1),
    "util-linux__util-linux__ext3.img.xz": ("ext3", "test-ext3", 1),
    "util-linux__util-linux__ext4.img.xz": ("ext4", "test-ext4", 1),
}


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_images_made_by_others(name: str, tmp_path: Path) -> None:
    path = image(f"ext/{name}")
    if name.endswith(".xz"):
        unpack(path, tmp_path / "image")
        path = tmp_path / "image"
    kind, label, nodes = THIRD_PARTY[name]
    with FileDevice(path) as device:
        assert FORMAT.probe(device) is Match.CERTAIN
        opened = volume(device)
        found = manifest(opened.root)
        assert (opened.info()["type"], opened.label, len(found)) == (kind, label, nodes)
        assert "lost+found" in found


def test_a_journal_that_is_marked_and_empty_is_named(tmp_path: Path) -> None:
    unpack(image("ext/kdave__btrfs-progs__ext4.raw.xz"), tmp_path / "image")
    with FileDevice(tmp_path / "image") as device:
        opened = volume(device)
        assert opened.info()["journal"] == "marked as not replayed, but empty"
        assert "the volume was not unmounted: its journal is marked as not replayed, but empty" in list(
            opened.verify()
        )


# --- facts that trees do not have
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A volume filled by mke2fs, with attributes and times set by debugfs."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "plain").write_bytes(b"x" * 5000)
    (folder / "dir").mkdir()
    path = tmp_path / "disk.img"
    options = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "1024",
        "-I",
        "256",
        "-O",
        "ea_inode,metadata_csum",
        "-d",
        str(folder),
    ]
    subprocess.run([tool("mke2fs"), *options, str(path), "4M"], check=True, capture_output=True)
    (tmp_path / "large").write_bytes(b"v" * 1024)
    (tmp_path / "block").write_bytes(b"b" * 700)
    commands = [
        "sif plain mtime 0x7fffffff", "sif plain mtime_extra 0x00000f01", "sif plain atime 0x80000000", "sif plain ctime 0",
        "sif plain crtime 0x60000000", "sif plain crtime_extra 0x14",
        "sif plain uid 0x123456", "sif plain gid 0x10007", "sif plain mode 0104755",
        "ea_set plain user.note hello", "ea_set plain security.label s", f"ea_set -f {tmp_path}/block plain trusted.block",
        f"ea_set -f {tmp_path}/large plain user.large", "mknod null c 1 3", "mknod pipe p", "symlink link plain",
    ]  # fmt: skip
    (tmp_path / "commands").write_text("\n".join(commands))
    subprocess.run(
        [tool("debugfs"), "-w", "-f", str(tmp_path / "commands"), str(path)], check=True, capture_output=True
    )
    return path


def test_attributes_are_those_that_debugfs_set(made: Path) -> None:
    with FileDevice(made) as device:
        root = volume(device).root
        facts = root.lookup("plain").stat()
        assert (facts.mode, facts.size, facts.uid, facts.gid) == (0o104755, 5000, 0x123456, 0x10007)
        assert facts.mtime_ns == (0x7FFFFFFF + (1 << 32)) * 10**9 + 0xF00 // 4
        assert facts.atime_ns == 0x80000000 * 10**9  # debugfs moved it on by an epoch
        assert facts.ctime_ns == 0
        assert facts.birth_ns == 0x60000000 * 10**9 + 5
        attributes = root.lookup("plain").xattrs()
        assert attributes["user.note"] == b"hello"
        assert attributes["security.label"] == b"s"
        assert attributes["trusted.block"] == b"b" * 700
        assert attributes["user.large"] == b"v" * 1024
        null = root.lookup("null").stat()
        assert (stat.S_IFMT(null.mode), null.rdev) == (stat.S_IFCHR, os.makedev(1, 3))
        assert stat.S_ISFIFO(root.lookup("pipe").stat().mode)
        assert root.lookup("dir").stat().nlink == 2
        assert list(volume(device).verify()) == []


@pytest.mark.parametrize(
    "options", [["-t", "ext2", "-I", "128"], ["-t", "ext3", "-I", "256"], ["-t", "ext4", "-I", "512"]]
)
def test_a_volume_without_attributes_is_known(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    subprocess.run([tool("mke2fs"), "-q", *options, path, "8M"], check=True, capture_output=True)

    def prefixes() -> tuple[str, ...]:
        with FileDevice(path) as device:
            return volume(device).root.xattr_prefixes

    assert prefixes() == ()
    with monkeypatch.context() as patch:
        patch.setattr("imgmount.filesystems.ext.volume.MAX_SEARCHED", 1000)
        assert prefixes() == ("",)  # there is too much to look through
    for command in ("write /dev/null plain", "ea_set plain user.note hello"):
        subprocess.run([tool("debugfs"), "-w", "-R", command, path], check=True, capture_output=True)
    assert prefixes() == ("",)
    with FileDevice(path) as device:
        assert volume(device).root.lookup("plain").xattrs() == {"user.note": b"hello"}


def test_device_numbers_of_both_kinds(images: dict[str, bytes]) -> None:
    root = volume(images["ext4"]).root
    assert root.lookup("console").stat().rdev == os.makedev(5, 1)
    assert root.lookup("disk").stat().rdev == os.makedev(259, 70000)
    assert root.lookup("odd").id == root.lookup("deep").lookup("linked").id  # type: ignore[attr-defined]
    assert root.lookup("odd").stat().nlink == 2


def test_access_control_lists_are_given_as_linux_gives_them(made: Path, tmp_path: Path) -> None:
    entries = [(1, 6, None), (2, 4, 1000), (4, 4, None), (16, 6, None), (32, 0, None)]
    stored = b"\x01\0\0\0" + b"".join(
        struct.pack("<HH", *entry[:2]) if entry[2] is None else struct.pack("<HHI", *entry)
        for entry in entries
    )
    full = [(tag, bits, 0xFFFFFFFF if who is None else who) for tag, bits, who in entries]
    shown = b"\x02\0\0\0" + b"".join(struct.pack("<HHI", *entry) for entry in full)
    (tmp_path / "acl").write_bytes(shown)
    command = f"ea_set -f {tmp_path}/acl plain system.posix_acl_access"
    subprocess.run([tool("debugfs"), "-w", "-R", command, str(made)], check=True, capture_output=True)
    assert stored in made.read_bytes()
    with FileDevice(made) as device:
        assert volume(device).root.lookup("plain").xattrs()["system.posix_acl_access"] == shown


def test_extents_that_are_not_written_yet_are_holes(made: Path) -> None:
    subprocess.run(
        [tool("debugfs"), "-w", "-R", "fallocate dir 0 0", str(made)], check=False, capture_output=True
    )
    for command in ("write /dev/null later", "fallocate later 0 9", "sif later size 10000"):
        subprocess.run([tool("debugfs"), "-w", "-R", command, str(made)], check=True, capture_output=True)
    with FileDevice(made) as device:
        later = volume(device).root.lookup("later")
        assert isinstance(later, File)
        assert later.stat().allocated
        assert [run.device for run in later.open().extents(0, 10000)] == [None]


def test_names_of_a_folding_directory_are_found_in_any_case(tmp_path: Path) -> None:
    """mke2fs makes no such directory; its flag is set by debugfs."""
    folder = tmp_path / "tree"
    for name in ("folds/Stra\u00dfe", "folds/\u00c9t\u00e9", "plain/Name"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    path = tmp_path / "disk.img"
    options = ["-q", "-F", "-t", "ext4", "-O", "casefold", "-E", "encoding=utf8", "-d", str(folder)]
    subprocess.run([tool("mke2fs"), *options, str(path), "4M"], check=True, capture_output=True)
    subprocess.run(
        [tool("debugfs"), "-w", "-R", "sif folds flags 0x40080000", str(path)],
        check=True,
        capture_output=True,
    )
    with FileDevice(path) as device:
        root = volume(device).root
        folds, plain = root.lookup("folds"), root.lookup("plain")
        assert isinstance(folds, Directory)
        assert isinstance(plain, Directory)
        assert "casefold" in volume(device).info()["features"]
        ids = {name: node.id for name, node in folds.entries()}
        assert folds.lookup("STRASSE").id == ids["Stra\u00dfe"]
        assert folds.lookup("e\u0301TE\u0301").id == ids["\u00c9t\u00e9"]
        with pytest.raises(FileNotFoundError):
            plain.lookup("name")


# --- damage
# -------------------------------------------------------------------------------------------------------------------


def test_the_backup_is_used_and_named(images: dict[str, bytes]) -> None:
    assert FORMAT.probe(MemoryDevice(images["backup"])) is Match.LIKELY
    opened = volume(images["backup"])
    assert "backup" in opened.info()["superblock"]
    assert any("a superblock has the magic 0xef53" in line for line in opened.verify())


def test_a_wrong_checksum_is_reported(images: dict[str, bytes]) -> None:
    assert list(volume(images["ext4"]).verify()) == []
    wrong_label = put(images["ext4"], SUPER + 0x78, ord("F"), 1)
    assert "the superblock's checksum is wrong" in list(volume(wrong_label).verify())
    wrong_count = put(images["ext4"], 4096 + 0x0C, 77, 2)
    assert any("checksum of its descriptor" in line for line in volume(wrong_count).verify())


def test_features_that_are_not_known_are_refused_by_name(images: dict[str, bytes]) -> None:
    incompat = int.from_bytes(images["ext2"][SUPER + 0x60 : SUPER + 0x64], "little")
    for bit, name in ((0x1, "compression"), (0x8, "journal_dev"), (0x8000_0000, "incompat 0x80000000")):
        with pytest.raises(UnsupportedError, match=name):
            volume(put(images["ext2"], SUPER + 0x60, incompat | bit))


@pytest.mark.parametrize(
    ("offset", "value"), [(0x18, 7), (0x20, 0), (0x28, 0), (0x58, 100), (0x04, 0), (0x00, 0), (0x14, 5)]
)
def test_a_superblock_that_cannot_be_is_refused(offset: int, value: int, images: dict[str, bytes]) -> None:
    with pytest.raises(FormatError):
        volume(put(images["ext2"], SUPER + offset, value, 2 if offset == 0x58 else 4))


def _inode_offset(opened: ExtVolume, number: int) -> int:
    group, index = divmod(number - 1, opened.super.inodes_per_group)
    return opened.groups.inode_table(group) * opened.block_size + index * opened.super.inode_size


def test_encrypted_files_are_listed_and_refused(images: dict[str, bytes]) -> None:
    opened = volume(images["ext2"])
    folder = opened.root.lookup("deep")
    file = opened.root.lookup("block")
    link = opened.root.lookup("short-link")
    data: bytes | bytearray = images["ext2"]
    for node in (folder, file, link):
        data = put(data, _inode_offset(opened, node.id) + 0x20, 0x800)
    root = volume(data).root
    with pytest.raises(UnsupportedError, match="encrypted"):
        root.lookup("block").open()  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedError, match="encrypted"):
        root.lookup("short-link").readlink()  # type: ignore[attr-defined]
    assert [name for name, _ in root.lookup("deep").entries()] == ["YQ", "bGlua2Vk"]  # type: ignore[attr-defined]


def test_a_directory_has_one_place(images: dict[str, bytes]) -> None:
    """The innermost directory's file becomes an entry for the root: a loop."""
    data = bytearray(images["ext2"])
    opened = volume(data)
    inner = opened.root.lookup("deep").lookup("a").lookup("b").lookup("c")  # type: ignore[attr-defined]
    at = data.index(struct.pack("<IHBB4s", inner.lookup("file").id, 1000, 4, 1, b"file"))
    data[at : at + 4] = (2).to_bytes(4, "little")
    data[at + 7] = 2
    nodes = read_everything(MemoryDevice(bytes(data)))
    assert nodes < 2000
    looped = volume(data).root.lookup("deep").lookup("a").lookup("b").lookup("c").lookup("file")  # type: ignore[attr-defined]
    assert isinstance(looped, Directory)
    assert "two places" in str(looped.listing().damage)


def test_a_wrong_mode_costs_its_file_alone(images: dict[str, bytes]) -> None:
    opened = volume(images["ext4"])
    offset = _inode_offset(opened, opened.root.lookup("odd").id)
    broken = volume(put(unprotected(images["ext4"]), offset, 0x41ED, 2)).root
    with pytest.raises(FormatError, match="says otherwise"):
        broken.lookup("odd").stat()
    assert broken.lookup("block").stat().size == 4096


def complaints(data: bytes | bytearray) -> str:
    """What verify and reading everything say of a volume."""
    opened = volume(data)
    found = list(opened.verify())
    for path, node in tree_of(opened.root, found):
        try:
            node.stat()
            if isinstance(node, File):
                content = node.open()
                content.pread(0, content.size)
        except ImageError as exc:
            found.append(f"{path}: {exc}")
    return "\n".join(found)


def tree_of(root: Directory, found: list[str]) -> Iterator[tuple[str, Node]]:
    listing = root.listing()
    if listing.damage is not None:
        found.append(str(listing.damage))
    for name, node in listing.nodes.items():
        yield name, node
        if isinstance(node, Directory):
            with suppress(ImageError):
                yield from tree_of(node, found)


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A volume with an indexed directory, files in extents that need a tree, and attributes in a block."""
    folder = tmp_path_factory.mktemp("protected")
    (folder / "tree/many").mkdir(parents=True)
    for number in range(400):
        (folder / f"tree/many/a-file-with-a-longish-name-{number}").write_bytes(b"%d" % number)
    (folder / "tree/plain").write_bytes(bytes(range(256)) * 100)
    disk = folder / "disk"
    subprocess.run(
        [tool("mke2fs"), "-q", "-t", "ext4", "-b", "1024", "-d", folder / "tree", disk, "8M"],
        check=True, capture_output=True,
    )  # fmt: skip
    with (folder / "pieces").open("wb") as pieces:
        for number in range(40):
            pieces.seek(number * 4096)
            pieces.write(bytes([number]) * 1024)
    script = f"write {folder}/pieces pieces\n" + "".join(
        f"ea_set plain user.name{number} {'v' * 90}\n" for number in range(5)
    )
    subprocess.run(
        [tool("debugfs"), "-w", "-f", "-", disk], input=script.encode(), check=True, capture_output=True
    )
    subprocess.run([tool("e2fsck"), "-fyD", disk], check=False, capture_output=True)
    return disk.read_bytes()


def test_every_structure_that_has_a_checksum_is_checked(protected: bytes) -> None:
    assert not complaints(protected)
    opened = volume(protected)
    spb, block = opened.super, opened.block_size
    plain, pieces = (
        opened.inode(opened.root.lookup("plain").id),
        opened.inode(opened.root.lookup("pieces").id),
    )
    assert int.from_bytes(pieces.block[6:8], "little"), "its extents need a tree"
    extents = int.from_bytes(pieces.block[16:20], "little") * block
    many = opened.root.lookup("many")
    assert isinstance(many, Directory)
    folder = opened.content(opened.inode(many.id))
    parts = [next(iter(folder.extents(at, block))).offset for at in range(0, folder.size, block)]
    place = _inode_offset(opened, plain.number)
    descriptors = (spb.first_data_block + 1) * block
    bitmaps = [int.from_bytes(protected[descriptors + at : descriptors + at + 4], "little") for at in (0, 4)]
    changes = {
        "size of an inode": (place + 4, "inode"),
        "high half of a checksum": (place + 0x82, "inode"),
        "an extent in an inode": (place + 0x28 + 20, "inode"),
        "generation": (place + 0x64, "inode"),
        "an extent in a tree": (extents + 20, "block of extents"),
        "the index of a directory": (parts[0] + 45, "directory"),
        "a name": (parts[2] + 12, "directory"),
        "the number of an inode": (parts[2], "directory"),
        "the superblock": (SUPER + 0x78, "superblock"),
        "a bitmap of blocks": (bitmaps[0] * block + 3, "bitmap of blocks"),
        "a bitmap of inodes": (bitmaps[1] * block + 3, "bitmap of inodes"),
    }
    for what, (at, reason) in changes.items():
        damaged = bytearray(protected)
        damaged[at] ^= 1
        assert "checksum" in complaints(damaged), what
        assert reason in complaints(damaged), what
    damaged = bytearray(protected)
    damaged[parts[2] + 12] ^= 1
    lost = 400 - len(volume(damaged).root.lookup("many").listing().nodes)  # type: ignore[attr-defined]
    assert 0 < lost < 40, "damage costs its block"
    assert plain.xattr_block
    damaged = bytearray(protected)
    damaged[plain.xattr_block * block + 40] ^= 1
    with pytest.raises(ChecksumError, match="block of attributes"):
        volume(damaged).root.lookup("plain").xattrs()


def test_an_extent_tree_that_leads_to_itself_ends(images: dict[str, bytes]) -> None:
    opened = volume(images["ext4"])
    file = opened.root.lookup("odd")
    at = _inode_offset(opened, file.id)
    block = int.from_bytes(images["ext4"][at + 0x28 + 20 : at + 0x28 + 24], "little")
    root = struct.pack("<HHHHIIIHH", 0xF30A, 1, 4, 5, 0, 0, block, 0, 0)
    node = struct.pack("<HHHHIIIHH", 0xF30A, 1, 4, 4, 0, 0, block, 0, 0)
    data = unprotected(images["ext4"])
    data[at + 0x28 : at + 0x28 + len(root)] = root
    data[block * 4096 : block * 4096 + len(node)] = node
    with pytest.raises(FormatError, match="depth"):
        volume(data).root.lookup("odd").open().pread(0, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("variant", ["ext2", "ext4", "inline"])
def test_truncated_images_fail_where_they_end(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    for part in range(10):
        read_everything(MemoryDevice(data[: len(data) * part // 10]))


@pytest.mark.parametrize("variant", ["ext2", "ext4", "inline"])
def test_random_damage_costs_its_place_alone(variant: str, images: dict[str, bytes]) -> None:
    data = images[variant]
    rng = random.Random(4)
    opened = volume(data)
    places = [SUPER, 4096, *(_inode_offset(opened, node.id) for _, node in tree(opened.root))]
    for _ in range(70):
        damaged = bytearray(data)
        for _ in range(8):
            at = rng.choice(places) + rng.randrange(256)
            damaged[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        read_everything(MemoryDevice(bytes(damaged)))
