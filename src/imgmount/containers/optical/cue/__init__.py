"""Cue sheets: the text beside .bin, .img or .wav files that says where tracks start.

Source: CDRWIN's user guide, and what EAC, redump, GOG and UltraISO made of it. Times in INDEX count within
the FILE; PREGAP and POSTGAP are not stored, INDEX 00 is. Sectors of different sizes in one FILE follow each
other without padding.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.optical.text_sheet import PROBED, head_lines
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match

_OPENING: Final = frozenset(
    ("REM", "FILE", "CATALOG", "CDTEXTFILE", "TITLE", "PERFORMER", "SONGWRITER", "TRACK")
)
KEYWORDS: Final = _OPENING | {"ISRC", "FLAGS", "PREGAP", "POSTGAP", "INDEX"}


def probe(device: BlockDevice) -> Match:
    """Lines that all begin with keywords, of which one opens a file.

    A cdrdao TOC may begin so; it does not go on so.
    """
    words = [line.split(None, 2) for line in head_lines(device)]
    if (
        not words
        or words[0][0].upper() not in _OPENING
        or any(parts[0].upper() not in KEYWORDS for parts in words[:-1])
    ):
        return Match.NO
    for parts in words:
        if parts[0].upper() == "FILE":
            return Match.CERTAIN if len(parts) > 1 else Match.NO
    return Match.LIKELY if device.size > PROBED else Match.NO  # many remarks before the first file


FORMAT: Final = ContainerFormat(
    name="cue",
    title="BIN/CUE disc image",
    open=Later("imgmount.containers.optical.cue.sheet:read_sheet"),
    probe=probe,
    limits="MP3, FLAC and OGG tracks are shown as the files they are",
)
