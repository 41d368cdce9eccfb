"""El Torito: lengths from the images themselves, and catalogues that lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from helpers import context
from imgmount.core.format import Match, Partition
from imgmount.core.slices import MemoryDevice
from imgmount.errors import FormatError
from imgmount.partitions.eltorito import BOOT_RECORD, FORMAT, probe

CATALOGUE = 20
BLOCKS = 100


@dataclass
class Disc:
    """A disc with a catalogue; ``records`` follow its validation entry."""

    records: bytes
    at: int = CATALOGUE
    platform: int = 0

    def image(self, **heads: bytes) -> MemoryDevice:
        """``b30=...`` is what block 30 begins with."""
        disc = bytearray(BLOCKS * 2048)
        disc[16 * 2048 : 16 * 2048 + 6] = b"\1CD001"
        boot = bytearray(BOOT_RECORD.ljust(2048, b"\0"))
        boot[71:75] = self.at.to_bytes(4, "little")
        disc[17 * 2048 : 18 * 2048] = boot
        validation = bytearray(struct.pack("<BB", 1, self.platform).ljust(30, b"\0") + b"\x55\xaa")
        validation[28:30] = (-sum(struct.unpack("<16H", validation)) & 0xFFFF).to_bytes(2, "little")
        table = bytes(validation) + self.records
        disc[CATALOGUE * 2048 : CATALOGUE * 2048 + len(table)] = table
        for name, head in heads.items():
            start = int(name[1:]) * 2048
            disc[start : start + len(head)] = head
        return MemoryDevice(bytes(disc[: BLOCKS * 2048]))

    def parts(self, **heads: bytes) -> list[Partition]:
        return list(FORMAT.open(self.image(**heads), context()))


def entry(lba: int, load: int = 4, medium: int = 0, indicator: int = 0x88) -> bytes:
    return struct.pack("<BBHBxHI20x", indicator, medium, 0, 0, load, lba)


def section(platform: int, count: int, *, last: bool = True) -> bytes:
    return struct.pack("<BBH28x", 0x91 if last else 0x90, platform, count)


def bpb(small: int, large: int = 0) -> bytes:
    head = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"mkfs.fat", 512, 1, 1, 2, 16, small, 0xF8, 1, 1, 1, 0, large
    )
    return head.ljust(512, b"\0")


def mbr(first: int, sectors: int) -> bytes:
    return bytes(446) + struct.pack("<B7xII", 0x80, first, sectors) + bytes(48) + b"\x55\xaa"


BOOT_INFO = struct.pack("<8xIII", 16, 30, 3333).ljust(512, b"\xcc")


@pytest.mark.parametrize(
    ("head", "record", "size"),
    [
        (b"\xcc" * 512, entry(30, 7), 7 * 512),
        (b"\xcc" * 512, entry(30, 0), 70 * 2048),
        (b"\xcc" * 512, entry(30, 0xFFFF), 70 * 2048),
        (b"\xcc" * 512, entry(30, 1, medium=2), 70 * 2048),  # a floppy that the disc cuts
        (BOOT_INFO, entry(30), 3333),
        (BOOT_INFO.replace(struct.pack("<I", 30), struct.pack("<I", 31), 1), entry(30), 4 * 512),
        (bpb(99), entry(30, 1), 99 * 512),
        (bpb(0, 101), entry(30, 1), 101 * 512),
        (bpb(0, 0), entry(30, 2), 2 * 512),
        (bpb(0, 0xFFFF_FFFF), entry(30, 1), 70 * 2048),
        (mbr(1, 62), entry(30, 1, medium=4), 63 * 512),
        (mbr(0xFFFF_FFFF, 0xFFFF_FFFF), entry(30, 1, medium=4), 70 * 2048),
    ],
)
def test_the_image_says_how_long_it_is(head: bytes, record: bytes, size: int) -> None:
    (part,) = Disc(record).parts(b30=head)
    assert part.device.size == size
    assert part.files == (("boot1.img", part.device),)
    assert part.device.pread(0, 512) == head


def test_an_image_ends_where_the_next_begins() -> None:
    records = entry(30, 0) + section(0xEF, 1) + entry(40, 0)
    parts = Disc(records).parts(b30=b"\xcc" * 512, b40=b"\xcc" * 512)
    assert [part.device.size for part in parts] == [10 * 2048, 60 * 2048]
    assert [part.kind for part in parts] == ["El Torito x86, no emulation", "El Torito EFI, no emulation"]


def test_sections_and_extensions() -> None:
    extension = b"\x44" + bytes(31)
    records = (
        entry(30, indicator=0)
        + section(1, 2, last=False)
        + entry(31)
        + extension
        + extension
        + entry(32, medium=9)
    )
    parts = Disc(records + section(0x33, 1) + entry(33) + entry(34)).parts()
    assert [part.kind for part in parts] == [
        "El Torito x86, no emulation, not bootable",
        "El Torito PowerPC, no emulation",
        "El Torito PowerPC, medium 9",
        "El Torito platform 0x33, no emulation",
    ]


def test_an_image_past_the_end_is_empty() -> None:
    (part,) = Disc(entry(5000)).parts()
    assert part.device.size == 0


@pytest.mark.parametrize(
    ("disc", "change"),
    [
        (Disc(entry(30), at=5000), None),
        (Disc(entry(30), at=0), None),
        (Disc(entry(30), at=21), None),
        (Disc(entry(30)), (CATALOGUE * 2048 + 5, 1)),  # the words do not add up
        (Disc(entry(30)), (CATALOGUE * 2048 + 30, 0)),
        (Disc(entry(30)), (17 * 2048 + 10, 0)),
    ],
)
def test_what_is_no_catalogue(disc: Disc, change: tuple[int, int] | None) -> None:
    data = bytearray(disc.image().pread(0, BLOCKS * 2048))
    if change:
        data[change[0]] = change[1]
    with pytest.raises(FormatError):
        probe(MemoryDevice(bytes(data)))
    assert probe(Disc(entry(30)).image()) is Match.CERTAIN
    assert probe(Disc(bytes(64)).image()) is Match.NO


def test_a_catalogue_without_an_end_is_read_to_a_limit() -> None:
    records = (section(0, 0xFFFF, last=False) + entry(30)) * 1200  # to the end of the disc
    disc = MemoryDevice(Disc(entry(30)).image().pread(0, 20 * 2048 + 64) + records * 3)
    assert len(list(FORMAT.open(disc, context()))) <= 2048
