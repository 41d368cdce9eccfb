"""Alcohol 120% images: an .mds that describes one or several .mdf.

Version 2, which Daemon Tools writes (.mdx), is encrypted.

Layout, little endian: a header, a block per session, one of 80 bytes per point of its table of contents
(points above 99 are no tracks), an extra block with a pregap and a length for each track of a CD, and footers
that name data files. It was never published: the layout is known from the files themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from construct import Const, Int8ul, Int16ul, Int32ul, Padding, Struct

from imgmount.containers.optical.text_sheet import open_data
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import one_of, parse_header, within
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.optical.disc import MAX_LBA, MAX_TRACKS, Disc, Track
from imgmount.families.optical.layouts import contradiction, settled
from imgmount.families.optical.sectors import SECTOR_SIZES, SUBCHANNEL, Layout, Mode

_HEADER = Struct(  # offset
    "signature" / Const(b"MEDIA DESCRIPTOR"),  # 0x00
    "version" / Int8ul,  # 0x10  1: Alcohol, 2: Daemon Tools
    "minor" / Int8ul,  # 0x11
    "medium" / Int16ul,  # 0x12  0 to 2: CD-ROM, CD-R, CD-RW; 0x10, 0x12: DVD
    "sessions" / Int16ul,  # 0x14
    Padding(0x3A),
    "first_session" / Int32ul,  # 0x50  offset of the session blocks
    Padding(4),  # 0x54
)
assert _HEADER.sizeof() == 0x58
DVD: Final = 0x10  # and above
MAX_SESSIONS: Final = 99
MAX_FILES: Final = 1000
MAX_NAME: Final = 1024

_SESSION: Final = struct.Struct("<8x2xB5x4xI")  # points, offset of the first
# mode, subchannel, point, extra, sector size, LBA, offset, files, footer
_POINT: Final = struct.Struct("<BB2xB7xIH18xIQII24x")
_EXTRA: Final = struct.Struct("<II")  # sectors of the pregap, which is not stored, and of the track
_FOOTER: Final = struct.Struct("<II8x")  # offset of the name, whether it is UTF-16
_MODES: Final = {1: Mode.AUDIO, 2: Mode.MODE1}  # by the low three bits; everything else is mode 2
_INTERLEAVED: Final = 8  # subchannel: 96 bytes after each sector


class _Point(NamedTuple):
    """A track."""

    number: int
    session: int
    layout: Layout
    lba: int
    offset: int
    length: int | None  # sectors; None: as many as there are
    files: tuple[str, ...]


def open_mds(file: BlockDevice, context: Context) -> Disc:
    """The disc that the descriptor ``file`` is about."""
    header = parse_header(_HEADER, file, 0, "mds", "the header")
    if header.version == 2:
        raise UnsupportedError("mds: MDX (encrypted) is not supported")
    one_of("mds", "version", header.version, (1,), offset=0x10)
    within("mds", "number of sessions", header.sessions, 1, MAX_SESSIONS, offset=0x14)
    points: list[_Point] = []
    problems: list[str] = []
    try:
        for number in range(header.sessions):
            start = header.first_session + number * _SESSION.size
            points += _points(file, start, number + 1, dvd=header.medium >= DVD)
    except FormatError as exc:
        if not points:
            raise
        problems.append(f"session {number + 1}: {exc.reason}")
    within("mds", "number of tracks", len(points), 1, MAX_TRACKS)
    tracks = [_track(point, context, problems) for point in points]
    return Disc("mds", tracks, problems=problems)


def _points(file: BlockDevice, offset: int, session: int, *, dvd: bool) -> list[_Point]:
    count, first = _SESSION.unpack(file.read_exactly(offset, _SESSION.size, "mds"))
    found = []
    for at in range(first, first + count * _POINT.size, _POINT.size):
        block = file.read_exactly(at, _POINT.size, "mds")
        mode, subchannel, number, extra, size, lba, start, files, footer = _POINT.unpack(block)
        if not 0 < number <= MAX_TRACKS:
            continue
        main = size - SUBCHANNEL if subchannel == _INTERLEAVED else size
        layout = Layout(_MODES.get(mode & 7, Mode.MODE2), main, size - main)
        length = None if dvd or not extra else _EXTRA.unpack(file.read_exactly(extra, _EXTRA.size, "mds"))[1]
        found.append(_Point(number, session, layout, lba, start, length, _names(file, footer, files)))
    return found


def _names(file: BlockDevice, footer: int, count: int) -> tuple[str, ...]:
    if not footer or not count:
        return ("*.mdf",)
    if count > MAX_FILES:
        raise FormatError("mds", f"a track has {count} data files, more than {MAX_FILES}", offset=footer)
    return tuple(_name(file, footer + number * _FOOTER.size) for number in range(count))


def _name(file: BlockDevice, footer: int) -> str:
    offset, wide = _FOOTER.unpack(file.read_exactly(footer, _FOOTER.size, "mds"))
    data = file.pread(offset, MAX_NAME)
    if not wide:
        return data.split(b"\0", 1)[0].decode("cp1252", "replace")
    return data[: len(data) & ~1].decode("utf-16-le", "replace").split("\0", 1)[0]


def _track(point: _Point, context: Context, problems: list[str]) -> Track:
    try:
        return _stored(point, context, problems)
    except ImageError as exc:
        return Track.lost(
            point.number, point.session, point.lba, point.layout, exc, sectors=min(point.length or 0, MAX_LBA)
        )


def _stored(point: _Point, context: Context, problems: list[str]) -> Track:
    """The track as its files hold it. Raises ``ImageError``."""
    if point.layout.main not in SECTOR_SIZES:
        known = ", ".join(map(str, sorted(SECTOR_SIZES)))
        raise UnsupportedError(
            f"mds: track {point.number} has sectors of {point.layout.main} bytes, not one of {known}"
        )
    names = [context.path.stem + name[1:] if name.startswith("*.") else name for name in point.files]
    data, fault = _joined(names, context)
    start = min(point.offset, data.size)
    left = data.size - start
    layout = point.layout
    if layout.mode is not Mode.AUDIO:
        layout = settled(data, start, layout, alone=False)
        if layout.stride != point.layout.stride:
            problems.append(contradiction(point.number, point.layout, layout))
    size = left if point.length is None else point.length * layout.stride
    if size > left or not left:
        wanted = f"{left} of {size} bytes are there"
        ended = FormatError("mds", f"{names[-1]} ends before track {point.number} does: {wanted}")
        fault = fault or ended
    if not left and fault is not None:
        raise fault
    area = Slice(data, start, min(size, left))
    return Track(point.number, point.session, point.lba, layout, area, fault=fault)


def _joined(names: Sequence[str], context: Context) -> tuple[BlockDevice, ImageError | None]:
    """The files one after the other, up to one that is missing, and why.

    Raises ``ImageError`` if that is the first.
    """
    parts: list[BlockDevice] = []
    fault = None
    for name in names:
        try:
            parts.append(open_data(name, context, "mds", alone=len(names) == 1))
        except ImageError as exc:
            if not parts:
                raise
            fault = exc
            break
    return (parts[0] if len(parts) == 1 else Concat.of(parts)), fault


FORMAT: Final = ContainerFormat(
    name="mds",
    title="Alcohol 120% disc image (MDS/MDF)",
    extensions=(".mds",),
    open=open_mds,
    limits="MDX (version 2, encrypted)",
)
