"""The label of an LVM2 physical volume, and its metadata areas with the ring of text in each.

Source: LVM2, ``lib/label/label.h`` and ``lib/format_text/layout.h``. Numbers are little endian.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from imgmount.core.device import BlockDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, MissingPartError
from imgmount.partitions.lvm2.text import Parser, Section

log = logging.getLogger(__name__)

SECTOR: Final = 512
LABEL_SCAN_SECTORS: Final = 4
LABEL_ID: Final = b"LABELONE"
LVM2_LABEL: Final = b"LVM2 001"
# id, its sector, checksum of what follows, offset of the physical volume's header, type
_LABEL: Final = Struct("<8sQII8s")
_LABEL_CHECKED: Final = 20
# UUID, size; then the data areas and the metadata areas, each list ended by zeros
_PV: Final = Struct("<32sQ")
_AREA: Final = Struct("<QQ")  # offset, size
FMTT_MAGIC: Final = b" LVM2 x[5A%r0N*>"
FMTT_VERSION: Final = 1
MDA_HEADER_SIZE: Final = 512
_MDA: Final = Struct("<I16sIQQ")  # checksum of what follows, magic, version, offset of itself, size
_RAW_LOCN: Final = Struct("<QQII")  # offset from the header, size, checksum, flags
RAW_LOCN_IGNORED: Final = 1
INITIAL_CRC: Final = 0xF597A6CF
MAX_TEXT: Final = 1 << 20  # pvcreate(8) has room for half of that
MAX_AREAS: Final = 2  # pvcreate(8), --pvmetadatacopies


class Label(NamedTuple):
    """A physical volume: its UUID (32 letters) and the (offset, size) of its metadata areas."""

    uuid: str
    metadata: list[tuple[int, int]]


def _crc(data: bytes) -> int:
    """CRC-32 from LVM's initial value on, and without the final complement."""
    return crc32(data, INITIAL_CRC ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def dashed(uuid: str) -> str:
    """As LVM prints it."""
    cuts = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(uuid[start:stop] for start, stop in pairwise(cuts))


def _areas(sector: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """The areas listed at ``at``, and where the list ends. Raises ``FormatError``."""
    areas: list[tuple[int, int]] = []
    while at + _AREA.size <= len(sector):
        offset, size = _AREA.unpack_from(sector, at)
        at += _AREA.size
        if not offset:
            return areas, at
        areas.append((offset, size))
    raise FormatError("lvm2", "a list of areas does not end in the label's sector")


def read_label(device: BlockDevice) -> Label:
    """The first label in the first sectors whose checksum holds. Raises ``FormatError``."""
    for number in range(LABEL_SCAN_SECTORS):
        sector = device.pread(number * SECTOR, SECTOR)
        if len(sector) < SECTOR:
            break
        magic, place, checksum, header, kind = _LABEL.unpack_from(sector)
        if (
            magic != LABEL_ID
            or kind != LVM2_LABEL
            or place != number
            or checksum != _crc(sector[_LABEL_CHECKED:])
        ):
            continue
        if not _LABEL.size <= header <= SECTOR - _PV.size:
            raise FormatError("lvm2", f"the header is at {header} of its sector", offset=number * SECTOR)
        uuid, _ = _PV.unpack_from(sector, header)
        _, at = _areas(sector, header + _PV.size)
        metadata, _ = _areas(sector, at)
        return Label(uuid.decode("ascii", "replace"), metadata)
    raise FormatError("lvm2", "no label of a physical volume")


def _metadata(device: BlockDevice, start: int) -> Section | None:
    """The metadata in the area at ``start``, None where that is empty. Raises ``FormatError``."""
    raw = device.read_exactly(start, MDA_HEADER_SIZE, "lvm2")
    checksum, magic, version, place, size = _MDA.unpack_from(raw)
    if magic != FMTT_MAGIC or version != FMTT_VERSION or place != start:
        raise FormatError("lvm2", "no header of a metadata area", offset=start)
    if checksum != _crc(raw[4:]):
        raise ChecksumError("lvm2", "the header of a metadata area is damaged", offset=start)
    offset, length, checksum, flags = _RAW_LOCN.unpack_from(raw, _MDA.size)
    if not offset or flags & RAW_LOCN_IGNORED:
        return None
    if length > MAX_TEXT:
        raise FormatError("lvm2", f"{length} bytes of metadata", offset=start)
    if not MDA_HEADER_SIZE <= offset < size or length > size - MDA_HEADER_SIZE:
        raise FormatError(
            "lvm2", f"metadata at {offset:#x}+{length:#x} of an area of {size:#x} bytes", offset=start
        )
    first = min(length, size - offset)  # the rest is at the beginning of the ring
    data = device.read_exactly(start + offset, first, "lvm2")
    data += device.read_exactly(start + MDA_HEADER_SIZE, length - first, "lvm2")
    if checksum != _crc(data):
        raise ChecksumError("lvm2", "the metadata is damaged", offset=start + offset)
    return Parser(data.rstrip(b"\0").decode("utf-8", "surrogateescape")).parse()


def read_group(device: BlockDevice, label: Label) -> tuple[str, Section]:
    """(name, section) of the volume group, as the newest good copy of the metadata has it.

    Raises ``ImageError``.
    """
    found: list[tuple[int, str, Section]] = []
    faults = []
    for start, _ in label.metadata[:MAX_AREAS]:
        try:
            text = _metadata(device, start)
            if text is not None:
                name, group = next(text.sections(), ("", Section()))
                found.append((group.number("seqno"), name, group))
        except ImageError as exc:
            faults.append(exc)
    if found:
        for fault in faults:
            log.warning("%s", fault)
        _, name, group = max(found, key=lambda copy: copy[0])
        return name, group
    if faults:
        raise faults[0].again()
    raise MissingPartError(
        f"lvm2: physical volume {dashed(label.uuid)} holds no metadata: other volumes of its group may"
    )
