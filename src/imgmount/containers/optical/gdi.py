"""GDI: the text beside the track files of a Dreamcast GD-ROM.

A line with the number of tracks, then for each: number, LBA, 0 (sound) or 4 (data), bytes per sector, file,
offset in it. Tracks from LBA 45,000 on are the high-density area, addressed as a second session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgmount.containers.optical.text_sheet import head_lines, open_data, read_text
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError

if TYPE_CHECKING:
    from imgmount.families.optical.disc import Disc, Track

HIGH_DENSITY: Final = 45_000
AUDIO: Final = 0
DATA: Final = 4


def probe(device: BlockDevice) -> Match:
    """A number, and below it lines of six fields that begin with 1, 2..."""
    lines = head_lines(device)
    if len(lines) < 2 or not (lines[0].isascii() and lines[0].isdigit() and len(lines[0]) <= 2):
        return Match.NO
    try:
        first = _fields(lines[1])
    except FormatError:
        return Match.NO
    return Match.CERTAIN if (first[0], first[2] in (AUDIO, DATA)) == (1, True) else Match.NO


def _fields(line: str) -> tuple[int, int, int, int, str, int]:
    """(number, LBA, type, bytes per sector, file, offset) of a line; the file's name may be quoted and hold blanks."""
    *numbers, rest = line.split(None, 4)
    name, _, offset = rest.rpartition('"' if '"' in rest else " ")
    numbers.append(offset.strip() or "0")
    if len(numbers) != 5 or not all(text.isascii() and text.isdigit() and len(text) < 12 for text in numbers):
        raise FormatError("gdi", f"track {line!r}")
    number, lba, kind, size, start = map(int, numbers)
    return number, lba, kind, size, name.strip(' "'), start


def open_gdi(file: BlockDevice, context: Context) -> Disc:
    """The disc that the text describes."""
    from imgmount.families.optical.disc import Disc

    count, *lines = [
        line.strip() for line in read_text(file, "gdi", context.options.encoding).splitlines() if line.strip()
    ]
    if count != str(len(lines)):
        raise FormatError("gdi", f"{len(lines)} tracks, {count} announced")
    return Disc("gdi", [_track(line, context) for line in lines])


def _track(line: str, context: Context) -> Track:
    from imgmount.core.slices import Slice
    from imgmount.families.optical.disc import Track
    from imgmount.families.optical.sectors import RAW, SECTOR_SIZES, SUBCHANNEL, Layout, Mode

    number, lba, kind, size, name, start = _fields(line)
    extra = SUBCHANNEL if size == RAW + SUBCHANNEL else 0
    if kind not in (AUDIO, DATA) or size - extra not in SECTOR_SIZES:
        raise FormatError("gdi", f"track {number}: type {kind}, {size} bytes a sector")
    stored = open_data(name, context, "gdi", alone=False)
    if start > stored.size:
        raise FormatError("gdi", f"track {number} starts past the end of {name}")
    layout = Layout(Mode.MODE1 if kind == DATA else Mode.AUDIO, size - extra, extra)
    session = 2 if lba >= HIGH_DENSITY else 1
    return Track(number, session, lba, layout, Slice(stored, start, stored.size - start))


FORMAT: Final = ContainerFormat(name="gdi", title="Dreamcast GD-ROM image", open=open_gdi, probe=probe)
