"""Sectors of a CD without a description.

They are .bin, .img, .mdf and .iso files of more than 2048 bytes a sector, or of one track of a disc.

The sync pattern (ECMA-130, 14.1) shows whole sectors, with or without subchannel. Without it, the descriptor
in sector 16 shows how large sectors are, or in sector 166 where the pregap is stored as well. A file of sound
has neither, and is opened only when the user names this format. An image of sectors of 2048 bytes is a
filesystem's own, unless it holds a pregap, or a track that begins elsewhere on its disc.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Magic, Match
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import PREGAP, Disc, Track
from imgmount.families.optical.disc_start import ANCHOR, start_by_contents
from imgmount.families.optical.layouts import (
    DESCRIPTORS,
    HEADED,
    PLAIN,
    find_layout,
    has_descriptor,
    stated_address,
)
from imgmount.families.optical.sectors import DESCRIPTOR_SECTOR, RAW, SYNC, USER_DATA, Layout, Mode

log = logging.getLogger(__name__)

ANCHOR_TAGS: Final = (b"\x02\0\x02\0", b"\x02\0\x03\0")  # of UDF: identifier and version


class _Place(NamedTuple):
    """How the sectors are stored, how many of them are a pregap, and where the others begin on the disc."""

    layout: Layout
    pregap: int = 0
    lba: int = 0


def _find_place(device: BlockDevice) -> _Place | None:
    """What the bytes show; None if that is nothing, or a whole disc of user data."""
    layout = find_layout(device)
    if layout is not None:
        return _by_address(device, layout)
    layout = find_layout(device, pregap=PREGAP)
    if layout is not None:
        return _Place(layout, PREGAP)
    if has_descriptor(device, PLAIN):
        start = start_by_contents(device, 0)
        return _Place(PLAIN, lba=start) if start else None
    if has_descriptor(device, PLAIN, PREGAP * USER_DATA):
        return _Place(PLAIN, PREGAP)
    return None


def _by_address(device: BlockDevice, layout: Layout) -> _Place:
    """Where the headers of sectors 0 and 16 say that they are, if they agree."""
    layout = layout.sniffed(device)
    first = stated_address(device, layout, 0)
    later = stated_address(device, layout, DESCRIPTOR_SECTOR)
    if first is not None and (later is None or later == first + DESCRIPTOR_SECTOR):
        if first == -PREGAP and device.size > PREGAP * layout.stride:
            return _Place(layout, PREGAP)
        if first > 0 and later is not None:
            return _Place(layout, lba=first)
    if not has_descriptor(device, layout) and has_descriptor(device, layout, PREGAP * layout.stride):
        return _Place(layout, PREGAP)
    return _Place(layout)


# What the registry looks for, which cannot import this; ``tests/containers/test_discs.py`` compares the two.
MAGICS: Final = (
    Magic(0, SYNC),
    *(
        Magic(sector * layout.stride + (layout.offset_of(USER_DATA) or 0), DESCRIPTORS[0])
        for sector in (DESCRIPTOR_SECTOR, PREGAP + DESCRIPTOR_SECTOR)
        for layout in (*HEADED, PLAIN)
    ),
    *(Magic(ANCHOR * USER_DATA, tag) for tag in ANCHOR_TAGS),
)


def probe(device: BlockDevice) -> Match:
    """Never certain: the stored sectors of a described disc look alike."""
    return Match.LIKELY if _find_place(device) else Match.NO


def open_sectors(file: BlockDevice, _: Context) -> Disc:
    """One track of data, or of sound."""
    place = _find_place(file)
    if place is None:
        if file.size % RAW:
            raise FormatError(
                "rawsectors",
                f"{file.size} bytes are no sectors with a header, nor sound, which comes in sectors of {RAW}",
            )
        place = _Place(Layout(Mode.AUDIO, RAW))
    stride = place.layout.stride
    if rest := file.size % stride:
        log.warning("rawsectors: the last %d bytes are no whole sector of %d", rest, stride)
    area = Slice(file, 0, file.size - rest)
    track = Track(1, 1, place.lba, place.layout, area, place.pregap)
    return Disc("rawsectors", [track], {"sector": f"{stride} bytes"})


FORMAT: Final = ContainerFormat(
    name="rawsectors",
    title="CD sectors without a description",
    extensions=(".bin", ".img"),
    open=open_sectors,
    probe=probe,
    limits="several tracks in one file need their description",
)
