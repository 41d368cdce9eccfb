"""What a cue sheet says, made into tracks. See ``cue``."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from imgmount.containers.optical.sound_files import flac_sectors, samples_of
from imgmount.containers.optical.text_sheet import frames, open_data, read_text, unquoted
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import PREGAP, Disc, Track, session_gap
from imgmount.families.optical.sectors import FORM2, RAW, SUBCHANNEL, USER_DATA, XA_SECTOR, Layout, Mode

log = logging.getLogger(__name__)

MAX_FILES: Final = 200
COMPRESSED: Final = ("mp3", "flac", "ogg", "opus", "ape", "wv", "m4a")
SOUND_FILES: Final = ("WAVE", "AIFF", "MP3", "FLAC", "OGG")
MODES: Final = {
    "AUDIO": Layout(Mode.AUDIO, RAW),
    "CDG": Layout(Mode.AUDIO, RAW, SUBCHANNEL),
    "MODE1/2048": Layout(Mode.MODE1, USER_DATA),
    "MODE1/2352": Layout(Mode.MODE1, RAW),
    "MODE1/2448": Layout(Mode.MODE1, RAW, SUBCHANNEL),
    "MODE2/2048": Layout(Mode.MODE2, USER_DATA),
    "MODE2/2324": Layout(Mode.MODE2, FORM2),
    "MODE2/2336": Layout(Mode.MODE2, XA_SECTOR),
    "MODE2/2352": Layout(Mode.MODE2, RAW),
    "MODE2/2448": Layout(Mode.MODE2, RAW, SUBCHANNEL),
    "CDI/2336": Layout(Mode.MODE2, XA_SECTOR),
    "CDI/2352": Layout(Mode.MODE2, RAW),
}


@dataclass(slots=True)
class _File:
    """A FILE line, and the indexes below it: (track, index number, sector in this file), in order."""

    name: str
    kind: str
    indexes: list[tuple[_Track, int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Track:
    """A TRACK line.

    ``gap`` is PREGAP before it and ``postgap`` after it, both not stored; ``between`` a stated lead-out and
    -in.

    Of its ``sectors`` in files, ``before`` lie before INDEX 01, which is ``met`` once its file has been read.
    """

    number: int
    session: int
    layout: Layout
    gap: int | None = None
    postgap: int = 0
    between: int = 0
    pieces: list[BlockDevice] = field(default_factory=list)
    sectors: int = 0
    before: int = 0
    met: bool = False
    original: tuple[str, BlockDevice] | None = None


class _Parser:
    """Reads lines. Unknown keywords and remarks are passed over; what is known must make sense."""

    def __init__(self, text: str) -> None:
        self.files: list[_File] = []
        self.tracks: list[_Track] = []
        self._session = 1
        self._between = 0
        self._gap: int | None = None
        for line in text.replace("\x1a", "").splitlines():
            keyword, _, rest = (
                line.strip().partition(" ")
                if "\t" not in line
                else line.strip().replace("\t", " ").partition(" ")
            )
            read = _READERS.get(keyword.upper())
            if read is not None:
                read(self, rest.strip())

    def file(self, rest: str) -> None:
        """FILE "name" TYPE, the name perhaps without quotes and with blanks."""
        name, _, kind = rest.rpartition('"' if '"' in rest else " ")
        name, kind = (
            (unquoted(name), kind.strip().upper()) if name.strip('" ') else (unquoted(rest), "BINARY")
        )
        if len(self.files) >= MAX_FILES:
            raise FormatError("cue", f"more than {MAX_FILES} files")
        if kind not in ("BINARY", "MOTOROLA", "", *SOUND_FILES):
            raise FormatError("cue", f"file type {kind!r}")
        self.files.append(_File(name, kind or "BINARY"))

    def track(self, rest: str) -> None:
        """TRACK number MODE."""
        number, _, mode = rest.partition(" ")
        layout = MODES.get(mode.strip().upper())
        if layout is None:
            raise FormatError("cue", f"mode {mode.strip()!r}")
        if not (number.isascii() and number.isdigit()):
            raise FormatError("cue", f"track number {number!r}")
        if not self.files:
            raise FormatError("cue", "a track before the first file")
        self.tracks.append(_Track(int(number), self._session, layout, self._gap, between=self._between))
        self._between, self._gap = 0, None

    def index(self, rest: str) -> None:
        """INDEX number MM:SS:FF, counted from the start of the file."""
        number, _, time = rest.partition(" ")
        if not (number.isascii() and number.isdigit() and self.tracks):
            raise FormatError("cue", f"index {rest!r}")
        self.files[-1].indexes.append((self.tracks[-1], int(number), frames(time.strip(), "cue")))

    def pregap(self, rest: str) -> None:
        """PREGAP MM:SS:FF."""
        if self.tracks:
            self.tracks[-1].gap = frames(rest, "cue")

    def postgap(self, rest: str) -> None:
        """POSTGAP MM:SS:FF."""
        if self.tracks:
            self.tracks[-1].postgap = frames(rest, "cue")

    def remark(self, rest: str) -> None:
        """REM SESSION n, and redump's REM LEAD-OUT, LEAD-IN and PREGAP before a session's first track."""
        keyword, _, value = rest.partition(" ")
        keyword, value = keyword.upper(), value.strip()
        if keyword == "SESSION":
            if (
                not (value.isascii() and value.isdigit())
                or not self._session <= int(value) <= self._session + 1
            ):
                raise FormatError("cue", f"session {value!r} after session {self._session}")
            self._session = int(value)
        elif keyword in ("LEAD-OUT", "LEAD-IN") and value.count(":") == 2:
            self._between += frames(value, "cue")
        elif keyword == "PREGAP" and value.count(":") == 2:
            self._gap = frames(value, "cue")


_READERS: Final = {
    "FILE": _Parser.file,
    "TRACK": _Parser.track,
    "INDEX": _Parser.index,
    "PREGAP": _Parser.pregap,
    "POSTGAP": _Parser.postgap,
    "REM": _Parser.remark,
}


def read_sheet(file: BlockDevice, context: Context) -> Disc:
    """The disc that the sheet ``file`` describes. Raises ``FormatError``, ``MissingPartError``."""
    sheet = _Parser(read_text(file, "cue", context.options.encoding))
    for source in sheet.files:
        if source.indexes:
            _place(source, open_data(source.name, context, "cue", alone=len(sheet.files) == 1))
    return Disc("cue", _addressed(sheet.tracks))


def _place(source: _File, stored: BlockDevice) -> None:
    """Give each track its piece of the file: up to the first index of the next track; the last one's, to the end."""
    big_endian = source.kind == "MOTOROLA"
    if source.kind in SOUND_FILES:
        suffix = source.name.rpartition(".")[2].lower()
        if suffix in COMPRESSED and stored.pread(0, 4) not in (b"RIFF", b"FORM"):
            _place_compressed(source, stored, suffix)
            return
        stored, big_endian = samples_of(stored, "cue")
    starts = _starts(source)
    offset = 0
    for number, (track, start) in enumerate(starts):
        end = starts[number + 1][1] if number + 1 < len(starts) else None
        if track.layout.mode is Mode.AUDIO:
            track.layout = track.layout._replace(big_endian=big_endian)
        stride = track.layout.stride
        left = max(0, stored.size - offset)
        sectors = -(-left // stride) if end is None else end - start
        size = left if end is None else sectors * stride
        if size > left or not left:
            log.warning("cue: %s ends before track %d does", source.name, track.number)
        track.pieces.append(Slice(stored, min(offset, stored.size), min(size, left)))
        track.sectors += sectors
        if not track.met:
            first = next(
                (at - start for other, index, at in source.indexes if other is track and index == 1), None
            )
            track.met = first is not None
            track.before += sectors if first is None else first
        offset += size


def _starts(source: _File) -> list[tuple[_Track, int]]:
    """(track, sector of its first index in the file).

    What lies before the first index belongs to the first track, too.
    """
    starts: list[tuple[_Track, int]] = []
    last = 0
    for track, index, at in source.indexes:
        if at < last:
            raise FormatError("cue", f"track {track.number}: index {index} lies before the index above it")
        last = at
        if not starts or starts[-1][0] is not track:
            starts.append((track, at if starts else 0))
    return starts


def _place_compressed(source: _File, stored: BlockDevice, suffix: str) -> None:
    log.warning("cue: %s is shown as it is: its samples are not decoded", source.name)
    for track in dict.fromkeys(track for track, _, _ in source.indexes):
        track.original = (suffix, stored)
        track.sectors = flac_sectors(stored)
        track.met = True


def _addressed(tracks: list[_Track]) -> list[Track]:
    """The tracks with their places on the disc.

    The first 150 sectors of the first pregap come before LBA 0 and do not count.
    """
    found: list[Track] = []
    end, session = 0, 1
    for track in tracks:
        if not track.met:
            raise FormatError("cue", f"track {track.number} has no index 1")
        gap = track.gap or 0
        if not found:
            gap = max(0, gap - PREGAP)
        elif track.session != session:
            gap = max(0, PREGAP - track.before) if track.gap is None else track.gap
            gap += track.between or session_gap(session)
        session = track.session
        lba = end + gap + track.before
        area = track.pieces[0] if len(track.pieces) == 1 else Concat.of(track.pieces)
        found.append(
            Track(track.number, session, lba, track.layout, area, track.before, original=track.original)
        )
        end = lba + max(0, track.sectors - track.before) + track.postgap
    return found
