"""GDI: the text beside the track files of a Dreamcast GD-ROM.

A line with the number of tracks, then for each: number, LBA, 0 (sound) or 4 (data), bytes per sector, file,
offset in it. Tracks from LBA 45,000 on are the high-density area, addressed as a second session. A track that
was not dumped is called "none".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from imgmount.containers.optical.text_sheet import head_lines, open_data, read_text
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError

if TYPE_CHECKING:
    from imgmount.families.optical.disc import Disc, Track
    from imgmount.families.optical.sectors import Layout

HIGH_DENSITY: Final = 45_000
AUDIO: Final = 0
DATA: Final = 4  # a bit of the control field of subchannel Q
NOT_DUMPED: Final = "none"


class _Line(NamedTuple):
    """A track as its line says."""

    number: int
    lba: int
    kind: int
    size: int  # bytes per sector
    name: str
    start: int


def probe(device: BlockDevice) -> Match:
    """A number, and below it a line of six fields that begins with 1."""
    lines = head_lines(device)
    if len(lines) < 2 or not _is_number(lines[0], 2):
        return Match.NO
    try:
        first = _fields(lines[1])
    except FormatError:
        return Match.NO
    return Match.CERTAIN if first.number == 1 and first.kind in (AUDIO, DATA) else Match.NO


def _is_number(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= digits


def _fields(line: str) -> _Line:
    """The fields of a line, which any white space divides; the file's name may be quoted and hold blanks."""
    *numbers, rest = (*line.split(None, 4), "")[:5]
    if '"' in rest:
        name, _, offset = rest.rpartition('"')
    else:
        name, *last = rest.rsplit(None, 1) or [""]
        offset = last[0] if last else ""
        if not _is_number(offset, 12):
            name, offset = rest, ""
    numbers.append(offset.strip() or "0")
    if len(numbers) != 5 or not name or not all(_is_number(text, 12) for text in numbers):
        raise FormatError("gdi", f"{line[:60]!r} is not number, LBA, type, bytes per sector, file and offset")
    number, lba, kind, size, start = map(int, numbers)
    return _Line(number, lba, kind, size, name.strip(' "'), start)


def open_gdi(file: BlockDevice, context: Context) -> Disc:
    """The disc that the text describes. Raises ``FormatError``, ``MissingPartError``."""
    from imgmount.families.optical.disc import Disc

    text = read_text(file, "gdi", context.options.encoding)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    problems = []
    if lines and _is_number(lines[0], 5):
        count = lines.pop(0)
        if int(count) != len(lines):
            problems.append(f"the first line says {count} tracks, {len(lines)} lines follow")
    else:
        problems.append("the first line is not the number of tracks")
    tracks = []
    for line in lines:
        try:
            fields = _fields(line)
        except FormatError as exc:
            problems.append(exc.reason)
        else:
            tracks.append(_track(fields, context))
    if not tracks:
        raise FormatError("gdi", "no line is number, LBA, type, bytes per sector, file and offset")
    return Disc("gdi", tracks, problems=problems)


def _track(line: _Line, context: Context) -> Track:
    from imgmount.families.optical.disc import Track
    from imgmount.families.optical.sectors import RAW, Layout, Mode

    session = 2 if line.lba >= HIGH_DENSITY else 1
    try:
        layout, area = _stored(line, context)
    except ImageError as exc:
        layout = Layout(Mode.MODE1 if line.kind & DATA else Mode.AUDIO, RAW)
        return Track.lost(line.number, session, line.lba, layout, exc)
    return Track(line.number, session, line.lba, layout, area)


def _stored(line: _Line, context: Context) -> tuple[Layout, BlockDevice]:
    """How the track is stored, and where. Raises ``ImageError``."""
    from imgmount.core.slices import Slice
    from imgmount.families.optical.sectors import RAW, SECTOR_SIZES, SUBCHANNEL, Layout, Mode

    if line.name.casefold() == NOT_DUMPED:
        raise MissingPartError(f"gdi: track {line.number} is not in the image: its file is {line.name!r}")
    extra = SUBCHANNEL if line.size == RAW + SUBCHANNEL else 0
    if line.size - extra not in SECTOR_SIZES:
        raise UnsupportedError(
            f"gdi: track {line.number} has sectors of {line.size} bytes, "
            f"not one of {', '.join(map(str, sorted(SECTOR_SIZES)))} or {RAW + SUBCHANNEL}"
        )
    stored = open_data(line.name, context, "gdi", alone=False)
    if line.start >= stored.size:
        raise FormatError(
            "gdi", f"track {line.number} starts at byte {line.start} of {line.name}, which has {stored.size}"
        )
    layout = Layout(Mode.MODE1 if line.kind & DATA else Mode.AUDIO, line.size - extra, extra)
    return layout, Slice(stored, line.start, stored.size - line.start)


FORMAT: Final = ContainerFormat(
    name="gdi", title="Dreamcast GD-ROM image", extensions=(".gdi",), open=open_gdi, probe=probe
)
