"""Cue sheets: the text beside .bin, .img or .wav files that says where tracks start.

Source: CDRWIN's user guide, and what EAC, redump, GOG and UltraISO made of it. Times in INDEX count within
the FILE; PREGAP and POSTGAP are not stored, INDEX 00 is. Sectors of different sizes in one FILE follow each
other without padding.
"""

from __future__ import annotations

import re
from typing import Final

from imgmount.containers.optical.text_sheet import head_lines
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match

_OPENING: Final = frozenset(
    ("REM", "FILE", "CATALOG", "CDTEXTFILE", "TITLE", "PERFORMER", "SONGWRITER", "TRACK")
)
_FILE: Final = re.compile(r'"?FILE\s+\S', re.IGNORECASE)
_TRACK: Final = re.compile(r"TRACK\s+\d+(\s+[A-Z]|$)", re.IGNORECASE)


def probe(device: BlockDevice) -> Match:
    """A FILE line and a numbered TRACK line below it, whatever else there is.

    A TOC of cdrdao has both words as well, but no numbers.
    """
    lines = head_lines(device)
    file = next((number for number, line in enumerate(lines) if _FILE.match(line)), None)
    if file is None or not any(map(_TRACK.match, lines[file + 1 :])):
        return Match.NO
    return Match.CERTAIN if lines[0].split(None, 1)[0].upper() in _OPENING else Match.LIKELY


FORMAT: Final = ContainerFormat(
    name="cue",
    title="BIN/CUE disc image",
    extensions=(".cue",),
    open=Later("imgmount.containers.optical.cue.sheet:read_sheet"),
    probe=probe,
    limits="MP3, FLAC and OGG tracks are shown as the files they are",
)
