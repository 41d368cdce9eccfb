"""System Use Sharing Protocol and Rock Ridge fields.

IEEE P1281 (SUSP 1.12), P1282 (RRIP 1.12), zisofs by H. P. Anvin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from struct import Struct
from typing import Final

from imgmount.errors import FormatError, UnsupportedError
from imgmount.families.optical.times import iso_long_time_ns, iso_time_ns
from imgmount.filesystems.iso9660.descriptors import NAME
from imgmount.filesystems.iso9660.records import HEADER_SIZE, records

log = logging.getLogger(__name__)


def _signature(text: str) -> int:
    return int.from_bytes(text.encode(), "little")


CE: Final = _signature("CE")  # continuation area
CL: Final = _signature("CL")  # child link: this record stands for a relocated directory
ER: Final = _signature("ER")
NM: Final = _signature("NM")  # alternate name
PL: Final = _signature("PL")
PN: Final = _signature("PN")  # device number
PX: Final = _signature("PX")  # POSIX attributes
RE: Final = _signature("RE")  # relocated: shown at its CL instead
RR: Final = _signature("RR")
SF: Final = _signature("SF")  # sparse file
SL: Final = _signature("SL")  # symbolic link
SP: Final = _signature("SP")  # SUSP is in use
ST: Final = _signature("ST")  # ends an area
TF: Final = _signature("TF")  # times
ZF: Final = _signature("ZF")  # zisofs
_ROCK_RIDGE: Final = frozenset((CL, NM, PL, PN, PX, RE, RR, SF, SL, TF))
# remembered by position; the rest but NM, PX, TF is skipped by length
_KEPT: Final = frozenset((CE, CL, PN, RE, SF, SL, ZF))
_KNOWN: Final = _ROCK_RIDGE | {CE, ER, SP, ST, ZF}

_HEAD: Final = Struct("<HB")  # signature, length; then a version byte
_CONTINUATION: Final = Struct("<I4xI4xI4x")  # block, offset, length
_RR_HEAD: Final = b"RR\x05\x01"
_PX_HEAD: Final = b"PX\x24\x01"  # without serial number, RRIP 1.09
_PX_SIZE: Final = 36
_TF_HEAD: Final = b"TF\x1a\x01"  # three short times
_PX_TF_SIZE: Final = _PX_SIZE + 26
_SP_MAGIC: Final = b"\xbe\xef"
XA_SIZE: Final = 14  # CD-ROM XA attributes ahead of the fields
PROBED_RECORDS: Final = 16  # of the root directory, where nothing declares Rock Ridge
MAX_CONTINUATIONS: Final = 64
MAX_AREA: Final = 1 << 16

CONTINUE: Final = 0x01  # flags of NM, of SL and of SL components
CURRENT: Final = 0x02
PARENT: Final = 0x04
ROOT: Final = 0x08

Kept = dict[int, list[int]]
Facts = tuple[bytes, int, int, Kept | None]
ReadArea = Callable[[int, int, int], bytes]  # (block, offset, length)


def walk(data: bytes, position: int, end: int) -> Facts:
    """(name, position of PX, of TF, positions of rarer fields by signature).

    They are 0, empty or None where there is none.
    """
    if data[position : position + 4] == _RR_HEAD:
        position += 5
    # Almost every record has NM, PX, TF (mkisofs) or PX, TF, NM (xorriso) and nothing else; looking is
    # cheaper than walking
    first = data[position : position + 4]
    if first[:2] == b"NM" and len(first) == 4:
        name_at, px = position, position + first[2]
        stop = px + _PX_TF_SIZE
    else:
        name_at, px = position + _PX_TF_SIZE, position
        stop = (
            name_at + data[name_at + 2] if name_at + 5 <= end and data[name_at : name_at + 2] == b"NM" else 0
        )
    tf = px + _PX_SIZE
    if (
        0 <= end - stop < 4
        and data[px : px + 4] == _PX_HEAD
        and data[tf : tf + 4] == _TF_HEAD
        and not data[name_at + 4]
    ):
        return data[name_at + 5 : name_at + data[name_at + 2]], px, tf, None
    return _walk(data, position, end)


def _walk(data: bytes, position: int, end: int) -> Facts:
    name, px, tf = b"", 0, 0
    kept: Kept | None = None
    head, last = _HEAD.unpack_from, end - 4
    while position <= last:
        signature, length = head(data, position)
        after = position + length
        if length < 4 or after > end:
            break
        if signature == NM:
            if length > 5:
                name += data[position + 5 : after]
        elif signature == PX:
            px = position if length >= _PX_SIZE else 0
        elif signature == TF:
            tf = tf or position
        elif signature in _KEPT:
            kept = kept or {}
            kept.setdefault(signature, []).append(position)
        elif signature == ST:
            break
        position = after
    return name, px, tf, kept


def system_use(data: bytes, position: int, name_length: int, skip: int) -> int:
    """Where the fields of the record at ``position`` begin.

    Some records lack the bytes that ``skip`` says are ahead.
    """
    start = position + HEADER_SIZE + (name_length | 1)  # padded to an even offset
    end = position + data[position]
    if skip and not _is_field(data, start + skip, end) and _is_field(data, start, end):
        return start
    return start + skip


def _is_field(data: bytes, position: int, end: int) -> bool:
    return (
        position + 4 <= end
        and _HEAD.unpack_from(data, position)[0] in _KNOWN
        and 4 <= data[position + 2] <= end - position
    )


def rock_ridge_skip(data: bytes, layout: Struct, read: ReadArea) -> int | None:
    """The bytes to skip in each system use area of this tree; None if it has no Rock Ridge.

    ``data`` is its root directory.

    SP declares it in the root's own record, and ER names it, but discs lack the one or the other.
    """
    skip = None
    for number, (position, fields, _) in enumerate(records(data, layout)):
        if number == PROBED_RECORDS:
            break
        start, end = position + HEADER_SIZE + (fields[8] | 1), position + fields[0]
        for ahead in (0, XA_SIZE, *([skip] if skip else [])):
            if not _is_field(data, start + ahead, end):
                continue
            if (
                _HEAD.unpack_from(data, start + ahead)[0] == SP
                and data[start + ahead + 4 : start + ahead + 6] == _SP_MAGIC
            ):
                skip = data[start + ahead + 6]
            if _signatures(data, start + ahead, end, read) & _ROCK_RIDGE:
                return ahead if skip is None else skip
    return None


def _signatures(data: bytes, start: int, end: int, read: ReadArea) -> set[int]:
    found: set[int] = set()
    area, _ = gather(data, start, end, read)
    position = 0
    while _is_head(area, position):
        found.add(_HEAD.unpack_from(area, position)[0])
        position += area[position + 2]
    return found


def _is_head(data: bytes, position: int) -> bool:
    return position + 4 <= len(data) and 4 <= data[position + 2] <= len(data) - position


def gather(data: bytes, start: int, end: int, read: ReadArea) -> tuple[bytes, bool]:
    """(the fields from ``start`` and of all continuation areas, whether the chain was whole).

    The CE fields, which lead to those areas, are left out.
    """
    area, pieces = data[start:end], []
    visited: set[tuple[int, int]] = set()
    for _ in range(MAX_CONTINUATIONS):
        link, position = None, 0
        while _is_head(area, position):
            signature, length = _HEAD.unpack_from(area, position)
            if signature == ST:
                break
            if signature != CE:
                pieces.append(area[position : position + length])
            elif length >= 4 + _CONTINUATION.size:
                link = _CONTINUATION.unpack_from(area, position + 4)
            position += length
        if link is None:
            return b"".join(pieces), True
        block, offset, length = link
        if (block, offset) in visited or length > MAX_AREA:
            break
        visited.add((block, offset))
        area = read(block, offset, length)
        if len(area) < length:
            break
    return b"".join(pieces), False


def link_target(data: bytes, fields: list[int]) -> bytes:
    """What the SL fields at these positions spell (RRIP 4.1.3)."""
    target, joint, more = b"", b"", True
    for position in fields:
        if not more:
            break
        more = bool(data[position + 4] & CONTINUE)
        component, end = position + 5, position + data[position + 2]
        while component + 2 <= end:
            flags, length = data[component], data[component + 1]
            if component + 2 + length > end:
                raise FormatError(NAME, "a component of a symlink is longer than the field it is in")
            target += joint + _component(flags, data[component + 2 : component + 2 + length])
            joint = b"" if flags & (CONTINUE | ROOT) else b"/"
            component += 2 + length
    if more or not target:
        raise FormatError(NAME, "the fields of a symlink say that more follow, and none do")
    return target


def _component(flags: int, text: bytes) -> bytes:
    if flags & ~(CONTINUE | CURRENT | PARENT | ROOT):
        raise UnsupportedError(
            f"{NAME}: symlink component with flags {flags:#x}, which mean nothing in Rock Ridge 1.12"
        )
    if flags & ROOT:
        return b"/"
    if flags & PARENT:
        return b".."
    return b"." if flags & CURRENT else text


_CREATION, _MODIFY, _ACCESS, _ATTRIBUTES, _LONG_FORM = 0x01, 0x02, 0x04, 0x08, 0x80

_USUAL_TIMES: Final = _TF_HEAD + bytes((_MODIFY | _ACCESS | _ATTRIBUTES,))  # what nearly every writer writes
_THREE_TIMES: Final = Struct("7s7s7s")


def times(data: bytes, position: int) -> tuple[int | None, int | None, int | None]:
    """(modification, access, attribute change) of the TF field there.

    None where not recorded (RRIP 4.1.6).
    """
    if data[position : position + 5] == _USUAL_TIMES:
        modify, access, attributes = _THREE_TIMES.unpack_from(data, position + 5)
        return iso_time_ns(modify), iso_time_ns(access), iso_time_ns(attributes)
    flags, at = data[position + 4], position + 5
    size, parse = (17, iso_long_time_ns) if flags & _LONG_FORM else (7, iso_time_ns)
    end = position + data[position + 2]
    found: dict[int, int] = {}
    for kind in (_CREATION, _MODIFY, _ACCESS, _ATTRIBUTES):
        if flags & kind and at + size <= end:
            found[kind] = parse(data[at : at + size])
            at += size
    return found.get(_MODIFY), found.get(_ACCESS), found.get(_ATTRIBUTES)
