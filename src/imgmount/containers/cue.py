"""Cue sheets: the text beside .bin, .img or .wav files that says where tracks start.

Source: CDRWIN's user guide, and what EAC, redump, GOG and UltraISO made of it. Times in INDEX count within the FILE; PREGAP and
POSTGAP are not stored, INDEX 00 is. Sectors of different sizes in one FILE follow each other without padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgmount.containers.descriptor import PROBED, head_lines
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match

if TYPE_CHECKING:
    from imgmount.core.disc import Disc

_OPENING: Final = frozenset(("REM", "FILE", "CATALOG", "CDTEXTFILE", "TITLE", "PERFORMER", "SONGWRITER", "TRACK"))
KEYWORDS: Final = _OPENING | {"ISRC", "FLAGS", "PREGAP", "POSTGAP", "INDEX"}


def probe(device: BlockDevice) -> Match:
    """Lines that all begin with keywords, of which one opens a file. A cdrdao TOC may begin so; it does not go on so."""
    words = [line.split(None, 2) for line in head_lines(device)]
    if not words or words[0][0].upper() not in _OPENING or any(parts[0].upper() not in KEYWORDS for parts in words[:-1]):
        return Match.NO
    for parts in words:
        if parts[0].upper() == "FILE":
            return Match.CERTAIN if len(parts) > 1 else Match.NO
    return Match.LIKELY if device.size > PROBED else Match.NO  # many remarks before the first file


def open_cue(file: BlockDevice, context: Context) -> Disc:
    """The disc that a sheet describes."""
    from imgmount.containers.cuesheet import read_sheet  # the probe is imported at every start, this is not

    return read_sheet(file, context)


FORMAT: Final = Format(
    name="cue",
    title="BIN/CUE disc image",
    kind=Kind.CONTAINER,
    open=open_cue,
    probe=probe,
    limits="MP3, FLAC and OGG tracks are shown as the files they are",
)
