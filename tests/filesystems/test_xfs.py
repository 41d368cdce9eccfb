"""XFS beyond its fixtures: extents, attributes, refusals by name, damage, images of others."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from conformance import manifest, tree
from counting_device import CountingDevice
from filesystems.inode_facts import listed, visit
from fixture import all_fixtures, unpack
from helpers import FIXTURES, context, image, tool
from imgmount.chain.open import open_image
from imgmount.codecs.crc32c import crc32c
from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.node import Directory, File, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.xfs import FORMAT
from imgmount.filesystems.xfs.volume import XfsVolume
from imgmount.registry import matches
from imgmount.sources.file import FileDevice

DI_FLAGS = 0x5A  # in an inode
FOLDER = FIXTURES / "filesystems/xfs"


@pytest.fixture(scope="module", params=["v4", "v5"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("xfs") / "image"
    unpack(FOLDER / request.param / f"{request.param}.img.xz", path)
    return path.read_bytes()


class Patched(BlockDevice):
    """``data`` with other bytes in places, without a copy of it."""

    def __init__(self, data: bytes, changes: dict[int, int]) -> None:
        self._data = data
        self._changes = changes
        self.size = len(data)

    def _pread(self, offset: int, size: int) -> bytes:
        read = bytearray(self._data[offset : offset + size])
        for at, value in self._changes.items():
            if offset <= at < offset + size:
                read[at - offset] = value
        return bytes(read)


def volume(device: bytes | BlockDevice) -> XfsVolume:
    opened = FORMAT.open(MemoryDevice(device) if isinstance(device, bytes) else device, context())
    assert isinstance(opened, XfsVolume)
    return opened


def patch(at: int, value: bytes) -> dict[int, int]:
    return {at + index: byte for index, byte in enumerate(value)}


def sealed(data: bytes, changes: dict[int, int], start: int, size: int, at: int) -> dict[int, int]:
    """``changes``, and the checksum at ``at`` of the ``size`` bytes at ``start`` that is right for them."""
    changed = bytearray(Patched(data, changes).pread(start, size))
    changed[at : at + 4] = bytes(4)
    return changes | patch(start + at, crc32c(bytes(changed)).to_bytes(4, "little"))


def sealed_super(data: bytes, changes: dict[int, int]) -> dict[int, int]:
    return sealed(data, changes, 0, 512, 224)


def without_copies(data: bytes, changes: dict[int, int]) -> Patched:
    """A volume whose first superblock alone is there."""
    spb = volume(data).super
    size = spb.group_blocks * spb.block_size
    wiped = [patch(group * size, bytes(4)) for group in range(1, spb.groups)]
    return Patched(data, {at: byte for change in (*wiped, changes) for at, byte in change.items()})


ALL = {fixture.variant: fixture for fixture in all_fixtures() if fixture.format == "xfs"}
VARIANTS = {name: fixture for name, fixture in ALL.items() if name.startswith("linux")}
DIRTY = {name: fixture for name, fixture in ALL.items() if name.startswith("dirty")}
TOLD = VARIANTS | DIRTY


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The volumes that Linux filled."""
    folder = tmp_path_factory.mktemp("linux")
    found = {}
    for name, fixture in VARIANTS.items():
        (folder / name).mkdir()
        found[name] = fixture.image_path(folder / name).read_bytes()
    return found


@pytest.mark.parametrize("variant", TOLD)
def test_facts_and_attributes_are_those_that_linux_tells(variant: str, tmp_path: Path) -> None:
    lines = [
        json.loads(line) for line in (TOLD[variant].expected.parent / "told.jsonl").read_text().splitlines()
    ]
    expected = {}
    for name, mode, size, uid, gid, links, time, major, minor, attributes in lines:
        attributes.pop("trusted.SGI_ACL_FILE", None)  # Linux shows an access control list twice
        rdev = os.makedev(major, minor) if mode & 0xF000 in (0x2000, 0x6000) else 0
        expected[name] = ((mode, size, uid, gid, links, time, rdev), attributes)
    found = {}
    for name, node in tree(volume(TOLD[variant].image_path(tmp_path).read_bytes()).root):
        facts = node.stat()
        size = 0 if isinstance(node, Directory) else facts.size
        told = (facts.mode, size, facts.uid, facts.gid, facts.nlink, facts.mtime_ns // 10**9, facts.rdev)
        hashes = {key: hashlib.sha256(value).hexdigest() for key, value in node.xattrs().items()}
        found[name] = (told, {} if isinstance(node, Symlink) else hashes)
    assert found == expected
    assert variant in DIRTY or "latin \udce9" in found


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_linux_left_is_sound(variant: str, filled: dict[str, bytes]) -> None:
    opened = volume(filled[variant])
    assert list(opened.verify()) == []
    assert opened.info()["version"] == ("4" if variant == "linux-v4" else "5")


@pytest.mark.parametrize("variant", ALL)
def test_a_log_that_waits_is_named(variant: str, tmp_path: Path) -> None:
    path = ALL[variant].image_path(tmp_path)
    told = subprocess.run(
        [tool("xfs_logprint"), "-t", str(path)], check=True, capture_output=True, text=True
    ).stdout
    dirty = "state: <DIRTY>" in told
    assert dirty == (variant in DIRTY)
    assert dirty != ("state: <CLEAN>" in told)
    with FileDevice(path) as device:
        opened = volume(device)
        assert opened.info()["log"].startswith("replayed in memory" if dirty else "clean")
        assert any("its log is replayed" in line for line in opened.verify()) == dirty


@pytest.mark.parametrize(
    ("place", "value"), [(48, bytes(8)), (96, bytes(4)), (48, b"\xff" * 8), (96, b"\xff" * 4)]
)
def test_a_log_that_is_elsewhere_or_nowhere(place: int, value: bytes, data: bytes) -> None:
    opened = volume(Patched(data, sealed_super(data, patch(place, value))))
    assert opened.info()["log"] not in ("clean", "")
    assert opened.root.lookup("README")


@pytest.mark.parametrize("variant", VARIANTS)
def test_bytes_stay_in_the_image(variant: str, filled: dict[str, bytes]) -> None:
    device = MemoryDevice(filled[variant])
    root = volume(device).root
    for name, pieces in (("one", 80), ("holes", 9), ("size 30001", 1)):
        node = root.lookup(name)
        assert isinstance(node, File)
        content = node.open()
        runs = list(content.extents(0, content.size))
        assert {run.device for run in runs} == ({device} if pieces == 1 else {None, device})
        assert len(runs) == 1 if pieces == 1 else len(runs) >= pieces
    assert root.lookup("one").stat().mtime_ns == 1600000000123456789


def test_shared_blocks_are_read_by_both(filled: dict[str, bytes]) -> None:
    root = volume(filled["linux-v5"]).root
    one, clone = root.lookup("one"), root.lookup("clone")  # of which every second block was taken away later
    assert isinstance(one, File)
    assert isinstance(clone, File)
    first, second = one.open(), clone.open()
    assert next(first.extents(0, 4096)).offset == next(second.extents(0, 4096)).offset
    assert second.pread(7 * 4096, 8192) == bytes(8192)


def test_files_are_extents_and_holes(data: bytes) -> None:
    opened = volume(data)
    node = opened.root.lookup("pieces.bin")
    assert isinstance(node, File)
    content = node.open()
    runs = [(run.length, run.device is None) for run in content.extents(0, content.size)]
    assert [hole for _, hole in runs if not hole] == [False] * 3
    assert {run.device for run in content.extents(0, content.size)} == {None, opened.device}


def test_extended_attributes(data: bytes) -> None:
    root = volume(data).root
    assert root.lookup("README").xattrs() == {"user.note": b"v" * 10, "trusted.large": b"v" * 3000}
    assert root.xattr_prefixes == ("",)


@pytest.mark.parametrize("variant", DIRTY)
@pytest.mark.parametrize("options", [{}, {"no-journal": "yes"}])
def test_attributes_that_are_in_the_log_alone_are_known(
    variant: str, options: dict[str, str], tmp_path: Path
) -> None:
    data = MemoryDevice(DIRTY[variant].image_path(tmp_path).read_bytes())
    assert FORMAT.open(data, context(extra=options)).root.xattr_prefixes == ("",)


def test_facts(data: bytes) -> None:
    opened = volume(data)
    assert opened.label in ("xfs_four", "xfs_five")
    assert opened.info()["uuid"].startswith("11111111-2222-3333-4444-")
    null = opened.root.lookup("null").stat()
    assert (null.mode, null.rdev) == (0o020666, 0x103)
    stat = opened.root.lookup("README").stat()
    assert (stat.mode, stat.uid, stat.gid, stat.nlink) == (0o100640, 1000, 100, 1)


def test_a_realtime_file_is_refused_by_name(data: bytes) -> None:
    opened = volume(data)
    number = opened.root.lookup("odd.bin").id
    inode = opened.super.inode_offset(number)
    changes = sealed(data, patch(inode + DI_FLAGS, b"\0\1"), inode, opened.super.inode_size, 100)
    device = Patched(data, changes | sealed_super(data, patch(16, struct.pack(">Q", 100))))
    node = volume(device).root.lookup("odd.bin")
    assert isinstance(node, File)
    with pytest.raises(UnsupportedError, match="realtime"):
        node.open()
    other = volume(device).root.lookup("README")
    assert isinstance(other, File)
    assert other.open().pread(0, 9) == b"An XFS vo"


@pytest.mark.parametrize(
    ("at", "value", "error", "words"),
    [
        (4, bytes(4), FormatError, "block size 0 is not"),
        (4, b"\0\0\x10\1", FormatError, "block size 4097 is not a power of two from 512 to 64 KiB"),
        (100, b"\xb4\xa6", UnsupportedError, "version 6"),
        (8, bytes(8), FormatError, "number of blocks 0 is not"),
    ],
)
def test_a_superblock_that_makes_no_sense(
    data: bytes, at: int, value: bytes, error: type[ImageError], words: str
) -> None:
    with pytest.raises(error, match=words):
        volume(without_copies(data, patch(at, value)))


def test_features_of_the_future_are_refused(data: bytes) -> None:
    device = Patched(data, patch(100, b"\xb4\xa5") | patch(216, b"\0\0\2\0"))
    with pytest.raises(UnsupportedError, match="incompatible features 0x200"):
        volume(device)
    assert FORMAT.probe(device)


def survey(device: BlockDevice) -> None:
    """Read everything; only an ``ImageError`` may come of it."""
    try:
        levels: list[Directory] = [volume(device).root]
    except ImageError:
        return
    for _ in range(100):
        if not levels:
            break
        for node in list(levels.pop().listing().nodes.values())[:100]:
            if isinstance(node, Directory):
                levels.append(node)
            with suppress(ImageError):
                visit(node)


def test_random_damage_never_escapes_as_another_error(data: bytes) -> None:
    rng = random.Random(5)
    magics = (b"IN\x81\xa0", b"IN\x41\xe8", b"XD2D", b"XDB3", b"XDD3")
    used = [at for at in range(0, len(data), 512) if data[at : at + 4] in magics]
    for _ in range(100):
        changes = {}
        for _ in range(rng.choice((1, 8, 60))):
            at = rng.choice(used) + rng.randrange(512) if rng.random() < 0.9 else rng.randrange(512)
            changes[at] = rng.choice((0, 255, rng.randrange(256)))
        survey(Patched(data, changes))


def test_truncation(data: bytes) -> None:
    rng = random.Random(2)
    for cut in [0, 4, 511, 512, 4096, *(rng.randrange(1 << 20) for _ in range(20))]:
        survey(MemoryDevice(data[:cut]))


def test_a_directory_of_thousands(tmp_path: Path) -> None:
    proto, disk, source = tmp_path / "proto", tmp_path / "disk", tmp_path / "source"
    source.write_bytes(b"x")
    names = [f"file_{number:05}_{'y' * (number % 60)}" for number in range(3000)]
    proto.write_text(
        "\n".join(["-", "0 0", "d--755 0 0", *(f"{name} ---644 0 0 {source}" for name in names), "$"]) + "\n"
    )
    command = [tool("mkfs.xfs"), "-q", "-f", "-d", f"name={disk},file=1,size=300m", "-p", str(proto)]
    subprocess.run(command, check=True, capture_output=True)
    with open_image(disk) as opened:
        root = opened.volumes[0].filesystem.root
        assert sorted(name for name, _ in root.entries()) == sorted(names)
        assert root.xattr_prefixes == ()  # no file has an attribute


def test_names_of_a_volume_without_case_are_found_in_any_case(tmp_path: Path) -> None:
    proto, disk = tmp_path / "proto", tmp_path / "disk"
    (tmp_path / "source").write_bytes(b"x")
    proto.write_text(f"-\n0 0\nd--755 0 0\nNam\u00c9 ---644 0 0 {tmp_path}/source\n$\n")
    where = ["-d", f"name={disk},file=1,size=300m", "-p", str(proto)]
    command = [tool("mkfs.xfs"), "-q", "-f", "-m", "crc=0", "-n", "version=ci", *where]
    subprocess.run(command, check=True, capture_output=True)
    with FileDevice(disk) as device:
        root = volume(device).root
        assert root.lookup("nAM\u00c9").stat().size == 1
        with pytest.raises(FileNotFoundError):
            root.lookup("nam\u00e9")


def test_groups_whose_size_is_not_a_power_of_two(tmp_path: Path) -> None:
    proto, disk = tmp_path / "proto", tmp_path / "disk"
    lines, contents = ["-", "0 0", "d--755 0 0"], {}
    for number in range(12):  # each directory goes to another group
        contents[f"d{number}/f"] = random.Random(number).randbytes(50_000)
        (tmp_path / f"f{number}").write_bytes(contents[f"d{number}/f"])
        lines += [f"d{number} d--755 0 0", f"f ---644 0 0 {tmp_path}/f{number}", "$"]
    proto.write_text("\n".join([*lines, "$"]) + "\n")
    command = [tool("mkfs.xfs"), "-q", "-f", "-d", f"name={disk},file=1,size=300m", "-p", str(proto)]
    subprocess.run(command, check=True, capture_output=True)
    with FileDevice(disk) as device:
        opened = volume(device)
        group_bits = opened.super.inode_shift + opened.super.group_shift
        assert opened.super.group_blocks == 19200
        nodes = {path: node for path, node in tree(opened.root) if isinstance(node, File)}
        mapped = {path: node.open().pread(0, 1 << 20) for path, node in nodes.items()}
        assert mapped == contents
        assert {node.id >> group_bits for node in nodes.values()} == {0, 1, 2, 3}
        assert {run.device for node in nodes.values() for run in node.open().extents(0, 1 << 20)} == {device}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_field_of_an_inode_may_lie(variant: str, filled: dict[str, bytes]) -> None:
    data = filled[variant]
    opened = volume(data)
    for name in ("one", "two", "many", "block", "few", "link 1023", "holes"):
        at = opened.super.inode_offset(opened.root.lookup(name).id)
        for offset in (*range(0, 200, 2), *range(200, opened.super.inode_size, 16)):
            for value in (b"\0\0", b"\x7f\xff", b"\xff\xff"):
                with suppress(ImageError):
                    visit(volume(Patched(data, patch(at + offset, value))).root.lookup(name))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_field_of_the_superblock_may_lie(variant: str, filled: dict[str, bytes]) -> None:
    for at in range(4, 256, 2):
        for value in (b"\0\0", b"\0\1", b"\x7f\xff", b"\xff\xff"):
            with suppress(ImageError):
                opened = volume(Patched(filled[variant], patch(at, value)))
                opened.root.listing()
                list(islice(opened.verify(), 20))


@pytest.mark.parametrize("variant", VARIANTS)
def test_damage_in_blocks_of_names_and_attributes(variant: str, filled: dict[str, bytes]) -> None:
    """Directory blocks, leaves and trees of attributes, trees of extents, long links and values: each field of their heads."""
    data = filled[variant]
    magics = (b"XD2D", b"XD2B", b"XDD3", b"XDB3", b"BMAP", b"BMA3", b"XSLM", b"XARM")
    places = [at for at in range(0, len(data), 512) if data[at : at + 4] in magics]
    leaves = (b"\xfb\xee", b"\x3b\xee", b"\xfe\xbe", b"\x3e\xbe")
    places += [at for at in range(0, len(data), 512) if data[at + 8 : at + 10] in leaves]
    rng = random.Random(8)
    names = ("one", "two", "many", "block", "link 1023", "holes")
    for place in rng.sample(places, min(len(places), 30)):
        for offset in rng.sample(range(0, 160, 2), 12):
            device = Patched(data, patch(place + offset, rng.choice((b"\0\0", b"\xff\xff", b"\0\1"))))
            root = volume(device).root
            for name in names:
                with suppress(ImageError, FileNotFoundError):
                    visit(root.lookup(name))


@pytest.mark.parametrize("wiped", [512, 8192, 1 << 20])
def test_a_wiped_superblock_is_replaced_by_a_copy_which_is_told(wiped: int, filled: dict[str, bytes]) -> None:
    for data in filled.values():
        spb = volume(data).super
        damaged = bytes(wiped) + data[wiped:]
        assert [(match, fmt.name) for match, fmt in matches(FilesystemFormat, MemoryDevice(damaged))] == [
            (Match.LIKELY, "xfs")
        ]
        opened = volume(damaged)
        place = spb.group_blocks * spb.block_size
        assert (opened.super.root, opened.super.blocks, opened.super.offset) == (spb.root, spb.blocks, place)
        assert f"{place:#x}" in opened.info()["superblock"]
        assert f"the superblock is damaged, its copy at {place:#x} is used" in list(opened.verify())
        if wiped <= 8192:
            assert len(listed(opened.root)) == len(listed(volume(data).root))


def test_every_structure_that_has_a_checksum_is_checked(filled: dict[str, bytes]) -> None:
    data = filled["linux-v5"]
    spb = volume(data).super
    root = volume(data).root
    many = root.lookup("many")
    for name, offset, reason in (("one", 60, "inode"), ("one", 100, "inode"), ("holes", 176 + 9, "inode")):
        at = spb.inode_offset(root.lookup(name).id) + offset
        broken = volume(Patched(data, {at: data[at] ^ 1})).root.lookup(name)
        with pytest.raises(ChecksumError, match=f"the checksum of {reason}"):
            broken.stat()
    places = {
        magic: [at for at in range(0, len(data), 512) if data[at : at + 4] == magic]
        for magic in (b"XDD3", b"XDB3", b"BMA3")
    }
    for magic, found in places.items():
        assert found, magic
        for at in found:
            said = complaints(Patched(data, {at + 70: data[at + 70] ^ 1}))
            assert "checksum" in said or not said, "a block that is no longer in use"
    said = "".join(complaints(Patched(data, {at + 70: data[at + 70] ^ 1})) for at in places[b"XDD3"])
    assert "of a directory is wrong" in said
    said = "".join(complaints(Patched(data, {at + 70: data[at + 70] ^ 1})) for at in places[b"BMA3"])
    assert "a block of extents is wrong" in said
    assert isinstance(many, Directory)


def complaints(device: BlockDevice) -> str:
    """What reading everything says of a volume."""
    found: list[str] = []
    pending: list[Directory] = [volume(device).root]
    while pending:
        listing = pending.pop().listing()
        found += [str(listing.damage)] if listing.damage else []
        for node in listing.nodes.values():
            if isinstance(node, Directory):
                pending.append(node)
            try:
                visit(node)
            except ImageError as exc:
                found.append(str(exc))
    return "\n".join(found)


def test_a_checksum_that_is_wrong_is_reported(filled: dict[str, bytes]) -> None:
    data = filled["linux-v5"]
    spb = volume(data).super
    assert "the superblock's checksum is wrong" in list(
        volume(without_copies(data, patch(0x6C, b"X"))).verify()
    )
    group = spb.group_blocks * spb.block_size
    lines = list(volume(Patched(data, patch(group + spb.sector_size + 60, b"\xff\xff"))).verify())
    assert [line[:8] for line in lines] == ["group 1:"]
    assert "checksum" in lines[0]
    assert "damaged" in "".join(
        volume(Patched(data, patch(group + 2 * spb.sector_size, b"\xff\xff"))).verify()
    )
    assert any(
        "repair" in line
        for line in volume(Patched(data, sealed_super(data, patch(219, bytes([data[219] | 0x10]))))).verify()
    )


def test_a_long_link_without_its_header_is_read_and_with_a_wrong_one_is_refused(
    filled: dict[str, bytes],
) -> None:
    data = filled["linux-v5"]
    at = data.index(b"XSLM")
    for changes in (patch(at + 4, b"\0\0\0\1"), patch(at + 8, b"\0\xff\xff\xff"), patch(at + 8, bytes(4))):
        link = volume(Patched(data, changes)).root.lookup("link 1023")
        assert isinstance(link, Symlink)
        with pytest.raises(FormatError, match=r"long link|behind the magic"):
            link.readlink()


def test_a_link_is_not_read_beyond_the_blocks_that_it_needs(filled: dict[str, bytes]) -> None:
    data = filled["linux-v5"]
    spb = volume(data).super
    inode = spb.inode_offset(volume(data).root.lookup("link 1023").id)
    last = int.from_bytes(data[inode + 184 : inode + 192], "big")  # of its extent: where, and how many blocks
    assert last & 0x1F_FFFF == 1
    changes = patch(inode + 184, (last + 499).to_bytes(8, "big"))
    counted = CountingDevice(Patched(data, sealed(data, changes, inode, spb.inode_size, 100)))
    link = volume(counted).root.lookup("link 1023")
    assert isinstance(link, Symlink)
    before = counted.bytes
    assert len(link.readlink()) == 1023
    assert counted.bytes - before < 10 * spb.block_size


def test_a_directory_has_one_place(filled: dict[str, bytes]) -> None:
    """``deep/a/b`` is told to be ``deep``: a directory inside itself."""
    data = filled["linux-v4"]
    root = volume(data).root
    deep = root.lookup("deep")
    assert isinstance(deep, Directory)
    inner = deep.lookup("a")
    assert isinstance(inner, Directory)
    at = volume(data).super.inode_offset(inner.id)
    record = data[at : at + 256]
    number = inner.lookup("b").id.to_bytes(4, "big")
    place = at + record.index(number, 100 + 6)
    looped = volume(Patched(data, patch(place, deep.id.to_bytes(4, "big")))).root
    found = [node.listing().damage for node in listed(looped) if isinstance(node, Directory)]
    assert any("two places" in str(damage) for damage in found)


def test_the_volume_of_util_linux() -> None:
    with open_image(image("xfs/util-linux__util-linux__xfs.img.xz")) as opened:
        assert str(opened) == "file > xz > xfs"
        assert opened.volumes[0].filesystem.label == "test-xfs"
        assert list(opened.volumes[0].filesystem.root.entries()) == []


def test_the_disk_of_discutils(tmp_path: Path) -> None:
    lines = image("manifests/vhdx__LTRData__DiscUtils__xfs.vhdx.gz.special.sha256").read_text().splitlines()
    packed, disk = tmp_path / "xfs.vhdx", tmp_path / "disk"
    with gzip.open(image("vhdx/LTRData__DiscUtils__xfs.vhdx.gz")) as source, packed.open("wb") as out:
        shutil.copyfileobj(source, out)
    subprocess.run([tool("qemu-img"), "convert", "-O", "raw", packed, disk], check=True)
    with open_image(disk) as opened:
        (root,) = [volume.filesystem.root for volume in opened.volumes if volume.problem is None]
        found = manifest(root)
    facts = [line.split("  ", 2) for line in lines if not line.startswith("#")]
    assert len(facts) > 4000
    for digest, size, path in facts:
        assert found[path] == (int(size), digest), path


def test_the_time_of_creation_is_that_which_xfs_db_reads(data: bytes, tmp_path: Path) -> None:
    opened = volume(data)
    nodes = [node for _, node in islice(tree(opened.root), 5)]
    if opened.super.version == 4:
        assert {node.stat().birth_ns for node in nodes} == {None}
        return
    disk = tmp_path / "disk"
    disk.write_bytes(data)
    for node in nodes:
        command = [tool("xfs_db"), "-r", "-c", f"inode {node.id}", "-c", "p v3.crtime", str(disk)]
        text = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"TZ": "UTC"}
        ).stdout
        seconds, nanoseconds = (line.partition(" = ")[2] for line in text.splitlines())
        moment = datetime.strptime(f"{seconds} +0000", "%a %b %d %H:%M:%S %Y %z")
        assert node.stat().birth_ns == int(moment.timestamp()) * 10**9 + int(nanoseconds)
