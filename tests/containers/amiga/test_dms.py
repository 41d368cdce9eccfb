"""DMS: what damage costs, passwords, texts, and other people's archives.

The compressions themselves: see the fixtures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from pathlib import Path

import pytest

from helpers import FIXTURES, IMAGES, context, image
from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.codecs.dms import KEEP, SIMPLE, DmsDecoder, unpack_runs
from imgmount.containers.amiga.dms import FORMAT, HEADER_SIZE, TRACK_SIZE, DmsDevice, crc16
from imgmount.core.format import Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, KeyRequiredError, UnsupportedError

ALL = (FIXTURES / "containers/dms/all/disk.dms").read_bytes()
ENCRYPTED = (FIXTURES / "containers/dms/encrypted/disk.dms").read_bytes()
TRACK = 11264
THIRD_PARTY = [
    row for row in json.loads((IMAGES / "INDEX.json").read_text()) if row["family"] == "dms" and row["file"].endswith(".dms")
] if (IMAGES / "INDEX.json").exists() else []  # fmt: skip
REFERENCE = "852aede9a6240347ca44d403ce2736a3c926d5dd36a97794438a677b8088fca3"
PASSWORDS = {
    "quick": "cbI",
    "heavy2": "bmO",
    "deep": "bdjy",
}  # of the same CRC-16 as the real ones, which is all that counts


def opened(data: bytes, password: str | None = None) -> DmsDevice:
    device = FORMAT.open(MemoryDevice(data), context(password=password))
    assert isinstance(device, DmsDevice)
    return device


def tracks(data: bytes) -> list[tuple[int, int]]:
    """(offset of the header, number) of every record."""
    found, at = [], HEADER_SIZE
    while data[at : at + 2] == b"TR":
        found.append((at, int.from_bytes(data[at + 2 : at + 4], "big")))
        at += TRACK_SIZE + int.from_bytes(data[at + 6 : at + 8], "big")
    return found


def with_header(data: bytes, at: int, value: bytes) -> bytes:
    """Bytes 4-53 of the archive header changed, and its CRC made right."""
    head = data[:at] + value + data[at + len(value) : HEADER_SIZE - 2]
    return head + crc16(head[4:]).to_bytes(2, "big") + data[HEADER_SIZE:]


@pytest.mark.parametrize("row", THIRD_PARTY, ids=lambda row: row["file"].rpartition("C1_")[2])
def test_other_peoples_archives(row: dict[str, str]) -> None:
    path = image(row["file"])
    kind = path.stem.removesuffix("_pwd").rpartition("_")[2]
    password = PASSWORDS[kind] if path.stem.endswith("_pwd") else None
    if password:
        with pytest.raises(KeyRequiredError, match="--password"):
            open_image(path)
    with open_image(path, Options(password=password)) as found:
        digest = hashlib.sha256(found.disk.pread(0, found.disk.size)).hexdigest()
        assert digest == (row["raw"][1] if "raw" in row else REFERENCE)
        assert str(found) == "file > dms > amigados"


def test_texts_and_facts_are_told() -> None:
    info = opened(ALL).info()
    assert info["banner"] == "A banner for everybody"
    assert info["FILEID.DIZ"] == "A description"
    assert info["compression"] == "none, simple, quick, medium, deep, heavy1, heavy2"
    assert info["flags"] == "banner, FILEID.DIZ"
    assert list(opened(ALL).verify()) == []


def test_the_command_line_takes_the_password(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "word").write_text("secret\n")
    archive = str(FIXTURES / "containers/dms/encrypted/disk.dms")
    assert main(["cat", "--raw", archive, "disk.raw"]) == 2
    for given in (["--password", "secret"], ["--password-file", str(tmp_path / "word")]):
        capfdbinary.readouterr()
        assert main(["cat", "--raw", *given, archive, "disk.raw"]) == 0
        whole = capfdbinary.readouterr().out
        device = opened(ENCRYPTED, password="secret")
        assert whole == device.pread(0, device.size)


def test_a_wrong_password_is_told_from_damage() -> None:
    with pytest.raises(KeyRequiredError, match="wrong"):
        opened(ENCRYPTED, password="public")


def test_a_damaged_track_costs_itself_and_its_heirs() -> None:
    whole = opened(ALL)
    records = [
        at
        for at, number in tracks(ALL)
        if number < 80 and int.from_bytes(ALL[at + 10 : at + 12], "big") > 2048
    ]
    heir = next(n for n in range(1, 79) if ALL[records[n] + 12] & KEEP and ALL[records[n + 1] + 13] > SIMPLE)
    at = records[heir] + TRACK_SIZE + 10
    device = opened(ALL[:at] + bytes([ALL[at] ^ 1]) + ALL[at + 1 :])
    assert len(list(device.verify())) >= 2
    with pytest.raises(ChecksumError, match=f"track {heir}"):
        device.pread(heir * TRACK, 1)
    with pytest.raises(ImageError):
        device.pread((heir + 1) * TRACK, 1)
    assert device.pread(0, heir * TRACK) == whole.pread(0, heir * TRACK)
    assert device.pread(79 * TRACK, TRACK) == whole.pread(79 * TRACK, TRACK)


@pytest.mark.parametrize("byte", [0, 7], ids=["the magic", "the size"])
def test_a_damaged_track_header_costs_its_track_and_its_heirs(byte: int) -> None:
    start, number = next(place for place in tracks(ALL) if place[1] == 38)
    at = start + byte
    whole, device = opened(ALL), opened(ALL[:at] + b"\x55" + ALL[at + 1 :])
    assert any("1 tracks are lost: 38" in line for line in device.verify())
    with pytest.raises(FormatError, match="track 38 is lost"):
        device.pread(number * TRACK, 1)
    read = 0
    for track in range(80):
        with contextlib.suppress(FormatError):
            assert device.pread(track * TRACK, TRACK) == whole.pread(track * TRACK, TRACK)
            read += 1
    assert read > 70


def test_an_extra_bootblock_does_not_stand_for_a_lost_track() -> None:
    (bootblock, _), (first, _), (second, _) = [place for place in tracks(ALL) if place[1] < 2]
    gone = ALL[:HEADER_SIZE] + b"damage" + ALL[bootblock:first] + ALL[second:]
    for data in (ALL[: first + 3] + b"\x55" + ALL[first + 4 :], gone):
        with pytest.raises(FormatError, match="track 0 is lost"):
            opened(data).pread(0, 1)


def test_behind_a_lost_header_an_encrypted_archive_is_unreadable() -> None:
    at, number = tracks(ENCRYPTED)[40]
    device = opened(ENCRYPTED[:at] + b"\x55" + ENCRYPTED[at + 1 :], "secret")
    assert device.pread(0, number * TRACK) == opened(ENCRYPTED, "secret").pread(0, number * TRACK)
    for track in range(number, 80):
        with pytest.raises(FormatError, match="lost"):
            device.pread(track * TRACK, 1)


def test_tracks_behind_the_end_of_a_cut_archive_are_no_zeros() -> None:
    end = next(at for at, number in tracks(ALL) if number == 70)
    device = opened(ALL[:end])
    assert device.pread(0, 70 * TRACK) == opened(ALL).pread(0, 70 * TRACK)
    assert any("10 tracks are lost" in line for line in device.verify())
    with pytest.raises(FormatError, match="track 79 is lost"):
        device.pread(79 * TRACK, 1)


@pytest.mark.parametrize(("field", "value"), [(8, 45057), (10, 22529)])
def test_a_track_that_claims_too_much_is_not_decoded(field: int, value: int) -> None:
    at = tracks(ALL)[40][0]
    head = bytearray(ALL[at : at + TRACK_SIZE])
    head[field : field + 2] = value.to_bytes(2, "big")
    head[-2:] = crc16(bytes(head[:-2])).to_bytes(2, "big")
    device = opened(ALL[:at] + bytes(head) + ALL[at + TRACK_SIZE :])
    assert [line for line in device.verify() if "size of a track" in line]


def test_bad_archives_are_refused() -> None:
    with pytest.raises(ChecksumError):
        opened(ALL[:20] + b"\x99" + ALL[21:])
    with pytest.raises(UnsupportedError, match="archives of files"):
        opened(with_header(ALL, 50, b"\0\x07"))
    with pytest.raises(FormatError, match="no track of the disk"):
        opened(ALL[:HEADER_SIZE])
    with pytest.raises(FormatError, match="needed"):
        opened(ALL[: HEADER_SIZE - 1])


def test_truncation_and_corruption_never_surprise() -> None:
    rng = random.Random(5)
    cut = HEADER_SIZE + 30_000  # the first dozen of tracks hold every compression but two
    for _ in range(40):
        data = bytearray(ALL[: rng.randrange(cut)])
        if len(data) > HEADER_SIZE and rng.random() < 0.7:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            device = opened(bytes(data))
            for number in range(80):
                device.pread(number * TRACK, 16)
        except ImageError:
            pass


@pytest.mark.parametrize("mode", range(7))
def test_codecs_give_the_size_or_an_error_for_any_bytes(mode: int) -> None:
    rng = random.Random(mode)
    for _ in range(60):
        data = rng.randbytes(rng.randrange(300))
        try:
            found = DmsDecoder().track(data, mode, rng.randrange(8), rng.randrange(600), 500)
        except FormatError:
            continue
        assert len(found) == 500


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (b"ab\x90\0c", 4, b"ab\x90c"),
        (b"\x90\x05x", 5, b"xxxxx"),
        (b"\x90\xffy\x01\x00", 256, b"y" * 256),
        (b"ab", 2, b"ab"),
    ],
)
def test_runs(data: bytes, size: int, expected: bytes) -> None:
    assert unpack_runs(data, size) == expected


@pytest.mark.parametrize(
    ("data", "size"), [(b"\x90\x05x", 4), (b"\x90", 1), (b"\x90\xffy\x01", 256), (b"", 1)]
)
def test_runs_that_do_not_fit(data: bytes, size: int) -> None:
    with pytest.raises(FormatError):
        unpack_runs(data, size)


def test_a_disk_in_two_archives_one_behind_the_other_is_whole() -> None:
    whole = opened(ALL)
    content = whole.pread(0, whole.size)
    for cut in [at for at, number in tracks(ALL) if 0 < number < 80]:
        device = opened(
            ALL[:cut] + ALL[:HEADER_SIZE] + ALL[cut:]
        )  # what inherits from the first archive is lost
        for number in range(80):
            try:
                track = device.pread(number * TRACK, TRACK)
            except ImageError:
                continue
            assert track == content[number * TRACK : (number + 1) * TRACK]
    assert [str(line) for line in opened(ALL + ALL).verify()] == [
        f"dms: a second archive, of another disk, is left out, at {len(ALL):#x}"
    ]
    assert opened(ALL + ALL).pread(0, whole.size) == content
