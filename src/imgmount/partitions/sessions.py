"""Sessions of a disc image that has no table of contents: a plain .iso that was grown, or sessions one behind the other.

Each session begins with 16 free sectors and its own ISO 9660 descriptors, whose volume size says where it ends; the next one
begins there, or at the next multiple of 16 or 32 sectors. xorriso keeps the first session's descriptors at sector 48, because
sector 16 holds a copy of the newest. Growisofs keeps no copy: there only the newest can be found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.disc import Session
from imgmount.core.format import Context, Format, Kind, Match, Partition
from imgmount.core.sectors import DESCRIPTOR_SECTOR
from imgmount.errors import FormatError

BLOCK: Final = 2048
MAX_SESSIONS: Final = 1000
KEPT: Final = 32  # where xorriso's first session is kept
ALIGNMENTS: Final = (1, 16, KEPT)
_PRIMARY: Final = b"\x01CD001\x01"
_VOLUME_SIZE: Final = slice(80, 84)  # ISO 9660, 8.4.8
_ROOT: Final = slice(158, 162)  # LBA of the root directory


def _descriptor(device: BlockDevice, start: int) -> bytes:
    """The primary descriptor of a session that begins at sector ``start``; empty if there is none."""
    data = device.pread((start + DESCRIPTOR_SECTOR) * BLOCK, _ROOT.stop)
    return data if data.startswith(_PRIMARY) else b""


def _following(device: BlockDevice, start: int, descriptor: bytes) -> int | None:
    """Where the session after the one at ``start`` begins. Some writers count the volume's size from the start of the disc."""
    size = int.from_bytes(descriptor[_VOLUME_SIZE], "little")
    for end in (start + size, size):
        for unit in ALIGNMENTS:
            candidate = -(-end // unit) * unit
            if candidate > start and _descriptor(device, candidate):
                return candidate
    return None


def _starts(device: BlockDevice) -> Iterator[int]:
    """The first sectors of all sessions, the oldest first."""
    start: int | None = KEPT if _descriptor(device, KEPT) else 0
    for _ in range(MAX_SESSIONS):
        if start is None or not (descriptor := _descriptor(device, start)):
            return
        yield start
        start = _following(device, start, descriptor)
    raise FormatError("sessions", f"more than {MAX_SESSIONS}")


def probe(device: BlockDevice) -> Match:
    """Two sessions, with different roots. A session that a container described is one already."""
    if isinstance(device, Session):
        return Match.NO
    roots = {_descriptor(device, start)[_ROOT] for start in _starts(device)}
    return Match.CERTAIN if len(roots) > 1 else Match.NO


def open_sessions(device: BlockDevice, _: Context) -> Sequence[Partition]:
    """The sessions, the oldest first."""
    return [
        Partition(number, f"session {number}", "", Session(device, start), session=number)
        for number, start in enumerate(_starts(device), 1)
    ]


FORMAT: Final = Format(
    name="sessions",
    title="Sessions in one ISO image",
    kind=Kind.PARTITIONS,
    open=open_sessions,
    probe=probe,
    beside=True,
    limits="older sessions of images grown by growisofs, which keeps no pointer to them",
)
