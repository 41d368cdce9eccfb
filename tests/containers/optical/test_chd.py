"""CHDs that are damaged, hostile, or lack a parent; digests; what others made."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pytest

from conformance import sha256
from helpers import FIXTURES, IMAGES, NoSiblings, context, image, tool, wrong
from imgmount.chain.open import open_image
from imgmount.codecs import flac
from imgmount.containers.optical.chd import FORMAT, ChdDisc, ChdDisk
from imgmount.containers.optical.chd.device import Chd
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Options
from imgmount.core.node import Directory
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.families.optical.disc import Disc
from imgmount.sources.file import FileDevice
from udf_discs import large_disc

CHD = FIXTURES / "containers" / "chd"
ZLIB = (CHD / "codecs" / "zlib.chd").read_bytes()
OLD = (CHD / "old" / "v4.chd").read_bytes()
DISC = (CHD / "cd-mixed" / "all.chd").read_bytes()
PLAIN = sorted(path for path in CHD.glob("*/*.chd") if path.parent.name != "gd")  # whose 110 MB take a while
V5_SIZE, V5_MAP, V5_METADATA, V5_HUNK = 32, 40, 48, 56
HUNK = 4096


def opened(data: bytes, **siblings: bytes) -> BlockDevice:
    return FORMAT.open(
        MemoryDevice(data), context({f"{name}.chd": content for name, content in siblings.items()})
    )


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_content_has_the_digest_that_the_header_states(path: Path) -> None:
    with open_image(path) as found:
        assert isinstance(found.disk, ChdDisk | ChdDisc)
        assert wrong(found.disk.verify()) == []
        assert found.disk.info()["version"] in "12345"


def test_verify_reports_content_and_metadata_that_were_changed() -> None:
    disk = opened(patched(OLD, OLD.index(b"CYLS:11"), b"CYLS:12"))
    assert isinstance(disk, ChdDisk)
    (problem,) = wrong(disk.verify())
    assert problem.startswith("SHA-1 with the metadata is ")
    disk = opened(patched(OLD, 88, bytes(19) + b"\1"))
    assert isinstance(disk, ChdDisk)
    assert any(line.startswith("SHA-1 of the data is ") for line in wrong(disk.verify()))


@pytest.mark.parametrize("data", [ZLIB, OLD], ids=["CRC-16", "CRC-32"])
def test_damage_costs_one_hunk(data: bytes) -> None:
    clean = opened(data)
    content = clean.pread(0, clean.size)
    victim = 1  # compressed in both, with a CRC
    start = Chd.open(MemoryDevice(data), context()).stream._map.entries(victim, 1)[0].offset  # type: ignore[attr-defined]
    damaged = opened(patched(data, start + 20, bytes(b ^ 0x55 for b in data[start + 20 : start + 30])))
    with pytest.raises(FormatError, match=f"hunk {victim}"):
        damaged.pread(victim * HUNK + 5, 10)
    assert damaged.pread(0, HUNK) == content[:HUNK]
    after = (victim + 1) * HUNK
    assert damaged.pread(after, 3 * HUNK) == content[after : after + 3 * HUNK]


def test_a_wrong_checksum_is_told_from_data_that_do_not_decode() -> None:
    entry = 108 + 16 + 8  # the CRC-32 of hunk 1
    with pytest.raises(ChecksumError, match="hunk 1"):
        opened(patched(OLD, entry, b"\1\2\3\4")).pread(HUNK, 1)


def test_a_wrong_map_is_found_at_open() -> None:
    (offset,) = struct.unpack_from(">Q", ZLIB, V5_MAP)
    with pytest.raises(ChecksumError, match="map"):
        opened(patched(ZLIB, offset + 10, b"\0\0"))
    for at in [
        *range(offset + 4, offset + 13),
        *range(offset + 16, offset + 40),
    ]:  # between them: widths that are not used here
        with pytest.raises(FormatError):
            opened(patched(ZLIB, at, bytes([ZLIB[at] ^ 0x5A])))


@pytest.mark.parametrize(
    ("offset", "new"),
    [
        (8, struct.pack(">I", 123)),
        (V5_SIZE, struct.pack(">Q", 0)),
        (V5_SIZE, struct.pack(">Q", 1 << 60)),
        (V5_SIZE, struct.pack(">Q", 1 << 34)),
        (V5_MAP, struct.pack(">Q", 1 << 40)),
        (V5_HUNK, struct.pack(">I", 0)),
        (V5_HUNK, struct.pack(">I", 1 << 31)),
        (V5_HUNK, struct.pack(">I", 513)),
        (V5_METADATA, struct.pack(">Q", 1 << 50)),
    ],
)
def test_impossible_headers_are_refused(offset: int, new: bytes) -> None:
    with pytest.raises(FormatError):
        opened(patched(ZLIB, offset, new))


def test_a_map_of_the_largest_size_that_says_nothing_is_refused_in_little_memory() -> None:
    hunks = 1 << 24
    tree = bytes([0x44] * 8)
    packed = tree + b"\x99" * 4  # a type that refers to what was before, a hundred times, then the end
    table = struct.pack(">I6sHBBBB", len(packed), bytes(6), 0, 32, 32, 32, 0) + packed
    data = patched(ZLIB[:124], V5_SIZE, struct.pack(">QQQ", hunks * HUNK, 124, 0)) + table
    with pytest.raises(FormatError):
        opened(data)


@pytest.mark.parametrize("data", [ZLIB, OLD, DISC], ids=["v5", "v4", "cd"])
def test_a_cut_file_is_an_error_wherever_it_is_cut(data: bytes) -> None:
    for end in [*range(8, 140, 7), *range(140, len(data), len(data) // 40), len(data) - 1]:
        try:
            disk = opened(data[:end])
        except ImageError:
            continue
        with pytest.raises(ImageError):
            disk.pread(0, disk.size)


def test_a_metadata_chain_that_loops_is_refused() -> None:
    (first,) = struct.unpack_from(">Q", DISC, V5_METADATA)
    with pytest.raises(FormatError, match="does not end"):
        opened(patched(DISC, first + 8, struct.pack(">Q", first)))


def test_a_track_of_an_unknown_type_costs_itself_alone() -> None:
    right, disc = opened(DISC), opened(patched(DISC, DISC.index(b"TYPE:MODE1"), b"TYPE:MODE9"))
    assert isinstance(right, Disc)
    assert isinstance(disc, Disc)
    assert [track.is_lost for track in disc.tracks] == [True, False, False]
    assert "track type 'MODE9" in str(disc.tracks[0].fault)
    for track, other in zip(disc.tracks[1:], right.tracks[1:], strict=True):
        assert track.lba == other.lba
        assert track.area.pread(0, 1 << 20) == other.area.pread(0, 1 << 20)


def test_tracks_longer_than_the_disc_are_refused() -> None:
    with pytest.raises(FormatError, match="ends at frame 99, past the end of the disc at"):
        opened(patched(DISC, DISC.index(b"FRAMES:21"), b"FRAMES:99"))


def test_self_references_that_loop_are_refused() -> None:
    entries = struct.pack(">QIHBB", 1, 0, 0, 0, 4) + struct.pack(">QIHBB", 0, 0, 0, 0, 4)
    disk = opened(patched(OLD, 108, entries))
    with pytest.raises(FormatError, match="refers to hunks that only refer to others"):
        disk.pread(0, 1)


def test_what_is_not_read_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="version 6"):
        opened(patched(ZLIB, 12, struct.pack(">I", 6)))
    with pytest.raises(UnsupportedError, match="avhu"):
        opened(patched(ZLIB, 16, b"avhu"))
    with pytest.raises(UnsupportedError, match=r"codec .brtl. is not one of"):
        opened(patched(ZLIB, 16, b"brtl"))


def test_a_parent_is_found_by_its_digest_whatever_its_name() -> None:
    child, parent, grandparent = (
        (CHD / "parent" / f"{name}.chd").read_bytes() for name in ("child", "parent", "grandparent")
    )
    disk = opened(child, q=b"MComprHD and nothing else", aaa=parent, b=ZLIB, zzz=grandparent)
    facts = json.loads((CHD / "parent" / "expected-child.json").read_text())
    assert [disk.size, sha256(disk)] == facts["raw"]


def test_a_missing_parent_is_named_by_its_digest() -> None:
    child, parent = ((CHD / "parent" / f"{name}.chd").read_bytes() for name in ("child", "parent"))
    with pytest.raises(MissingPartError, match=parent[84:104].hex()):
        opened(child, other=ZLIB)


def test_a_file_that_is_its_own_parent_is_refused() -> None:
    own = patched(ZLIB, 104, ZLIB[84:104])
    with pytest.raises(FormatError, match="parents"):
        opened(own, own=own)


@pytest.mark.parametrize(
    "name", ["codecs/flac", "codecs/all", "cd-mixed/cdfl", "cd-2048/mixed", "chdman289/cdmixed"]
)
def test_sound_is_decoded_without_libflac_too(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flac, "LIBRARIES", ())
    flac._library.cache_clear()
    with open_image(CHD / f"{name}.chd") as found:
        assert isinstance(found.disk, ChdDisk | ChdDisc)
        assert wrong(found.disk.verify()) == []
    flac._library.cache_clear()
    assert ["apt install flac" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("row", [row for row in json.loads((IMAGES / "INDEX.json").read_text()) if row["family"] == "chd"]
                         if IMAGES.exists() else [], ids=lambda row: str(row["file"]))  # fmt: skip
def test_images_that_others_made(row: dict[str, object]) -> None:
    with open_image(image(str(row["file"]))) as found:
        assert [found.disk.size, sha256(found.disk)] == row["raw"]


def test_sessions_and_files_of_a_disc() -> None:
    disc = FORMAT.open(MemoryDevice(DISC), Context(Path("x.chd"), NoSiblings(), context().cache, Options()))
    assert isinstance(disc, ChdDisc)
    assert [(track.number, track.lba, track.sectors, track.pregap) for track in disc.tracks] == [
        (1, 0, 21, 0),
        (2, 25, 9, 4),
        (3, 184, 6, 0),
    ]
    assert [[name for name, _ in part.files] for part in disc.partitions()] == [
        ["track01.iso", "track01.bin"],
        ["track02.wav"],
        ["track03.wav"],
    ]
    assert hashlib.sha256(disc.pread(0, disc.size)).hexdigest() == sha256(disc)


def test_a_first_listing_of_a_large_disc_reads_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50,000 files in 250 folders: 2 MB of the CHD at most, although the folders lie far apart."""
    read: list[int] = []
    below = FileDevice._pread

    def counted(self: FileDevice, offset: int, size: int) -> bytes:
        read.append(size)
        return below(self, offset, size)

    monkeypatch.setattr(FileDevice, "_pread", counted)
    (tmp_path / "disc").write_bytes(large_disc(250, 200).data)
    command = [
        tool("chdman"),
        "createraw",
        "-i",
        "disc",
        "-o",
        "disc.chd",
        "-hs",
        "4096",
        "-us",
        "512",
        "-c",
        "zlib",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    with open_image(tmp_path / "disc.chd") as found:
        assert str(found) == "file > chd > udf"
        assert found.whole is not None
        folders = list(found.whole.filesystem.root.entries())
        assert len(folders) == 250
        folder = folders[100][1]
        assert isinstance(folder, Directory)
        assert len([node.stat() for _, node in folder.entries()]) == 200
    assert sum(read) <= 2 << 20
