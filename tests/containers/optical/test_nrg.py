"""NRG: an image by others, what other tools read in ours, and footers, chunks and tracks that lie."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
from pathlib import Path

import pytest

from discs import content, open_disc, shown, starts_by_libcdio, told, unpacked
from helpers import image, tool
from imgmount.chain.open import open_image
from imgmount.errors import FormatError

SECTORS = 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack(">I", len(data)) + data


def nrg(chunks: bytes, *, start: int = SECTORS * 2048) -> bytes:
    return bytes(SECTORS * 2048) + chunks + b"NER5" + struct.pack(">Q", start)


def etn2(start: int, length: int, mode: int = 0, lba: int = 0) -> bytes:
    return chunk(b"ETN2", struct.pack(">QQIIII", start, length, mode, lba, 0, 0))


END = chunk(b"END!", b"")


def test_an_image_by_others() -> None:
    with open_image(image("nrg/libcdio__libcdio__p1.nrg")) as disc:
        assert str(disc) == "file > nrg > tracks[2]"
        tracks = disc.disk.tracks  # type: ignore[attr-defined]
        assert [(track.lba, track.pregap, track.sectors) for track in tracks] == [
            (150, 300, 75),
            (300, 75, 2),
        ]  # cd-info says so
        stored = image("nrg/libcdio__libcdio__p1.nrg").read_bytes()
        wav = content(shown(disc.disk)["track01.wav"])  # type: ignore[arg-type]
        assert hashlib.sha256(wav[44:]).digest() == hashlib.sha256(stored[705600:882000]).digest()


@pytest.mark.parametrize("variant", ["v1-dao", "v2-dao", "v1-tao", "v2-tao", "sub2448"])
def test_iat_extracts_the_same(variant: str, tmp_path: Path) -> None:
    """It extracts sectors up to the end of the file; the first track's are the first of them."""
    path = unpacked(f"nrg/{variant}", tmp_path)
    subprocess.run([tool("iat"), str(path), str(tmp_path / "out.iso")], check=True, capture_output=True)
    with open_image(path) as disc:
        ours = content(shown(disc.disk)["track01.iso"])  # type: ignore[arg-type]
    assert len(ours) == 41 * 2048
    assert (tmp_path / "out.iso").read_bytes()[: len(ours)] == ours


def made(version: int, chunks: bytes, data: bytes, path: Path) -> Path:
    foot = b"NER5" + struct.pack(">Q", len(data)) if version == 2 else b"NERO" + struct.pack(">I", len(data))
    path.write_bytes(data + chunks + chunk(b"MTYP", struct.pack(">I", 1)) + END + foot)
    return path


def volume(folder: Path) -> bytes:
    (folder / "tree").mkdir()
    (folder / "tree" / "file").write_bytes(b"content\n" * 3000)
    command = [
        tool("genisoimage"),
        "-quiet",
        "-no-pad",
        "-R",
        "-o",
        str(folder / "iso"),
        str(folder / "tree"),
    ]
    subprocess.run(command, check=True)
    return (folder / "iso").read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_nrg2iso_extracts_a_disc_at_once_alike(version: int, tmp_path: Path) -> None:
    iso, pregap = volume(tmp_path), bytes(150 * 2048)
    spans = struct.pack(">3Q" if version == 2 else ">3I", 0, len(pregap), len(pregap) + len(iso))
    tracks = bytes(22) + bytes(12) + struct.pack(">HHH", 2048, 0, 1) + spans
    chunks = chunk(b"DAOX" if version == 2 else b"DAOI", tracks) + chunk(b"SINF", struct.pack(">I", 1))
    path = made(version, chunks, pregap + iso, tmp_path / "dao.nrg")
    subprocess.run([tool("nrg2iso"), str(path), str(tmp_path / "out.iso")], check=True, capture_output=True)
    with open_image(path) as disc:
        assert content(disc.volumes[0].device) == iso
    assert (tmp_path / "out.iso").read_bytes()[: len(iso)] == iso


@pytest.mark.parametrize("version", [1, 2])
def test_libcdio_finds_the_files_of_a_track_at_once(version: int, tmp_path: Path) -> None:
    iso, song = volume(tmp_path), bytes(range(256)) * 147  # 16 sectors
    form, name, rest = (">QQIIII", b"ETN2", (0, 0)) if version == 2 else (">IIIII", b"ETNF", (0,))
    entries = struct.pack(form, 0, len(iso), 0, 0, *rest)
    entries += struct.pack(form, len(iso), len(song), 7, len(iso) // 2048 + 150, *rest)
    path = made(
        version, chunk(name, entries) + chunk(b"SINF", struct.pack(">I", 2)), iso + song, tmp_path / "tao.nrg"
    )
    listed = subprocess.run(
        [tool("iso-info"), "-f", "-i", str(path)], check=True, capture_output=True, text=True
    ).stdout
    with open_image(path) as disc:
        assert [(track.lba, track.sectors) for track in disc.disk.tracks] == [  # type: ignore[attr-defined]
            (0, len(iso) // 2048),
            (len(iso) // 2048 + 150, 16),
        ]
        assert content(shown(disc.disk)["track02.wav"])[44:] == song  # type: ignore[arg-type]
        assert disc.whole is not None
        sizes = {name: node.stat().size for name, node in disc.whole.filesystem.root.entries()}
    assert re.findall(r"^ *(\d+) +/(file)$", listed, re.MULTILINE) == [(str(sizes["file"]), "file")]


def test_libcdio_places_tracks_where_we_do(tmp_path: Path) -> None:
    path = unpacked("nrg/v2-dao", tmp_path)  # of version 1 it takes the times for numbers
    with open_image(path) as disc:
        assert [track.lba for track in disc.disk.tracks] == starts_by_libcdio(path)  # type: ignore[attr-defined]
    assert len(starts_by_libcdio(path)) == 2


def test_a_plain_track() -> None:
    disc = open_disc("nrg", nrg(etn2(0, SECTORS * 2048) + END))
    assert disc.tracks[0].sectors == SECTORS


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (nrg(b"ETN2" + b"\xff" * 4 + END), "chunk 'ETN2' has 4294967295 bytes, more than"),
        (nrg(etn2(0, 2048)), "bytes needed"),
        (nrg(END), "0 tracks"),
        (nrg(END, start=1 << 63), "bytes needed"),
        (nrg(etn2(0, 1 << 40) + END), "past the end"),
        (nrg(etn2(1 << 62, 1 << 62) + END), "past the end"),
        (nrg(etn2(0, 2048, lba=1 << 31) + END), "not from 0 to"),
        (
            nrg(chunk(b"DAOX", bytes(22) + struct.pack(">12xHB3x3Q", 2048, 0, 2048, 0, 4096)) + END),
            "which do not rise",
        ),
        (
            nrg(chunk(b"DAOX", bytes(22) + struct.pack(">12xHB3x3Q", 0, 0, 0, 0, 4096)) + END),
            "of 2048 bytes a sector, and says 0",
        ),
        (nrg(chunk(b"ETN2", bytes(32 * 100)) + END), "100 tracks"),
        (nrg(chunk(b"XXXX", b"") * 5000 + END), "more than 4096 chunks"),
        (bytes(5000), "does not end with a footer"),
    ],
)
def test_images_that_lie(data: bytes, reason: str) -> None:
    assert reason in told("nrg", data)


def test_big_and_unknown_chunks_are_passed_over() -> None:
    chunks = (
        chunk(b"CDTX", bytes(2 << 20)) + chunk(b"CUEX", b"\1") + chunk(b"DAOI", b"") + etn2(0, 2048) + END
    )
    assert len(open_disc("nrg", nrg(chunks)).tracks) == 1


def test_every_cut_is_an_error_or_the_same_disc(tmp_path: Path) -> None:
    data = unpacked("nrg/v2-dao", tmp_path).read_bytes()
    for size in range(len(data) - 300, len(data), 7):
        with pytest.raises(FormatError):
            open_disc("nrg", data[:size])


def tracks_at_once(
    version: int, groups: list[list[tuple[int, int]]], places: list[int], folder: Path
) -> Path:
    """An NRG whose sessions have tracks of (sectors, mode), with those addresses in their entries."""
    form, name, rest = (">QQIIII", b"ETN2", (0, 0)) if version == 2 else (">IIIII", b"ETNF", (0,))
    data, chunks, left = b"", b"", iter(places)
    for group in groups:
        entries = b""
        for sectors, mode in group:
            content = bytes([len(data) % 251]) * (sectors * (2352 if mode == 7 else 2048))
            entries += struct.pack(form, len(data), len(content), mode, next(left), *rest)
            data += content
        chunks += chunk(name, entries) + chunk(b"SINF", struct.pack(">I", len(group)))
    return made(version, chunks, data, folder / "tao.nrg")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("modes", [(0, 0, 0), (0, 7, 7), (0, 0, 7)])
def test_pregaps_of_tracks_at_once_are_where_libcdio_has_them(
    version: int, modes: tuple[int, ...], tmp_path: Path
) -> None:
    groups = [list(zip((184, 300, 50), modes, strict=True))]
    path = tracks_at_once(version, groups, [0, 184, 484], tmp_path)
    with open_image(path) as disc:
        found = [track.lba for track in disc.disk.tracks]  # type: ignore[attr-defined]
    assert found == [0, 334, 784]
    if version == 2 or modes == (0, 0, 0):  # of others in version 1, libcdio says nothing
        assert found == starts_by_libcdio(path)


@pytest.mark.parametrize("places", [[0, 184, 484], [0, 334, 784], [0, 0, 0]])
def test_pregaps_are_counted_whatever_the_entries_say(places: list[int], tmp_path: Path) -> None:
    with open_image(tracks_at_once(2, [[(184, 0), (300, 7), (50, 0)]], places, tmp_path)) as disc:
        assert [track.lba for track in disc.disk.tracks] == [0, 334, 784]  # type: ignore[attr-defined]


def test_a_file_that_goes_on_in_the_next_track_at_once_is_found(tmp_path: Path) -> None:
    path = tracks_at_once(1, [[(184, 0), (20, 0)]], [0, 184], tmp_path)
    with open_image(path) as disc:
        main = disc.disk.main(None)  # type: ignore[attr-defined]
        assert main.pread(334 * 2048, 2048) == bytes([184 * 2048 % 251]) * 2048
        with pytest.raises(FormatError, match="sector 184 lies in no data track"):
            main.pread(184 * 2048, 1)


def test_a_later_session_of_tracks_at_once_lies_behind_its_gap(tmp_path: Path) -> None:
    for places in ([0, 184], [0, 184 + 11400]):
        with open_image(tracks_at_once(2, [[(184, 0)], [(300, 0)]], places, tmp_path)) as disc:
            assert [track.lba for track in disc.disk.tracks] == [0, 11584]  # type: ignore[attr-defined]


def test_a_track_that_is_cut_keeps_what_is_there() -> None:
    image = nrg(etn2(0, 10 * 2048) + etn2(10 * 2048, 1 << 40) + END)
    disc = open_disc("nrg", image)
    first, second = disc.partitions()
    assert first.fault is None
    assert "track 2 ends at" in str(second.fault)
    assert content(first.device) == bytes(10 * 2048)


def test_stored_pregaps_count_where_no_chunk_places_the_tracks() -> None:
    """CUEX says where tracks are; without it the pregaps that DAOX describes do."""
    spans, at = b"", 0
    for pregap, length in ((150, 20), (75, 10), (0, 5)):
        start = at + pregap * 2048
        spans += struct.pack(">12xHB3x3Q", 2048, 0, at, start, start + length * 2048)
        at = start + length * 2048
    data = bytes(at) + chunk(b"DAOX", bytes(22) + spans) + END + b"NER5" + struct.pack(">Q", at)
    disc = open_disc("nrg", data)
    assert [(track.lba, track.sectors) for track in disc.tracks] == [(0, 20), (95, 10), (105, 5)]
