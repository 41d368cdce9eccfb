"""The ``koly`` block of a UDIF image: 512 bytes at its end, seldom at its start, with all places.

Source: hdiutil(1) for the terms; the layout as libmodi's and ClassicMac's documentation have it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, Self

from imgmount.containers.apple.udif.place import SIZE, VERSION, find
from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError, UnsupportedError

MAX_OFFSET: Final = 1 << 62
MAX_SECTORS: Final = 1 << 50
_FIELDS = struct.Struct(">4s3I 5Q 2I 16s 2I 128s 2Q 64x 2Q 40x 2I 128s I Q")
WHOLE_DEVICE, INTERNET = 2, 4  # bits of flags
NONE, CRC32, MD5 = 0, 2, 4  # types of checksums


class Checksum(NamedTuple):
    """A stored checksum: its type, and as many bytes as it has bits."""

    type: int
    value: bytes

    @classmethod
    def parse(cls, kind: int, bits: int, field: bytes) -> Self:
        return cls(kind, field[: bits // 8])


class Trailer(NamedTuple):
    """What the block says. Ranges are (offset, length) without ``base``; ``place`` is that of the block."""

    place: int
    base: int
    flags: int
    running: int  # where this segment's data lies in the data of all segments
    data: tuple[int, int]
    resources: tuple[int, int]
    xml: tuple[int, int]
    signature: tuple[int, int]
    segment: int
    segments: int
    identifier: bytes
    data_checksum: Checksum
    master_checksum: Checksum
    variant: int
    sectors: int

    @classmethod
    def read(cls, file: BlockDevice) -> Self:
        """The block of ``file``. Raises ``FormatError``, ``UnsupportedError``."""
        place = find(file)
        if place is None:
            raise FormatError("udif", "no koly block at either end")
        raw = _FIELDS.unpack_from(file.read_exactly(place, SIZE, "udif"))
        _, version, size, flags, running, *ranges = raw[:9]
        segment, segments, identifier, kind, bits, value = raw[9:15]
        xml_at, xml_size, signed_at, signed_size, master, master_bits, master_value, variant, sectors = raw[
            15:
        ]
        if version != VERSION or size != SIZE:
            raise UnsupportedError(f"udif: a koly block of version {version} and {size} bytes")
        data, forks = (ranges[0], ranges[1]), (ranges[2], ranges[3])
        xml, signature = (xml_at, xml_size), (signed_at, signed_size)
        for offset, length in (data, forks, xml, signature):
            if offset > MAX_OFFSET or length > MAX_OFFSET:
                raise FormatError("udif", f"a part of {length:#x} bytes at {offset:#x}", offset=place)
        if sectors > MAX_SECTORS or running > MAX_OFFSET:
            raise FormatError("udif", f"a disk of {sectors} sectors", offset=place + 0x1EC)
        return cls(
            place=place,
            base=_base(file, place, (data, forks, xml, signature)),
            flags=flags,
            running=running,
            data=data,
            resources=forks,
            xml=xml,
            signature=signature,
            segment=segment,
            segments=segments,
            identifier=identifier,
            data_checksum=Checksum.parse(kind, bits, value),
            master_checksum=Checksum.parse(master, master_bits, master_value),
            variant=variant,
            sectors=sectors,
        )


def _base(file: BlockDevice, place: int, parts: tuple[tuple[int, int], ...]) -> int:
    """What is added to every offset: the size of what was put before the image, by where its tables begin."""
    used = [part for part in parts if part[1]]
    end = max((offset + length for offset, length in used), default=0)
    shift = place - end
    if not place or not used or shift <= 0:
        return 0
    offset, length = parts[2] if parts[2][1] else parts[1]
    if not length or _begins_table(file.pread(offset, 64), xml=bool(parts[2][1])):
        return 0
    return shift if _begins_table(file.pread(offset + shift, 64), xml=bool(parts[2][1])) else 0


def _begins_table(head: bytes, *, xml: bool) -> bool:
    """Whether a plist, or a resource fork, begins with ``head``."""
    if xml:
        return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<!DOCTYPE", b"<plist"))
    return 16 <= int.from_bytes(head[:4], "big") <= int.from_bytes(head[4:8], "big")
