"""How sectors are stored, told by their own bytes: for images whose description is missing or wrong.

The sync pattern (ECMA-130, 14.1) begins every whole sector that is not sound. Without it, the descriptor of a
file system in sector 16 shows how large sectors are.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.families.optical.sectors import (
    DESCRIPTOR_SECTOR,
    NO_SYNC,
    RAW,
    SYNC,
    USER_DATA,
    XA_SECTOR,
    Layout,
    Mode,
)

DESCRIPTORS: Final = (b"\x01CD001", b"\x00BEA01")  # what begins sector 16: ISO 9660, UDF
HIGH_SIERRA: Final = (9, b"CDROM")
EXTRAS: Final = (0, 96, 16)  # bytes of subchannel: none, P to W, formatted Q
SYNCED: Final = tuple(Layout(Mode.MODE1, RAW, extra) for extra in EXTRAS)
PLAIN: Final = Layout(Mode.MODE1, USER_DATA)
HEADED: Final = tuple(  # more than user data
    Layout(mode, main, extra)
    for mode, main in (
        (Mode.MODE1, RAW),
        (Mode.MODE2, RAW),
        (Mode.MODE1, NO_SYNC),
        (Mode.MODE2, NO_SYNC),
        (Mode.MODE2, XA_SECTOR),
        (Mode.MODE2, 2332),
        (Mode.MODE2, 2056),
    )
    for extra in EXTRAS
)
_WHOLE_FILE: Final = (USER_DATA, RAW, XA_SECTOR, RAW + 96)  # sizes that a length alone may settle


def find_layout(device: BlockDevice, start: int = 0, pregap: int = 0) -> Layout | None:
    """How the sectors from byte ``start`` on are stored, the first ``pregap`` of them apart.

    None if nothing shows it.

    User data alone is not looked for.
    """
    for layout in SYNCED:
        if is_synced(device, layout.stride, start + pregap * layout.stride):
            return layout
    for layout in HEADED:
        if has_descriptor(device, layout, start + pregap * layout.stride):
            return layout
    return None


def is_synced(device: BlockDevice, stride: int, start: int = 0) -> bool:
    """Whether sectors 0, 1 and 16 from ``start`` on begin where they should.

    A device of one sector is proved by its length.
    """
    left = device.size - start
    if left < 2 * stride:
        return left == stride and device.pread(start, len(SYNC)) == SYNC
    places = [at for at in (0, stride, DESCRIPTOR_SECTOR * stride) if at + stride <= left]
    return all(device.pread(start + at, len(SYNC)) == SYNC for at in places)


def has_descriptor(device: BlockDevice, layout: Layout, start: int = 0) -> bool:
    """Whether sector 16 from ``start`` on, stored as ``layout``, begins with a descriptor."""
    skip = layout.offset_of(USER_DATA)
    if skip is None:
        return False
    head = device.pread(start + DESCRIPTOR_SECTOR * layout.stride + skip, 16)
    at, name = HIGH_SIERRA
    return head.startswith(DESCRIPTORS) or head[at : at + len(name)] == name


def settled(device: BlockDevice, start: int, stated: Layout, *, pregap: int = 0, alone: bool) -> Layout:
    """The layout of the sectors from byte ``start`` on: ``stated``, unless the bytes prove another.

    ``pregap`` of them come before the track proper. ``alone`` is whether they are all that follows in the
    device: then its length is evidence, too.
    """
    if stated.mode is Mode.AUDIO:
        return _data_for_audio(device, start, pregap) or stated
    own = start + pregap * stated.stride
    if stated.main == RAW and is_synced(device, stated.stride, own):
        return stated
    found = find_layout(device, start, pregap)
    if found is None and has_descriptor(device, PLAIN, start + pregap * USER_DATA):
        found = PLAIN
    if found is not None:
        fits = found.stride == stated.stride or (found.main != RAW and has_descriptor(device, stated, own))
        return stated if fits else found
    return _by_length(device.size - start, stated) if alone else stated


def contradiction(number: int, stated: Layout, found: Layout) -> str:
    """The problem of track ``number``, whose bytes prove another layout than is stated."""
    said, proved = (
        f"{one} with {one.extra} bytes of subchannel" if one.extra else str(one) for one in (stated, found)
    )
    return f"track {number} is said to be {said}; its bytes are {proved}"


def _data_for_audio(device: BlockDevice, start: int, pregap: int) -> Layout | None:
    """The layout of a track that should be audio, if at least two of its sectors are data."""
    for layout in SYNCED:
        at = start + pregap * layout.stride
        if device.size - at >= 2 * layout.stride and is_synced(device, layout.stride, at):
            return layout
    return None


def _by_length(length: int, stated: Layout) -> Layout:
    """User data alone, where that divides ``length`` and whole sectors do not.

    Whole sectors would begin with sync patterns, and there are none.
    """
    fitting = [main for main in _WHOLE_FILE if length % main == 0]
    if stated.main != RAW or length % stated.stride == 0 or fitting != [USER_DATA]:
        return stated
    return Layout(stated.mode, USER_DATA)


def stated_address(device: BlockDevice, layout: Layout, sector: int) -> int | None:
    """The LBA that the header of ``sector`` has (ECMA-130, 14.2): minutes, seconds and frames as BCD.

    None if it has none.
    """
    at = layout.header_at
    data = device.pread(sector * layout.stride + at, 3) if at is not None else b""
    digits = [(byte >> 4, byte & 15) for byte in data]
    if len(digits) != 3 or any(high > 9 or low > 9 for high, low in digits):
        return None
    minutes, seconds, frames = (10 * high + low for high, low in digits)
    return (minutes * 60 + seconds) * 75 + frames - 150 if seconds < 60 and frames < 75 else None
