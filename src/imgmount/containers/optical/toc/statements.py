"""What a TOC file says, made into tracks. See ``toc``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.containers.optical.sound_files import samples_of
from imgmount.containers.optical.text_sheet import frames, open_data, read_text
from imgmount.core.device import BlockDevice, Extent
from imgmount.core.format import Context
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.families.optical.disc import MAX_LBA, MAX_TRACKS, Disc, Track
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
MODES: Final = {
    "AUDIO": Layout(Mode.AUDIO, RAW),
    "MODE1": Layout(Mode.MODE1, USER_DATA),
    "MODE1_RAW": Layout(Mode.MODE1, RAW),
    "MODE2": Layout(Mode.MODE2, XA_SECTOR),
    "MODE2_FORM1": Layout(Mode.MODE2, USER_DATA),
    "MODE2_FORM2": Layout(Mode.MODE2, FORM2),
    "MODE2_FORM_MIX": Layout(Mode.MODE2, XA_SECTOR),
    "MODE2_RAW": Layout(Mode.MODE2, RAW),
}
SUBCHANNELS: Final = ("RW", "RW_RAW")
_TOKEN: Final = re.compile(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|[{}]|[^\s{}"]+')
_ESCAPE: Final = re.compile(r"\\(\d{3}|.)")
_QUANTITY: Final = re.compile(r"\d{1,12}|\d+:\d+:\d+")


class _Part(NamedTuple):
    """A part of a track: zeros, or a file's bytes in the order of sound they are in."""

    run: Extent
    big_endian: bool | None  # None: zeros, or data


class _Parser:
    """Reads tokens into tracks."""

    def __init__(self, text: str, context: Context) -> None:
        self._tokens: list[str] = [token for token in _TOKEN.findall(text) if not token.startswith("//")]
        self._at = 0
        self._context = context
        self._layout: Layout | None = None
        self._parts: list[_Part] = []
        self._pregap = 0
        self._positions: dict[
            str, int
        ] = {}  # of data files without an offset, which go on where they were left
        self._end = 0
        self.tracks: list[Track] = []
        self._names = {
            token
            for before, token in zip(self._tokens, self._tokens[1:], strict=False)
            if before.endswith("FILE")
        }

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise FormatError("toc", "the text ends inside a statement")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def parse(self) -> list[Track]:
        """All tracks. Statements without a meaning for us (CD-TEXT, flags) are passed over."""
        while self._at < len(self._tokens):
            word = self._next()
            if word == "{":
                self._skip_block()
            elif word == "TRACK":
                self._finish()
                self._begin()
            elif self._layout is not None:
                self._statement(word, self._layout)
        self._finish()
        return self.tracks

    def _skip_block(self) -> None:
        depth = 1
        while depth:
            word = self._next()
            depth += (word == "{") - (word == "}")

    def _begin(self) -> None:
        mode = self._next()
        if mode not in MODES:
            raise FormatError("toc", f"mode {mode!r}")
        self._layout = MODES[mode]
        if self._peek() in SUBCHANNELS:
            self._next()
            self._layout = self._layout._replace(extra=SUBCHANNEL)

    def _statement(self, word: str, layout: Layout) -> None:
        if word in ("SILENCE", "ZERO", "PREGAP"):
            while self._peek() in MODES or self._peek() in SUBCHANNELS:
                self._next()
            self._add(Extent(self._bytes(self._next(), layout)), None)
            if word == "PREGAP":
                self._pregap = self._stored()
        elif word == "START":
            self._pregap = self._bytes(self._next(), layout) if ":" in self._peek() else self._stored()
        elif word in ("FILE", "AUDIOFILE", "DATAFILE"):
            self._file(word, layout)
        elif word == "FIFO":
            raise UnsupportedError("toc: FIFO")

    def _file(self, word: str, layout: Layout) -> None:
        name = _unescaped(self._next())
        swap = self._peek() == "SWAP" and bool(self._next())
        offset = int(self._next()[1:]) if re.fullmatch(r"#\d{1,15}", self._peek()) else None
        start = 0
        if word != "DATAFILE" and _QUANTITY.fullmatch(self._peek()):
            start = self._bytes(self._next(), layout)
        length = self._bytes(self._next(), layout) if _QUANTITY.fullmatch(self._peek()) else 0
        stored = open_data(name, self._context, "toc", alone=len(self._names) == 1)
        big_endian = layout.mode is Mode.AUDIO
        if big_endian and name.lower().endswith(".wav"):
            stored, big_endian = samples_of(stored, "toc")
        if offset is None:
            offset = self._positions.get(name, 0) if word == "DATAFILE" else 0
        start += offset
        length = length or max(0, stored.size - start)
        self._positions[name] = start + length
        if start + length > stored.size:
            log.warning("toc: %s ends before track %d does", name, len(self.tracks) + 1)
            start = min(start, stored.size)
            length = min(length, stored.size - start)
        self._add(Extent(length, stored, start), big_endian != swap if layout.mode is Mode.AUDIO else None)

    def _bytes(self, text: str, layout: Layout) -> int:
        if not _QUANTITY.fullmatch(text):
            raise FormatError("toc", f"{text!r} is not a length")
        if ":" in text:
            return frames(text, "toc") * layout.stride
        return int(text) * (SAMPLE if layout.mode is Mode.AUDIO else 1)

    def _add(self, run: Extent, big_endian: bool | None) -> None:  # noqa: FBT001  a fact of the part, not a switch
        if len(self._parts) >= MAX_PARTS or self._stored() + run.length > MAX_LBA * RAW:
            raise FormatError("toc", f"track {len(self.tracks) + 1} is too large")
        self._parts.append(_Part(run, big_endian))

    def _stored(self) -> int:
        return sum(part.run.length for part in self._parts)

    def _finish(self) -> None:
        """Close the track that was being read. One that mixes byte orders is given in little endian."""
        if self._layout is None:
            return
        if len(self.tracks) >= MAX_TRACKS:
            raise FormatError("toc", f"more than {MAX_TRACKS} tracks")
        orders = {part.big_endian for part in self._parts} - {None}
        layout = self._layout._replace(big_endian=orders == {True})
        runs = list(_little_endian(self._parts)) if len(orders) > 1 else [part.run for part in self._parts]
        area = Concat(runs)
        pregap = -(-self._pregap // layout.stride)
        lba = self._end + pregap
        self.tracks.append(Track(len(self.tracks) + 1, 1, lba, layout, area, pregap))
        self._end = lba + self.tracks[-1].sectors
        self._layout, self._parts, self._pregap = None, [], 0


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
    return Disc("toc", _Parser(read_text(file, "toc", context.options.encoding), context).parse())
