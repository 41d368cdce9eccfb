"""CloneCD images: a description in the manner of an INI file, an .img of whole sectors, and perhaps a .sub.

The description is the disc's table of contents, one ``[Entry]`` per point: 1 to 99 are tracks, 0xA2 is a
session's lead-out; the ``[TRACK]`` sections add modes and indexes. Source: the files that CloneCD 4 and 5
write.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from imgmount.containers.optical.text_sheet import open_beside, read_text
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, MissingPartError
from imgmount.families.optical.disc import MAX_LBA, PREGAP, Disc, Track
from imgmount.families.optical.sectors import RAW, SUBCHANNEL, Layout, Mode

log = logging.getLogger(__name__)

LAST_TRACK: Final = 99
LEAD_OUT: Final = 0xA2
DATA_BIT: Final = 4  # of the control field of subchannel Q
MAX_SECTIONS: Final = 10_000

_Section = dict[str, str]


@dataclass(slots=True)
class _Session:
    """Its tracks as (number, control, LBA), and where it ends."""

    tracks: list[tuple[int, int, int]] = field(default_factory=list)
    lead_out: int = 0


def _sections(text: str) -> dict[str, _Section]:
    """Section -> key -> value, all in lower case."""
    found: dict[str, _Section] = {}
    section: _Section = {}
    for line in text.lower().splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            if len(found) >= MAX_SECTIONS:
                raise FormatError("ccd", f"more than {MAX_SECTIONS} sections")
            section = found.setdefault(" ".join(stripped.strip("[]").split()), {})
        else:
            key, equals, value = stripped.partition("=")
            if equals:
                section[" ".join(key.split())] = value.strip()
    return found


def _number(section: _Section, key: str, default: int | None = None) -> int:
    text = section.get(key, "")
    try:
        value = int(text, 0) if text or default is None else default
    except ValueError:
        raise FormatError("ccd", f"{key} is {text!r}") from None
    if abs(value) >= MAX_LBA:
        raise FormatError("ccd", f"{key} is {value}")
    return value


def _sessions(sections: dict[str, _Section]) -> dict[int, _Session]:
    sessions: dict[int, _Session] = {}
    for name, section in sections.items():
        if not name.startswith("entry "):
            continue
        point, session = (
            _number(section, "point"),
            sessions.setdefault(_number(section, "session"), _Session()),
        )
        if 1 <= point <= LAST_TRACK:
            session.tracks.append((point, _number(section, "control"), _number(section, "plba")))
        elif point == LEAD_OUT:
            session.lead_out = _number(section, "plba")
    return {number: sessions[number] for number in sorted(sessions) if sessions[number].tracks}


def _gaps(sessions: dict[int, _Session], stored: int) -> dict[int, tuple[int, int]]:
    """Session -> (sectors before it that the .img leaves out, sectors of pregap that it stores).

    What fits ``stored`` decides.

    CloneCD leaves out lead-outs and lead-ins. Other programs leave out pregaps as well, or nothing at all.
    """
    lengths = [session.lead_out - session.tracks[0][2] for session in sessions.values()]
    later = len(sessions) - 1
    missing, pregap = 0, 0
    found: dict[int, tuple[int, int]] = {}
    previous: int | None = None
    for number, session in sessions.items():
        if previous is not None:
            distance = session.tracks[0][2] - sessions[previous].lead_out
            pregap = 0 if stored == sum(lengths) else min(PREGAP, max(0, distance))
            if later and stored != max(other.lead_out for other in sessions.values()):
                missing += max(0, distance - pregap)
        found[number] = (missing, pregap)
        previous = number
    return found


class _Image(NamedTuple):
    """The sectors of a session: the file leaves out ``missing`` before it and holds ``pregap`` of its own."""

    stored: BlockDevice
    subchannel: BlockDevice | None
    missing: int
    pregap: int


def open_ccd(file: BlockDevice, context: Context) -> Disc:
    """The disc that the description ``file`` is about."""
    sections = _sections(read_text(file, "ccd", context.options.encoding))
    sessions = _sessions(sections)
    image = open_beside(context.path.stem + ".img", context)
    gaps = _gaps(sessions, image.size // RAW)
    subchannel = _subchannel(context)
    tracks = [
        track
        for number, session in sessions.items()
        for track in _tracks(number, session, _Image(image, subchannel, *gaps[number]), sections)
    ]
    return Disc("ccd", tracks)


def _subchannel(context: Context) -> BlockDevice | None:
    try:
        return open_beside(context.path.stem + ".sub", context)
    except MissingPartError:
        return None


def _tracks(number: int, session: _Session, image: _Image, sections: dict[str, _Section]) -> list[Track]:
    """The tracks of session ``number``.

    Each begins at its INDEX 0, if it has one, and ends where the next begins.
    """
    ordered = sorted(session.tracks)
    starts = [
        min(lba, _number(sections.get(f"track {track}", {}), "index 0", lba - (0 if place else image.pregap)))
        for place, (track, _, lba) in enumerate(ordered)
    ]
    starts[0] = max(starts[0], image.missing)  # of the first pregap, nothing is stored
    return [
        _track(number, entry, (start, end), image)
        for entry, start, end in zip(ordered, starts, [*starts[1:], session.lead_out], strict=True)
    ]


def _track(session: int, entry: tuple[int, int, int], span: tuple[int, int], image: _Image) -> Track:
    number, control, lba = entry
    start, end = span
    if not image.missing <= start <= lba <= end:
        raise FormatError("ccd", f"track {number} starts at {lba} and ends at {end}")
    stored = image.stored
    first = (start - image.missing) * RAW
    if first + (end - start) * RAW > stored.size:
        log.warning("ccd: the image ends before track %d does", number)
    area = Slice(stored, min(first, stored.size), max(0, min((end - start) * RAW, stored.size - first)))
    layout = Layout(Mode.MODE1 if control & DATA_BIT else Mode.AUDIO, RAW)
    sub = (lba - image.missing) * SUBCHANNEL, (end - lba) * SUBCHANNEL
    whole = image.subchannel if image.subchannel is not None and sum(sub) <= image.subchannel.size else None
    subchannel = Slice(whole, *sub) if whole is not None else None
    return Track(number, session, lba, layout, area, lba - start, subchannel)


FORMAT: Final = ContainerFormat(name="ccd", title="CloneCD disc image", open=open_ccd)
