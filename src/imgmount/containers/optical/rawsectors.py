"""Bare sectors of a CD without a description: .bin, .img, .mdf, .iso files whose sectors are more than 2048 bytes.

The sync pattern (ECMA-130, 14.1) shows whole sectors, with or without subchannel. Without it, the descriptor
in sector 16 shows how large sectors are. A file of sound has neither, and is opened only when the user names
this format.
"""

from __future__ import annotations

import logging
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Magic, Match
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.optical.disc import Disc, Track
from imgmount.families.optical.sectors import DESCRIPTOR_SECTOR, RAW, SYNC, USER_DATA, XA_SECTOR, Layout, Mode

log = logging.getLogger(__name__)

_STARTS: Final = (b"\x01CD001", b"\x00BEA01")  # of sector 16's user data: ISO 9660, UDF
_HIGH_SIERRA: Final = (9, b"CDROM")
_EXTRAS: Final = (0, 96, 16)  # bytes of subchannel: none, P to W, formatted Q
_WHOLE: Final = tuple(Layout(Mode.MODE1, RAW, extra) for extra in _EXTRAS)
_ALL: Final = tuple(
    Layout(mode, main, extra)
    for mode, main in (
        (Mode.MODE1, RAW),
        (Mode.MODE2, RAW),
        (Mode.MODE2, XA_SECTOR),
        (Mode.MODE2, 2332),
        (Mode.MODE2, 2056),
    )
    for extra in _EXTRAS
)


def find_layout(device: BlockDevice) -> Layout | None:
    """How the sectors are stored, by their own bytes; None if nothing shows it."""
    if device.pread(0, len(SYNC)) == SYNC:
        return next((layout for layout in _WHOLE if _is_synced(device, layout.stride)), None)
    return next((layout for layout in _ALL if _has_descriptor(device, layout)), None)


def _is_synced(device: BlockDevice, stride: int) -> bool:
    """Whether sectors 1 and 16 begin where they should; a file of one sector is measured instead."""
    if device.size < 2 * stride:
        return device.size == stride
    starts = (at for at in (stride, DESCRIPTOR_SECTOR * stride) if at + stride <= device.size)
    return all(device.pread(at, len(SYNC)) == SYNC for at in starts)


def _has_descriptor(device: BlockDevice, layout: Layout) -> bool:
    start = layout.offset_of(USER_DATA)
    assert start is not None
    head = device.pread(DESCRIPTOR_SECTOR * layout.stride + start, 16)
    at, name = _HIGH_SIERRA
    return head.startswith(_STARTS) or head[at : at + len(name)] == name


# What the registry looks for, which cannot import this; ``tests/containers/test_discs.py`` compares the two.
MAGICS: Final = (
    Magic(0, SYNC),
    *(
        Magic(DESCRIPTOR_SECTOR * layout.stride + (layout.offset_of(USER_DATA) or 0), _STARTS[0])
        for layout in _ALL
    ),
)


def probe(device: BlockDevice) -> Match:
    """Never certain: the stored sectors of a described disc look alike."""
    return Match.LIKELY if find_layout(device) else Match.NO


def open_sectors(file: BlockDevice, _: Context) -> Disc:
    """One track of data, or of sound."""
    layout = find_layout(file)
    if layout is None:
        if file.size % RAW:
            raise FormatError("rawsectors", f"{file.size} bytes are neither sectors with a header nor sound")
        layout = Layout(Mode.AUDIO, RAW)
    if rest := file.size % layout.stride:
        log.warning("rawsectors: the last %d bytes are no whole sector of %d", rest, layout.stride)
    area = Slice(file, 0, file.size - rest)
    return Disc("rawsectors", [Track(1, 1, 0, layout, area)], {"sector": f"{layout.stride} bytes"})


FORMAT: Final = ContainerFormat(
    name="rawsectors",
    title="Raw CD sectors without a description",
    open=open_sectors,
    probe=probe,
    limits="several tracks in one file need their description",
)
