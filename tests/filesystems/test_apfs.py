"""APFS beyond its fixtures: checkpoints, names, forks, compressed files, snapshots, images of others."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import random
import subprocess
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance import check_device, manifest, tree
from counting_device import CountingDevice
from families.apple.compressed import IN_FORK, INLINE, compressed
from filesystems.apfs_containers import (
    BLOCK,
    COMPRESSED,
    DATALESS,
    FIRMLINK,
    blocks_of,
    container,
    find,
    folder,
    image,
    item,
    many,
    opened,
    problems,
    read,
    sealed,
    writer,
)
from helpers import image as third_party
from helpers import tool
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.format import Options
from imgmount.core.holes import next_data, next_hole
from imgmount.core.node import Directory, File, Symlink
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.apfs import FORMAT
from imgmount.filesystems.apfs.btree import Node, tree_order
from imgmount.filesystems.apfs.filesystem import ApfsFilesystem
from imgmount.filesystems.apfs.nodes import ApfsDirectory, ApfsFile
from imgmount.filesystems.apfs.records import Attribute
from imgmount.filesystems.apfs.volume import Volume
from imgmount.sources.file import FileDevice

rng = random.Random(31)
GROUP = bytes(range(16))
LIBRARY = threading.Lock()  # libfsapfs keeps state that threads would share


def libfsapfs(path: Path) -> dict[str, tuple[int, str] | str]:
    """The tree of the first volume as libfsapfs has it."""
    pyfsapfs: Any = pytest.importorskip("pyfsapfs")
    found: dict[str, tuple[int, str] | str] = {}
    with LIBRARY:
        opened_container = pyfsapfs.container()
        opened_container.open(str(path))
        pending = [("", opened_container.get_volume(0).get_root_directory())]
        while pending:
            prefix, here = pending.pop()
            for entry in (here.get_sub_file_entry(at) for at in range(here.number_of_sub_file_entries)):
                name, kind = prefix + unicodedata.normalize("NFC", entry.name), entry.file_mode >> 12
                if kind == 4:
                    found[name] = "/"
                    pending.append((name + "/", entry))
                elif kind == 10:
                    found[name] = f"-> {entry.symbolic_link_target}"
                else:
                    data = entry.read_buffer_at_offset(entry.size, 0) if entry.size else b""
                    found[name] = entry.size, hashlib.sha256(data).hexdigest()
    return found


@pytest.mark.parametrize("name", ["log2timeline__dfvfs__apfs.raw", "util-linux__util-linux__apfs.img.xz"])
def test_images_of_macos_are_read_as_libfsapfs_does(name: str, tmp_path: Path) -> None:
    path = third_party(f"apfs/{name}")
    if path.suffix == ".xz":
        unpacked = tmp_path / "image"
        unpacked.write_bytes(lzma.decompress(path.read_bytes()))
        path = unpacked
    with FileDevice(path) as device:
        filesystem = opened(device)
        assert manifest(filesystem.root) == libfsapfs(path)
        assert problems(filesystem) == []


def test_a_volume_of_twenty_thousand_files(tmp_path: Path) -> None:
    items = []
    for top in range(100):
        items.append(folder(f"folder{top:02}"))
        items += [item(f"folder{top:02}/file{n:03}", b"%d" % n * 9 if n < 20 else None) for n in range(199)]
    data = bytes(image(*items))
    path = tmp_path / "image"
    path.write_bytes(data)
    device = CountingDevice(MemoryDevice(data))
    filesystem = opened(device)
    root = list(filesystem.root.entries())
    assert len(root) == 100
    first = root[0][1]
    assert isinstance(first, Directory)
    assert all(node.stat().nlink for _, node in first.entries())
    assert device.bytes <= 128 << 10
    found = manifest(filesystem.root)
    assert len(found) == 20_000
    assert found == libfsapfs(path)


def test_plain_files_are_runs_of_the_device_and_holes_are_holes() -> None:
    data, late = rng.randbytes(3 * BLOCK), rng.randbytes(BLOCK)
    plain, sparse = item("plain", data), item("sparse", runs=[(0, data), (9, late)], size=99_999)
    gaps = item("gaps", runs=[(0, data), (9, late)], size=99_999, gaps=True)
    scattered = item("scattered", data * 3, scatter=1)
    device = MemoryDevice(bytes(image(plain, sparse, gaps, scattered)))
    filesystem = opened(device)
    (run,) = opened_file(filesystem, "plain").extents(0, len(data))
    assert run.device is device
    assert len(list(opened_file(filesystem, "scattered").extents(0, 9 * BLOCK))) == 9
    expected = data + bytes(6 * BLOCK) + late
    for name in ("sparse", "gaps"):
        content = opened_file(filesystem, name)
        check_device(content, expected.ljust(99_999, b"\0"))
        assert [run.device is None for run in content.extents(0, content.size)] == [False, True, False, True]
        assert (next_hole(content, 0), next_data(content, 3 * BLOCK)) == (3 * BLOCK, 9 * BLOCK)
        assert find(filesystem, name).stat().allocated == 4 * BLOCK
    assert problems(filesystem) == []


def opened_file(filesystem: ApfsFilesystem, path: str) -> BlockDevice:
    node = find(filesystem, path)
    assert isinstance(node, File)
    return node.open()


@pytest.mark.parametrize("kind", [*INLINE, *IN_FORK])
def test_compressed_files(kind: int) -> None:
    if kind in (7, 8, 11, 12):
        pytest.importorskip("lzfse")
    plain = b"".join(b"line %d of a text that repeats\n" % n for n in range(40 if kind in INLINE else 30_000))
    attribute, fork = compressed(kind, plain)
    xattrs = {"com.apple.decmpfs": attribute, "com.example.other": b"x"}
    if fork:
        xattrs["com.apple.ResourceFork"] = fork
    filesystem = opened(image(item("text", xattrs=xattrs, bsd_flags=COMPRESSED), item("fork", xattrs=xattrs)))
    check_device(opened_file(filesystem, "text"), plain)  # 300 reads, eight threads
    node = find(filesystem, "text")
    assert node.stat().size == len(plain)
    assert dict(node.xattrs()) == {"user.com.example.other": b"x"}
    assert read(filesystem, "fork") == b""  # without the flag it is a file that has these attributes
    assert bool(find(filesystem, "fork").stat().size) is False


def test_compressed_files_that_are_not_are_refused_by_name() -> None:
    store = {"com.apple.decmpfs": b"fpmc" + (5).to_bytes(4, "little") + (9).to_bytes(8, "little")}
    filesystem = opened(
        image(
            item("bare", bsd_flags=COMPRESSED),
            item("store", xattrs=store, bsd_flags=COMPRESSED),
            item("cloud", b"x", bsd_flags=DATALESS),
            item("cut", xattrs={"com.apple.decmpfs": b"fpmc"}, bsd_flags=COMPRESSED),
        )
    )
    with pytest.raises(FormatError, match="does not say how"):
        read(filesystem, "bare")
    with pytest.raises(UnsupportedError, match="type 0x5"):
        read(filesystem, "store")
    with pytest.raises(UnsupportedError, match="iCloud"):
        read(filesystem, "cloud")
    with pytest.raises(FormatError, match="an attribute of 4 bytes"):
        read(filesystem, "cut")
    assert find(filesystem, "store").stat().size == 9
    assert find(filesystem, "cut").stat().uid == 501


def test_attributes_and_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, large, info = rng.randbytes(70_000), rng.randbytes(9_000), b"TEXTttxt" + bytes(24)
    items = (
        item("large", b"d", xattrs={"com.apple.ResourceFork": fork, "com.example.large": large}),
        item("small", b"d", xattrs={"com.apple.ResourceFork": fork[:99]}, finder=info),
        item("stored", b"d", xattrs={"com.apple.FinderInfo": info}),
    )
    filesystem = opened(image(*items))
    assert dict(find(filesystem, "large").xattrs()) == {"user.com.example.large": large}
    assert dict(find(filesystem, "small").xattrs()) == {
        "user.com.apple.ResourceFork": fork[:99],
        "user.com.apple.FinderInfo": info,
    }
    assert dict(find(filesystem, "stored").xattrs()) == {"user.com.apple.FinderInfo": info}
    searched: list[int] = []
    attributes = Volume.attributes

    def counted(volume: Volume, number: int) -> Iterator[Attribute]:
        searched.append(number)
        return attributes(volume, number)

    monkeypatch.setattr(Volume, "attributes", counted)
    node = find(filesystem, "large")
    assert node.xattrs()
    assert len(searched) == 1
    assert isinstance(node, File)
    check_device(node.streams()["rsrc"].open(), fork)
    beside = opened(image(*items), forks="appledouble")
    assert {"._large", "._small", "._stored"} <= {name for name, _ in beside.root.entries()}


def test_names_are_composed_and_found_in_both_forms() -> None:
    stored = unicodedata.normalize("NFD", "Ünïcødé")
    data = image(item(stored, b"x"), item("Icon\r", b"icon"), item("a:b", b"colon"))
    filesystem = opened(data)
    assert {name for name, _ in filesystem.root.entries()} == {"Ünïcødé", "Icon␍", "a:b"}
    for name in (stored, "Ünïcødé", "ÜNÏCØDÉ", stored.upper()):
        assert read(filesystem, name) == b"x"
    assert {name for name, _ in opened(data, names="stored").root.entries()} == {stored, "Icon\r", "a:b"}


@pytest.mark.parametrize("incompat", [0, 8])
def test_two_names_that_differ_in_case(incompat: int) -> None:
    filesystem = opened(image(item("name", b"small"), item("NAME", b"large"), incompat=incompat))
    assert (read(filesystem, "name"), read(filesystem, "NAME")) == (b"small", b"large")
    with pytest.raises(FileNotFoundError):
        filesystem.root.lookup("Name")


def test_what_stat_says() -> None:
    before = (1 << 64) - 1_500_000_000
    filesystem = opened(
        image(
            folder("dir"),
            item("dir/a", b"12345", times=before),
            item("hard", hard="dir/a"),
            item("null", mode=0o20666, rdev=3 << 24 | 2),
            item("link", mode=0o120755, link="dir/a"),
        )
    )
    stat = find(filesystem, "hard").stat()
    assert (stat.size, stat.nlink, stat.uid, stat.gid, stat.mtime_ns) == (5, 2, 501, 20, -1_500_000_000)
    assert find(filesystem, "hard").id == find(filesystem, "dir/a").id
    assert find(filesystem, "null").stat().rdev == 3 << 8 | 2
    link = find(filesystem, "link")
    assert isinstance(link, Symlink)
    assert (link.readlink(), link.stat().size) == ("dir/a", 5)
    assert find(filesystem, "dir").stat().nlink == 3


def newest_checkpoint(data: bytearray) -> int:
    xids = {
        block: int.from_bytes(data[block * BLOCK + 16 :][:8], "little") for block in blocks_of(data, 1)[1:]
    }
    return max(xids, key=lambda block: xids[block])


def test_the_newest_sound_checkpoint_is_shown() -> None:
    data = image(item("a", b"x"))
    assert opened(data).info()["checkpoint"] == "10, block 0 has 9"
    torn = bytearray(data)
    torn[newest_checkpoint(data) * BLOCK + 0x800] ^= 1
    filesystem = opened(torn)
    assert filesystem.info()["checkpoint"] == "9"
    assert read(filesystem, "a") == b"x"
    for block in blocks_of(data, 1)[1:]:
        torn[block * BLOCK + 0x800] ^= 2
    assert read(opened(torn), "a") == b"x"  # block 0 is left
    torn[0x800] ^= 1
    with pytest.raises(ChecksumError, match="neither a checkpoint nor"):
        opened(torn)


def test_block_zero_may_be_damaged_beside_sound_checkpoints() -> None:
    data = image(item("a", b"x"))
    data[0x900] ^= 1
    filesystem = opened(data)
    assert read(filesystem, "a") == b"x"
    assert problems(filesystem) == ["the checksum of the superblock in block 0 is wrong"]


@pytest.mark.parametrize("kept", [0, 0x1000 - 4])
def test_a_container_whose_first_block_is_lost(kept: int, tmp_path: Path) -> None:
    data = image(item("a", b"x"))
    data[: BLOCK - kept] = bytes(BLOCK - kept)
    data[0x24:0x28] = b"\0\0\2\0"
    path = tmp_path / "image"
    path.write_bytes(data)
    with open_image(path) as opened_image:
        (volume,) = opened_image.volumes
        filesystem = volume.filesystem
        assert isinstance(filesystem, ApfsFilesystem)
        assert read(filesystem, "a") == b"x"
        assert problems(filesystem) == ["block 0 has no superblock"]


def test_a_block_size_in_a_damaged_first_block_is_not_believed() -> None:
    data = image(item("a", b"x"))
    data[0x24:0x28] = (8192).to_bytes(4, "little")
    filesystem = opened(data)
    assert read(filesystem, "a") == b"x"
    assert problems(filesystem) == ["the checksum of the superblock in block 0 is wrong"]


def test_damage_costs_only_its_node_and_verify_tells() -> None:
    data = image(*many(600), item("last", b"last"))
    leaves = [block for block in blocks_of(data, 3, 0x0E) if data[block * BLOCK + 34] == 0]
    assert len(leaves) > 10
    data[leaves[len(leaves) // 2] * BLOCK + 3000] ^= 1
    filesystem = opened(data)
    listing = filesystem.root.listing()
    nodes = listing.nodes
    lost = 0
    for node in nodes.values():
        try:
            node.stat()
        except ChecksumError:
            lost += 1
    assert 0 < lost + (601 - len(nodes)) < 100
    assert any("checksum" in problem for problem in problems(filesystem))


def test_verify_counts() -> None:
    items = [item("a", b"x"), folder("d"), item("d/b", b"y"), item("l", mode=0o120755, link="a")]
    assert problems(opened(image(*items))) == []
    for offset, word in ((0xB8, "files"), (0xC0, "directories"), (0xC8, "symbolic links"), (0xD0, "other")):
        found = problems(opened(image(*items, changes={offset: (77).to_bytes(8, "little")})))
        assert [problem for problem in found if word in problem and "77" in problem], found
    data = image(*items)
    (block,) = blocks_of(data, 2, 0x0E)
    at = data.index(b"d\0", block * BLOCK) - 4  # the hash before the name of a folder
    data[at + 3] ^= 1
    sealed(data, block)
    assert "hash of the name" in "".join(problems(opened(data)))


@pytest.mark.parametrize("wanted", ["first", "2"])
def test_an_old_state_instead_of_the_present_one(wanted: str, tmp_path: Path) -> None:
    volume = writer().Volume("V", [item("now", b"now")], snapshots=[("first", [item("then", b"then")])])
    other = writer().Volume("Other", [item("other", b"other")])
    path = tmp_path / "image"
    path.write_bytes(container(volume, other).build())
    with open_image(path, Options(extra={"snapshot": wanted})) as opened_image:
        (found,) = opened_image.volumes
        root = found.filesystem.root
        assert {name for name, _ in root.entries()} == {"then"}  # and no other volume in its present state
    with open_image(path, Options(extra={"snapshot": "none"})) as opened_image:
        problem = opened_image.volumes[0].problem
        assert isinstance(problem, FormatError)
        assert "no snapshot 'none'" in str(problem)


def test_snapshots_cost_nothing_until_they_are_entered() -> None:
    old = [(f"state {n}", [item(f"then{n}", b"%d" % n), *many(50)]) for n in range(5)]
    device = CountingDevice(MemoryDevice(bytes(image(item("now", b"now"), snapshots=old))))
    filesystem = opened(device)
    names = {name for name, _ in filesystem.root.entries()}
    assert names == {"now", ".snapshots"}
    before = device.bytes
    folder_of_them = find(filesystem, ".snapshots")
    assert device.bytes - before <= BLOCK
    assert isinstance(folder_of_them, Directory)
    assert {name for name, _ in folder_of_them.entries()} == {name for name, _ in old}
    assert read(filesystem, ".snapshots/state 4/then4") == b"4"
    ids = [node.id for _, node in tree(filesystem.root)]
    assert len(set(ids)) == len(ids)
    assert "state 3 (5)" in filesystem.info()["volume 1"]


def test_a_sealed_node_is_checked_against_the_node_above() -> None:
    data = image(*many(300), item("z", b"z" * 9000), sealed=True)
    filesystem = opened(data)
    assert read(filesystem, "z") == b"z" * 9000
    assert problems(filesystem) == []
    changed_file = bytearray(data)
    at = changed_file.index(b"z" * 4000)
    changed_file[at + 5] ^= 1
    assert [p for p in problems(opened(changed_file)) if "hash of" in p]
    damaged = bytearray(data)
    damaged[damaged.index(b"many0150\0")] ^= 1  # in a leaf, which has no checksum of its own
    listing = opened(damaged).root.listing()
    broken = 0
    for node in listing.nodes.values():
        try:
            node.stat()
        except ChecksumError:
            broken += 1
    assert isinstance(listing.damage, ChecksumError) or broken
    (record,) = blocks_of(damaged, 0x1E)
    damaged[record * BLOCK + 0x24] |= 1  # the seal is broken: nothing is promised
    sealed(damaged, record)
    assert len(opened(damaged).root.listing().nodes) == 301


def test_firmlinks_lead_to_the_data_volume_if_there_is_one() -> None:
    made = writer()
    users = folder("Users", bsd_flags=FIRMLINK, xattrs={"com.apple.fs.firmlink": b"Users"})
    system = made.Volume("Mac", [users], role=1, group=GROUP)
    data = made.Volume("Mac - Data", [folder("Users"), item("Users/me", b"me")], role=0x40, group=GROUP)
    link = find(opened(container(system, data).build()), "Mac/Users")
    assert isinstance(link, Symlink)
    assert link.readlink() == "../Mac - Data/Users"
    assert isinstance(find(opened(container(system).build()), "Users"), Directory)
    facts = opened(container(system, data).build()).info()
    assert "role System" in facts["volume 1"]
    assert "group 00010203-" in facts["volume 2"]


def test_two_volumes_of_one_name_have_two_folders() -> None:
    made = writer()
    volumes = [made.Volume("Same", [item(f"file{n}", b"%d" % n)]) for n in range(2)]
    filesystem = opened(container(*volumes).build())
    assert {path for path, _ in tree(filesystem.root)} == {"Same", "Same/file0", "Same (1)", "Same (1)/file1"}


def test_a_damaged_volume_hides_no_other() -> None:
    made = writer()
    volumes = [made.Volume(name, [item("file", name.encode())]) for name in ("One", "Two")]
    data = container(*volumes).build()
    data[blocks_of(data, 0x0D)[0] * BLOCK + 0x500] ^= 1
    filesystem = opened(data)
    names = [name for name, _ in filesystem.root.entries()]
    assert names[1] == "Two"
    assert read(filesystem, "Two/file") == b"Two"
    with pytest.raises(ChecksumError):
        list(find(filesystem, names[0]).entries())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0x40, 0x102, "Fusion drive"),
        (0x40, 1, "before macOS 10.13"),
        (0x40, 0x402, "features 0x400"),
        (0x68, 0x8000_0008, "several pieces"),
    ],
)
def test_containers_that_are_refused_by_name(offset: int, value: int, words: str) -> None:
    made = container(writer().Volume("V", []))
    made.changes = {offset: value.to_bytes(4, "little")}
    data = made.build()
    assert FORMAT.probe(MemoryDevice(bytes(data)))
    with pytest.raises(UnsupportedError, match=words):
        opened(data)


def test_what_was_deleted_and_is_in_use_still() -> None:
    filesystem = opened(image(item("a", b"x"), item("<private>/0x12-dead", b"gone")))
    assert [name for name, _ in filesystem.root.entries()] == ["a"]
    assert FORMAT.deleted is not None
    ((name, node),) = FORMAT.deleted(filesystem)
    assert name == "0x12-dead"
    assert isinstance(node, File)
    assert node.open().pread(0, 9) == b"gone"
    assert problems(filesystem) == []


@pytest.mark.parametrize("options", [[], ["-s"], ["-s", "-z"]])
def test_what_mkapfs_makes(options: list[str], tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(600 << 20)
    made = subprocess.run([tool("mkapfs"), *options, "-L", "A label", path], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("mkapfs does not make one here")
    with FileDevice(path) as device:
        filesystem = opened(device)
        assert filesystem.label == "A label"
        assert problems(filesystem) == []
        assert list(filesystem.root.entries()) == []


def test_the_software_that_macos_wrote_with_a_password(tmp_path: Path) -> None:
    packed = third_party("apfs/deploymenttheory__go-apfs-v2__encrypted.img.gz")
    path = tmp_path / "image"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    outcomes = []
    for password in ("hunter2hunter2", "wrong", None):
        with open_image(path, Options(password=password)) as opened_image:
            problem = opened_image.volumes[0].problem
            outcomes.append("" if problem is None else str(problem))
            if problem is None:
                files = manifest(opened_image.volumes[0].filesystem.root)
                digest = "a4730fc4e2ed7c7b7cafdc182094bdc60ee5bd94989878a8061d6e356043baa2"
                assert files["secret.txt"] == (40, digest)
                assert list(FORMAT.check(opened_image.volumes[0].filesystem)) == []
    assert outcomes[0] == ""
    assert "the password is wrong" in outcomes[1]
    assert "its password or recovery key is needed" in outcomes[2]


def test_an_extent_outside_the_image_costs_its_file_alone() -> None:
    data = image(item("a", b"a" * 9000), item("b", b"b" * 9000))
    cut = data[: data.index(b"b" * 4096)]
    del cut[-1:]
    with pytest.raises((ImageError, FormatError)):
        opened(cut)  # the trees lie behind the data here
    full = opened(data)
    assert gathered(opened_file(full, "a")) == b"a" * 9000


def gathered(content: BlockDevice) -> bytes:
    runs: list[Extent] = list(content.extents(0, content.size))
    return b"".join(bytes(n) if device is None else device.pread(at, n) for n, device, at in runs)


def test_entries_that_do_not_say_what_they_are_and_whiteouts() -> None:
    data = image(item("file", b"x"), folder("dir"), item("gone", b"y"))
    (block,) = blocks_of(data, 2, 0x0E)
    for name, kind in ((b"file\0", 0), (b"dir\0", 0), (b"gone\0", 14)):
        place = entry_flags(data, block, name)
        data[place] = kind
    sealed(data, block)
    found = dict(opened(data).root.entries())
    assert {name: type(node) for name, node in found.items()} == {"file": ApfsFile, "dir": ApfsDirectory}


def entry_flags(data: bytearray, block: int, name: bytes) -> int:
    """Where the flags of the entry called ``name`` are."""
    start = block * BLOCK
    node = Node(bytes(data[start : start + BLOCK]), tree_order, (8, 8))
    records = map(node.record, range(len(node.orders)))
    record = next(one for one in records if one.order >> 64 & 15 == 9 and one.key.endswith(name))
    return start + data[start : start + BLOCK].index(record.value) + 16


def test_a_volume_that_is_being_encrypted_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="is being encrypted or decrypted"):
        opened(image(changes={0x3D0: b"\1"}))
