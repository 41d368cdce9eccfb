"""cdrdao's TOC files: the text beside .bin files that says what each track is made of.

Source: cdrdao(1), "TOC-FILES". Sound in raw files is big-endian there.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.optical.text_sheet import head_lines
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match

SESSION_TYPES: Final = ("CD_DA", "CD_ROM", "CD_ROM_XA", "CD_I")


def probe(device: BlockDevice) -> Match:
    """The type of the session, after comments and perhaps a catalogue number."""
    for line in head_lines(device):
        words = line.partition("//")[0].split()
        if words and words[0] in SESSION_TYPES:
            return Match.CERTAIN
        if words and words[0] != "CATALOG":
            return Match.NO
    return Match.NO


FORMAT: Final = ContainerFormat(
    name="toc",
    title="cdrdao disc image (TOC/BIN)",
    open=Later("imgmount.containers.optical.toc.statements:read_toc"),
    probe=probe,
)
