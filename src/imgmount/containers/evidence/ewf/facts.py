"""What an EWF set says about itself: media, case, hashes, read errors.

Headers are tables of text: a line "main", a line of tags, a line of values, all between tabs, compressed by
zlib. Sources: libewf, "Header section", "Header2 values", EWF2 "Case data" and "Device information".
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from imgmount.containers.evidence.ewf.segment import Section, Segment
from imgmount.core.fields import utc_text
from imgmount.errors import ChecksumError, FormatError

MAX_TEXT: Final = 4 << 20
MAX_CATALOG: Final = 64 << 20
LTREE_HEADER: Final = 48  # MD5, size, Adler-32
MAX_CHUNK: Final = 32 << 20  # EnCase 6: 32,768 sectors of 512 bytes are 16 MiB
MAX_SECTOR: Final = 1 << 16
MAX_SIZE: Final = 1 << 62
MAX_ERRORS: Final = 1 << 16
SHOWN_ERRORS: Final = 8

_VOLUME = struct.Struct("<4xIIIQ40x16s")  # chunks, sectors per chunk, bytes per sector, sectors, set GUID
VOLUME_SIZE: Final = 1052
_SMART_VOLUME = struct.Struct("<4xIIII")
_SMART_VOLUME_SIZE: Final = 94
_ERRORS_HEADER: Final = {1: 520, 2: 32}
_ERROR = {1: struct.Struct("<II"), 2: struct.Struct("<QI4x")}

_TAGS: Final[dict[int, dict[str, str]]] = {
    1: {
        "c": "case number", "n": "evidence number", "a": "description", "e": "examiner", "t": "notes",
        "md": "model", "sn": "serial number", "l": "label", "m": "acquired", "u": "system date",
        "av": "acquired with", "ov": "operating system",
    },
    2: {
        "cn": "case number", "en": "evidence number", "nm": "description", "ex": "examiner", "nt": "notes",
        "md": "model", "sn": "serial number", "lb": "label", "tt": "acquired", "at": "system date",
        "av": "acquired with", "os": "operating system",
    },
}  # fmt: skip
_XML_TAGS: Final = {
    "case_number": "case number", "evidence_number": "evidence number", "description": "description",
    "examiner_name": "examiner", "notes": "notes", "acquiry_date": "acquired", "system_date": "system date",
    "acquiry_software_version": "acquired with", "acquiry_operating_system": "operating system",
    "model": "model", "serial_number": "serial number",
}  # fmt: skip
_DATES: Final = ("acquired", "system date")
HASHES: Final = {"MD5": "md5", "SHA-1": "sha1"}  # names of digests: in hashlib


class Media(NamedTuple):
    """The acquired medium.

    ``size`` in bytes; ``chunks`` is the number that the set claims; ``set_id`` is zero if unknown.
    """

    size: int
    chunk_size: int
    sector_size: int
    chunks: int
    set_id: bytes


def unpack_text(data: bytes) -> str:
    """A compressed header as text. Raises ``FormatError``."""
    try:
        raw = zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error as exc:
        raise FormatError("ewf", "a compressed header is damaged") from exc
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    return raw.decode("utf-8", "replace")


def table_of(text: str, category: str = "main") -> dict[str, str]:
    """The values of one category by their tags; empty if it is not there."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if category not in lines:
        return {}
    at = lines.index(category)
    tags, values = [*lines[at + 1 : at + 3], "", ""][:2]
    return {
        tag: value for tag, value in zip(tags.split("\t"), values.split("\t"), strict=False) if tag and value
    }


def read_media(segments: Sequence[Segment]) -> tuple[list[Media], list[str]]:
    """(the media as each section describes it, in order; what is wrong with damaged sections).

    Raises ``FormatError`` where none says it.
    """
    found: list[Media] = []
    faults: list[FormatError] = []
    for segment in segments:
        for section in segment.sections:
            try:
                if segment.version == 2 and section.kind == "device":
                    found.append(_media2(segment))
                elif segment.version == 1 and section.kind in ("volume", "disk", "data"):
                    found.append(read_volume(segment, section))
            except FormatError as exc:
                faults.append(exc.again())
    if found:
        return found, [fault.reason for fault in faults]
    if faults:
        raise faults[0].again()
    raise FormatError("ewf", f"{segments[0].name}: no section describes the disk (volume, disk or data)")


def read_volume(segment: Segment, section: Section) -> Media:
    """EWF1's volume, disk or data section, in EnCase's or SMART's form. Raises ``FormatError``."""
    smart = section.size < VOLUME_SIZE
    raw = segment.file.read_exactly(section.offset, _SMART_VOLUME_SIZE if smart else VOLUME_SIZE, "ewf")
    if (stored := int.from_bytes(raw[-4:], "little")) and stored != zlib.adler32(raw[:-4]):
        raise FormatError(
            "ewf",
            f"{segment.name}: section {section.kind!r} disagrees with its checksum",
            offset=section.offset,
        )
    if smart:
        chunks, per_chunk, sector, sectors = _SMART_VOLUME.unpack_from(raw)
        return _media(section.offset, sectors, sector, per_chunk, chunks, bytes(16))
    chunks, per_chunk, sector, sectors, set_id = _VOLUME.unpack_from(raw)
    return _media(section.offset, sectors, sector, per_chunk, chunks, set_id)


def _media2(segment: Segment) -> Media:
    device, case = (table_of(text_of(segment, kind)) for kind in ("device", "case"))
    offset = next((section.offset for section in segment.sections if section.kind == "device"), 0)
    try:
        sectors, sector = int(device.get("ts", "0")), int(device.get("bp", "512"))
        per_chunk, chunks = int(case.get("sb", "64")), int(case.get("tb", "0"))
    except ValueError as exc:
        raise FormatError(
            "ewf", f"{segment.name}: a size in its device or case section is not a number", offset=offset
        ) from exc
    return _media(offset, sectors, sector, per_chunk, chunks, segment.set_id)


def _media(  # noqa: PLR0917
    offset: int, sectors: int, sector: int, per_chunk: int, chunks: int, set_id: bytes
) -> Media:
    chunk = sector * per_chunk
    if not 0 < sector <= MAX_SECTOR or not 0 < chunk <= MAX_CHUNK:
        raise FormatError(
            "ewf",
            f"chunks of {per_chunk} sectors of {sector} bytes: together 1 byte to {MAX_CHUNK} are possible",
            offset=offset,
        )
    size = sectors * sector
    if not 0 <= size < MAX_SIZE:
        raise FormatError(
            "ewf", f"{sectors} sectors of {sector} bytes: more than {MAX_SIZE} bytes", offset=offset
        )
    return Media(size, chunk, sector, chunks, set_id)


def text_of(segment: Segment, kind: str) -> str:
    """A compressed section as text, empty if it is not there. Raises ``FormatError``."""
    for section in segment.sections:
        if section.kind == kind:
            return unpack_text(segment.file.read_exactly(section.offset, min(section.size, MAX_TEXT), "ewf"))
    return ""


def read_catalog(segment: Segment, section: Section) -> bytes:
    """The list of files of logical evidence: UTF-16. Its MD5 is checked. Raises ``FormatError``."""
    skip = LTREE_HEADER if segment.version == 1 else 0
    if not skip <= section.size <= MAX_CATALOG:
        raise FormatError(
            "ewf",
            f"{segment.name}: a list of files of {section.size} bytes: at most {MAX_CATALOG} are read",
            offset=section.offset,
        )
    raw = segment.file.read_exactly(section.offset, section.size, "ewf")
    if not skip:
        return raw
    from hashlib import md5  # which loads OpenSSL, and an image of a disk does without

    size = int.from_bytes(raw[16:24], "little")
    if size > len(raw) - skip or md5(raw[skip : skip + size], usedforsecurity=False).digest() != raw[:16]:
        raise ChecksumError("ewf", f"{segment.name}: the list of files is damaged", offset=section.offset)
    return raw[skip : skip + size]


def read_case(segment: Segment) -> Mapping[str, str]:
    """Who acquired what, when and with what, as the best header says."""
    if segment.version == 2:
        found = {**table_of(text_of(segment, "case")), **table_of(text_of(segment, "device"))}
        return _labelled(found, 2)
    best: dict[str, str] = {}
    for kind in ("header", "header2"):
        best.update(_labelled(table_of(text_of(segment, kind)), 1))
    if xml := text_of(segment, "xheader"):
        pairs = re.findall(r"<(\w+)>([^<]*)</\1>", xml)
        best.update({_XML_TAGS[tag]: value for tag, value in pairs if tag in _XML_TAGS and value})
    return best


def _labelled(found: Mapping[str, str], version: int) -> dict[str, str]:
    facts = {label: found[tag].strip() for tag, label in _TAGS[version].items() if tag in found}
    for date in _DATES:
        if date in facts:
            facts[date] = _date(facts[date])
    return facts


def _date(value: str) -> str:
    """``1142163845`` is UTC; ``2006 3 12 11 44 5`` is the clock of the machine that acquired it."""
    try:
        if value.isdigit():
            return utc_text(int(value))
        year, month, day, hour, minute, second = (int(part) for part in value.split())
    except (ValueError, OverflowError, OSError):
        return value
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"


def read_hashes(segments: list[Segment]) -> dict[str, bytes]:
    """The digests of the media that are stored, by the names of ``HASHES``. Raises ``FormatError``."""
    hashes: dict[str, bytes] = {}
    for segment in segments:
        for kind, offset, size in segment.sections:
            if kind == "digest" and size >= 80:
                raw = segment.file.read_exactly(offset, 80, "ewf")
                hashes |= {"MD5": raw[:16], "SHA-1": raw[16:36]}
            elif kind in ("hash", "md5") and size >= 16 and "MD5" not in hashes:
                hashes["MD5"] = segment.file.read_exactly(offset, 16, "ewf")
            elif kind == "sha1" and size >= 20:
                hashes["SHA-1"] = segment.file.read_exactly(offset, 20, "ewf")
            elif kind == "xhash":
                found = re.findall(
                    r"<(MD5|SHA1)>([0-9a-fA-F]+)<",
                    unpack_text(segment.file.read_exactly(offset, min(size, MAX_TEXT), "ewf")),
                )
                hashes |= {
                    "SHA-1" if name == "SHA1" else name: bytes.fromhex(value)
                    for name, value in found
                    if len(value) % 2 == 0
                }
    return {name: value for name, value in hashes.items() if any(value)}


def read_errors(segments: list[Segment]) -> list[tuple[int, int]]:
    """(first sector, count) of what could not be read when the image was made; it holds zeros there."""
    errors: list[tuple[int, int]] = []
    for segment in segments:
        for section in segment.sections:
            if section.kind != "error2":
                continue
            header, entry = _ERRORS_HEADER[segment.version], _ERROR[segment.version]
            count = int.from_bytes(segment.file.read_exactly(section.offset, 4, "ewf"), "little")
            if count > min(MAX_ERRORS, (section.size - header) // entry.size):
                raise FormatError(
                    "ewf",
                    f"{segment.name}: {count} read errors do not fit into their section",
                    offset=section.offset,
                )
            errors.extend(
                entry.iter_unpack(
                    segment.file.read_exactly(section.offset + header, count * entry.size, "ewf")
                )
            )
    return errors


def describe_errors(errors: list[tuple[int, int]]) -> str:
    """``3 ranges: sectors 8-15, ...``."""
    shown = ", ".join(f"{first}-{first + count - 1}" for first, count in errors[:SHOWN_ERRORS])
    return f"{len(errors)} ranges: sectors {shown}{', ...' if len(errors) > SHOWN_ERRORS else ''}"
