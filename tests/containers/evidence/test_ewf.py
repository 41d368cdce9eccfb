from __future__ import annotations

import hashlib
import itertools
import lzma
import random
import re
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path
from typing import cast

import pytest

from conformance import check_device
from helpers import FIXTURES, context, image, tool, wrong
from imgmount.chain.open import open_image
from imgmount.containers.evidence.ewf import EwfDevice, open_ewf
from imgmount.containers.evidence.ewf.chunk import decode, read
from imgmount.containers.evidence.ewf.names import segment_name, segment_number
from imgmount.containers.evidence.ewf.tables import COMPRESSED, Chunk
from imgmount.core.cache import Content
from imgmount.core.checks import Note
from imgmount.core.device import BlockDevice
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.jobs.reading import Reader

EWF = FIXTURES / "containers/ewf"
CHUNK = 32768
SIZE = 2411 * 512
SECTION = struct.Struct("<16sQQ40xI")


def unpacked(variant: str, name: str) -> bytes:
    return lzma.decompress((EWF / variant / f"{name}.xz").read_bytes())


ENCASE = unpacked("encase6", "disk.E01")
STORED = unpacked("stored", "disk.E01")


def opened(data: bytes, **options: object) -> EwfDevice:
    return open_ewf(MemoryDevice(data), context(None, **options))


DISK = opened(STORED).pread(0, SIZE)


def decoded(stream: bytes, size: int, whole: int) -> Content:
    chunk = Chunk(MemoryDevice(stream), 0, len(stream), COMPRESSED)
    return decode(chunk, read([chunk], whole)[0], size, whole)


def sections(data: bytes) -> list[tuple[str, int, int]]:
    """(name, offset of the descriptor, size)."""
    found, offset = [], 13
    while True:
        kind, following, size, _ = SECTION.unpack_from(data, offset)
        found.append((kind.rstrip(b"\0").decode(), offset, size))
        if following == offset:
            return found
        offset = following


def at(data: bytes, kind: str) -> int:
    return next(offset for name, offset, _ in sections(data) if name == kind)


def changed(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def sealed(data: bytes, offset: int, size: int) -> bytes:
    """With a new Adler-32 behind the ``size`` bytes at ``offset``."""
    return changed(data, offset + size, struct.pack("<I", zlib.adler32(data[offset : offset + size])))


def test_info_tells_the_acquisition() -> None:
    assert dict(opened(ENCASE).info()).items() >= {
        "case number": "2026-17", "evidence number": "1.2", "description": "a small disk", "examiner": "A. Examiner",
        "notes": "notes, with commas", "operating system": "Linux", "segments": "1", "chunks": "38 of 32768 bytes",
        "stored MD5": hashlib.md5(DISK).hexdigest(), "stored SHA-1": hashlib.sha1(DISK).hexdigest(),
    }.items()  # fmt: skip


@pytest.mark.parametrize("variant", ["encase1", "smart", "ewfx", "ftk", "encase2"])
def test_every_kind_of_header_is_read(variant: str) -> None:
    packed = next((EWF / variant).glob("*01.xz"))
    found = opened(lzma.decompress(packed.read_bytes())).info()
    assert found["case number"] == "2026-17"
    assert "2026" in found["acquired"]
    assert found["stored MD5"] == hashlib.md5(DISK).hexdigest()


def test_ex01_tells_the_same(tmp_path: Path) -> None:
    for name in ("disk.Ex01", "disk.Ex02"):
        (tmp_path / name).write_bytes(unpacked("ex01", name))
    with open_image(tmp_path / "disk.Ex02") as found:
        device = cast("EwfDevice", found.layers[1].device)
        facts = device.info()
        assert (facts["case number"], facts["examiner"], facts["acquired"]) == (
            "2026-17",
            "A. Examiner",
            "2026-07-25 17:20:00 UTC",
        )
        assert facts["read errors"] == "1 ranges: sectors 1000-1007"
        (note,) = [str(found) for found in device.verify() if isinstance(found, Note)]
        assert note.endswith("1 ranges: sectors 1000-1007")
        assert facts["stored SHA-1"] == hashlib.sha1(DISK).hexdigest()
        assert wrong(device.verify()) == []


def test_sound_images_verify() -> None:
    for data in (ENCASE, STORED):
        assert wrong(opened(data).verify()) == []


def test_one_bad_stored_chunk_costs_itself_alone() -> None:
    first = at(STORED, "sectors") + 76
    start = STORED.index(DISK[5 * CHUNK : 6 * CHUNK], first)
    data = changed(STORED, start + 100, b"\xee")
    device = opened(data)
    for chunk in range(38):
        if chunk == 5:
            with pytest.raises(FormatError, match="a stored chunk disagrees with its checksum"):
                device.pread(5 * CHUNK + 7000, 1)
        else:
            assert device.pread(chunk * CHUNK, CHUNK) == DISK[chunk * CHUNK : (chunk + 1) * CHUNK]
    assert [problem.startswith("the stored MD5 ") for problem in wrong(device.verify())] == [True]
    assert next(Reader().unreadable(device, "disk"))[:2] == (5 * CHUNK, 6 * CHUNK)


def test_one_bad_compressed_chunk_reads_as_zeros_on_request() -> None:
    data = changed(ENCASE, at(ENCASE, "sectors") + 76 + 40, b"\xee\xee\xee")
    with pytest.raises(FormatError, match="does not decompress"):
        opened(data).pread(0, 1)
    device = opened(data, extra={"on-error": "zero"})
    check_device(device, bytes(CHUNK) + DISK[CHUNK:])
    assert device.info()["damaged, read as zeros"] == "1 ranges: 0x0+0x8000"
    assert [problem.split()[0] for problem in wrong(device.verify())] == ["MD5", "SHA-1"]


def test_a_bad_chunk_made_by_others() -> None:
    folder = image("ewf/strozfriedberg__e01-rs")
    with open_image(folder / "bad_chunk.E01") as bad, open_image(folder / "image.E01") as good:
        with pytest.raises(FormatError, match="checksum"):
            bad.disk.pread(0, 512)
        assert bad.disk.pread(CHUNK, bad.disk.size) == good.disk.pread(CHUNK, good.disk.size)


@pytest.mark.parametrize(
    ("name", "size", "digest"),
    [
        (
            "log2timeline__dfvfs/ext2.E01",
            4194304,
            "a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80",
        ),
        (
            "log2timeline__dfvfs/ext2.split.E01",
            4194304,
            "a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80",
        ),
        (
            "log2timeline__dfvfs/ext2.split.E02",
            4194304,
            "a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80",
        ),
        (
            "sleuthkit__sleuthkit/image.E01",
            102400,
            "0add63db3dc87ee60438e0fb94b526462502ba9f87e7a78bb0efe858668b1108",
        ),
        (
            "sleuthkit__sleuthkit/imageformat_mmls_1.E01",
            62915072,
            "e7eb6fca46bebeedc4af4cc5bfe9675691bab8ce471315317b561a28899e7902",
        ),
        (
            "strozfriedberg__e01-rs/image.E01",
            1321472,
            "cab8049f5fba42e06609c9d0678eb9fff7fcb50afc6c9b531ee6216bbe40a827",
        ),
    ],
)
def test_images_made_by_others(name: str, size: int, digest: str) -> None:
    with open_image(image(f"ewf/{name}")) as found:
        content = found.disk.pread(0, found.disk.size)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)
        assert wrong(cast("EwfDevice", found.layers[1].device).verify()) == []


@pytest.mark.parametrize("part", ["header", "entry", "footer"])
def test_table2_stands_in_for_a_bad_table(part: str) -> None:
    offset = at(ENCASE, "table") + 76 + {"header": 8, "entry": 24 + 8, "footer": 24 + 4 * 38}[part]
    device = opened(changed(ENCASE, offset, b"\x99"))
    check_device(device, DISK)
    assert any(
        "table at chunk 0 disagrees with its checksum" in problem for problem in wrong(device.verify())
    )


def test_table2_stands_in_for_a_table_that_counts_too_many() -> None:
    start = at(ENCASE, "table") + 76
    device = opened(sealed(changed(ENCASE, start, b"\xff\xff\xff\xff"), start, 20))
    check_device(device, DISK)
    assert any(
        "table's header disagrees" in problem or "table at chunk 0 disagrees" in problem
        for problem in wrong(device.verify())
    )


def test_two_bad_tables_are_an_error_and_no_guess() -> None:
    data = ENCASE
    for kind in ("table", "table2"):
        data = changed(data, at(data, kind) + 76 + 24 + 8, b"\x99")
    with pytest.raises(FormatError, match="table2 at chunk 0 disagrees with its checksum"):
        opened(data).pread(0, 1)


def test_a_table_that_its_mirror_contradicts_is_told() -> None:
    start = at(ENCASE, "table2") + 76 + 24
    data = sealed(changed(ENCASE, start, b"\x4d"), start, 4 * 38)
    assert any("differ" in problem for problem in wrong(opened(data).verify()))


def test_stored_hashes_are_compared() -> None:
    for kind, name, size in (("digest", "MD5", 76), ("digest", "SHA-1", 76)):
        start = at(ENCASE, kind) + 76
        data = sealed(changed(ENCASE, start + (20 if name == "SHA-1" else 0), b"\1\2\3"), start, size)
        assert [problem.split()[0] for problem in wrong(opened(data).verify())] == [name]


def test_a_set_without_checksums_is_read_and_told() -> None:
    """Logicube writes zeros."""
    data = STORED
    for kind, offset, _ in sections(STORED):
        data = changed(data, offset + 72, bytes(4))
        if kind in ("table", "table2"):
            data = changed(data, offset + 76 + 20, bytes(4))
            data = changed(data, offset + 76 + 24 + 4 * 38, bytes(4))
    for start in range(at(STORED, "sectors") + 76, at(STORED, "table"), CHUNK + 4):
        data = changed(data, min(start + CHUNK, at(STORED, "table") - 4), bytes(4))
    device = opened(data)
    check_device(device, DISK)
    assert wrong(device.verify()) == ["test.img: sections without checksums (Logicube)"]


def test_zeros_instead_of_a_checksum_are_damage_elsewhere() -> None:
    start = at(STORED, "sectors") + 76
    first = STORED.index(DISK[:CHUNK], start)
    with pytest.raises(FormatError, match="checksum"):
        opened(changed(STORED, first, bytes(CHUNK + 4))).pread(0, 1)


@pytest.mark.parametrize("lie", ["next", "size"])
def test_sections_that_show_two_images_are_refused(lie: str) -> None:
    offset = at(ENCASE, "sectors")
    data = changed(ENCASE, offset + (16 if lie == "next" else 24), struct.pack("<Q", 0x200))
    with pytest.raises(FormatError, match="section 'sectors'"):
        opened(sealed(data, offset, 72))


@pytest.mark.parametrize("kind", ["header2", "volume", "sectors", "table", "data"])
@pytest.mark.parametrize("target", ["itself", "back", "outside", "wrapped"])
def test_section_loops_and_lies_end(kind: str, target: str) -> None:
    offset = at(ENCASE, kind)
    following = {"itself": offset, "back": 13, "outside": len(ENCASE) + 1, "wrapped": 2**64 - 1}[target]
    size = (following - offset) % 2**64
    data = changed(ENCASE, offset + 16, struct.pack("<QQ", following, size))
    with pytest.raises(FormatError):
        opened(sealed(data, offset, 72))


@pytest.mark.parametrize("count", [39, 2**20, 2**32 - 1])
def test_chunk_counts_are_checked(count: int) -> None:
    data = ENCASE
    for kind in ("table", "table2"):
        start = at(ENCASE, kind) + 76
        data = sealed(changed(data, start, struct.pack("<I", count)), start, 20)
    with pytest.raises(FormatError):
        opened(data).pread(0, SIZE)


def lying(offset: int, new: bytes, *kinds: str) -> bytes:
    """The image with ``new`` at ``offset`` of the sections ``kinds``, which describe the disk."""
    data = ENCASE
    for kind in kinds:
        start = at(ENCASE, kind) + 76
        data = sealed(changed(data, start + offset, new), start, 1048)
    return data


@pytest.mark.parametrize("sectors", [0, 1, 2410, 2**32, 2**52, 2**54 - 1, 2**63, 2**64 - 1])
def test_the_sections_that_describe_a_disk_are_settled_by_its_chunks(sectors: int) -> None:
    """The data section repeats what the volume section says, which some writers leave empty."""
    device = opened(lying(16, struct.pack("<Q", sectors), "volume"))
    if sectors == 2410:  # the chunks fit that as well: nothing but the hash knows better
        assert device.size == SIZE - 512
    else:
        check_device(device, DISK)
    problems = wrong(device.verify())
    assert "sectors of" in problems[0] or f"the first one {sectors * 512} in" in problems[0]


@pytest.mark.parametrize("sectors", [0, 1, 2000])
def test_a_size_that_is_too_small_gives_way_to_the_chunks(sectors: int) -> None:
    device = opened(lying(16, struct.pack("<Q", sectors), "volume", "data"))
    check_device(device, DISK)
    (problem,) = wrong(device.verify())
    assert (
        problem == f"the volume section says that the disk has {sectors * 512} bytes, its chunks hold {SIZE}"
    )


@pytest.mark.parametrize("sectors", [2**32, 2**52, 2**54 - 1, 2**63, 2**64 - 1])
def test_sizes_are_lies_of_no_consequence(sectors: int) -> None:
    data = lying(16, struct.pack("<Q", sectors), "volume", "data")
    if sectors > 2**52:
        with pytest.raises(FormatError):
            opened(data)
        return
    device = opened(data)
    assert device.pread(0, CHUNK) == DISK[:CHUNK]
    with pytest.raises(FormatError, match="in no table"):
        device.pread(device.size - 1, 1)
    assert any("38 of" in problem for problem in wrong(device.verify())[:2])


@pytest.mark.parametrize(
    ("per_chunk", "sector"), [(0, 512), (64, 0), (2**32 - 1, 512), (64, 2**32 - 1), (1 << 16, 1 << 16)]
)
def test_chunk_sizes_are_checked(per_chunk: int, sector: int) -> None:
    new = struct.pack("<II", per_chunk, sector)
    with pytest.raises(FormatError, match="chunks of"):
        opened(lying(8, new, "volume", "data"))
    check_device(opened(lying(8, new, "volume")), DISK)


@pytest.mark.parametrize("entry", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_offsets_outside_their_section_cost_their_chunks(entry: int) -> None:
    data = ENCASE
    for kind in ("table", "table2"):
        start = at(ENCASE, kind) + 76 + 24
        data = sealed(changed(data, start + 4 * 10, struct.pack("<I", entry)), start, 4 * 38)
    device = opened(data)
    for chunk in (9, 10):
        with pytest.raises(FormatError):
            device.pread(chunk * CHUNK, 1)
    for chunk in (0, 8, 11, 37):
        assert device.pread(chunk * CHUNK, CHUNK) == DISK[chunk * CHUNK : (chunk + 1) * CHUNK]


def test_a_bomb_is_an_error() -> None:
    bomb = zlib.compress(bytes(100 << 20))
    with pytest.raises(FormatError):
        decoded(bomb, CHUNK, CHUNK)


def test_stored_blocks_without_their_complement() -> None:
    """The Tableau TD3 writes NLEN as 0."""
    data = DISK[: 2 * 30000]
    blocks = b"".join(struct.pack("<BHH", last, 30000, 0) + data[last * 30000 :][:30000] for last in (0, 1))
    stream = b"\x78\x01" + blocks + struct.pack(">I", zlib.adler32(data))
    assert decoded(stream, len(data), len(data)) == data
    broken = changed(stream, 100, b"\xee")
    with pytest.raises(FormatError):
        decoded(broken, len(data), len(data))


def test_a_last_chunk_filled_up_is_cut() -> None:
    last = DISK[37 * CHUNK :]
    full = zlib.compress(last + bytes(CHUNK - len(last)))
    assert decoded(full, len(last), CHUNK) == last


def test_offsets_that_outgrow_31_bits(tmp_path: Path) -> None:
    """EnCase 6.7.1: a sectors section of more than 2 GiB, sparse here; from the wrap on chunks are stored."""
    count, gap = 5, (1 << 31) - 2 * CHUNK
    chunks = [DISK[index * CHUNK : (index + 1) * CHUNK] for index in range(count)]
    path = tmp_path / "big.E01"
    head = ENCASE[: at(ENCASE, "sectors")]
    start = at(head + ENCASE[len(head) :], "volume") + 76
    head = sealed(changed(head, start + 16, struct.pack("<Q", count * 64)), start, 1048)
    base = len(head)
    packed = zlib.compress(chunks[0])
    offsets = [76, 76 + len(packed), *(gap + index * (CHUNK + 4) for index in range(3))]
    end = base + offsets[-1] + CHUNK + 4

    def section(kind: bytes, offset: int, size: int) -> bytes:
        raw = struct.pack("<16sQQ40x", kind, offset + size, size)
        return raw + struct.pack("<I", zlib.adler32(raw))

    with path.open("wb") as out:
        out.write(head + section(b"sectors", base, end - base) + packed)
        for offset, chunk in zip(offsets[1:], chunks[1:], strict=True):
            out.seek(base + offset)
            out.write(chunk + struct.pack("<I", zlib.adler32(chunk)))
        header = struct.pack("<I4xQ4x", count, base)
        entries = struct.pack(f"<{count}I", offsets[0] | 1 << 31, *offsets[1:])
        body = (
            header
            + struct.pack("<I", zlib.adler32(header))
            + entries
            + struct.pack("<I", zlib.adler32(entries))
        )
        out.write(section(b"table", end, 76 + len(body)) + body)
        done = struct.pack("<16sQQ40x", b"done", end + 76 + len(body), 0)
        out.write(done + struct.pack("<I", zlib.adler32(done)))
    assert offsets[-1] >= 1 << 31
    with open_image(path) as found:
        assert found.disk.pread(0, CHUNK) == chunks[0]
        for index in (2, 3, 4):
            assert found.disk.pread(index * CHUNK, CHUNK) == chunks[index]


def segments_of_five(folder: Path) -> bytes:
    """disk.E01 to disk.E05, and the disk they hold: random, so that each of them is full."""
    content = random.Random(5).randbytes(4 << 20)
    (folder / "disk.raw").write_bytes(content)
    acquire = [
        tool("ewfacquire"),
        "-q",
        "-u",
        "-f",
        "encase6",
        "-b",
        "64",
        "-S",
        "1MiB",
        "-c",
        "none",
        "-t",
        "disk",
        "disk.raw",
    ]
    subprocess.run(acquire, cwd=folder, check=True, capture_output=True)
    (folder / "disk.raw").unlink()
    assert sorted(path.name for path in folder.iterdir()) == [f"disk.E0{number}" for number in range(1, 6)]
    return content


def readable(device: BlockDevice) -> list[bool]:
    """Which chunks can be read."""
    found = []
    for start in range(0, device.size, CHUNK):
        try:
            device.pread(start, CHUNK)
            found.append(True)
        except ImageError:
            found.append(False)
    return found


@pytest.mark.parametrize(
    ("absent", "named", "runs"),
    [
        ([5], "disk.E05 and what follows", 2),
        ([4, 5], "disk.E04 and what follows", 2),
        ([1], "disk.E01", 2),
        ([3], "disk.E03", 3),
        ([2, 3], "disk.E02 to disk.E03", 3),
    ],
)
def test_a_missing_segment_is_named_and_costs_what_it_holds(
    tmp_path: Path, absent: list[int], named: str, runs: int
) -> None:
    content = segments_of_five(tmp_path)
    for number in absent:
        (tmp_path / f"disk.E0{number}").unlink()
    with open_image(next(tmp_path.iterdir())) as found:
        device = cast("EwfDevice", found.disk)
        assert device.info()["missing"] == named
        sound = readable(device)
        assert len(list(itertools.groupby(sound))) == runs
        assert sound.count(False) in range(28 * len(absent), 36 * len(absent)) or absent[-1] == 5
        for chunk, is_sound in enumerate(sound):
            if is_sound:
                assert device.pread(chunk * CHUNK, CHUNK) == content[chunk * CHUNK : (chunk + 1) * CHUNK]
        problems = wrong(device.verify())
        assert f"missing: {named}: what was there cannot be read" in problems
        last = r"the stored MD5 .* cannot be compared: ewf: chunk .* is in no table.*"
        assert bool(re.fullmatch(last, problems[-1])) == (5 not in absent)  # which has the hashes
    with open_image(next(tmp_path.iterdir()), Options(extra={"on-error": "zero"})) as found:
        device = cast("EwfDevice", found.disk)
        expected = [
            content[n * CHUNK : (n + 1) * CHUNK] if is_sound else bytes(CHUNK)
            for n, is_sound in enumerate(sound)
        ]
        check_device(device, b"".join(expected))
        assert device.info()["damaged, read as zeros"].startswith(f"{sound.count(False)} ranges: ")


def test_segments_between_two_gaps_are_not_guessed_at(tmp_path: Path) -> None:
    content = segments_of_five(tmp_path)
    for number in (2, 4):
        (tmp_path / f"disk.E0{number}").unlink()
    with open_image(tmp_path / "disk.E03") as found:
        device = cast("EwfDevice", found.disk)
        assert device.info()["missing"] == "disk.E02, disk.E04"
        assert "disk.E03 cannot be used: nothing says where it belongs" in wrong(device.verify())
        sound = readable(device)
        assert [key for key, _ in itertools.groupby(sound)] == [True, False, True]
        assert device.pread(device.size - CHUNK, CHUNK) == content[-CHUNK:]


def test_segments_without_any_that_describes_the_disk(tmp_path: Path) -> None:
    for name in ("disk.E02",):
        data = unpacked("split", name)
        start = at(data, "data")
        (tmp_path / name).write_bytes(sealed(changed(data, start, b"gone"), start, 72))
    with pytest.raises(MissingPartError, match=r"disk\.E01 is missing"):
        open_image(tmp_path / "disk.E02")


def test_chunks_of_ex01_are_numbered_by_their_tables(tmp_path: Path) -> None:
    (tmp_path / "disk.Ex02").write_bytes(unpacked("ex01", "disk.Ex02"))
    with open_image(tmp_path / "disk.Ex02") as found:
        assert cast("EwfDevice", found.disk).info()["missing"] == "disk.Ex01"
        assert readable(found.disk) == [False] * 24 + [True] * 14
        assert found.disk.pread(24 * CHUNK, SIZE) == DISK[24 * CHUNK :]


def test_a_segment_of_another_set_is_refused(tmp_path: Path) -> None:
    for number, kind in ((1, "volume"), (2, "data")):
        segment = unpacked("split", f"disk.E0{number}")
        start = at(segment, kind) + 76
        (tmp_path / f"disk.E0{number}").write_bytes(
            sealed(changed(segment, start + 64, bytes([number]) * 16), start, 1048)
        )
    with pytest.raises(FormatError, match=r"disk\.E02 belongs to another set"):
        open_image(tmp_path / "disk.E01")
    shutil.copy(tmp_path / "disk.E01", tmp_path / "disk.E02")
    with pytest.raises(FormatError, match=r"disk\.E02 is segment 1, not 2"):
        open_image(tmp_path / "disk.E01")


@pytest.mark.parametrize("given", ["DISK.e01", "DISK.e02"])
def test_any_segment_opens_the_set_in_any_case(given: str, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"DISK.e0{number}").write_bytes(unpacked("split", f"disk.E0{number}"))
    with open_image(tmp_path / given) as found:
        check_device(found.disk, DISK)


@pytest.mark.parametrize(
    ("given", "number", "name"),
    [
        ("a.E01", 2, "a.E02"), ("a.E01", 99, "a.E99"), ("a.E01", 100, "a.EAA"), ("a.E01", 125, "a.EAZ"), ("a.E01", 126, "a.EBA"),
        ("a.s01", 100, "a.saa"), ("a.E01", 775, "a.EZZ"), ("a.E01", 776, "a.FAA"),
        ("a.E01", 14971, "a.ZZZ"), ("a.E01", 14972, ""),
        ("a.b.FAB", 1, "a.b.E01"), ("a.Ex01", 2, "a.Ex02"), ("a.Ex01", 100, "a.ExAA"), ("a.Ex01", 776, "a.EyAA"),
        ("a.Ex01", 2127, "a.EzZZ"), ("a.Ex01", 2128, ""), ("a.ex07", 1, "a.ex01"), ("disk", 1, ""), ("a.image", 1, ""),
    ],
)  # fmt: skip
def test_segment_names(given: str, number: int, name: str) -> None:
    assert segment_name(given, number) == name
    assert not name or segment_number(given, name) == number


def test_encryption_and_bzip2_are_refused_by_name() -> None:
    first = unpacked("ex01", "disk.Ex01")
    with pytest.raises(UnsupportedError, match="bzip2"):
        opened(changed(first, 10, b"\2"))
    last = len(first) - 64
    with pytest.raises(UnsupportedError, match="encryption"):
        opened(sealed(changed(first, last + 4, b"\2"), last, 60))
    with pytest.raises(UnsupportedError, match="ADCRYPT"):
        opened(b"ADCRYPT\0" + bytes(512))


@pytest.mark.parametrize(("field", "value"), [(8, 2**63), (16, 2**63), (16, 2**64 - 1), (8, 0)])
def test_ex01_links_are_checked(field: int, value: int) -> None:
    data = unpacked("ex01", "disk.Ex01")
    last = len(data) - 64
    with pytest.raises(ImageError):
        opened(sealed(changed(data, last + field, struct.pack("<Q", value)), last, 60))


def test_ex01_loops_end() -> None:
    data = unpacked("ex01", "disk.Ex01")
    last = len(data) - 64
    with pytest.raises(FormatError):
        opened(sealed(changed(data, last + 8, struct.pack("<Q", last)), last, 60))


@pytest.mark.parametrize("keep", [8, 13, 40, 89, 400, 1000, 0x79A + 10, 0x15792 + 5, 0x15992, 0x15F06])
def test_truncated_images(keep: int) -> None:
    try:
        device = opened(ENCASE[:keep])
    except ImageError:
        return
    assert device.pread(0, SIZE) == DISK
    assert any("without a 'next'" in problem for problem in wrong(device.verify()))


@pytest.mark.parametrize(
    "arguments",
    [
        "-f encase6 -b 64 -S 1MiB -c none:none",
        "-f encase5 -b 1024 -S 1MiB -c deflate:best",
        "-f smart -b 128 -S 1MiB -c deflate:fast",
    ],
)
def test_against_ewfexport(arguments: str, tmp_path: Path) -> None:
    tool("ewfexport")
    (tmp_path / "disk.raw").write_bytes(DISK * 3)
    acquire = [tool("ewfacquire"), "-q", "-u", *arguments.split(), "-t", "disk", "disk.raw"]
    subprocess.run(acquire, cwd=tmp_path, check=True, capture_output=True)
    first = next(path for path in tmp_path.iterdir() if path.suffix.lower() in (".e01", ".s01"))
    subprocess.run(
        ["ewfexport", "-q", "-u", "-f", "raw", "-t", "out", first.name],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with open_image(first, Options()) as found:
        check_device(found.disk, (tmp_path / "out.raw").read_bytes())
        assert wrong(cast("EwfDevice", found.layers[1].device).verify()) == []


class Huge(BlockDevice):
    """8 TB in one E01 file, of which only ``head`` is written down: tables of 16,375 stored chunks of zeros follow by rule."""

    PER_TABLE = 16_375
    GROUPS = 16_400
    STORED = CHUNK + 4

    def __init__(self) -> None:
        start = at(ENCASE, "volume") + 76
        head = sealed(
            changed(ENCASE, start + 4, struct.pack("<I", self.PER_TABLE * self.GROUPS)), start, 1048
        )
        head = sealed(
            changed(head, start + 16, struct.pack("<Q", self.PER_TABLE * self.GROUPS * 64)), start, 1048
        )
        self.head = head[: at(ENCASE, "sectors")]
        self.chunk = bytes(CHUNK) + struct.pack("<I", zlib.adler32(bytes(CHUNK)))
        entries = struct.pack(
            f"<{self.PER_TABLE}I", *(76 + index * self.STORED for index in range(self.PER_TABLE))
        )
        self.entries = entries + struct.pack("<I", zlib.adler32(entries))
        self.data = 76 + self.PER_TABLE * self.STORED
        self.group = self.data + 76 + 24 + len(self.entries)
        self.size = len(self.head) + self.GROUPS * self.group + 76

    @staticmethod
    def descriptor(kind: bytes, following: int, size: int) -> bytes:
        raw = struct.pack("<16sQQ40x", kind, following, size)
        return raw + struct.pack("<I", zlib.adler32(raw))

    def _pread(self, offset: int, size: int) -> bytes:
        if offset < len(self.head):
            return self.head[offset : offset + size].ljust(size, b"\0")
        group, skip = divmod(offset - len(self.head), self.group)
        start = len(self.head) + group * self.group
        if group == self.GROUPS:
            return self.descriptor(b"done", start, 0)[skip : skip + size]
        if skip == 0:
            return self.descriptor(b"sectors", start + self.data, self.data)[:size]
        if skip < self.data:
            inside = (skip - 76) % self.STORED
            return (self.chunk * (size // self.STORED + 2))[inside : inside + size]
        header = struct.pack("<I4xQ4x", self.PER_TABLE, start)
        header += struct.pack("<I", zlib.adler32(header))
        table = self.descriptor(b"table", start + self.group, self.group - self.data) + header + self.entries
        return table[skip - self.data :][:size]


def test_the_index_of_8_tb_stays_small() -> None:
    file = Huge()
    tracemalloc.start()
    try:
        device = open_ewf(file, context())
        assert device.size > 8 * 10**12
        for chunk in random.Random(8).sample(range(device.units), 300):
            assert device.pread(chunk * CHUNK + 7, 100) == bytes(100)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
