"""One segment file of an EWF set, as a list of its sections.

EWF1 keeps a section's descriptor before its data and links forwards, EWF2 keeps it behind and links
backwards. Both are read into the same ``Section``s, with EWF1's names. Source: libewf, "Expert Witness
Compression Format" and "... 2".
"""

from __future__ import annotations

import logging
import struct
import zlib
from typing import Any, Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.core.header import parse_header
from imgmount.core.layout import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Padding, Struct
from imgmount.errors import FormatError, UnsupportedError

log = logging.getLogger(__name__)

EVF1: Final = b"EVF\x09\x0d\x0a\xff\x00"
LVF1: Final = b"LVF\x09\x0d\x0a\xff\x00"
EVF2: Final = b"EVF2\x0d\x0a\x81\x00"
LEF2: Final = b"LEF2\x0d\x0a\x81\x00"
ADCRYPT: Final = b"ADCRYPT\0"

_HEADER1 = Struct(  # EWF, "File header"
    "signature" / Bytes(8),
    "fields_start" / Const(1, Int8ul),
    "number" / Int16ul,
    "fields_end" / Const(0, Int16ul),
)
_HEADER2 = Struct(  # EWF2, "File header"
    "signature" / Bytes(8),
    "major" / Int8ul,
    "minor" / Int8ul,
    "compression" / Int16ul,
    "number" / Int32ul,
    "set_id" / Bytes(16),
)
_SECTION2 = Struct(  # EWF2, "Section descriptor"
    "kind" / Int32ul,
    "flags" / Int32ul,
    "previous" / Int64ul,
    "size" / Int64ul,
    "descriptor_size" / Int32ul,
    "padding" / Int32ul,
    "md5" / Bytes(16),
    Padding(12),
    "checksum" / Int32ul,
)
_SECTION1 = struct.Struct("<16sQQ40xI")  # EWF, "Section descriptor": type, next section, size, checksum
HEADER1_SIZE: Final = 13
HEADER2_SIZE: Final = 32
SECTION1_SIZE: Final = 76
SECTION2_SIZE: Final = 64
MAX_SECTIONS: Final = 1 << 16  # of one segment; a set of 8 TB in tables of 16,375 chunks has 50,000 in all
ENCRYPTED: Final = 2  # data flag of an EWF2 section
COMPRESSION_BZIP2: Final = 2
_KINDS2: Final = {
    0x01: "device", 0x02: "case", 0x03: "sectors", 0x04: "table", 0x05: "error2", 0x06: "session",
    0x08: "md5", 0x09: "sha1", 0x0B: "keys", 0x0D: "next", 0x0F: "done", 0x20: "ltree",
}  # fmt: skip


class Section(NamedTuple):
    """``size`` bytes of data from ``offset``; ``kind`` is EWF1's name for it."""

    kind: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.size


class Segment(NamedTuple):
    """A segment file.

    ``last`` says that the set ends with it; ``set_id`` is empty for EWF1, which has it in a section.
    """

    file: BlockDevice
    name: str
    version: int
    logical: bool
    number: int
    set_id: bytes
    sections: tuple[Section, ...]
    unchecked: bool  # Logicube computes no checksums
    problems: tuple[str, ...]

    @property
    def last(self) -> bool:
        """Whether no segment follows."""
        return any(section.kind == "done" for section in self.sections)

    @property
    def cut(self) -> bool:
        """Whether the file ends without saying whether a segment follows."""
        return not self.last and all(section.kind != "next" for section in self.sections)


def read_number(file: BlockDevice) -> int:
    """The number of the segment in ``file``, from 1. Raises ``FormatError``."""
    number: int = _header(file).number
    return number


def read_segment(file: BlockDevice, name: str) -> Segment:
    """The segment in ``file``, which is called ``name``. Raises ``FormatError``, ``UnsupportedError``."""
    header = _header(file)
    problems: list[str] = []
    if header.signature in (EVF1, LVF1):
        sections, unchecked = _walk_forwards(file, name, problems)
        version, set_id = 1, b""
    else:
        if header.compression >= COMPRESSION_BZIP2:
            raise UnsupportedError(f"ewf: compression method {header.compression} (bzip2)")
        sections, unchecked = _walk_backwards(file, name), False
        version, set_id = 2, header.set_id
    logical = header.signature in (LVF1, LEF2)
    return Segment(
        file, name, version, logical, header.number, set_id, tuple(sections), unchecked, tuple(problems)
    )


def _header(file: BlockDevice) -> Any:
    signature = file.pread(0, 8)
    if signature == ADCRYPT:
        raise UnsupportedError("ewf: AD encryption (ADCRYPT)")
    if signature in (EVF1, LVF1):
        return parse_header(_HEADER1, file, 0, "ewf", "the file header")
    if signature in (EVF2, LEF2):
        return parse_header(_HEADER2, file, 0, "ewf", "the file header")
    raise FormatError("ewf", "a segment file begins with EVF, LVF, EVF2 or LEF2: this one does not", offset=0)


def _walk_forwards(file: BlockDevice, name: str, problems: list[str]) -> tuple[list[Section], bool]:
    """EWF1's sections, and whether some are without checksum.

    A link that its size contradicts is refused: two images can hide in one file that way.
    """
    sections: list[Section] = []
    unchecked = False
    offset = HEADER1_SIZE
    while len(sections) < MAX_SECTIONS:
        if offset == file.size:
            problems.append(f"{name}: ends after its section {len(sections)}, without a 'next' or 'done'")
            return sections, unchecked
        raw = file.read_exactly(offset, SECTION1_SIZE, "ewf")
        padded, following, stored_size, checksum = _SECTION1.unpack(raw)
        kind = text(padded, "latin-1")
        if checksum == 0:
            unchecked = True
        elif checksum != zlib.adler32(raw[:-4]):
            raise FormatError(
                "ewf",
                f"{name}: the descriptor of section {kind!r} disagrees with its checksum",
                offset=offset,
            )
        size = stored_size or SECTION1_SIZE
        if kind in ("next", "done") and following in (offset, offset + size):
            sections.append(Section(kind, offset + SECTION1_SIZE, 0))
            if unchecked:
                problems.append(f"{name}: sections without checksums (Logicube)")
            return sections, unchecked
        if following != offset + size or size < SECTION1_SIZE:
            reason = f"{name}: section {kind!r} of {stored_size} bytes, the next one at {following:#x}"
            raise FormatError("ewf", reason, offset=offset)
        if following > file.size:
            raise FormatError(
                "ewf", f"{name}: section {kind!r} ends at {following:#x}, the file before", offset=offset
            )
        sections.append(Section(kind, offset + SECTION1_SIZE, size - SECTION1_SIZE))
        offset = following
    raise FormatError("ewf", f"{name}: more than {MAX_SECTIONS} sections", offset=offset)


def _walk_backwards(file: BlockDevice, name: str) -> list[Section]:
    """EWF2's sections, first to last: each descriptor follows its data and names the descriptor before."""
    sections: list[Section] = []
    offset = file.size - SECTION2_SIZE
    while offset and len(sections) < MAX_SECTIONS:
        raw = file.read_exactly(offset, SECTION2_SIZE, "ewf")
        section = _SECTION2.parse(raw)
        if section.checksum != zlib.adler32(raw[:-4]):
            raise FormatError(
                "ewf", f"{name}: a section descriptor disagrees with its checksum", offset=offset
            )
        kind = _KINDS2.get(section.kind, f"{section.kind:#x}")
        if section.flags & ENCRYPTED or kind == "keys":
            raise UnsupportedError("ewf: encryption (Ex01)")
        start = offset - section.size
        earliest = section.previous + SECTION2_SIZE if section.previous else HEADER2_SIZE
        if section.descriptor_size != SECTION2_SIZE or start < earliest:
            raise FormatError(
                "ewf",
                f"{name}: section {kind!r} of {section.size} bytes after {section.previous:#x}",
                offset=offset,
            )
        sections.append(Section(kind, start, section.size))
        offset = section.previous
    if offset:
        raise FormatError("ewf", f"{name}: more than {MAX_SECTIONS} sections", offset=offset)
    return sections[::-1]
