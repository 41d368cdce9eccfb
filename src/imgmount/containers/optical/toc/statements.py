"""What a TOC file says, made into tracks. See ``toc``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.containers.optical.audio_files import samples_of, sectors_of
from imgmount.containers.optical.text_sheet import frames, open_data, read_text
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.format import Context
from imgmount.core.slices import Concat, Slice, Unreadable
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.families.optical.disc import MAX_LBA, MAX_TRACKS, Disc, Track
from imgmount.families.optical.layouts import contradiction, settled
from imgmount.families.optical.sectors import (
    FORM2,
    RAW,
    SUBCHANNEL,
    USER_DATA,
    XA_SECTOR,
    Layout,
    Mode,
    Swapped,
)

log = logging.getLogger(__name__)

MAX_PARTS: Final = 100_000
SAMPLE: Final = 4  # bytes
LAYOUTS: Final = {
    "AUDIO": Layout(Mode.AUDIO, RAW),
    "MODE1": Layout(Mode.MODE1, USER_DATA),
    "MODE1_RAW": Layout(Mode.MODE1, RAW),
    "MODE2": Layout(Mode.MODE2, XA_SECTOR),
    "MODE2_FORM1": Layout(Mode.MODE2, USER_DATA),
    "MODE2_FORM2": Layout(Mode.MODE2, FORM2),
    "MODE2_FORM_MIX": Layout(Mode.MODE2, XA_SECTOR),
    "MODE2_RAW": Layout(Mode.MODE2, RAW),
}
UNKNOWN: Final = Layout(Mode.MODE1, RAW)  # of a track whose mode is none of these
AUDIO_SUFFIXES: Final = (".wav", ".aif", ".aiff", ".aifc", ".mp3", ".flac", ".ogg", ".opus")
SUBCHANNELS: Final = ("RW", "RW_RAW")
_TOKEN: Final = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|[{}]|[^\s{}"]+')
_ESCAPE: Final = re.compile(r"\\(\d{3}|.)")
_QUANTITY: Final = re.compile(r"\d{1,12}|\d+:\d+:\d+")


class _Part(NamedTuple):
    """A part of a track: zeros, or a file's bytes in the order of sound they are in."""

    run: Extent
    big_endian: bool | None  # None: zeros, or data


class _FileStatement(NamedTuple):
    """FILE, AUDIOFILE or DATAFILE: its name and what of it, as written; "" where it is not said."""

    name: str
    swap: bool
    offset: int | None
    start: str
    length: str
    positioned: bool  # a data file without an offset goes on where it was left


class _Parser:
    """Reads tokens into tracks. Why a track cannot be read is its ``fault``; the others are read."""

    def __init__(self, text: str, context: Context) -> None:
        self._tokens: list[str] = [token for token in _TOKEN.findall(text) if not token.startswith("//")]
        self._at = 0
        self._context = context
        self._layout: Layout | None = None
        self._parts: list[_Part] = []
        self._pregap = 0
        self._fault: ImageError | None = None
        self._original: tuple[str, BlockDevice] | None = None
        self._positions: dict[str, int] = {}  # where data files without an offset go on
        self._end = 0
        self.tracks: list[Track] = []
        self.problems: list[str] = []
        self._names = {
            token
            for before, token in zip(self._tokens, self._tokens[1:], strict=False)
            if before.endswith("FILE")
        }

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise _EndOfText
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def parse(self) -> list[Track]:
        """All tracks. Statements without a meaning for us (CD-TEXT, flags) are passed over."""
        try:
            while self._at < len(self._tokens):
                self._read(self._next())
        except _EndOfText:
            self.problems.append("the text ends inside a statement")
            if self._layout is not None and not self._parts:
                self._fault = self._fault or FormatError("toc", "the text ends inside a statement")
        self._finish()
        return self.tracks

    def _read(self, word: str) -> None:
        if word == "{":
            self._skip_block()
        elif word == "TRACK":
            self._finish()
            self._begin()
        elif self._layout is not None:
            try:
                self._statement(word, self._layout)
            except ImageError as exc:
                self._fault = self._fault or exc

    def _skip_block(self) -> None:
        depth = 1
        while depth:
            word = self._next()
            depth += (word == "{") - (word == "}")

    def _begin(self) -> None:
        mode = self._next()
        self._layout = LAYOUTS.get(mode, UNKNOWN)
        if mode not in LAYOUTS:
            listed = ", ".join(LAYOUTS)
            self._fault = UnsupportedError(
                f"toc: mode {mode[:20]!r} of track {len(self.tracks) + 1} is not one of {listed}"
            )
        if self._peek() in SUBCHANNELS:
            self._next()
            self._layout = self._layout._replace(extra=SUBCHANNEL)

    def _statement(self, word: str, layout: Layout) -> None:
        if word in ("SILENCE", "ZERO", "PREGAP"):
            while self._peek() in LAYOUTS or self._peek() in SUBCHANNELS:
                self._next()
            self._add(Extent(_bytes(self._next(), layout)), None)
            if word == "PREGAP":
                self._pregap = self._stored()
        elif word == "START":
            self._pregap = _bytes(self._next(), layout) if ":" in self._peek() else self._stored()
        elif word in ("FILE", "AUDIOFILE", "DATAFILE"):
            self._file(self._file_statement(word), layout)
        elif word == "FIFO":
            raise UnsupportedError("toc: FIFO: the track was read from a pipe, not from a file")

    def _file_statement(self, word: str) -> _FileStatement:
        name = _unescaped(self._next())
        swap = self._peek() == "SWAP" and bool(self._next())
        offset = int(self._next()[1:]) if re.fullmatch(r"#\d{1,15}", self._peek()) else None
        start = self._next() if word != "DATAFILE" and _QUANTITY.fullmatch(self._peek()) else ""
        length = self._next() if _QUANTITY.fullmatch(self._peek()) else ""
        return _FileStatement(name, swap, offset, start, length, positioned=word == "DATAFILE")

    def _file(self, statement: _FileStatement, layout: Layout) -> None:
        stated = _bytes(statement.length, layout) if statement.length else 0
        try:
            stored = open_data(statement.name, self._context, "toc", alone=len(self._names) == 1)
        except ImageError as exc:
            self._add(Extent(stated, Unreadable(stated, exc)), None)
            raise
        big_endian = layout.mode is Mode.AUDIO
        if big_endian and statement.name.lower().endswith(AUDIO_SUFFIXES):
            try:
                stored, big_endian = samples_of(stored, "toc")
            except FormatError as exc:
                log.warning("toc: %s is shown as it is: %s", statement.name, exc.reason)
                self._original = statement.name.rpartition(".")[2].lower(), stored
                self._add(Extent(stated or sectors_of(stored) * layout.stride), None)
                return
        offset = statement.offset
        if offset is None:
            offset = self._positions.get(statement.name, 0) if statement.positioned else 0
        if layout.mode is not Mode.AUDIO:
            layout = self._settled(stored, offset, layout, alone=not stated)
        start = offset + (_bytes(statement.start, layout) if statement.start else 0)
        length = _bytes(statement.length, layout) if statement.length else 0
        self._part(
            statement, stored, (start, length or max(0, stored.size - start)), big_endian != statement.swap
        )

    def _part(
        self,
        statement: _FileStatement,
        stored: BlockDevice,
        span: tuple[int, int],
        big_endian: bool,  # noqa: FBT001  the order of samples
    ) -> None:
        """``span`` is (start, length) in ``stored``."""
        start, length = span
        self._positions[statement.name] = start + length
        if start + length > stored.size:
            number, have = len(self.tracks) + 1, max(0, stored.size - start)
            self._fault = self._fault or FormatError(
                "toc", f"{statement.name} ends before track {number} does: {have} of {length} bytes are there"
            )
            start, length = min(start, stored.size), have
        audio = self._layout is not None and self._layout.mode is Mode.AUDIO
        self._add(Extent(length, stored, start), big_endian if audio else None)

    def _settled(self, stored: BlockDevice, start: int, stated: Layout, *, alone: bool) -> Layout:
        """The track with the sector size that its bytes prove.

        The zeros before them are counted in such sectors.
        """
        if any(part.run.device is not None for part in self._parts):
            return stated
        layout = settled(stored, start, stated, alone=alone)
        if layout.stride != stated.stride:
            self.problems.append(contradiction(len(self.tracks) + 1, stated, layout))
            zeros, self._parts = self._stored() // stated.stride, []
            self._pregap = self._pregap // stated.stride * layout.stride
            self._add(Extent(zeros * layout.stride), None)
        self._layout = layout
        return layout

    def _add(self, run: Extent, big_endian: bool | None) -> None:  # noqa: FBT001  a fact
        number = len(self.tracks) + 1
        if len(self._parts) >= MAX_PARTS:
            raise FormatError("toc", f"track {number} has more than {MAX_PARTS} parts")
        if self._stored() + run.length > MAX_LBA * RAW:
            raise FormatError("toc", f"track {number} has more than {MAX_LBA} sectors")
        self._parts.append(_Part(run, big_endian))

    def _stored(self) -> int:
        return sum(part.run.length for part in self._parts)

    def _finish(self) -> None:
        """Close the track that was being read. One that mixes byte orders is given in little endian."""
        if self._layout is None:
            return
        if len(self.tracks) >= MAX_TRACKS:
            raise FormatError("toc", f"more than {MAX_TRACKS} tracks")
        self.tracks.append(self._track(self._layout))
        self._layout, self._parts, self._pregap, self._fault, self._original = None, [], 0, None, None

    def _track(self, layout: Layout) -> Track:
        number, stored = len(self.tracks) + 1, self._stored()
        pregap = -(-self._pregap // layout.stride)
        lba = self._end + pregap
        self._end = max(lba, self._end - (-stored // layout.stride))
        if not self._parts:
            self._fault = self._fault or FormatError("toc", f"track {number} names no file and no length")
        readable = any(
            run.length and run.device is not None and not isinstance(run.device, Unreadable)
            for run, _ in self._parts
        )
        if self._fault is not None and (not readable or isinstance(self._fault, UnsupportedError)):
            sectors = -(-stored // layout.stride) - pregap
            return Track.lost(number, 1, lba, layout, self._fault, sectors=sectors)
        orders = {part.big_endian for part in self._parts} - {None}
        layout = layout._replace(big_endian=orders == {True})
        runs = list(_little_endian(self._parts)) if len(orders) > 1 else [part.run for part in self._parts]
        area = Concat([] if self._original else runs)
        return Track(number, 1, lba, layout, area, pregap, original=self._original, fault=self._fault)


class _EndOfText(Exception):  # noqa: N818  it ends the reading, and is no error
    """The text ends where a statement goes on."""


def _bytes(text: str, layout: Layout) -> int:
    """Bytes of a length: a time, or a number of samples or bytes. Raises ``FormatError``."""
    if not _QUANTITY.fullmatch(text):
        raise FormatError("toc", f"length {text[:20]!r} is not a number or a time MM:SS:FF")
    if ":" in text:
        return frames(text, "toc") * layout.stride
    return int(text) * (SAMPLE if layout.mode is Mode.AUDIO else 1)


def _little_endian(parts: list[_Part]) -> Iterator[Extent]:
    for (length, device, start), big_endian in parts:
        yield (
            Extent(length, Swapped(Slice(device, start, length)))
            if device and big_endian
            else Extent(length, device, start)
        )


def _unescaped(token: str) -> str:
    r"""A string without its quotes; ``\ooo`` is an octal byte."""
    return _ESCAPE.sub(
        lambda found: chr(int(found[1], 8)) if found[1].isdigit() else found[1], token.strip('"')
    )


def read_toc(file: BlockDevice, context: Context) -> Disc:
    """The disc that the TOC ``file`` describes.

    Raises ``FormatError``, ``MissingPartError``, ``UnsupportedError``.
    """
    parser = _Parser(read_text(file, "toc", context.options.encoding), context)
    return Disc("toc", parser.parse(), problems=parser.problems)
