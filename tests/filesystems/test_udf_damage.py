"""UDF volumes that are damaged or hostile.

What can be read is read, the rest is an error, and nothing runs away.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import manifest
from fixture import all_fixtures
from helpers import context
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match, Options
from imgmount.core.node import Directory, File, Node, Symlink
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.udf import probe, rescue
from imgmount.filesystems.udf.check import check
from imgmount.filesystems.udf.volume import UdfFilesystem, open_udf
from imgmount.jobs.verify import problems
from udf_discs import BLOCK, MAKER, START, finish, fixture_bytes, in_memory, retag, small_disc

VARIANTS = sorted(
    {fixture.variant for fixture in all_fixtures() if fixture.format == "udf"} - {"udfclient"}
)  # 20 MB of holes
MAX_WALK = 2000  # entries: no fixture has more, and no damage may make more


def at(block: int, offset: int = 0) -> int:
    """The byte of the image at ``offset`` in ``block`` of the partition of a 2048-byte disc."""
    return (START + block) * BLOCK + offset


def survivors(volume: UdfFilesystem) -> tuple[set[str], list[ImageError]]:
    """The paths whose stat and content can be read, and the errors of the others."""
    good: set[str] = set()
    errors: list[ImageError] = []
    pending: list[tuple[str, Directory]] = [("", volume.root)]
    count = 0
    while pending and count < MAX_WALK:
        prefix, directory = pending.pop()
        listing = directory.listing()
        errors += [listing.damage] if listing.damage else []
        for name, node in listing.nodes.items():
            count += 1
            try:
                use(node)
                good.add(prefix + name)
            except ImageError as exc:
                errors.append(exc)
            if isinstance(node, Directory):
                pending.append((f"{prefix}{name}/", node))
    assert count < MAX_WALK
    return good, errors


def use(node: Node) -> None:
    node.stat()
    node.xattrs()
    if isinstance(node, Symlink):
        node.readlink()
    elif isinstance(node, File):
        content = node.open()
        content.pread(0, 1 << 16)
        content.pread(max(0, content.size - 100), 100)


def test_a_bad_file_entry_costs_one_file(tmp_path: Path) -> None:
    data = fixture_bytes("features", tmp_path)
    everything = survivors(in_memory(data))[0]
    data[at(11, 60)] ^= 1
    volume = in_memory(data)
    good, errors = survivors(volume)
    assert everything - good == {"empty"}
    assert [str(error) for error in errors] == ["udf: the CRC of descriptor 261 is wrong, at 0x5800"]
    assert list(check(volume)) == ["/empty: udf: the CRC of descriptor 261 is wrong, at 0x5800"]


def test_a_bad_name_costs_one_entry(tmp_path: Path) -> None:
    data = fixture_bytes("pieces", tmp_path)
    data[data.index(b"short", at(1)) + 1] ^= 1
    retag(data, at(1))  # the entry that the directory is embedded in
    volume = in_memory(data)
    listing = volume.root.listing()
    assert set(listing.nodes) == {"long", "embedded é Ω", "folder"}
    assert "directory is damaged" in str(listing.damage)
    assert any("directory is damaged" in line for line in check(volume))


def test_half_a_directory_is_listed() -> None:
    names = [(f"number {number:02}", 20 + number) for number in range(60)]
    disc = small_disc([("folder", 10, MAKER.DIRECTORY)])
    disc.end = 5000
    content = disc.names(names, 1, block=100)
    assert len(content) > BLOCK
    disc.write(100, content[:BLOCK])
    disc.entry(
        10, 4, len(content), MAKER.short_ad(BLOCK, 100) + MAKER.short_ad(len(content) - BLOCK, 4000)
    )  # past the end
    for _, icb in names:
        disc.entry(icb, 5, 0)
    good, errors = survivors(finish(disc))
    assert {f"folder/number {number:02}" for number in range(30)} <= good
    assert len(errors) == 1


def test_a_truncated_image_keeps_what_it_has(tmp_path: Path) -> None:
    data = fixture_bytes("features", tmp_path)
    everything = survivors(in_memory(data))[0]
    good, errors = survivors(in_memory(data[: at(125)]))
    assert everything - good >= {"pieces.short", "scattered", "linked"}
    assert good > {"embedded", "empty", "folder/empty folder"}
    assert errors


@pytest.mark.parametrize("variant", VARIANTS)
def test_truncation_anywhere_is_an_error_or_less(variant: str, tmp_path: Path) -> None:
    data = fixture_bytes(variant, tmp_path)
    for blocks in range(0, len(data) // BLOCK, 7):
        image = Slice(MemoryDevice(bytes(data)), 0, blocks * BLOCK)
        try:
            survivors(open_udf(image, context()))
        except ImageError:
            continue


def test_reserve_descriptors_and_other_anchors(tmp_path: Path) -> None:
    data = fixture_bytes("features", tmp_path)
    names = set(manifest(in_memory(data).root))
    data[256 * BLOCK] ^= 1  # the first anchor
    data[33 * BLOCK + 100] ^= 1  # the logical volume descriptor
    assert set(manifest(in_memory(data).root)) == names
    assert in_memory(data).label == "Features ✓"  # not the superseded descriptor, which is whole
    data[35 * BLOCK + 190] ^= 1  # the partition descriptor
    volume = in_memory(data)
    assert volume.label == "Features ✓"
    assert len([line for line in check(volume) if line.startswith("main volume")]) == 2


def test_anchor_tags_are_checked(tmp_path: Path) -> None:
    data = fixture_bytes("pieces", tmp_path)
    assert probe(MemoryDevice(bytes(data)))
    for offset in (0, 4, 8, 12, 16):
        broken = bytearray(data)
        for block in (256, 999):
            broken[block * BLOCK + offset] ^= 1
        assert not probe(MemoryDevice(bytes(broken)))


class TestMetadataPartition:
    """Blocks: 0 main file, 1 mirror file; metadata blocks 0-31 at 60, 32-63 at 8; mirrored at 100."""

    def facts(self, data: bytearray) -> dict[str, Any]:
        return dict(manifest(in_memory(data).root))

    @pytest.mark.parametrize("block", [0, 60, 61, 64, 62, 8 + 1, 60 + 31, 8, 66])
    def test_each_block_has_a_second(self, block: int, tmp_path: Path) -> None:
        data = fixture_bytes("metadata", tmp_path)
        whole = self.facts(data)
        data[at(block) : at(block + 1)] = bytes(b ^ 0x55 for b in data[at(block) : at(block + 1)])
        assert self.facts(data) == whole
        assert any(("differ" if block else "metadata file") in line for line in check(in_memory(data)))

    def test_both_gone_is_an_error(self, tmp_path: Path) -> None:
        data = fixture_bytes("metadata", tmp_path)
        data[at(0)] ^= 1
        data[at(1)] ^= 1
        with pytest.raises(FormatError):
            in_memory(data)


def test_sparing_needs_one_good_table(tmp_path: Path) -> None:
    data = fixture_bytes("sparable", tmp_path)
    lines = list(check(in_memory(data)))
    assert [line.split(":")[0] for line in lines] == [
        "sparing table at block 80",
        "sparing table at block 110",
    ]
    for block in (90, 100):
        data[block * BLOCK + 60] ^= 1
    with pytest.raises(FormatError):
        in_memory(data)


def test_a_virtual_table_is_needed_and_bounded(tmp_path: Path) -> None:
    data = fixture_bytes("vat200", tmp_path)
    data[at(295, 60)] ^= 1
    with pytest.raises(FormatError, match="virtual allocation table"):
        in_memory(data)
    data = fixture_bytes("vat200", tmp_path)
    struct.pack_into("<Q", data, at(295, 56), 1 << 50)
    retag(data, at(295))
    with pytest.raises(FormatError, match="virtual allocation table"):
        in_memory(data)


def test_a_directory_that_contains_itself_ends() -> None:
    disc = small_disc([("a", 10, MAKER.DIRECTORY), ("root again", 1, MAKER.DIRECTORY)])
    content = disc.names([("b", 11, MAKER.DIRECTORY)], 1)
    disc.entry(10, 4, len(content), content, MAKER.EMBEDDED)
    content = disc.names([("a", 10, MAKER.DIRECTORY)], 10)
    disc.entry(11, 4, len(content), content, MAKER.EMBEDDED)
    good, errors = survivors(finish(disc))
    assert good == {"a", "a/b", "a/b/a", "root again"}
    assert {error.reason for error in errors if isinstance(error, FormatError)} == {
        "a directory is inside itself"
    }


def test_chains_that_loop_end() -> None:
    disc = small_disc([("entries", 10), ("itself", 20), ("extents", 30)])
    disc.icb_size = 2 * BLOCK
    root = disc.names([("entries", 10), ("itself", 20), ("extents", 30)], 1)
    disc.entry(1, 4, len(root), root, MAKER.EMBEDDED)
    for icb, following in ((10, 12), (12, 10), (20, 20)):
        disc.entry(icb, 5, 0, strategy=4096)
        disc.successor(icb, following)
    disc.entry(30, 5, 9 * BLOCK, MAKER.short_ad(BLOCK, 50) + MAKER.short_ad(BLOCK, 40, MAKER.CONTINUED))
    disc.extent_list(40, MAKER.short_ad(BLOCK, 51) + MAKER.short_ad(BLOCK, 41, MAKER.CONTINUED))
    disc.extent_list(41, MAKER.short_ad(BLOCK, 52) + MAKER.short_ad(BLOCK, 40, MAKER.CONTINUED))
    good, errors = survivors(finish(disc))
    assert good == set()
    chain = "udf: the chain of file entries loops or is too long"
    assert sorted(str(error).split(",")[0] for error in errors) == [
        chain,
        chain,
        "udf: the list of extents loops",
    ]


def hostile_extents() -> dict[str, Callable[[Any], None]]:
    short, layout = MAKER.short_ad, MAKER.SHORT
    return {
        "outside": lambda disc: disc.entry(10, 5, BLOCK, short(BLOCK, 0xFFFFFFF0)),
        "partition": lambda disc: disc.entry(10, 5, BLOCK, MAKER.long_ad(BLOCK, 1, 9), MAKER.LONG),
        "short": lambda disc: disc.entry(10, 5, 3 * BLOCK, short(BLOCK, 20)),
        "none": lambda disc: disc.entry(10, 5, 1),
        "embedded": lambda disc: disc.entry(10, 5, 100, b"ten bytes.", MAKER.EMBEDDED),
        "huge": lambda disc: disc.entry(10, 5, 1 << 63, short(BLOCK, 20)),
        "layout": lambda disc: disc.entry(10, 5, BLOCK, short(BLOCK, 20), layout | 5),
        "strategy": lambda disc: disc.entry(10, 5, BLOCK, short(BLOCK, 20), strategy=1),
        "compressed": lambda disc: disc.entry(
            10, 5, BLOCK, struct.pack("<IIIIH2x", 100, 100, BLOCK, 20, 0), MAKER.EXTENDED
        ),
        "directory": lambda disc: disc.entry(10, 4, 1 << 40, short((1 << 30) - BLOCK, 0, MAKER.HOLE) * 100),
        "link": lambda disc: disc.entry(10, 12, 1 << 30, short((1 << 30) - BLOCK, 20)),
        "continued nowhere": lambda disc: disc.entry(10, 5, BLOCK, short(BLOCK, 20, MAKER.CONTINUED)),
    }


@pytest.mark.parametrize("case", hostile_extents())
def test_a_hostile_entry_is_an_error_of_its_own(case: str) -> None:
    disc = small_disc([("hostile", 10), ("good", 11)])
    hostile_extents()[case](disc)
    disc.entry(11, 5, 4, b"good", MAKER.EMBEDDED)
    good, errors = survivors(finish(disc))
    assert good - {"hostile"} == {"good"}
    assert errors
    assert all(isinstance(error, FormatError | UnsupportedError) for error in errors)


@pytest.mark.parametrize(
    ("field", "value"),
    [(264, -1), (268, -1), (268, 65), (212, 4096), (212, 0), (248, -1), (252, -1), (440, -1)],
)
def test_a_hostile_volume_descriptor_is_an_error(field: int, value: int, tmp_path: Path) -> None:
    data = fixture_bytes("pieces", tmp_path)
    for block in (33, 49):
        struct.pack_into("<i", data, block * BLOCK + field, value)
        retag(data, block * BLOCK)
    try:
        volume = in_memory(data)
    except ImageError:
        return
    assert field in (248, 264)  # lengths that are clipped
    assert volume.label == "FIXTURE"


def test_streams_that_are_hostile_are_errors(tmp_path: Path) -> None:
    data = fixture_bytes("features", tmp_path)
    struct.pack_into("<II", data, at(18, 152), BLOCK, 18)  # the stream directory is the file itself
    retag(data, at(18))
    with pytest.raises(ImageError):
        in_memory(data).root.lookup("with streams").xattrs()


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_word_may_be_wrong(variant: str, tmp_path: Path) -> None:
    """Descriptors whose tags are right and whose fields are not: an ImageError, or a tree of bounded size."""
    original = fixture_bytes(variant, tmp_path)
    size = 4096 if variant == "blocks4096" else BLOCK
    tagged = [offset for offset in range(0, len(original), size) if _is_tagged(original, offset)]
    rng = random.Random(variant)
    words = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000001, 0xC0000800, 0xFFFFFFFF)
    for _ in range(150):
        data = bytearray(original)
        for offset in rng.sample(tagged, min(3, len(tagged))):
            length = struct.unpack_from("<H", data, offset + 10)[0]
            struct.pack_into(
                "<I", data, offset + rng.randrange(16, 12 + max(5, min(length, size - 16))), rng.choice(words)
            )
            retag(data, offset)
        _survive(MemoryDevice(bytes(data)))


def _is_tagged(data: bytearray, offset: int) -> bool:
    ident, version, checksum, _, serial, _, length, _ = struct.unpack_from("<HHBBHHHI", data, offset)
    covered = sum(data[offset : offset + 16]) - checksum & 0xFF
    return bool(
        0 < ident < 300 and version in (2, 3) and serial == 1 and covered == checksum and 16 < length < BLOCK
    )


def _survive(image: BlockDevice) -> None:
    try:
        volume = open_udf(image, context())
        volume.info()
        survivors(volume)
        list(check(volume))
    except ImageError:
        return


@pytest.mark.parametrize("ident", [6, 256])  # of every logical volume descriptor, or of the file set
def test_on_a_bridge_disc_iso_9660_stands_in(
    ident: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = fixture_bytes("bridge", tmp_path)
    with open_image(write(tmp_path, data)) as sound:
        assert sound.whole is not None
        names = set(manifest(sound.whole.filesystem.root))
    for start in range(18 * BLOCK, len(data), BLOCK):
        if int.from_bytes(data[start : start + 2], "little") == ident:
            data[start + 100] ^= 1
    with open_image(write(tmp_path, data)) as image:
        assert image.whole is not None
        assert set(manifest(image.whole.filesystem.root)) == names
        assert str(image) == "file > iso9660"
        (line,) = (record.getMessage() for record in caplog.records)
        assert line.startswith("udf: ")
        assert line.endswith(": the files are shown as iso9660 has them")
        assert [
            one for one in problems(image, second_opinion=False, read=False) if one.startswith("disk: udf: ")
        ] != []
    with open_image(tmp_path / "image", Options(fs="udf")) as image:
        assert image.whole is not None
        assert isinstance(image.whole.problem, FormatError)


def write(folder: Path, data: bytearray) -> Path:
    (folder / "image").write_bytes(data)
    return folder / "image"


@pytest.mark.parametrize("variant", ["features", "blocks4096", "metadata", "sparable", "pieces"])
def test_a_volume_is_found_by_its_anchor_where_the_recognition_sequence_is_lost(
    variant: str, tmp_path: Path
) -> None:
    data = bytearray(fixture_bytes(variant, tmp_path))
    with open_image(write(tmp_path, data)) as image:
        assert image.whole is not None
        wanted = manifest(image.whole.filesystem.root)
    data[0x8000 : 0x8000 + 16 * 4096] = bytes(16 * 4096)
    with open_image(write(tmp_path, data)) as image:
        assert image.whole is not None
        assert str(image).endswith("udf")
        assert manifest(image.whole.filesystem.root) == wanted
        told = list(problems(image, read=False))
    assert [line for line in told if "recognition" in line] == [
        "disk: the volume recognition sequence is missing"
    ]


def test_an_anchor_that_leads_nowhere_is_no_volume(tmp_path: Path) -> None:
    data = bytearray(fixture_bytes("features", tmp_path))
    data[0x8000 : 0x8000 + 16 * 2048] = bytes(16 * 2048)
    volume = in_memory(bytes(data))
    for _, start in (volume.anchor.main, volume.anchor.reserve):
        data[start * BLOCK : (start + 16) * BLOCK] = bytes(16 * BLOCK)
    assert rescue(MemoryDevice(bytes(data))) is Match.NO
