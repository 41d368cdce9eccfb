"""cdrdao's TOC files: the text beside .bin files that says what each track is made of.

Source: cdrdao(1), "TOC-FILES". Sound in raw files is big-endian there.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.optical.text_sheet import head_lines
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match

SESSION_TYPES: Final = ("CD_DA", "CD_ROM", "CD_ROM_XA", "CD_I")
MODES: Final = (
    "AUDIO",
    "MODE1",
    "MODE1_RAW",
    "MODE2",
    "MODE2_FORM1",
    "MODE2_FORM2",
    "MODE2_FORM_MIX",
    "MODE2_RAW",
)


def probe(device: BlockDevice) -> Match:
    """A line that is the type of the session, or that begins a track in one of cdrdao's modes."""
    for line in head_lines(device):
        words = line.partition("//")[0].split()
        if words and (
            words[0] in SESSION_TYPES or (words[0] == "TRACK" and words[1:2] and words[1] in MODES)
        ):
            return Match.CERTAIN
    return Match.NO


FORMAT: Final = ContainerFormat(
    name="toc",
    title="cdrdao disc image (TOC/BIN)",
    extensions=(".toc",),
    open=Later("imgmount.containers.optical.toc.statements:read_toc"),
    probe=probe,
)
