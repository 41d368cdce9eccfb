"""NRG: an image by others, and footers, chunks and tracks that lie."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from containers.discs import content, open_disc, shown, unpacked
from helpers import image
from imgmount.chain import open_image
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
        assert [(track.lba, track.pregap, track.sectors) for track in tracks] == [(150, 300, 75), (300, 75, 2)]  # cd-info says so
        stored = image("nrg/libcdio__libcdio__p1.nrg").read_bytes()
        wav = content(shown(disc.disk)["track01.wav"])  # type: ignore[arg-type]
        assert hashlib.sha256(wav[44:]).digest() == hashlib.sha256(stored[705600:882000]).digest()


def test_a_plain_track() -> None:
    disc = open_disc("nrg", nrg(etn2(0, SECTORS * 2048) + END))
    assert disc.tracks[0].sectors == SECTORS


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (nrg(b"ETN2" + b"\xff" * 4 + END), "chunk ETN2 of 4294967295 bytes"),
        (nrg(etn2(0, 2048)), "bytes needed"),
        (nrg(END), "0 tracks"),
        (nrg(END, start=1 << 63), "bytes needed"),
        (nrg(etn2(0, 1 << 40) + END), "past the end"),
        (nrg(etn2(1 << 62, 1 << 62) + END), "past the end"),
        (nrg(etn2(0, 2048, lba=1 << 31) + END), "outside the disc"),
        (nrg(chunk(b"DAOX", bytes(22) + struct.pack(">12xHB3x3Q", 2048, 0, 2048, 0, 4096)) + END), "mode 0x0"),
        (nrg(chunk(b"DAOX", bytes(22) + struct.pack(">12xHB3x3Q", 0, 0, 0, 0, 4096)) + END), "0 bytes a sector"),
        (nrg(chunk(b"ETN2", bytes(32 * 100)) + END), "100 tracks"),
        (nrg(chunk(b"XXXX", b"") * 5000 + END), "more than 4096 chunks"),
        (bytes(5000), "no footer"),
    ],
)
def test_images_that_lie(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        open_disc("nrg", data)


def test_big_and_unknown_chunks_are_passed_over() -> None:
    chunks = chunk(b"CDTX", bytes(2 << 20)) + chunk(b"CUEX", b"\1") + chunk(b"DAOI", b"") + etn2(0, 2048) + END
    assert len(open_disc("nrg", nrg(chunks)).tracks) == 1


def test_every_cut_is_an_error_or_the_same_disc(tmp_path: Path) -> None:
    data = unpacked("nrg/v2-dao", tmp_path).read_bytes()
    for size in range(len(data) - 300, len(data), 7):
        with pytest.raises(FormatError):
            open_disc("nrg", data[:size])
