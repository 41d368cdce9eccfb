"""AmigaDOS: damaged and hostile volumes.

What can be read is listed, what cannot fails, and everything ends.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from conformance import manifest
from filesystems.amiga import (
    BLOCK,
    EXTENSION,
    FIRST_DATA,
    HASH_CHAIN,
    NEXT_LINK,
    PARENT,
    REAL_ENTRY,
    ROOT,
    SIZE,
    SLOT_59,
    Disk,
    fixture,
)  # fmt: skip
from helpers import context
from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.core.format import FilesystemFormat, Match
from imgmount.core.node import Directory, File, Node
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, ImageError
from imgmount.filesystems.amigados import FORMAT, LARGEST_FLOPPY, probe
from imgmount.filesystems.amigados.blocks import is_root, name_hash
from imgmount.filesystems.amigados.check import check
from imgmount.registry import best_match

FIELDS = (FIRST_DATA, SIZE, NEXT_LINK, REAL_ENTRY, HASH_CHAIN, PARENT, EXTENSION)


def content(node: Node) -> bytes:
    assert isinstance(node, File)
    with node.open() as device:
        return device.pread(0, device.size)


def listed(disk: Disk) -> tuple[set[str], ImageError | None]:
    listing = disk.open().root.listing()
    return set(listing.nodes), listing.damage


def names_of(variant: str) -> set[str]:
    return set(Disk(variant).open().root.listing().nodes)


def test_a_bad_header_checksum_shows_the_name_and_refuses_the_content() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.data[disk.key("size489") * BLOCK + 21] ^= 1
    root = disk.open().root
    assert root.listing().damage is None
    assert root.lookup("size489").stat().size == 489
    with pytest.raises(ChecksumError, match="header"):
        content(root.lookup("size489"))
    assert len(content(root.lookup("size488"))) == 488
    assert any("/size489: bad checksum" in line for line in check(disk.open()))


def test_a_directory_with_a_bad_checksum_is_listed_with_a_warning() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.data[disk.key("level1") * BLOCK + 21] ^= 1
    folder = disk.open().root.lookup("level1")
    assert isinstance(folder, Directory)
    assert set(folder.listing().nodes) == {"file", "level2"}
    assert isinstance(folder.listing().damage, ChecksumError)


def test_a_root_with_a_bad_checksum_is_read() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.data[ROOT * BLOCK + 21] ^= 1
    assert probe(MemoryDevice(bytes(disk.data))) < 100
    assert listed(disk)[0] == names_of("dos3-ffs-intl")


def test_a_hash_chain_that_loops_ends() -> None:
    disk = Disk("dos3-ffs-intl")
    first = disk.long(ROOT, SLOT_59)
    second = disk.long(first, HASH_CHAIN)
    disk.put(second, HASH_CHAIN, first)
    found, damage = listed(disk)
    assert damage is not None
    assert "twice" in str(damage)
    assert len(names_of("dos3-ffs-intl") - found) == 5
    assert any("twice" in line for line in check(disk.open()))


@pytest.mark.parametrize("key", [1, 0, 5000, 0xFFFF_FFFF, ROOT, 881])
def test_a_chain_that_leads_nowhere_costs_its_rest(key: int) -> None:
    disk = Disk("dos3-ffs-intl")
    disk.put(disk.long(ROOT, SLOT_59), HASH_CHAIN, key)
    found, damage = listed(disk)
    assert len(names_of("dos3-ffs-intl") - found) == 6
    assert (damage is None) == (key == 0)


def test_a_directory_inside_itself_is_not_entered() -> None:
    disk = Disk("dos3-ffs-intl")
    top, inner = disk.key("level1"), disk.key("level1/level2")
    disk.put(inner, 24, top)
    assert len(walk(disk)) == len(manifest(Disk("dos3-ffs-intl").open().root))


def walk(disk: Disk) -> list[str]:
    """All paths, whatever is damaged."""
    found: list[str] = []
    pending: list[tuple[str, Directory]] = [("", disk.open().root)]
    while pending:
        path, folder = pending.pop()
        for name, node in folder.listing().nodes.items():
            found.append(f"{path}/{name}")
            if isinstance(node, Directory):
                pending.append((f"{path}/{name}", node))
    return found


def test_hard_links_that_loop_are_shown_and_not_read() -> None:
    disk = Disk("dos3-ffs-intl")
    one = disk.link(b"one", name_hash(b"one", 72, intl=True), 0, -4)
    two = disk.link(b"two", name_hash(b"two", 72, intl=True), one, -4)
    disk.put(one, REAL_ENTRY, two)
    root = disk.open().root
    assert {"one", "two"} < set(root.listing().nodes)
    with pytest.raises(ImageError, match="leads to no file"):
        root.lookup("one").stat()
    disk.put(disk.key("size1"), NEXT_LINK, one)
    disk.put(one, NEXT_LINK, two)
    disk.put(two, NEXT_LINK, one)
    assert disk.open().root.lookup("size1").stat().nlink == 3


def test_links_to_nothing() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.link(b"file", name_hash(b"file", 72, intl=True), 881, -4)
    disk.link(b"folder", name_hash(b"folder", 72, intl=True), 4000, 4)
    root = disk.open().root
    with pytest.raises(ImageError):
        root.lookup("file").stat()
    with pytest.raises(ImageError):
        root.lookup("folder").readlink()  # type: ignore[attr-defined]
    assert sum("a link to nothing" in line for line in check(disk.open())) == 2


@pytest.mark.parametrize("variant", ["dos2-ofs-intl", "dos3-ffs-intl"])
def test_extension_chains_that_loop_or_are_anothers(variant: str) -> None:
    payload = 512 if variant == "dos3-ffs-intl" else 488
    whole = content(Disk(variant).open().root.lookup("fragmented"))
    for target in ("itself", "second", "nowhere"):
        disk = Disk(variant)
        header = disk.key("fragmented")
        extension = disk.long(header, EXTENSION)
        other = {"itself": extension, "second": disk.long(disk.key("second"), EXTENSION), "nowhere": 9999}[
            target
        ]
        disk.put(extension, EXTENSION, other)
        node = disk.open().root.lookup("fragmented")
        assert isinstance(node, File)
        with node.open() as device:
            kept = 144 * payload  # the header's and the first extension's
            assert device.pread(0, kept) == whole[:kept]
            with pytest.raises(ImageError):
                device.pread(kept, 1)


@pytest.mark.parametrize("variant", ["dos2-ofs-intl", "dos3-ffs-intl"])
@pytest.mark.parametrize("key", [0, 1, 1760, 0xFFFF_FFFF])
def test_a_block_out_of_range_costs_that_block(variant: str, key: int) -> None:
    payload = 512 if variant == "dos3-ffs-intl" else 488
    disk = Disk(variant)
    whole = content(disk.open().root.lookup("36864"))
    disk.put(disk.key("36864"), FIRST_DATA - 4 * 5, key)
    node = disk.open().root.lookup("36864")
    assert isinstance(node, File)
    with node.open() as device:
        assert device.pread(0, 5 * payload) == whole[: 5 * payload]
        assert device.pread(6 * payload, 2000) == whole[6 * payload : 6 * payload + 2000]
        with pytest.raises(ImageError):
            device.pread(5 * payload, 1)


def test_a_run_past_the_end_of_the_volume_is_read_up_to_there() -> None:
    disk = Disk("dos3-ffs-intl")
    header = disk.key("36864")
    disk.put(header, FIRST_DATA - 4 * 3, 1761, 1760, 1759)  # written backwards
    disk.data += bytes(22 * BLOCK)  # a track more than the volume has
    node = disk.open().root.lookup("36864")
    assert isinstance(node, File)
    with node.open() as device:
        assert device.pread(BLOCK, BLOCK) == disk.data[1759 * BLOCK : 1760 * BLOCK]
        with pytest.raises(ImageError):
            device.pread(BLOCK, BLOCK + 1)
    assert any("/36864: block 1760 of 1760" in line for line in check(disk.open()))


@pytest.mark.parametrize(("offset", "value"), [(0, 2), (24, 0)])
def test_an_ofs_block_that_is_not_the_files_fails_by_itself(offset: int, value: int) -> None:
    disk = Disk("dos0-ofs")
    whole = content(disk.open().root.lookup("36864"))
    block = disk.long(disk.key("36864"), FIRST_DATA - 4 * 5)
    if offset == 24:
        disk.data[block * BLOCK + 100] ^= 1  # and the checksum stays
    else:
        disk.put(block, offset, value)
    node = disk.open().root.lookup("36864")
    assert isinstance(node, File)
    with node.open() as device:
        with pytest.raises(ImageError):
            device.pread(5 * 488 + 10, 1)
        assert device.pread(0, 5 * 488) == whole[: 5 * 488]
        assert device.pread(6 * 488, 5000) == whole[6 * 488 : 6 * 488 + 5000]


def test_verify_reads_what_files_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk("dos0-ofs")
    path = tmp_path / "x.adf"
    path.write_bytes(disk.data)
    assert main(["verify", str(path)]) == 0
    block = disk.long(disk.key("second"), FIRST_DATA - 4 * 5)
    disk.data[block * BLOCK + 100] ^= 1
    path.write_bytes(disk.data)
    assert main(["verify", str(path)]) == 2
    assert f"block {block} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("following", ["itself", "the first", "nowhere"])
def test_a_chain_of_data_blocks_that_loops_is_not_followed(following: str) -> None:
    disk = Disk("dos0-ofs")
    whole = content(disk.open().root.lookup("36864"))
    header = disk.key("36864")
    first, fifth = disk.long(header, FIRST_DATA), disk.long(header, FIRST_DATA - 4 * 5)
    disk.put(fifth, 16, {"itself": fifth, "the first": first, "nowhere": 9999}[following])
    assert content(disk.open().root.lookup("36864")) == whole  # the table says which blocks there are


def test_a_block_that_a_file_names_twice_is_told() -> None:
    disk = Disk("dos3-ffs-intl")
    header = disk.key("36864")
    first = disk.long(header, FIRST_DATA)
    disk.put(header, FIRST_DATA - 4 * 5, first)
    assert any(f"/36864: block {first} is another's too" in line for line in check(disk.open()))
    disk = Disk("dos3-ffs-intl")
    disk.put(disk.key("36864"), FIRST_DATA - 4 * 5, disk.long(disk.key("second"), FIRST_DATA))
    assert any("is another's too" in line for line in check(disk.open()))


def test_a_file_that_claims_to_be_huge() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.put(disk.key("size512"), SIZE, 0xFFFF_FFFF)
    node = disk.open().root.lookup("size512")
    assert isinstance(node, File)
    with node.open() as device:
        assert len(device.pread(0, 512)) == 512
        with pytest.raises(ImageError, match="names only 1"):
            device.pread(1 << 31, 1)


def test_a_wrong_parent_and_a_wrong_slot_are_told() -> None:
    disk = Disk("dos3-ffs-intl")
    key = disk.key("size488")
    disk.put(key, PARENT, disk.key("empty"))
    assert listed(disk)[0] == names_of("dos3-ffs-intl")  # AmigaDOS does not look at it
    assert any("belongs to" in line for line in check(disk.open()))
    disk = Disk("dos3-ffs-intl")
    disk.put(disk.key("level1"), PARENT, disk.key("empty"))
    assert "level1" not in listed(disk)[0]  # a folder: it could hold itself
    assert any("belongs to" in line for line in check(disk.open()))
    disk = Disk("dos3-ffs-intl")
    slot = next(slot for slot in range(72) if disk.long(ROOT, 24 + 4 * slot) == 0)
    moved = disk.long(ROOT, SLOT_59)
    disk.put(ROOT, SLOT_59, disk.long(moved, HASH_CHAIN))
    disk.put(ROOT, 24 + 4 * slot, moved)
    disk.put(moved, HASH_CHAIN, 0)
    assert listed(disk)[0] == names_of("dos3-ffs-intl")
    assert any("AmigaDOS does not find it" in line for line in check(disk.open()))


def test_the_bitmap_is_compared_with_what_is_used() -> None:
    disk = Disk("dos3-ffs-intl")
    disk.put(ROOT, SLOT_59, 0)
    assert any("belong to no file" in line for line in check(disk.open()))
    disk = Disk("dos3-ffs-intl")
    disk.data[disk.long(ROOT, BLOCK - 196) * BLOCK + 40] ^= 1
    assert any("the bitmap: amigados: block" in line for line in check(disk.open()))
    assert "unknown" in disk.open().info()["free"]
    disk = Disk("dos3-ffs-intl")
    disk.put(ROOT, BLOCK - 200, 0)
    assert any("marked invalid" in line for line in check(disk.open()))


def test_links_between_deep_directories_end() -> None:
    disk = Disk("dos3-ffs-intl")
    a, b = disk.key("level1/level2"), disk.key("level1/level2/level3")
    disk.put(a, PARENT, b)  # each is the other's parent
    disk.link(b"x", name_hash(b"x", 72, intl=True), b, 4)
    with pytest.raises(ImageError, match="levels deep"):
        disk.open().root.lookup("x").readlink()  # type: ignore[attr-defined]


def exhaust(data: bytes) -> None:
    """Read all there is; only ``ImageError`` may come of it."""
    try:
        volume = FORMAT.open(MemoryDevice(data), context())
        volume.info()
        list(FORMAT.check(volume))
        assert FORMAT.deleted is not None
        nodes = list(FORMAT.deleted(volume))
    except ImageError:
        return
    pending: list[Node] = [volume.root, *(node for _, node in nodes)]
    while pending:
        node = pending.pop()
        try:
            node.stat()
            node.xattrs()
            if isinstance(node, Directory):
                pending.extend(node.listing().nodes.values())
            if isinstance(node, File):
                with node.open() as device:
                    for at in range(0, min(device.size, 1 << 20), 1 << 16):
                        device.pread(at, 1 << 16)
        except ImageError:
            continue


@pytest.mark.parametrize("variant", ["dos0-ofs", "dos3-ffs-intl", "dos5-ffs-dirc", "dos7-ffs-lnfs"])
def test_random_corruption_never_surprises(variant: str) -> None:
    rng = random.Random(variant)
    disk = Disk(variant)
    free = disk.open().bitmap.free_map()
    used = [key for key in range(2, 1760) if not free[key] and disk.long(key, 0) in (2, 16, 33)]
    for _ in range(50):
        disk.data = bytearray(fixture(variant))
        for _ in range(rng.choice((1, 3, 20))):
            key = rng.choice(used)
            offset = rng.choice((0, 4, 8, 12, 16, 24, 60, 508, *FIELDS))
            disk.put(
                key,
                offset,
                rng.choice(
                    (0, 1, rng.choice(used), rng.randrange(1 << 11), rng.getrandbits(32), 0xFFFF_FFFF)
                ),
            )
        exhaust(bytes(disk.data))


def test_truncation_never_surprises() -> None:
    for cut in (0, 1, 511, 512, 1024, 880 * 512, 881 * 512, 881 * 512 + 100, 1000 * 512, 1400 * 512 + 1):
        exhaust(fixture("dos3-ffs-intl")[:cut])
        exhaust(fixture("dos0-ofs")[:cut])


def test_a_volume_of_terabytes_is_opened_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "large.hdf"
    blocks = 1 << 31
    disk = Disk("dos3-ffs-intl")
    with path.open("wb") as file:
        file.write(b"DOS\x03")
        file.seek((blocks + 1) // 2 * BLOCK)
        file.write(disk.data[ROOT * BLOCK : (ROOT + 1) * BLOCK])
        file.truncate(blocks * BLOCK)
    with open_image(path) as image:
        filesystem = image.volumes[0].filesystem
        assert filesystem.info()["free"].startswith("unknown")
        assert any("too many" in line for line in image.volumes[0].check())
        assert list(image.volumes[0].deleted() or ["nothing can be told"]) == []
        assert filesystem.root.listing().damage is not None


@pytest.mark.parametrize("field", [4, 8, 12], ids=["file", "number", "size"])
def test_data_headers_that_disagree_with_the_table_are_for_verify(field: int) -> None:
    disk = Disk("dos0-ofs")
    whole = content(disk.open().root.lookup("36864"))
    block = disk.long(disk.key("36864"), FIRST_DATA - 4 * 5)
    disk.put(block, field, 77)
    assert content(disk.open().root.lookup("36864")) == whole
    assert [f"/36864: block {block} says that it is not block 6 of its file"] == list(check(disk.open()))


def test_an_extension_that_names_another_file_is_for_verify() -> None:
    disk = Disk("dos3-ffs-intl")
    whole = content(disk.open().root.lookup("second"))
    extension = disk.long(disk.key("second"), BLOCK - 8)
    assert extension, "the file needs a second table"
    disk.put(extension, BLOCK - 12, disk.key("36864"))
    assert content(disk.open().root.lookup("second")) == whole
    assert any("its table in block" in line for line in check(disk.open()))


@pytest.mark.parametrize("mark", [b"muFS", b"muF\3"])
def test_a_multi_user_volume_is_read_as_the_type_that_it_stands_for(mark: bytes) -> None:
    disk = Disk("dos3-ffs-intl")
    expected = manifest(disk.open().root)
    disk.data[:4] = mark
    assert probe(MemoryDevice(bytes(disk.data))) is Match.CERTAIN
    assert manifest(disk.open().root) == expected


def test_a_hard_disk_whose_bootblock_is_wiped_is_found_by_its_root() -> None:
    disk = Disk("hardfile-dos3")
    blocks = (LARGEST_FLOPPY // BLOCK + 2) & ~1
    large = bytearray(blocks * BLOCK)
    root = next(at for at in range(0, len(disk.data), BLOCK) if is_root(bytes(disk.data[at : at + BLOCK])))
    place = (blocks + 1) // 2 * BLOCK
    large[place : place + BLOCK] = disk.data[root : root + BLOCK]
    assert probe(MemoryDevice(bytes(large))) is Match.NO
    found = best_match(FilesystemFormat, MemoryDevice(bytes(large)))
    assert found is not None
    assert (found[0], found[1].name) == (Match.LIKELY, "amigados")
