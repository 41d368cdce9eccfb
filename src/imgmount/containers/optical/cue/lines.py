"""The lines of a cue sheet, as far as they can be read.

A line that makes no sense is reported; the others are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from imgmount.containers.optical.text_sheet import frames, unquoted
from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.optical.sectors import RAW, SECTOR_SIZES, SUBCHANNEL, Layout, Mode

MAX_FILES: Final = 200
MAX_PROBLEMS: Final = 100
RAW_TYPES: Final = ("BINARY", "MOTOROLA")
COMMENTS: Final = (";", "#", "//")
UNKNOWN: Final = Layout(Mode.MODE1, RAW)  # of a track whose mode is none that is known
_MODES: Final = {"MODE1": Mode.MODE1, "MODE2": Mode.MODE2, "CDI": Mode.MODE2}
_SUBCHANNELS: Final = (0, SUBCHANNEL, 16)
_WORD: Final = re.compile(r"[A-Za-z][\w-]*")


@dataclass(slots=True, eq=False)
class SheetFile:
    """A FILE line, and the indexes below it: (track, index number, sector in this file), in order."""

    name: str
    kind: str
    tracks: list[SheetTrack] = field(default_factory=list)
    indexes: list[tuple[SheetTrack, int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class SheetTrack:
    """A TRACK line.

    ``gap`` is PREGAP before it and ``postgap`` after it, both not stored; ``between`` a stated lead-out and
    lead-in. Of its ``sectors`` in files, ``before`` lie before INDEX 01, which is ``met`` once its file has
    been read. ``fault`` is why it cannot be read, or not all of it; ``doubt`` why it cannot unless its bytes
    show what its mode is.
    """

    number: int
    session: int
    layout: Layout
    gap: int | None = None
    postgap: int = 0
    between: int = 0
    parts: list[BlockDevice] = field(default_factory=list)
    sectors: int = 0
    before: int = 0
    met: bool = False
    original: tuple[str, BlockDevice] | None = None
    fault: ImageError | None = None
    doubt: ImageError | None = None


class CueSheet:
    """What a sheet says.

    ``problems`` are its lines that make no sense; words that are not known are passed over.
    """

    def __init__(self, text: str) -> None:
        self.files: list[SheetFile] = []
        self.tracks: list[SheetTrack] = []
        self.problems: list[str] = []
        self._session = 1
        self._between = 0
        self._gap: int | None = None
        for number, line in enumerate(text.replace("\x1a", "").splitlines(), 1):
            self._line(number, line.strip())
        for file in self.files:
            self._complete(file)

    def _line(self, number: int, line: str) -> None:
        if not line or line.startswith(COMMENTS):
            return
        bare = line.lstrip('"')
        keyword, *rest = bare.split(None, 1)
        read = _READERS.get(keyword.upper())
        if read is None:
            if not _WORD.fullmatch(keyword):
                self._tell(f"line {number} is no statement: {line[:60]!r}")
            return
        if bare != line:
            self._tell(f"line {number} begins with a quote that does not belong there")
        try:
            read(self, rest[0].strip() if rest else "")
        except FormatError as exc:
            self._tell(f"line {number}: {exc.reason}")

    def _tell(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def _complete(self, file: SheetFile) -> None:
        """A track without an index begins with its file if it is alone there, and is lost if it is not."""
        for track in file.tracks:
            if any(one is track for other in self.files for one, _, _ in other.indexes):
                continue
            if len(file.tracks) == 1 and not file.indexes:
                self._tell(f"track {track.number} has no INDEX line: it is taken to begin with its file")
                file.indexes.append((track, 1, 0))
            else:
                track.fault = FormatError(
                    "cue", f"track {track.number} has no INDEX line that says where it begins"
                )

    def file(self, rest: str) -> None:
        """FILE "name" TYPE, the name perhaps without quotes and with blanks."""
        if len(self.files) >= MAX_FILES:
            raise FormatError("cue", f"more than {MAX_FILES} FILE lines")
        name, kind = _name_and_type(rest)
        if not name:
            raise FormatError("cue", "a FILE line without a name")
        self.files.append(SheetFile(name, kind or "BINARY"))

    def track(self, rest: str) -> None:
        """TRACK number MODE."""
        digits, mode, *_ = (*rest.split(), "", "")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else 0
        layout = _layout_of(mode.upper())
        track = SheetTrack(number, self._session, layout or UNKNOWN, self._gap, between=self._between)
        if layout is None:
            track.doubt = UnsupportedError(
                f"cue: track {number}: mode {mode!r} is not AUDIO, CDG, MODE1/, MODE2/ or CDI/ and a size"
            )
        self._between, self._gap = 0, None
        self.tracks.append(track)
        if self.files:
            self.files[-1].tracks.append(track)
        else:
            track.fault = FormatError("cue", f"track {number} stands before the first FILE line")

    def index(self, rest: str) -> None:
        """INDEX number MM:SS:FF, counted from the start of the file."""
        number, time, *_ = (*rest.split(), "", "")
        if not (number.isascii() and number.isdigit() and len(number) < 4):
            raise FormatError("cue", f"INDEX {rest[:40]!r} is not a number and a time")
        if not self.tracks or not self.files:
            raise FormatError("cue", "INDEX stands before the first TRACK line")
        self.files[-1].indexes.append((self.tracks[-1], int(number), _time(time)))

    def pregap(self, rest: str) -> None:
        """PREGAP MM:SS:FF."""
        if self.tracks:
            self.tracks[-1].gap = _time(rest)

    def postgap(self, rest: str) -> None:
        """POSTGAP MM:SS:FF."""
        if self.tracks:
            self.tracks[-1].postgap = _time(rest)

    def remark(self, rest: str) -> None:
        """REM SESSION n, and redump's REM LEAD-OUT, LEAD-IN and PREGAP before a session's first track."""
        keyword, value, *_ = (*rest.split(None, 1), "", "")
        keyword = keyword.upper()
        if keyword == "SESSION":
            digits = value.strip()
            if not (digits.isascii() and digits.isdigit() and self._session <= int(digits[:6]) <= 99):
                raise FormatError(
                    "cue", f"SESSION {digits[:20]!r} is not a number from {self._session} to 99"
                )
            self._session = int(digits)
        elif keyword in ("LEAD-OUT", "LEAD-IN") and value.count(":") == 2:
            self._between += _time(value)
        elif keyword == "PREGAP" and value.count(":") == 2:
            self._gap = _time(value)


_READERS: Final = {
    "FILE": CueSheet.file,
    "TRACK": CueSheet.track,
    "INDEX": CueSheet.index,
    "PREGAP": CueSheet.pregap,
    "POSTGAP": CueSheet.postgap,
    "REM": CueSheet.remark,
}


def _time(text: str) -> int:
    return frames((text.split() or [""])[0].strip('"'), "cue")


def _name_and_type(rest: str) -> tuple[str, str]:
    """The name and the type, "" where it is not said."""
    if rest.count('"') > 1:
        name, _, kind = rest.rpartition('"')
        return unquoted(name + '"').strip(), (kind.split() or [""])[0].upper()
    words = rest.replace('"', "").split()
    if len(words) > 1 and _WORD.fullmatch(words[-1]):
        return rest.replace('"', "").rpartition(words[-1])[0].strip(), words[-1].upper()
    return rest.strip('" '), ""


def _layout_of(mode: str) -> Layout | None:
    if mode == "AUDIO":
        return Layout(Mode.AUDIO, RAW)
    if mode == "CDG":
        return Layout(Mode.AUDIO, RAW, SUBCHANNEL)
    name, _, size = mode.partition("/")
    if name not in _MODES or not (size.isascii() and size.isdigit()):
        return None
    sizes = ((int(size[:6]) - extra, extra) for extra in _SUBCHANNELS)
    return next((Layout(_MODES[name], main, extra) for main, extra in sizes if main in SECTOR_SIZES), None)
