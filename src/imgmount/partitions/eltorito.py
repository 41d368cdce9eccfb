"""El Torito: the catalogue of boot images on a disc.

Each is a floppy, a hard disk or a loader without a medium.

Source: the El Torito specification 1.0, 1995, and UEFI 2.10, section 13.3.2.1. The stored length is what
firmware loads, often 1 or 4 sectors of an image of megabytes; the image itself says how long it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import address_space
from imgmount.families.optical.sectors import DESCRIPTOR_SECTOR

BLOCK: Final = 2048
SECTOR: Final = 512  # "virtual sector" of the load size
BOOT_RECORD: Final = b"\0CD001\1EL TORITO SPECIFICATION"
CATALOGUE: Final = slice(71, 75)  # in the boot record: its LBA
MAX_DESCRIPTORS: Final = 16  # looked at for the boot record, which should be the second
MAX_RECORDS: Final = 2048  # of the catalogue: 64 KiB
PLATFORMS: Final = {0x00: "x86", 0x01: "PowerPC", 0x02: "Mac", 0xEF: "EFI"}
MEDIA: Final = ("no emulation", "1.2 MB floppy", "1.44 MB floppy", "2.88 MB floppy", "hard disk")
FLOPPIES: Final = {1: 1_228_800, 2: 1_474_560, 3: 2_949_120}
HARD_DISK: Final = 4

_VALIDATION: Final = 0x01
_MORE: Final = 0x90  # a section header; 0x91 is the last one
_LAST: Final = 0x91
_BOOTABLE: Final = 0x88
_NOT_BOOTABLE: Final = 0x00
_HEADER: Final = struct.Struct("<BBH28x")  # indicator, platform, entries
_RECORD: Final = struct.Struct("<BB4xHI20x")  # indicator, medium, sectors to load, LBA
# of isolinux and GRUB: LBA of the descriptor, of the image, its length
_BOOT_INFO: Final = struct.Struct("<8xIII")
# FAT: sector size, per cluster; sectors in 16 bits, media...; sectors in 32 bits
_BPB: Final = struct.Struct("<11xHB5xHBHHHII")
_MBR_ENTRY: Final = struct.Struct("<B7xII")  # flag, first sector, sectors


class _Image(NamedTuple):
    """One entry of the catalogue. ``load`` is in sectors of 512 bytes."""

    platform: int
    bootable: bool
    medium: int
    load: int
    lba: int


def _catalogue(device: BlockDevice) -> tuple[BlockDevice, int]:
    """(the disc, the byte in it where the catalogue begins). Raises ``FormatError``."""
    disc, base = address_space(device)
    for number in range(MAX_DESCRIPTORS):
        descriptor = disc.pread((base + DESCRIPTOR_SECTOR + number) * BLOCK, CATALOGUE.stop)
        if descriptor.startswith(BOOT_RECORD):
            return disc, int.from_bytes(descriptor[CATALOGUE], "little") * BLOCK
        if descriptor[1:6] != b"CD001":
            break
    raise FormatError("eltorito", "no boot record is among the volume descriptors")


def _images(disc: BlockDevice, start: int) -> list[_Image]:
    """The entries. What follows the first record without a meaning is not read."""
    validation = disc.read_exactly(start, 32, "eltorito")
    if (
        validation[0] != _VALIDATION
        or validation[30:] != b"\x55\xaa"
        or sum(struct.unpack("<16H", validation)) & 0xFFFF
    ):
        raise FormatError(
            "eltorito",
            "the catalogue does not begin with a validation entry whose words add up to 0",
            offset=start,
        )
    data = disc.pread(start + 32, 32 * MAX_RECORDS)
    platform, left = validation[1], 1
    found: list[_Image] = []
    for record in (data[at : at + 32] for at in range(0, len(data) - 31, 32)):
        indicator, medium, load, lba = _RECORD.unpack(record)
        if left and indicator in (_BOOTABLE, _NOT_BOOTABLE):
            left -= 1
            if lba:
                found.append(_Image(platform, indicator == _BOOTABLE, medium & 15, load, lba))
        elif indicator in (_MORE, _LAST):
            _, platform, left = _HEADER.unpack(record)
        elif indicator != 0x44:  # an extension of the entry before: criteria of selection
            break
    return found


def _length(disc: BlockDevice, image: _Image, limit: int) -> int:
    """Bytes of the image, at most ``limit``.

    Its medium says it, or its own tables, and only then the catalogue.
    """
    if image.medium in FLOPPIES:
        return min(FLOPPIES[image.medium], limit)
    head = disc.pread(image.lba * BLOCK, min(SECTOR, limit))
    if len(head) < SECTOR:
        return limit
    own = next((size for size in (_by_boot_info(head, image), _by_bpb(head), _by_mbr(head)) if size), 0)
    return min(own or image.load * SECTOR or limit, limit)


def _by_boot_info(head: bytes, image: _Image) -> int:
    descriptor, lba, size = _BOOT_INFO.unpack_from(head)
    return int(size) if lba == image.lba and DESCRIPTOR_SECTOR <= descriptor < image.lba else 0


def _by_bpb(head: bytes) -> int:
    size, per_cluster, small, media, _, _, _, _, large = _BPB.unpack_from(head)
    sound = head[0] in (0xE9, 0xEB) and size in (512, 1024, 2048, 4096) and per_cluster and media >= 0xF0
    return int(size * (small or large)) if sound else 0


def _by_mbr(head: bytes) -> int:
    entries = [_MBR_ENTRY.unpack_from(head, 446 + 16 * number) for number in range(4)]
    if head[510:] != b"\x55\xaa" or any(flag not in (0, 0x80) for flag, _, _ in entries):
        return 0
    return max(int(first + sectors) * SECTOR for _, first, sectors in entries)


def probe(device: BlockDevice) -> Match:
    """The boot record and a catalogue whose words add up."""
    return Match.CERTAIN if _images(*_catalogue(device)) else Match.NO


def _parts(device: BlockDevice) -> Iterator[Partition]:
    disc, start = _catalogue(device)
    images = _images(disc, start)
    starts = sorted({image.lba * BLOCK for image in images})
    for number, image in enumerate(images, 1):
        offset = image.lba * BLOCK
        following = next((other for other in starts if other > offset), disc.size)
        content = (
            Slice(disc, offset, _length(disc, image, following - offset))
            if offset < disc.size
            else Slice(disc, 0, 0)
        )
        platform = PLATFORMS.get(image.platform, f"platform {image.platform:#04x}")
        medium = MEDIA[image.medium] if image.medium < len(MEDIA) else f"medium {image.medium}"
        kind = f"El Torito {platform}, {medium}" + ("" if image.bootable else ", not bootable")
        yield Partition(number, kind, "", content, ((f"boot{number}.img", content),))


def open_images(device: BlockDevice, _: Context) -> Sequence[Partition]:
    """The boot images, in the order of the catalogue."""
    return list(_parts(device))


FORMAT: Final = PartitionsFormat(
    name="eltorito",
    title="El Torito boot catalogue",
    open=open_images,
    probe=probe,
    beside=True,
)
