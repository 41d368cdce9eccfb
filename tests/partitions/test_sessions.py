"""Sessions without a table of contents: what is one, and chains that lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import manifest
from fixture import unpack
from helpers import FIXTURES, context, image
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import Match, Options
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.filesystems import iso9660
from imgmount.filesystems.iso9660.second_opinion import compare
from imgmount.partitions import sessions
from imgmount.partitions.sessions import FORMAT, MAX_SESSIONS, probe


def disc(blocks: int, *sessions: tuple[int, int, int]) -> MemoryDevice:
    """Sessions are (start, volume size, LBA of the root)."""
    data = bytearray(blocks * 2048)
    for start, size, root in sessions:
        at = (start + 16) * 2048
        data[at : at + 7] = b"\1CD001\1"
        data[at + 80 : at + 84] = size.to_bytes(4, "little")
        data[at + 158 : at + 162] = root.to_bytes(4, "little")
    return MemoryDevice(bytes(data))


@pytest.mark.parametrize(
    ("device", "starts"),
    [
        (disc(200, (0, 40, 20), (40, 40, 60), (80, 99, 100)), [0, 40, 80]),
        (disc(200, (0, 41, 20), (48, 50, 60)), [0, 48]),
        (disc(200, (0, 33, 20), (64, 70, 80)), [0, 64]),
        (
            disc(200, (0, 40, 20), (40, 80, 60), (80, 90, 100)),
            [0, 40, 80],
        ),  # sizes from the start of the disc
        (disc(200, (0, 98, 100), (32, 8, 50), (64, 20, 80), (96, 2, 100)), [32, 64, 96]),  # xorriso
    ],
)
def test_sessions_follow_each_other(device: MemoryDevice, starts: list[int]) -> None:
    assert probe(device) is Match.CERTAIN
    parts = FORMAT.open(device, context())
    assert [part.session for part in parts] == list(range(1, len(starts) + 1))
    assert [device.size - part.device.size for part in parts] == [start * 2048 for start in starts]


@pytest.mark.parametrize(
    "device",
    [
        disc(99, (0, 40, 20)),
        disc(99, (0, 0, 20)),
        disc(99, (0, 0xFFFF_FFFF, 20)),
        disc(99, (0, 82, 50), (32, 50, 50)),  # one session of xorriso, listed twice
        MemoryDevice(bytes(99)),
    ],
)
def test_one_session_is_no_table(device: MemoryDevice) -> None:
    assert probe(device) is Match.NO


def test_a_chain_is_followed_to_a_limit() -> None:
    sessions = [(number, 1, number) for number in range(MAX_SESSIONS + 50)]
    with pytest.raises(ImageError, match="more than"):
        probe(disc(MAX_SESSIONS + 99, *sessions))


def test_the_newest_session_is_shown_unless_another_is_wanted() -> None:
    path = image("iso9660/util-linux__util-linux__iso-multi-0-174-348-genisoimage.img.xz")
    found = []
    for wanted in ({}, {"session": "1"}, {"session": "2"}, {"session": "3"}):
        with open_image(path, Options(extra=wanted)) as opened:
            assert str(opened) == "file > xz > sessions[3] > iso9660"
            assert opened.whole is not None
            found.append(opened.disk.size - opened.whole.device.size)
    assert found == [348 * 2048, 0, 174 * 2048, 348 * 2048]
    with pytest.raises(ImageError, match="there is no session 4, only 1 to 3"):
        open_image(path, Options(extra={"session": "4"}))


@pytest.fixture
def grown(tmp_path: Path) -> bytearray:
    """Three sessions of growisofs, at blocks 0, 48 and 112."""
    unpack(FIXTURES / "partitions" / "sessions" / "growisofs" / "grown.iso.xz", tmp_path / "grown")
    return bytearray((tmp_path / "grown").read_bytes())


def opened(data: bytearray, **options: object) -> list[BlockDevice]:
    return [part.device for part in FORMAT.open(MemoryDevice(bytes(data)), context(None, **options))]


def test_pycdlib_reads_every_session_of_a_grown_image_alike(grown: bytearray) -> None:
    for device in opened(grown):
        volume = iso9660.open_volume(device, context())
        assert list(compare(volume)) == []
        assert list(iso9660.FORMAT.check(volume)) == []
        assert volume.views == ("rockridge", "joliet", "iso")


def test_old_sessions_of_a_large_grown_image_are_found_when_asked_for(
    grown: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SEARCHED", 100)
    (part,) = FORMAT.open(MemoryDevice(bytes(grown)), context())
    assert part.kind.startswith("newest session; --session")
    assert set(manifest(iso9660.FORMAT.open(part.device, context()).root)) > {"add3"}
    assert len(opened(grown, extra={"session": "1"})) == 3


def test_a_first_session_without_a_root_is_left_out(grown: bytearray) -> None:
    root = next(at for at in range(18 * 2048, len(grown), 2048) if grown[at + 32 : at + 34] == b"\1\0")
    for at in range(root, 48 * 2048, 2048):
        grown[at + 33] = 7
    assert probe(MemoryDevice(bytes(grown))) is Match.CERTAIN
    assert [len(grown) - device.size for device in opened(grown)] == [48 * 2048, 112 * 2048]


def test_a_volume_in_a_file_is_no_session(grown: bytearray) -> None:
    inside = 16 * 2048  # as a file of session 1 could hold it: the next session does not begin where it ends
    grown[inside + 16 * 2048 : inside + 17 * 2048] = grown[(48 + 16) * 2048 : (48 + 17) * 2048]
    grown[inside + 16 * 2048 + 80] = 3
    assert [len(grown) - device.size for device in opened(grown)] == [0, 48 * 2048, 112 * 2048]


def test_joliet_that_came_later_is_not_in_the_first_session(grown: bytearray) -> None:
    roots = [at for at in range(18 * 2048, 48 * 2048, 2048) if grown[at + 32 : at + 34] == b"\1\0"]
    own_parents = [
        at for at in roots if grown[at + 2 : at + 6] == grown[at + grown[at] + 2 : at + grown[at] + 6]
    ]
    assert len(own_parents) == 2
    grown[own_parents[1] + 33] = 7
    first = opened(grown)[0]
    assert iso9660.open_volume(first, context()).views == ("rockridge", "iso")


def test_path_tables_that_are_not_found_are_none(grown: bytearray) -> None:
    for block in range(18, 28):
        grown[block * 2048] = 9
    volume = iso9660.FORMAT.open(opened(grown)[0], context())
    assert set(manifest(volume.root)) == {"add1", "add1/deep", "add1/deep/data", "add1/file1"}
