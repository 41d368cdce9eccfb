"""CloneCD images: a description in the manner of an INI file, an .img of whole sectors, and perhaps a .sub.

The description is the disc's table of contents, one ``[Entry]`` per point: 1 to 99 are tracks, 0xA2 is a
session's lead-out; the ``[TRACK]`` sections add modes and indexes. Source: the files that CloneCD 4 and 5
write.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from imgmount.containers.optical.text_sheet import open_beside, read_text
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, MissingPartError
from imgmount.families.optical.disc import MAX_LBA, PREGAP, Disc, Track
from imgmount.families.optical.layouts import settled
from imgmount.families.optical.sectors import RAW, SUBCHANNEL, Layout, Mode

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
        raise FormatError("ccd", f"{key} is {text!r}, not a number") from None
    if abs(value) >= MAX_LBA:
        raise FormatError("ccd", f"{key} is {value}, not from {-MAX_LBA + 1} to {MAX_LBA - 1}")
    return value


def _sessions(sections: dict[str, _Section], problems: list[str]) -> dict[int, _Session]:
    """The sessions by number; entries that make no sense are left out, and described in ``problems``."""
    sessions: dict[int, _Session] = {}
    for name, section in sections.items():
        if not name.startswith("entry "):
            continue
        try:
            point, number = _number(section, "point"), _number(section, "session")
            if not (1 <= point <= LAST_TRACK or point == LEAD_OUT):
                continue
            place, control = _number(section, "plba"), _number(section, "control", 0)
        except FormatError as exc:
            problems.append(f"[{name}]: {exc.reason}")
            continue
        session = sessions.setdefault(number, _Session())
        if point == LEAD_OUT:
            session.lead_out = place
        else:
            session.tracks.append((point, control, place))
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
    stride: int
    subchannel: BlockDevice | None
    missing: int
    pregap: int


def open_ccd(file: BlockDevice, context: Context) -> Disc:
    """The disc that the description ``file`` is about."""
    problems: list[str] = []
    sections = _sections(read_text(file, "ccd", context.options.encoding))
    sessions = _sessions(sections, problems)
    if not sessions:
        raise FormatError(
            "ccd", "no [Entry] section describes a track: " + ("; ".join(problems) or "there is none")
        )
    stored = open_beside(context.path.stem + ".img", context)
    stride = _stride(stored, sessions)
    if stride != RAW:
        problems.append(f"the image has sectors of {stride} bytes, not of {RAW}")
    gaps = _gaps(sessions, stored.size // stride)
    subchannel = _subchannel(context)
    tracks = [
        track
        for number, session in sessions.items()
        for track in _tracks(number, session, _Image(stored, stride, subchannel, *gaps[number]), sections)
    ]
    return Disc("ccd", tracks, problems=problems)


def _stride(stored: BlockDevice, sessions: dict[int, _Session]) -> int:
    """Bytes per sector: 2352, unless the bytes of a disc that begins with data show otherwise."""
    _, control, _ = min(next(iter(sessions.values())).tracks)
    stated = Layout(Mode.MODE1, RAW)
    return settled(stored, 0, stated, alone=True).stride if control & DATA_BIT else RAW


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
        min(lba, _index0(sections, track, lba - (0 if place else image.pregap)))
        for place, (track, _, lba) in enumerate(ordered)
    ]
    starts[0] = max(starts[0], image.missing)  # of the first pregap, nothing is stored
    return [
        _track(number, entry, (start, end), image)
        for entry, start, end in zip(ordered, starts, [*starts[1:], session.lead_out], strict=True)
    ]


def _index0(sections: dict[str, _Section], track: int, default: int) -> int:
    """Where the pregap of a track begins, if its section says so in a number."""
    try:
        return _number(sections.get(f"track {track}", {}), "index 0", default)
    except FormatError:
        return default


def _track(session: int, entry: tuple[int, int, int], span: tuple[int, int], image: _Image) -> Track:
    number, control, lba = entry
    start, end = span
    stored, stride = image.stored, image.stride
    layout = Layout(Mode.MODE1 if control & DATA_BIT else Mode.AUDIO, min(stride, RAW), max(0, stride - RAW))
    first = (start - image.missing) * stride
    if not image.missing <= start <= lba <= end or first >= stored.size:
        sectors = stored.size // stride
        text = f"track {number} starts at sector {lba} and ends at {end}, outside the image of {sectors}"
        return Track.lost(number, session, lba, layout, FormatError("ccd", text), sectors=max(0, end - lba))
    fault = None
    if first + (end - start) * stride > stored.size:
        have = f"{(stored.size - first) // stride} of {end - start} sectors are there"
        fault = FormatError("ccd", f"the image ends before track {number} does: {have}")
    area = Slice(stored, first, min((end - start) * stride, stored.size - first))
    sub = (lba - image.missing) * SUBCHANNEL, (end - lba) * SUBCHANNEL
    whole = image.subchannel if image.subchannel is not None and sum(sub) <= image.subchannel.size else None
    subchannel = Slice(whole, *sub) if whole is not None else None
    return Track(number, session, lba, layout, area, lba - start, subchannel, fault=fault)


FORMAT: Final = ContainerFormat(name="ccd", title="CloneCD disc image", extensions=(".ccd",), open=open_ccd)
