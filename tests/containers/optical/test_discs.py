"""CDI, MDS, CCD, TOC, GDI and bare sectors.

What other tools read in the same files, and descriptions that lie.
"""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from discs import content, open_disc, shown, told, unpacked
from helpers import image, tool, wrong
from imgmount import registry
from imgmount.chain.open import open_image
from imgmount.containers.optical import rawsectors
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Match, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.families.optical.disc import Disc
from imgmount.families.optical.sectors import SYNC

TOC = 'CD_DA\nTRACK AUDIO\nAUDIOFILE "a.bin" 0\n'
GDI = "2\n1 0 4 2352 a.bin 0\n2 45000 0 2352 b.bin 0\n"
CDI_REST = 53  # of a description, after its last track: not needed
FILES = {"a.bin": bytes(2352 * 20), "b.bin": bytes(2352 * 9), "test.img": bytes(2352 * 30)}
CCD = "[CloneCD]\n[Entry 0]\nSession=1\nPoint=0xa2\nControl=4\nPLBA=30\n[Entry 1]\nSession=1\nPoint=1\nControl=4\nPLBA=0\n"


@pytest.mark.parametrize(
    ("name", "chain", "tracks"),
    [
        (
            "cdi/Conkwer__cditools__test.cdi",
            "file > cdi > tracks[2] > iso9660",
            [(1, 0, 302), (2, 11702, 335)],
        ),
        ("bincue/libcdio__libcdio/cdda.toc", "file > toc > tracks[1]", [(1, 0, 25)]),
        ("bincue/libcdio__libcdio/isofs-m1.toc", "file > toc > tracks[1] > iso9660", [(1, 0, 302)]),
        ("bincue/libcdio__libcdio/isofs-m1.bin", "file > rawsectors > tracks[1] > iso9660", [(1, 0, 302)]),
        (
            "bincue/emmercm__igir/GD-ROM.gdi",
            "file > gdi > tracks[4]",
            [(1, 0, 1), (1, 756, 1), (2, 45000, 2), (2, 158259, 3)],
        ),
    ],
)
def test_images_by_others(name: str, chain: str, tracks: list[tuple[int, int, int]]) -> None:
    with open_image(image(name)) as disc:
        assert str(disc) == chain
        assert isinstance(disc.disk, Disc)
        assert [(track.session, track.lba, track.sectors) for track in disc.disk.tracks] == tracks


@pytest.mark.parametrize(
    ("command", "variant"),
    [("iat", "mode1"), ("iat", "mode2"), ("ccd2iso", "mode1"), ("ccd2iso", "mode2"), ("mdf2iso", "mode1")],
)  # mdf2iso leaves the subheader of mode 2 in the data
def test_other_tools_extract_the_same_from_bare_sectors(command: str, variant: str, tmp_path: Path) -> None:
    stored = unpacked(f"rawsectors/{variant}", tmp_path)
    out = tmp_path / "out.iso"
    subprocess.run([tool(command), stored, out], cwd=tmp_path, check=True, capture_output=True)
    with open_image(stored) as disc:
        assert content(disc.volumes[0].device) == out.read_bytes()


@pytest.mark.parametrize("variant", ["v2", "v3", "v35"])
def test_iat_extracts_the_same_from_a_cdi(variant: str, tmp_path: Path) -> None:
    path = unpacked(f"cdi/{variant}", tmp_path)
    subprocess.run([tool("iat"), path, tmp_path / "out.iso"], check=True, capture_output=True)
    with open_image(path) as disc:
        assert isinstance(disc.disk, Disc)
        assert content(shown(disc.disk)["track02.iso"]) == (tmp_path / "out.iso").read_bytes()


def test_iat_extracts_the_same_from_a_cdi_by_others(tmp_path: Path) -> None:
    path = image("cdi/Conkwer__cditools__test.cdi")
    subprocess.run([tool("iat"), path, tmp_path / "out.iso"], check=True, capture_output=True)
    with open_image(path) as disc:
        assert isinstance(disc.disk, Disc)
        assert content(shown(disc.disk)["track02.iso"]) == (tmp_path / "out.iso").read_bytes()


def test_mdf2iso_extracts_the_same_from_an_mdf(tmp_path: Path) -> None:
    path = unpacked("mds/single", tmp_path)
    subprocess.run([tool("mdf2iso"), "a.mdf", "out.iso"], check=True, capture_output=True, cwd=tmp_path)
    with open_image(path) as disc:
        assert isinstance(disc.disk, Disc)
        first = content(shown(disc.disk)["track01.iso"])
    assert (tmp_path / "out.iso").read_bytes()[: len(first)] == first


def test_cdrdao_places_tracks_where_we_do(tmp_path: Path) -> None:
    toc = unpacked("toc/mixed", tmp_path)
    said = subprocess.run(
        [tool("cdrdao"), "show-toc", toc.name], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    starts = [
        int(line.partition("(")[2].rstrip(")\n "))
        for line in said.splitlines()
        if line.strip().startswith("START")
    ]
    with open_image(toc) as disc:
        assert isinstance(disc.disk, Disc)
        assert [track.lba for track in disc.disk.tracks] == starts


def test_the_session_is_chosen_by_option(tmp_path: Path) -> None:
    sheet = unpacked("cue/sessions", tmp_path)
    roots = []
    for session in ({}, {"session": "1"}, {"session": "2"}):
        with open_image(sheet, Options(extra=session)) as disc:
            assert disc.whole is not None
            roots.append({name for name, _ in disc.whole.filesystem.root.entries()})
    assert roots[0] == roots[2] > roots[1]
    with pytest.raises(ImageError, match="session 3 has no data track"):
        open_image(sheet, Options(extra={"session": "3"}))


# ---- bare sectors ----


def test_the_registry_looks_for_what_the_module_knows() -> None:
    entry = next(entry for entry in registry.CONTAINERS if entry.module == "optical.rawsectors")
    assert set(entry.magics) == set(rawsectors.MAGICS)


@pytest.mark.parametrize("rest", [1, 2351])
def test_bytes_after_the_last_sector_are_left_out(rest: int, tmp_path: Path) -> None:
    stored = unpacked("rawsectors/mode1", tmp_path).read_bytes()
    assert open_disc("rawsectors", stored + bytes(rest)).size == len(stored)


def test_what_is_neither_data_nor_sound_is_refused() -> None:
    assert rawsectors.probe(MemoryDevice(bytes(2352 * 20))) is Match.NO
    with pytest.raises(FormatError):
        open_disc("rawsectors", bytes(2352 * 20 + 1))
    assert rawsectors.probe(MemoryDevice(SYNC + bytes(99999))) is Match.NO


# ---- CDI ----


def test_a_cut_or_damaged_cdi_description_is_an_error(tmp_path: Path) -> None:
    data = unpacked("cdi/v3", tmp_path).read_bytes()
    start = int.from_bytes(data[-4:], "little")
    for at in range(start + 1, len(data) - 8 - CDI_REST, 5):
        assert told("cdi", data[:at] + data[-8:])
        for value in (b"\xff", b"\x7f"):
            mutated = data[:at] + value * 4 + data[at + 4 :]
            try:
                disc = open_disc("cdi", mutated)
            except FormatError:
                continue
            assert sum(track.area.size for track in disc.tracks if not track.is_lost) <= start


def test_a_version_without_a_description_is_no_cdi() -> None:
    for place in (0, 50, 1 << 31):
        data = bytes(100) + struct.pack("<II", 0x80000005, place)
        found = [fmt.name for _, fmt in registry.matches(ContainerFormat, MemoryDevice(data))]
        assert found == (["cdi"] if place == 50 else [])


# ---- MDS ----


@pytest.mark.parametrize("at", range(0x10, 0x170, 4))
def test_damaged_mds_fields_are_errors_or_harmless(at: int, tmp_path: Path) -> None:
    path = unpacked("mds/single", tmp_path)
    data = path.read_bytes()
    for value in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        try:
            open_disc("mds", data[:at] + value + data[at + 4 :], {"a.mdf": bytes(9000)}, "a.mds")
        except (FormatError, MissingPartError, UnsupportedError):
            continue


def test_a_missing_mdf_is_named(tmp_path: Path) -> None:
    path = unpacked("mds/split", tmp_path)
    (tmp_path / "b.i01").unlink()
    with open_image(path) as disc:
        assert isinstance(disc.disk, Disc)
        fault = disc.disk.partitions()[0].fault
        assert "'b.i01' is missing" in str(fault)
        assert content(disc.disk) == (tmp_path / "b.i00").read_bytes()  # as far as it goes
    (tmp_path / "b.i00").unlink()
    with pytest.raises(MissingPartError, match=r"'b\.i00' is missing"):
        open_image(path)


def test_an_mdf_that_ends_early_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = unpacked("mds/single", tmp_path)
    (tmp_path / "a.mdf").write_bytes((tmp_path / "a.mdf").read_bytes()[: 30 * 2352 + 5])
    with open_image(path, Options(extra={"session": "1"})) as disc:
        assert isinstance(disc.disk, Disc)
        assert [track.is_lost for track in disc.disk.tracks] == [False, True, True]
        assert disc.disk.tracks[0].sectors == 30
        assert [str(part.fault)[:29] for part in disc.disk.partitions()] == [
            "mds: a.mdf ends before track "
        ] * 3
        assert disc.whole is not None
        assert disc.whole.device.size == 30 * 2048


def test_the_bytes_say_how_large_the_sectors_of_an_mdf_are(tmp_path: Path) -> None:
    path = unpacked("mds/single", tmp_path)
    data = bytearray(path.read_bytes())
    with open_image(path) as disc:
        wanted = content(shown(disc.disk)["track01.iso"])  # type: ignore[arg-type]
        assert not wrong(disc.disk.verify())  # type: ignore[attr-defined]
    size = data.index((2352).to_bytes(2, "little"), 0x58)
    data[size : size + 2] = (2048).to_bytes(2, "little")
    path.write_bytes(bytes(data))
    with open_image(path) as disc:
        assert content(shown(disc.disk)["track01.iso"]) == wanted  # type: ignore[arg-type]
        assert "track 1 is said to be" in "".join(disc.disk.verify())  # type: ignore[attr-defined]


# ---- CCD ----


def test_the_image_says_whether_pregaps_are_stored(tmp_path: Path) -> None:
    path = unpacked("ccd/sessions", tmp_path)
    stored = tmp_path / "d.img"
    data = stored.read_bytes()
    with open_image(path) as disc:
        assert isinstance(disc.disk, Disc)
        first, second = disc.disk.tracks
        size, start, volume = first.sectors * 2352, second.lba, content(shown(disc.disk)["track02.iso"])
    for between in (b"", bytes(2352 * (start - first.sectors))):  # without the pregap; with everything
        stored.write_bytes(data[:size] + between + data[size + 150 * 2352 :])
        with open_image(path) as disc:
            assert str(disc) == "file > ccd > tracks[2] > iso9660"
            assert content(shown(disc.disk)["track02.iso"]) == volume  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("PLBA=0", "PLBA=x", "plba is 'x'"),
        ("PLBA=0", "PLBA=99999999999", "plba is 99999999999"),
        ("PLBA=0", "PLBA=-5", "starts at sector -5"),
        ("PLBA=30", "PLBA=-1", "ends at -1"),
        ("PLBA=0\n", "", "plba is ''"),
        ("Point=1", "Point=0xa1", "no .Entry. section"),
    ],
)
def test_ccd_entries_that_lie(old: str, new: str, reason: str) -> None:
    assert told("ccd", CCD.encode(), FILES, "test.ccd") == ""
    assert re.search(reason, told("ccd", CCD.replace(old, new).encode(), FILES, "test.ccd"))


@pytest.mark.parametrize("size", [2048, 2448])
def test_a_ccd_over_sectors_of_another_size(size: int) -> None:
    volume = b"".join(bytes([n]) * 2048 if n != 16 else b"\x01CD001".ljust(2048, b"v") for n in range(30))
    raw = [
        volume[n * 2048 :][:2048] if size == 2048 else whole_sector(n, volume) + bytes(96) for n in range(30)
    ]
    disc = open_disc("ccd", CCD.encode(), {"test.img": b"".join(raw)}, "test.ccd")
    assert content(shown(disc)["track01.iso"]) == volume
    assert f"sectors of {size} bytes" in "".join(wrong(disc.verify()))


def whole_sector(number: int, volume: bytes) -> bytes:
    head = SYNC + bytes((0, 2, number, 1))
    return (head + volume[number * 2048 :][:2048]).ljust(2352, b"\0")


def test_a_ccd_without_its_image() -> None:
    with pytest.raises(MissingPartError, match=r"test\.img"):
        open_disc("ccd", CCD.encode(), {}, "test.ccd")


# ---- TOC ----


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("TRACK AUDIO", "TRACK MODE7", "mode 'MODE7'"),
        ('"a.bin" 0', '"a.bin" 00:99:00', "not a time"),
        ('"a.bin" 0\n', '"a.bin" 0\n' + "SILENCE 99999:00:00\n" * 6, "more than 2147483648 sectors"),
        ('"a.bin" 0\n', '"a.bin" 0\nSILENCE x\n', "length 'x' is not"),
        ('AUDIOFILE "a.bin" 0\n', "FIFO x 1", "toc: FIFO"),
        ('"a.bin" 0\n', '"test.toc" 0\n', "names itself"),
        ("TRACK", "CD_TEXT { { x }\nTRACK", "ends inside"),
        ("TRACK AUDIO", "TRACK AUDIO\n" * 100, "tracks"),
        ('"a.bin" 0', "", "ends inside"),
    ],
)
def test_tocs_that_lie(old: str, new: str, reason: str) -> None:
    assert told("toc", TOC.encode(), FILES, "test.toc") == ""
    assert re.search(reason, told("toc", TOC.replace(old, new).encode(), FILES, "test.toc"))


VOLUME = b"".join(bytes([n]) * 2048 if n != 16 else b"\x01CD001".ljust(2048, b"v") for n in range(20))
DATA_TOC = 'CD_ROM\nTRACK MODE1\nDATAFILE "d.iso" 00:00:20\n'


@pytest.mark.parametrize(
    ("song", "reason"),
    [
        ('TRACK AUDIO\nAUDIOFILE "c.bin" 0 00:04:00\n', "'c.bin' is missing"),
        ('TRACK AUDIO\nAUDIOFILE "c.bin" 0\n', "'c.bin' is missing"),
        ('TRACK MODE9\nDATAFILE "a.bin"\n', "mode 'MODE9' of track 2 is not one of"),
        ('TRACK AUDIO\nAUDIOFILE "d.wav" 0\n', ""),
        ('TRACK AUDIO\nAUDIOFILE "a.bin" 0 x\n', ""),
        ("TRACK AUDIO\nFIFO x 1\n", "toc: FIFO"),
        ('UNKNOWN "x" 5\nTRACK AUDIO // c\nCD_TEXT { LANGUAGE 0 { TITLE "x" } }\nFILE "a.bin" 0\n', ""),
        ('TRACK AUDIO\nFILE "a.bin" 0\nCD_TEXT { LANGUAGE 0 {', "ends inside a statement"),
    ],
)
def test_the_data_track_of_a_toc_is_not_hurt_by_what_is_wrong_with_others(song: str, reason: str) -> None:
    files = {"d.iso": VOLUME, "d.wav": b"RIFF" + bytes(4) + b"WAVE" + bytes(99), **FILES}
    disc = open_disc("toc", (DATA_TOC + song).encode(), files, "test.toc")
    assert content(shown(disc)["track01.iso"]) == VOLUME
    assert len(disc.tracks) == 2
    said = told("toc", (DATA_TOC + song).encode(), files, "test.toc")
    assert reason in said if reason else said == ""


def test_the_bytes_say_how_large_the_sectors_of_a_toc_are() -> None:
    raw = b"".join(whole_sector(n, VOLUME) for n in range(20))
    more = 'TRACK MODE1\nZERO 00:02:00\nSTART\nDATAFILE "d.bin" #47040\n'
    text = DATA_TOC.replace("d.iso", "d.bin") + more
    disc = open_disc("toc", text.encode(), {"d.bin": raw + raw}, "test.toc")
    assert [content(shown(disc)[f"track0{n}.iso"]) for n in (1, 2)] == [VOLUME, VOLUME]
    assert [(track.lba, track.pregap) for track in disc.tracks] == [(0, 0), (170, 150)]
    assert "track 1 is said to be MODE1/2048" in "".join(wrong(disc.verify()))


def test_a_toc_whose_file_ends_early_is_read_as_far_as_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    more = 'TRACK AUDIO\nAUDIOFILE "a.bin" #999999999999 0 00:00:02\nTRACK AUDIO\nAUDIOFILE "b.bin" 0\n'
    text = TOC.replace('"a.bin" 0', '"a.bin" 0 99:00:00') + more
    disc = open_disc("toc", text.encode(), FILES, "test.toc")
    assert [track.sectors for track in disc.tracks[::2]] == [20, 9]
    assert disc.tracks[1].is_lost
    assert [record.getMessage().partition(" does: ")[0] for record in caplog.records] == [
        f"toc: a.bin ends before track {n}" for n in (1, 2)
    ]


def test_data_files_without_an_offset_go_on_where_they_were_left() -> None:
    data = b"".join(bytes([n]) * 2048 for n in range(6))
    text = 'CD_ROM\nTRACK MODE1\nDATAFILE "x.bin" 00:00:02\nTRACK MODE1\nDATAFILE "x.bin" 00:00:03\n'
    disc = open_disc("toc", text.encode(), {"x.bin": data}, "test.toc")
    assert content(shown(disc)["track02.iso"]) == data[2 * 2048 : 5 * 2048]


# ---- GDI ----


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("2\n1", "3\n1", "says 3 tracks, 2 lines follow"),
        ("2\n1", "x\n1", "first line is not the number of tracks"),
        ("a.bin 0", "a.bin 99999999", "byte 99999999 of a.bin, which has"),
        ("1 0 4 2352", "1 0 4 0", "sectors of 0 bytes"),
        ("2 45000", "2 99999999999", "not from 0 to"),
        ("2 45000", "1 45000", "numbered 1, 1: "),
        ("a.bin", "test.gdi", "names itself"),
        ("a.bin", "none", "track 1 is not in the image"),
        ("a.bin", "c.bin", "'c.bin' is missing"),
        ("1 0 4 2352 a.bin 0", "1 0 4 2352", "is not number, LBA, type"),
    ],
)
def test_gdis_that_lie(old: str, new: str, reason: str) -> None:
    assert told("gdi", GDI.encode(), FILES, "test.gdi") == ""
    assert reason in told("gdi", GDI.replace(old, new).encode(), FILES, "test.gdi")
    disc = open_disc("gdi", GDI.replace(old, new).encode(), FILES, "test.gdi")
    assert any(not track.is_lost for track in disc.tracks)


def test_a_gdi_without_a_track_is_refused() -> None:
    with pytest.raises(FormatError, match="no line is number, LBA"):
        open_disc("gdi", b"0\n", FILES, "test.gdi")


@pytest.mark.parametrize(
    "text",
    [
        GDI.replace(" ", "\t"),
        GDI.replace(" ", "   "),
        GDI.replace("a.bin 0", '"a.bin" 0'),
        GDI.replace("a.bin 0", "a.bin"),
        GDI.replace("\n", "\r\n\r\n"),
    ],
)
def test_the_fields_of_a_gdi_are_divided_by_any_white_space(text: str) -> None:
    wanted = [content(device) for device in shown(open_disc("gdi", GDI.encode(), FILES, "test.gdi")).values()]
    disc = open_disc("gdi", text.encode(), FILES, "test.gdi")
    assert [content(device) for device in shown(disc).values()] == wanted
    assert registry.named(ContainerFormat, "gdi").probe(MemoryDevice(text.encode())) is Match.CERTAIN


@pytest.mark.parametrize("fmt", ["cue", "toc", "gdi"])
def test_texts_are_told_from_other_files_by_one_small_read(fmt: str) -> None:
    reads: list[int] = []

    class Watched(BlockDevice):
        size = 500_000

        def _pread(self, offset: int, size: int) -> bytes:
            reads.append(offset + size)
            return bytes(range(256)) * (size // 256)

    probe = registry.named(ContainerFormat, fmt).probe
    assert probe(Watched()) is Match.NO
    assert reads == [1024]
    assert probe(MemoryDevice(bytes(2 << 20))) is Match.NO
    for text in (b"hello\nworld\n", b"2\nhello\n", b"{}", "naïve".encode("latin-1"), b"\xff\xfe"):
        assert probe(MemoryDevice(text)) is Match.NO


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"BWT5 STREAM SIGN", "b5t: BlindWrite 5 and 6 images are"),
        (b"Adaptec CeQuadrat VirtualCD File", "c2d: WinOnCD images are"),
        (b"Roxio Image File Format 3.0", "c2d: Roxio images are"),
        (b"RIFF\0\0\0\0imag", "cif: Easy CD Creator images are"),
        (b"AARUFRMT", "aaruf: Aaru images are"),
        (b"DICMFRMT", "aaruf: DiscImageChef images are"),
        (bytes(4096 - 64) + b"bbis", "uif: MagicISO images are"),
    ],
)
def test_formats_that_are_not_read_are_refused_by_name(data: bytes, line: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data.ljust(4096, b"\0"))
    with pytest.raises(UnsupportedError, match=rf"^{line} not supported(\n|$)"):
        open_image(tmp_path / "x")
