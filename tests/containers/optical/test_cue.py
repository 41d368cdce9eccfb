"""Cue sheets: sheets by others, what tools make of them, and sheets that lie."""

from __future__ import annotations

import gzip
import subprocess
import wave
from pathlib import Path

import pytest

from discs import content, open_disc, shown, starts_by_libcdio, unpacked
from helpers import image, tool
from imgmount.chain.open import open_image
from imgmount.containers.optical.cue import probe
from imgmount.core.format import Match
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError

DATA = bytes(range(256)) * 9 + bytes(48)  # one sector
SHEET = 'FILE "a.bin" BINARY\n TRACK 01 AUDIO\n  INDEX 01 00:00:00\n'


def open_sheet(text: str, **files: int) -> dict[str, bytes]:
    """File -> content; ``files`` are the sectors of ``NAME.bin``."""
    disc = open_disc(
        "cue", text.encode(), {f"{name}.bin": DATA * sectors for name, sectors in files.items()}, "test.cue"
    )
    return {name: content(device) for name, device in shown(disc).items()}


@pytest.mark.parametrize(
    ("name", "chain", "tracks"),
    [
        ("libcdio__libcdio/cdda.cue", "file > cue > tracks[1]", [(0, 302)]),
        ("libcdio__libcdio/isofs-m1.cue", "file > cue > tracks[1] > iso9660", [(0, 302)]),
        ("libcdio__libcdio/p1.cue", "file > cue > tracks[2]", [(75, 75), (225, 77)]),
        ("emmercm__igir/CD-ROM.cue", "file > cue > tracks[3]", [(0, 1), (151, 0), (301, 0)]),
        ("emmercm__chdman-js/multiple.cue", "file > cue > tracks[3]", [(0, 2), (152, 0), (302, 0)]),
    ],
)
def test_sheets_by_others(name: str, chain: str, tracks: list[tuple[int, int]]) -> None:
    with open_image(image(f"bincue/{name}")) as disc:
        assert str(disc) == chain
        assert [(track.lba, track.sectors) for track in disc.disk.tracks] == tracks  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "line"), [("bad-mode1", "mode 'MODE3_FORM1'"), ("bad-msf-1", "'00:00:100' is not a time")]
)
def test_broken_sheets_by_others(name: str, line: str) -> None:
    with pytest.raises(FormatError, match=f"^cue: {line}$"):
        open_image(image(f"bincue/libcdio__libcdio/{name}.cue"))


def test_bchunk_extracts_the_same(tmp_path: Path) -> None:
    bchunk = tool("bchunk")
    sheet = unpacked("cue/single", tmp_path)
    text = sheet.read_text().upper().replace("DISC.BIN", str(tmp_path / "DISC.BIN"))
    text = "\n".join(
        line for line in text.splitlines() if "INDEX 00" not in line
    )  # it has gaps end the track before them
    (tmp_path / "plain.cue").write_text(text)
    subprocess.run(
        [bchunk, "-w", "DISC.BIN", "plain.cue", "out"], cwd=tmp_path, check=True, capture_output=True
    )
    with open_image(tmp_path / "plain.cue") as disc:
        files = {name: content(device) for part in disc.volumes for name, device in part.partition.files}
    assert files["track01.iso"] == (tmp_path / "out01.iso").read_bytes()
    for name in ("02", "03"):
        with wave.open(str(tmp_path / f"out{name}.wav")) as ours:
            assert files[f"track{name}.wav"][44:] == ours.readframes(ours.getnframes())


@pytest.mark.parametrize("variant", ["mixed2048", "mode2-2336", "xa"])
def test_libcdio_places_tracks_where_we_do(variant: str, tmp_path: Path) -> None:
    sheet = unpacked(f"cue/{variant}", tmp_path)
    with open_image(sheet) as disc:
        assert [track.lba for track in disc.disk.tracks] == starts_by_libcdio(sheet)  # type: ignore[attr-defined]
    assert starts_by_libcdio(sheet)


def test_indexes_above_one_and_unknown_lines_change_nothing() -> None:
    text = SHEET.replace(
        "INDEX 01", "INDEX 01 00:00:00\n  INDEX 02 00:00:01\nREM COMMENT x\nISRC x\nFOO BAR\nINDEX 03"
    )
    assert len(open_sheet(text.replace("03 00:00:00", "03 00:00:02"), a=5)["track01.wav"]) == 44 + 5 * 2352


def test_what_lies_before_the_first_index_is_pregap() -> None:
    files = open_sheet(SHEET.replace("00:00:00", "00:00:02"), a=5)
    assert len(files["track01.wav"]) == 44 + 3 * 2352


def test_a_sheet_that_was_renamed_with_its_only_file() -> None:
    disc = open_disc("cue", SHEET.encode(), {"new name.bin": DATA}, "new name.cue")
    assert disc.size == len(DATA)
    with pytest.raises(MissingPartError, match=r"'a\.bin' is missing"):
        open_disc("cue", SHEET.encode(), {"b.bin": DATA}, "new name.cue")
    with pytest.raises(MissingPartError):
        open_disc(
            "cue",
            (SHEET + SHEET.replace("a.bin", "b.bin").replace("01 A", "02 A")).encode(),
            {"x.bin": DATA},
            "x.cue",
        )


def test_only_names_say_that_a_file_is_packed(tmp_path: Path) -> None:
    packed = gzip.compress(DATA)
    (tmp_path / "x.cue").write_text(SHEET)
    (tmp_path / "a.bin").write_bytes(packed)
    with open_image(tmp_path / "x.cue") as disc:
        assert content(disc.disk) == packed
    (tmp_path / "a.bin").rename(tmp_path / "A.BIN.GZ")
    with open_image(tmp_path / "x.cue") as disc:
        assert content(disc.disk) == DATA
    (tmp_path / "A.BIN.GZ").rename(tmp_path / "x.bin.gz")  # renamed with the sheet
    with open_image(tmp_path / "x.cue") as disc:
        assert content(disc.disk) == DATA
    (tmp_path / "x.bin.gz").unlink()
    with pytest.raises(MissingPartError, match=r"'a\.bin' is missing"):
        open_image(tmp_path / "x.cue")


def test_a_packed_file_names_no_others(tmp_path: Path) -> None:
    (tmp_path / "x.cue").write_text(SHEET.replace("a.bin", "y.cue.gz"))
    (tmp_path / "y.cue.gz").write_text(SHEET)
    (tmp_path / "a.bin").write_bytes(DATA)
    with pytest.raises(MissingPartError):
        open_image(tmp_path / "x.cue")


@pytest.mark.parametrize("name", ["../a.bin", "/etc/a.bin", "C:\\x\\a.bin", "..\\..\\a.bin"])
def test_folders_in_names_are_ignored(name: str) -> None:
    assert len(open_sheet(SHEET.replace("a.bin", name), a=1)) == 1


def test_a_sheet_finds_files_beside_it_only(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(DATA)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "x.cue").write_text(SHEET.replace("a.bin", "../a.bin"))
    with pytest.raises(MissingPartError):
        open_image(tmp_path / "inner" / "x.cue")
    (tmp_path / "inner" / "a.bin").symlink_to("../a.bin")
    with pytest.raises(MissingPartError):
        open_image(tmp_path / "inner" / "x.cue")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("a.bin", "test.cue", "names itself"),
        ("BINARY", "GIF", "file type 'GIF'"),
        ("AUDIO", "MODE9/2352", "mode 'MODE9/2352'"),
        ("TRACK 01", "TRACK x", "track number"),
        ("TRACK 01", "TRACK 00", "numbered"),
        ("TRACK 01", "TRACK 100", "numbered"),
        ("INDEX 01", "INDEX -1", "index"),
        ("INDEX 01", "INDEX 00", "no index 1"),
        ("00:00:00", "-1:00:00", "not a time"),
        ("00:00:00", "00:60:00", "not a time"),
        ("00:00:00", "00:00:99999999999", "not a time"),
        ("00:00:00", "00:00:03\n  INDEX 02 00:00:01", "lies before"),
        ("00:00:00", "00:00:03\n TRACK 02 AUDIO\n  INDEX 01 00:00:01", "lies before"),
        ("00:00:00", "00:00:00\n TRACK 01 AUDIO\n  INDEX 01 00:00:01", "numbered"),
        (
            "00:00:00",
            "00:00:00\nPOSTGAP 99999:00:00\n TRACK 02 AUDIO\n  PREGAP 99999:00:00\n  INDEX 01 99999:00:00",
            "",
        ),
        ("FILE", "REM SESSION 5\nFILE", "session '5'"),
        ("FILE", "TRACK 01 AUDIO\nFILE", "before the first file"),
        (SHEET, "", "0 tracks"),
        (SHEET, 'FILE "a.bin" BINARY\n' * 201, "more than 200 files"),
    ],
)
def test_sheets_that_lie(old: str, new: str, reason: str) -> None:
    if not reason:
        assert open_sheet(SHEET.replace(old, new), a=5)["track02.wav"][44:] == b""
        return
    with pytest.raises(ImageError, match=reason):
        open_sheet(SHEET.replace(old, new), a=5)


def test_an_index_past_the_end_costs_its_track_only() -> None:
    files = open_sheet(
        SHEET + " TRACK 02 AUDIO\n  INDEX 01 00:00:03\n TRACK 03 AUDIO\n  INDEX 01 10:00:00\n", a=5
    )
    assert [len(files[f"track0{n}.wav"]) - 44 for n in (1, 2, 3)] == [3 * 2352, 2 * 2352, 0]


def test_sound_files_that_are_none_are_refused() -> None:
    with pytest.raises(FormatError, match="neither"):
        open_sheet(SHEET.replace("BINARY", "WAVE"), a=2)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (SHEET.encode(), Match.CERTAIN),
        (SHEET.lower().encode("utf-16"), Match.CERTAIN),
        (b"REM x\n" * 400 + SHEET.encode(), Match.LIKELY),
        (b"CATALOG 1\n// x\nCD_DA\nTRACK AUDIO\nFILE x 0", Match.NO),
        (b"FILE", Match.NO),
        (b"REM just a remark", Match.NO),
        (b"FILE \0\1\2", Match.NO),
        (b"", Match.NO),
        (SHEET.encode() * 40000, Match.NO),
    ],
)
def test_what_is_a_sheet(data: bytes, match: Match) -> None:
    assert probe(MemoryDevice(data)) is match


TRACKS = (
    'FILE "a.bin" BINARY\n TRACK 01 AUDIO\n{}  INDEX 01 00:00:00\n{} TRACK 02 AUDIO\n{}  INDEX 01 00:00:03\n'
    "{} TRACK 03 AUDIO\n  INDEX 01 00:00:05\n"
)


@pytest.mark.parametrize(
    ("between", "places"),
    [
        (("", "", "", ""), [0, 3, 5]),
        (("  PREGAP 00:02:00\n", "", "", ""), [0, 3, 5]),  # the 150 sectors that every disc begins with
        (("  PREGAP 00:03:00\n", "", "", ""), [75, 78, 80]),
        (("", "  POSTGAP 00:00:07\n", "  PREGAP 00:02:00\n", ""), [0, 160, 162]),
        (("", "", "  INDEX 00 00:00:02\n", ""), [0, 3, 5]),
        (
            ("", "REM SESSION 2\n", "", "REM SESSION 3\n"),
            [0, 3 + 6750 + 4500 + 150, 3 + 11400 + 2 + 2250 + 4500 + 150],
        ),
        (("", "REM SESSION 2\n", "  INDEX 00 00:00:02\n", ""), [0, 2 + 11250 + 150, 11404]),
        (
            ("", "REM LEAD-OUT 01:30:00\nREM SESSION 2\nREM LEAD-IN 01:00:00\nREM PREGAP 00:02:00\n", "", ""),
            [0, 11403, 11405],
        ),
        (
            ("", "REM LEAD-OUT 00:30:00\nREM SESSION 02\nREM LEAD-IN 00:10:00\n", "  PREGAP 00:01:00\n", ""),
            [0, 3078, 3080],
        ),
    ],
)
def test_where_tracks_lie_on_the_disc(between: tuple[str, ...], places: list[int]) -> None:
    disc = open_disc("cue", TRACKS.format(*between).encode(), {"a.bin": DATA * 9}, "test.cue")
    assert [track.lba for track in disc.tracks] == places
