"""Discs: sessions, disc addresses, views of sectors."""

from __future__ import annotations

import wave
from io import BytesIO

import pytest

from conformance import check_device
from imgmount.core.device import BlockDevice, gather
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError, ImageError
from imgmount.families.optical.disc import Disc, DiscSpace, Session, Track, address_space, whole_sectors
from imgmount.families.optical.sectors import Layout, Mode, Swapped, pcm, wav

MODE1 = Layout(Mode.MODE1, 2352)


def sectors(numbers: range, mode: int = 1) -> bytes:
    head = b"\0" + b"\xff" * 10 + b"\0" + bytes((0, 2, 0, mode))
    return b"".join(head + n.to_bytes(4, "little") * 584 for n in numbers)


def track(
    number: int, lba: int, data: bytes, layout: Layout = MODE1, *, session: int = 1, pregap: int = 0
) -> Track:
    return Track(number, session, lba, layout, MemoryDevice(data), pregap)


def user_data(numbers: range, unit: int = 2048) -> bytes:
    return b"".join((n.to_bytes(4, "little") * 584)[:unit] for n in numbers)


def test_a_later_session_sees_earlier_ones_by_address_and_starts_at_its_own() -> None:
    disc = Disc("test", [track(1, 0, sectors(range(20))), track(2, 100, sectors(range(100, 130)), session=2)])
    session = disc.main(None)
    assert isinstance(session, Session)
    space, base = address_space(session)
    assert base == 100
    assert session.size == 30 * 2048
    check_device(session, user_data(range(100, 130)))
    assert space.pread(0, 20 * 2048) == user_data(range(20))
    assert space.pread(110 * 2048 + 5, 3000) == user_data(range(110, 112))[5:3005]
    first = disc.main(1)
    assert isinstance(first, DiscSpace)
    check_device(first, user_data(range(20)))  # and nothing of session 2


@pytest.mark.parametrize("block", [20, 99])
def test_a_sector_in_no_data_track_is_an_error_not_zeros(block: int) -> None:
    disc = Disc("test", [track(1, 0, sectors(range(20))), track(2, 100, sectors(range(100, 130)), session=2)])
    main = disc.main(None)
    assert main is not None
    space, _ = address_space(main)
    with pytest.raises(FormatError, match=f"sector {block} lies in no data track"):
        space.pread(block * 2048, 1)
    with pytest.raises(FormatError):
        space.pread(19 * 2048, 82 * 2048)


def test_sound_between_data_is_no_data() -> None:
    song = track(2, 20, bytes(2352 * 5), Layout(Mode.AUDIO, 2352))
    disc = Disc("test", [track(1, 0, sectors(range(20))), song, track(3, 25, sectors(range(25, 30)))])
    main = disc.main(None)
    assert main is not None
    assert main.pread(25 * 2048, 2048) == user_data(range(25, 26))
    with pytest.raises(FormatError):
        main.pread(22 * 2048, 1)


def test_the_session_is_the_users_choice() -> None:
    disc = Disc(
        "test",
        [track(1, 0, sectors(range(3))), track(2, 50, bytes(2352), Layout(Mode.AUDIO, 2352), session=2)],
    )
    assert disc.main(None) is not None
    assert disc.main(1) is not None
    with pytest.raises(ImageError, match="session 2 has no data track; those that have: 1"):
        disc.main(2)
    assert Disc("test", [track(1, 0, bytes(2352), Layout(Mode.AUDIO, 2352))]).main(None) is None


def test_a_stored_pregap_belongs_to_the_address_space_and_not_to_the_track() -> None:
    disc = Disc("test", [track(1, 10, sectors(range(4, 20)), pregap=6)])
    cooked = dict(disc.partitions()[0].files)["track01.iso"]
    check_device(cooked, user_data(range(10, 20)))
    space = DiscSpace(disc.tracks)
    assert space.pread(4 * 2048, 2048) == user_data(range(4, 5))
    with pytest.raises(FormatError):
        space.pread(3 * 2048, 1)


def test_the_sector_says_its_mode_itself() -> None:
    disc = Disc("test", [track(1, 0, sectors(range(20), mode=2))])
    assert disc.partitions()[0].kind == "MODE2/2352"
    assert disc.main(None).pread(0, 8) == user_data(range(1))[8:16]  # type: ignore[union-attr]
    assert Disc("test", [track(1, 0, bytes(2352 * 20))]).partitions()[0].kind == "MODE1/2352"


@pytest.mark.parametrize(("unit", "start"), [(2324, 24), (2336, 16), (2352, 0)])
def test_whole_sectors_are_addressed_as_blocks_are(unit: int, start: int) -> None:
    data = sectors(range(100, 120), mode=2)
    disc = Disc("test", [track(1, 0, sectors(range(20), mode=2)), track(2, 100, data, session=2)])
    main = disc.main(None)
    assert main is not None
    wide = whole_sectors(main, unit)
    assert wide is not None
    assert wide.pread(107 * unit, unit) == data[7 * 2352 + start :][:unit]
    assert whole_sectors(MemoryDevice(bytes(99)), unit) is None


def test_whole_sectors_that_are_not_stored_are_not_made_up() -> None:
    disc = Disc("test", [track(1, 0, bytes(2048 * 20), Layout(Mode.MODE1, 2048))])
    main = disc.main(None)
    assert main is not None
    assert whole_sectors(main, 2324) is None
    cooked = Disc("test", [track(1, 0, bytes(2336 * 20), Layout(Mode.MODE2, 2336))]).main(None)
    assert cooked is not None
    assert whole_sectors(cooked, 2352) is None
    assert whole_sectors(cooked, 2324) is not None


@pytest.mark.parametrize(("start", "size"), [(200, 200 + 30), (0, 30), (11752, 11752 + 30), (190, 190 + 30)])
def test_a_volume_says_itself_where_it_starts(start: int, size: int) -> None:
    blocks = [bytearray(2048) for _ in range(30)]
    root = start + 20
    blocks[16][:6] = b"\x01CD001"
    blocks[20][32:34] = b"\1\0"
    blocks[16][158:162] = blocks[20][2:6] = root.to_bytes(4, "little")
    data = b"".join(map(bytes, blocks))
    song = track(1, 0, bytes(2352 * 200), Layout(Mode.AUDIO, 2352))
    main = Disc("test", [song, track(2, 200, data, Layout(Mode.MODE1, 2048))]).main(None)
    assert main is not None
    space, base = address_space(main)
    assert (space.size // 2048, base) == (size, start)
    assert main.pread(16 * 2048, 6) == b"\x01CD001"
    assert space.pread(root * 2048 + 2, 4) == root.to_bytes(4, "little")


def test_wav_is_a_file_that_players_read() -> None:
    samples = bytes(range(256)) * 147
    with wave.open(BytesIO(_bytes(wav(MemoryDevice(samples))))) as player:
        assert player.getparams()[:4] == (2, 2, 44100, len(samples) // 4)
        assert player.readframes(len(samples)) == samples


def test_big_endian_sound_with_subchannel_is_little_endian_without() -> None:
    stored = b"".join(bytes((n, 255 - n)) * 1176 + b"s" * 96 for n in range(5))
    samples = pcm(MemoryDevice(stored), Layout(Mode.AUDIO, 2352, 96, big_endian=True))
    check_device(samples, b"".join(bytes((255 - n, n)) * 1176 for n in range(5)))
    assert Swapped(MemoryDevice(bytes(7))).size == 6


@pytest.mark.parametrize(
    ("tracks", "reason"),
    [
        ([], "0 tracks, not 1 to 99"),
        ([track(n, 0, b"x") for n in range(1, 101)], "100 tracks, not 1 to 99"),
        ([track(1, -5, b"")], "sector -5, not from 0 to"),
        ([track(1, 1 << 31, b"")], "sector 2147483648, not from 0 to"),
        ([Track.lost(1, 1, 0, MODE1, FormatError("test", "gone"))], "test: gone"),
    ],
)
def test_discs_of_which_nothing_is_there_are_refused(tracks: list[Track], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        Disc("test", tracks)


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (0, 1), (99, 100), (0, 0)])
def test_tracks_are_counted_where_their_numbers_make_no_sense(
    numbers: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    disc = Disc("test", [track(number, 9 * at, sectors(range(9))) for at, number in enumerate(numbers)])
    assert [part.index for part in disc.partitions()] == [1, 2]
    assert list(disc.verify()) == [
        f"tracks are numbered {numbers[0]}, {numbers[1]}: they are counted from 1 to 2"
    ]
    assert "counted from 1 to 2" in caplog.text


def test_a_lost_track_is_in_no_address_space() -> None:
    lost = Track.lost(2, 1, 9, MODE1, FormatError("test", "gone"), sectors=7)
    disc = Disc("test", [track(1, 0, sectors(range(9))), lost, track(3, 16, sectors(range(4)))])
    main = disc.main(None)
    assert main is not None
    assert main.pread(0, 9 * 2048) == user_data(range(9))
    assert main.pread(16 * 2048, 4 * 2048) == user_data(range(4))
    with pytest.raises(FormatError, match="sector 9 lies in no data track"):
        main.pread(9 * 2048, 1)
    assert disc.size == 20 * 2352
    with pytest.raises(FormatError, match="gone"):
        disc.pread(15 * 2352, 1)


def test_tracks_that_overlap_are_cut_where_the_next_begins() -> None:
    space = DiscSpace([track(1, 0, sectors(range(20))), track(2, 10, sectors(range(50, 60)))])
    assert space.pread(9 * 2048, 4096) == user_data(range(9, 10)) + user_data(range(50, 51))
    assert gather(space.extents(0, space.size)) == space.pread(0, space.size)


def _bytes(device: BlockDevice) -> bytes:
    return device.pread(0, device.size)
