"""The log of XFS: what waits in it, damage in it, records that go round its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filesystems.test_xfs import DIRTY, FOLDER, Patched, patch, volume
from fixture import unpack
from helpers import context
from imgmount.codecs.crc32c import crc32c
from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.filesystems.xfs import FORMAT
from imgmount.filesystems.xfs.log import Log, Record
from imgmount.filesystems.xfs.superblock import SECTOR
from imgmount.filesystems.xfs.transactions import transactions
from imgmount.filesystems.xfs.volume import XfsVolume

CRC, OPERATIONS, SIZE = 32, 40, 320  # places in the header of a record


@pytest.fixture(scope="module", params=sorted(DIRTY))
def dirty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return DIRTY[request.param].image_path(tmp_path_factory.mktemp("dirty")).read_bytes()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clean") / "image"
    unpack(FOLDER / "v5/v5.img.xz", path)
    return path.read_bytes()


def log_of(device: BlockDevice) -> tuple[Log, int]:
    """The log of a volume, and where it is."""
    spb = XfsVolume(device, context(extra={"no-journal": "yes"})).super
    return Log(device, spb), spb.block(spb.log_start) * spb.block_size


def record_of(data: bytes, number: int) -> tuple[Record, int]:
    """A record that counts, and where it is on the volume."""
    log, start = log_of(MemoryDevice(data))
    record = list(log.records())[number]
    return record, start + record.place.sector * SECTOR


def test_without_the_log_the_state_before_is_shown(dirty: bytes) -> None:
    opened = FORMAT.open(MemoryDevice(dirty), context(extra={"no-journal": "yes"}))
    assert isinstance(opened, XfsVolume)
    assert opened.info()["log"] == "not replayed: what was written last may be missing"
    assert "its log is not replayed" in " ".join(opened.verify())
    assert {"gone", "old"} <= {name for name, _ in opened.root.entries()}
    assert "gone" not in {name for name, _ in volume(dirty).root.entries()}


def test_the_newest_record_may_be_torn(dirty: bytes) -> None:
    record, start = record_of(dirty, -1)
    last = dirty[start + SECTOR + len(record.data) - 1]
    opened = volume(Patched(dirty, {start + SECTOR + len(record.data) - 1: last ^ 1}))
    assert opened.log_fault is None
    before = int(volume(dirty).log_state.split()[3])
    assert 0 < int(opened.log_state.split()[3]) <= before
    assert opened.root.lookup("many")


def test_damage_before_the_newest_records_is_told(dirty: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmount.filesystems.xfs.log.TORN", 1)
    record, start = record_of(dirty, 1)
    place = start + SECTOR + len(record.data) // 2
    opened = volume(Patched(dirty, {place: dirty[place] ^ 1}))
    assert "the checksum of a record of the log is wrong" in opened.log_state
    assert isinstance(opened.log_fault, FormatError)
    assert opened.root.lookup("old")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (OPERATIONS, b"\xff\xff\xff\xff", "fewer than its 4294967295 operations"),
        (SECTOR + 4, b"\xff\xff\xff\xff", "an operation of 4294967295 bytes"),
        (SECTOR + 8, b"\x99", "by client 0x99"),
        (SIZE, b"\xff\xff\xff\xff", "size of a buffer of the log 4294967295"),
        (300, b"\0\0\0\7", "form of the items in the log 7 is not 1 or 2 or 3"),
    ],
)
def test_lies_in_a_record_are_told(
    place: int, value: bytes, told: str, dirty: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgmount.filesystems.xfs.log.TORN", 1)
    _, start = record_of(dirty, 0)
    opened = volume(Patched(dirty, patch(start + CRC, bytes(4)) | patch(start + place, value)))
    assert told in opened.log_state
    assert opened.root.lookup("old")


def test_a_buffer_that_lies_elsewhere_is_told(dirty: bytes) -> None:
    """Nothing of the log is laid over the volume then: half of it would be worse than none."""
    start, at = next(logged_buffers(dirty))
    changed = patch(start + CRC, bytes(4)) | patch(start + SECTOR + at + 8, (1 << 40).to_bytes(8, "little"))
    opened = volume(Patched(dirty, changed))
    assert "replayed in memory: 0 transactions" in opened.log_state
    assert "the image ends" in opened.log_state
    assert "gone" in {name for name, _ in opened.root.entries()}


def logged_buffers(data: bytes) -> Iterator[tuple[int, int]]:
    """(place of a record, offset in its data) of each item of a buffer whose place can be changed."""
    log, first = log_of(MemoryDevice(data))
    for record in log.records():
        at = 12  # behind the header of an operation
        while at < len(record.data):
            is_plain = record.data[at : at + 2] == b"\x3c\x12" and not record.data[at + 4] & 3
            if is_plain and (at + 8) % SECTOR >= 4:  # not where the number of a round stands
                yield first + record.place.sector * SECTOR, at
            at += 12 + int.from_bytes(record.data[at - 8 : at - 4], "big")


def ring(records: list[bytes], first: int, sectors: int) -> bytes:
    """A log whose records stand behind each other from sector ``first`` of round 1 on, and go round."""
    log = bytearray(sectors * SECTOR)
    for at in range(sectors):
        log[at * SECTOR : at * SECTOR + 4] = (1).to_bytes(4, "big")
    place = first
    for data in records:
        stamp = 1 + place // sectors
        packed, saved = bytearray(data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")), b""
        for at in range(0, len(packed), SECTOR):
            saved += packed[at : at + 4]
            packed[at : at + 4] = (1 + (place + 1 + at // SECTOR) // sectors).to_bytes(4, "big")
        head = bytearray(SECTOR)
        numbers = (0xFEEDBABE, stamp, 2, len(data), stamp, place % sectors, 1, first)
        head[: 4 * len(numbers)] = b"".join([number.to_bytes(4, "big") for number in numbers])
        head[40:44] = (1).to_bytes(4, "big")
        head[44 : 44 + len(saved)] = saved
        head[300:304], head[320:324] = (1).to_bytes(4, "big"), (32768).to_bytes(4, "big")
        head[CRC : CRC + 4] = crc32c(bytes(head[:328] + packed[: len(data)])).to_bytes(4, "little")
        for raw in (head, *(packed[at : at + SECTOR] for at in range(0, len(packed), SECTOR))):
            log[place % sectors * SECTOR : place % sectors * SECTOR + SECTOR] = raw
            place += 1
    return bytes(log)


@pytest.mark.parametrize("first", range(40, 64))
def test_records_go_round_the_end_of_the_log(first: int, clean: bytes) -> None:
    spb = volume(clean).super._replace(log_blocks=8)
    wanted = [bytes([number]) * size for number, size in enumerate((700, 5000, 512, 1300), 1)]
    start = spb.block(spb.log_start) * spb.block_size
    data = ring(wanted, first, 64)
    log = Log(MemoryDevice(clean[:start] + data), spb)
    assert [record.data for record in log.records()] == wanted


def test_a_transaction_that_is_not_committed_does_not_count(clean: bytes) -> None:
    spb = volume(clean).super._replace(log_blocks=8)
    start = spb.block(spb.log_start) * spb.block_size
    begins = b"\0\0\0\7" + bytes(4) + b"\x69\1\0\0"
    log = Log(MemoryDevice(clean[:start] + ring([begins], 3, 64)), spb)
    assert not log.is_clean
    assert list(transactions(log.records())) == []
