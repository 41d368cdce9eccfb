"""Cue sheets: sheets by others, what tools make of them, and sheets that lie."""

from __future__ import annotations

import gzip
import struct
import subprocess
import wave
from pathlib import Path

import pytest

from discs import content, open_disc, shown, starts_by_libcdio, told, unpacked
from helpers import image, tool
from imgmount.chain.open import open_image
from imgmount.containers.optical.cue import probe
from imgmount.core.format import Match, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, MissingPartError

DATA = bytes(range(256)) * 9 + bytes(48)  # one sector


def mono() -> bytes:
    """Two seconds of a WAVE file that is no disc's: 22,050 Hz, 8 bits, one channel."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 22050, 22050, 1, 8)
    data = struct.pack("<4sI", b"data", 44100) + bytes(44100)
    return b"RIFF" + struct.pack("<I", 4 + len(form + data)) + b"WAVE" + form + data


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
    ("name", "line"), [("bad-mode1", "mode 'MODE3_FORM1' is not"), ("bad-msf-1", "'00:00:100' is not a time")]
)
def test_broken_sheets_by_others(name: str, line: str) -> None:
    path = image(f"bincue/libcdio__libcdio/{name}.cue")
    files = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.suffix == ".bin"}
    assert line in told("cue", path.read_bytes(), files, path.name)


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


def test_a_packed_file_names_only_files_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.cue").write_text(SHEET.replace("a.bin", "y.cue.gz"))
    (folder / "y.cue.gz").write_text(SHEET.replace("a.bin", "../a.bin"))
    (tmp_path / "a.bin").write_bytes(DATA)
    with pytest.raises(MissingPartError):
        open_image(folder / "x.cue", Options(refs=("any",))).volumes[0].filesystem  # noqa: B018


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
        ("BINARY", "WAVE", "[1]: the file is neither WAVE nor AIFF"),
        ("AUDIO", "MODE9/2352", "mode 'MODE9/2352' is not"),
        ("AUDIO", "MODE1/2300", "mode 'MODE1/2300' is not"),
        ("TRACK 01", "TRACK x", "numbered 0: they are counted from 1 to 1"),
        ("TRACK 01", "TRACK 00", "numbered 0: "),
        ("TRACK 01", "TRACK 100", "numbered 100: "),
        ("INDEX 01", "INDEX -1", "INDEX '-1 00:00:00' is not a number and a time"),
        ("INDEX 01", "INDEX 00", "track 1 has no INDEX 01"),
        ("INDEX 01 00:00:00", "", "track 1 has no INDEX line"),
        ("00:00:00", "-1:00:00", "line 3: '-1:00:00' is not a time"),
        ("00:00:00", "00:60:00", "not a time"),
        ("00:00:00", "00:00:99999999999", "not a time"),
        ("00:00:00", "00:00:03\n  INDEX 02 00:00:01", "lies before the index above it"),
        ("00:00:00", "00:00:03\n TRACK 02 AUDIO\n  INDEX 01 00:00:01", "track 2 begins before"),
        ("00:00:00", "00:00:00\n TRACK 01 AUDIO\n  INDEX 01 00:00:01", "numbered 1, 1: "),
        (
            "00:00:00",
            "00:00:00\n TRACK 02 AUDIO\n  INDEX 01 99999:00:00",
            "track 2 does: nothing of it is there",
        ),
        ("00:00:00", "00:00:00\n TRACK 02 AUDIO\n", "track 2 has no INDEX line"),
        ("00:00:00", "00:00:00\nPREGAP 1:2", "'1:2' is not a time"),
        ("FILE", "REM SESSION x\nFILE", "SESSION 'x' is not a number from 1 to 99"),
        ("FILE", "TRACK 01 AUDIO\nFILE", "stands before the first FILE line"),
        ("FILE", "INDEX 01 00:00:00\nFILE", "INDEX stands before the first TRACK line"),
        ("FILE", '"FILE', "begins with a quote"),
        ("FILE", "+++ 5\nFILE", "line 1 is no statement: '+++ 5'"),
        (SHEET, "", "no FILE line"),
        (SHEET, 'FILE "a.bin" BINARY\n', "no TRACK line"),
        (SHEET, SHEET + 'FILE "a.bin" BINARY\n' * 201, "more than 200 FILE lines"),
    ],
)
def test_what_makes_no_sense_in_a_sheet_is_told(
    old: str, new: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"a.bin": DATA * 5}
    assert told("cue", SHEET.encode(), files, "test.cue") == ""
    said = told("cue", SHEET.replace(old, new).encode(), files, "test.cue")
    if reason.startswith("[1]: "):  # no damage, but worth a word
        assert (said, reason[5:] in caplog.text) == ("", True)
    else:
        assert reason in said


def test_gaps_that_lead_out_of_every_disc_cost_their_track_only() -> None:
    gaps = "POSTGAP 99999:00:00\n TRACK 02 AUDIO\n  PREGAP 99999:00:00\n  INDEX 01 00:00:02\n"
    text = (
        SHEET
        + gaps
        + gaps.replace("02 A", "03 A").replace(":02", ":03")
        + gaps.replace("02 A", "04 A").replace(":02", ":04")
    )
    disc = open_disc("cue", (text * 1).encode(), {"a.bin": DATA * 5}, "test.cue")
    assert [part.fault is None for part in disc.partitions()] == [True, True, True, False]
    assert "not from 0 to" in str(disc.partitions()[3].fault)


VOLUME = b"".join(bytes([n]) * 2048 if n != 16 else b"\x01CD001".ljust(2048, b"v") for n in range(20))
BOTH = 'FILE "d.iso" BINARY\n TRACK 01 MODE1/2048\n  INDEX 01 00:00:00\n'
SONG = 'FILE "a.bin" BINARY\n TRACK 02 AUDIO\n  INDEX 01 00:00:00\n'


@pytest.mark.parametrize(
    ("song", "files", "reason"),
    [
        (SONG, {}, "'a.bin' is missing"),
        (SONG.replace("a.bin", "test.cue"), {}, "names itself"),
        (SONG.replace("AUDIO", "MODE7/2352"), {"a.bin": DATA}, "mode 'MODE7/2352' is not AUDIO"),
        (SONG.replace("00:00:00", "00:00:0x"), {"a.bin": DATA}, "line 6: '00:00:0x' is not a time"),
        (SONG.replace("BINARY", "OPUS"), {"a.bin": DATA}, ""),
        (SONG.replace("a.bin", "a.ogg").replace("BINARY", "OGG"), {"a.ogg": b"OggS" + DATA}, ""),
        (SONG.replace("BINARY", "WAVE"), {"a.bin": mono()}, ""),
        (SONG.replace('"a.bin"', '"a.bin'), {"a.bin": DATA}, ""),
        (SONG.replace('"', "").replace("a.bin", "a b.bin"), {"a b.bin": DATA}, ""),
        (SONG.replace(" ", "\t"), {"a.bin": DATA}, ""),
        (SONG.replace("02", "01"), {"a.bin": DATA}, "numbered 1, 1: "),
        ("COMPOSER x\n; remark\nARRANGER y\nUPC_EAN 1\n# x\n// y\n" + SONG, {"a.bin": DATA}, ""),
        (SONG.replace("00:00:00", "00:00:00 ; from the start"), {"a.bin": DATA}, ""),
        (
            SONG + "  INDEX 02 00:09:00\n TRACK 03 AUDIO\n  INDEX 01 00:10:00\n",
            {"a.bin": DATA},
            "ends before track 2",
        ),
    ],
)
def test_the_data_track_is_not_hurt_by_what_is_wrong_with_others(
    song: str, files: dict[str, bytes], reason: str
) -> None:
    disc = open_disc("cue", (BOTH + song).encode(), {"d.iso": VOLUME, **files}, "test.cue")
    assert content(shown(disc)["track01.iso"]) == VOLUME
    main = disc.main(None)
    assert main is not None
    assert content(main) == VOLUME
    said = told("cue", (BOTH + song).encode(), {"d.iso": VOLUME, **files}, "test.cue")
    assert reason in said if reason else said == ""


def test_a_lost_track_says_why_wherever_it_is_read() -> None:
    disc = open_disc("cue", (BOTH + SONG).encode(), {"d.iso": VOLUME}, "test.cue")
    part = disc.partitions()[1]
    for device in (part.device, *(device for _, device in part.files)):
        assert device.size
        with pytest.raises(MissingPartError, match=r"'a\.bin' is missing"):
            device.pread(0, 1)
    with pytest.raises(MissingPartError):
        disc.pread(len(VOLUME), 1)
    assert disc.pread(0, len(VOLUME)) == VOLUME


def test_sound_of_another_form_is_shown_as_it_is_and_takes_its_time_on_the_disc() -> None:
    text = SONG.replace("02", "01").replace("BINARY", "WAVE") + SONG.replace("a.bin", "b.bin")
    disc = open_disc("cue", text.encode(), {"a.bin": mono(), "b.bin": DATA}, "test.cue")
    assert content(shown(disc)["track01.bin"]) == mono()
    assert [track.lba for track in disc.tracks] == [0, 150]  # two seconds


def test_tracks_of_two_sessions_are_counted_through() -> None:
    text = "REM SESSION 01\n" + SHEET + "REM SESSION 02\n" + SHEET.replace("a.bin", "b.bin")
    files = {"a.bin": DATA * 400, "b.bin": DATA}
    disc = open_disc("cue", text.encode(), files, "test.cue")
    assert [(track.number, track.session, track.lba) for track in disc.tracks] == [(1, 1, 0), (2, 2, 11800)]


def whole_sectors(volume: bytes, mode: int = 1) -> bytes:
    """``volume`` in sectors of 2352 bytes, with their addresses and without error codes."""
    found = b""
    for number in range(len(volume) // 2048):
        second, frame = divmod(number + 150, 75)
        address = bytes(int(f"{value:02}", 16) for value in (0, second, frame))
        lead = bytes(8) if mode == 2 else b""
        data = lead + volume[number * 2048 : number * 2048 + 2048]
        found += b"\0" + b"\xff" * 10 + b"\0" + address + bytes([mode]) + data.ljust(2336, b"\0")
    return found


RAW, WITH_SUBCHANNEL = (
    whole_sectors(VOLUME),
    b"".join(whole_sectors(VOLUME)[at : at + 2352] + bytes(96) for at in range(0, 20 * 2352, 2352)),
)


@pytest.mark.parametrize(
    ("stated", "stored", "found"),
    [
        ("MODE1/2352", VOLUME, "MODE1 / 2048"),
        ("MODE2/2352", VOLUME, "2048"),
        ("MODE1/2352", VOLUME.replace(b"CD001", b"xxxxx"), "2048"),  # by its length alone
        ("MODE1/2048", RAW, "2352"),
        ("MODE1/2048", whole_sectors(VOLUME, 2), "2352"),
        ("MODE2/2336", RAW, "2352"),
        ("MODE1/2352", WITH_SUBCHANNEL, "2448"),
        ("MODE1/2448", RAW, "2352"),
        (
            "MODE2/2352",
            b"".join(bytes(8) + VOLUME[at : at + 2048].ljust(2328, b"\0") for at in range(0, 40960, 2048)),
            "2336",
        ),
        ("MODE7/2352", RAW, ""),
        ("AUDIO", RAW, "2352"),
    ],
)
def test_the_bytes_say_how_large_sectors_are(stated: str, stored: bytes, found: str) -> None:
    sheet = SHEET.replace("AUDIO", stated).encode()
    disc = open_disc("cue", sheet, {"a.bin": stored}, "test.cue")
    expected = VOLUME if b"CD001" in stored else VOLUME.replace(b"CD001", b"xxxxx")
    assert content(shown(disc)["track01.iso"]) == expected
    said = told("cue", sheet, {"a.bin": stored}, "test.cue")
    assert f"track 1 is said to be {stated.partition('/')[0]}" in said if found else said == ""


@pytest.mark.parametrize(
    ("stated", "stored"),
    [("MODE1/2352", RAW), ("MODE1/2048", VOLUME), ("MODE1/2448", WITH_SUBCHANNEL), ("AUDIO", DATA * 9)],
)
def test_a_sheet_that_is_right_is_believed_without_a_word(stated: str, stored: bytes) -> None:
    assert told("cue", SHEET.replace("AUDIO", stated).encode(), {"a.bin": stored}, "test.cue") == ""


def test_a_second_track_begins_where_the_bytes_of_the_first_end() -> None:
    text = SHEET.replace("AUDIO", "MODE1/2048") + " TRACK 02 AUDIO\n  INDEX 01 00:00:20\n"
    disc = open_disc("cue", text.encode(), {"a.bin": RAW + DATA * 3}, "test.cue")
    assert content(shown(disc)["track02.wav"])[44:] == DATA * 3


def test_an_index_past_the_end_costs_its_track_only() -> None:
    text = SHEET + " TRACK 02 AUDIO\n  INDEX 01 00:00:03\n TRACK 03 AUDIO\n  INDEX 01 10:00:00\n"
    disc = open_disc("cue", text.encode(), {"a.bin": DATA * 5}, "test.cue")
    files = shown(disc)
    assert [len(content(files[f"track0{n}.wav"])) - 44 for n in (1, 2)] == [3 * 2352, 2 * 2352]
    with pytest.raises(FormatError, match="nothing of it is there"):
        files["track03.wav"].pread(0, 1)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (SHEET.encode(), Match.CERTAIN),
        (SHEET.lower().encode("utf-16"), Match.CERTAIN),
        (b"REM x\n" * 400 + SHEET.encode(), Match.CERTAIN),
        (b"COMPOSER x\n" + SHEET.encode(), Match.LIKELY),
        (SHEET.replace("FILE", '"FILE').encode(), Match.LIKELY),
        (SHEET.replace("01 AUDIO", "AUDIO").encode(), Match.NO),
        (b"CATALOG 1\n// x\nCD_DA\nTRACK AUDIO\nFILE x 0", Match.NO),
        (b"FILE", Match.NO),
        (b"TRACK 01 AUDIO", Match.NO),
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
