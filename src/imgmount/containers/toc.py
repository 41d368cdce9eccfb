"""cdrdao's TOC files: the text beside .bin files that says what each track is made of.

Source: cdrdao(1), "TOC-FILES". Sound in raw files is big-endian there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgmount.containers.descriptor import head_lines
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match

if TYPE_CHECKING:
    from imgmount.core.disc import Disc

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


def open_toc(file: BlockDevice, context: Context) -> Disc:
    """The disc that a TOC file describes."""
    from imgmount.containers.tocfile import read_toc  # the probe is imported at every start, this is not

    return read_toc(file, context)


FORMAT: Final = Format(name="toc", title="cdrdao disc image (TOC/BIN)", kind=Kind.CONTAINER, open=open_toc, probe=probe)
