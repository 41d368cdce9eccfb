"""Sessions of a disc image that has no table of contents.

It is a plain .iso that was grown, or has its sessions one behind the other.

Each session begins with 16 free sectors and its own ISO 9660 descriptors, whose volume size says where it
ends; the next one begins there, or at the next multiple of 16 or 32 sectors, or, in an image of a whole CD,
where lead-out, lead-in and pregap end. Where sector 16 holds a copy of the newest descriptors, xorriso keeps
those of the first session at sector 48; growisofs does not, see ``grown``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.errors import FormatError
from imgmount.families.optical.disc import PREGAP, Session, session_gap
from imgmount.families.optical.options import SESSION
from imgmount.partitions.sessions import grown
from imgmount.partitions.sessions.volume_descriptor import VolumePlace, volume_place

MAX_SESSIONS: Final = 1000
KEPT: Final = 32  # where xorriso's first session is kept
ALIGNMENTS: Final = (1, 16, KEPT)
SHORTEST_TRACK: Final = 300  # sectors on a CD
RUN_OUT: Final = (0, 2)  # sectors that a CD writer adds to a track written at once
SEARCHED: Final = 1 << 17  # blocks in which older sessions of a grown image are looked for unasked: 256 MiB
LARGEST: Final = 1 << 26  # blocks in which they are looked for at all: the largest Blu-ray disc


def _following(device: BlockDevice, start: int, volume: VolumePlace) -> int | None:
    """Where the session after the one at ``start`` begins.

    Some writers count the volume's size from the start of the disc.
    """
    for end in (start + volume.size, volume.size):
        for candidate in (*(-(-end // unit) * unit for unit in ALIGNMENTS), *_over_the_gap(start, end)):
            if candidate > start and volume_place(device, candidate):
                return candidate
    return None


def _over_the_gap(start: int, end: int) -> Iterator[int]:
    """Where the next session of a CD may begin, behind a track at ``start`` whose volume ends at ``end``."""
    gap = session_gap(1 if start == 0 else 2) + PREGAP
    return (max(end, start + SHORTEST_TRACK) + more + gap for more in RUN_OUT)


def _starts(device: BlockDevice) -> Iterator[tuple[int, int]]:
    """(first sector, place of the root) of all sessions that lead to each other, the oldest first."""
    start: int | None = KEPT if volume_place(device, KEPT) else 0
    for _ in range(MAX_SESSIONS):
        if start is None or not (volume := volume_place(device, start)):
            return
        yield start, volume.root
        start = _following(device, start, volume)
    raise FormatError("sessions", f"more than {MAX_SESSIONS} sessions lead to each other")


def probe(device: BlockDevice) -> Match:
    """Two sessions, with different roots. A session that a container gave is one already."""
    if isinstance(device, Session):
        return Match.NO
    if len({root for _, root in _starts(device)}) > 1:
        return Match.CERTAIN
    kept = volume_place(device, KEPT)  # one session of xorriso, there twice
    return Match.CERTAIN if not kept and grown.newest(device) else Match.NO


def open_sessions(device: BlockDevice, context: Context) -> Sequence[Partition]:
    """The sessions, the oldest first.

    In a large image that growisofs grew, old ones are looked for only if one is asked for.
    """
    starts = [start for start, _ in _starts(device)]
    if len(starts) > 1:
        return _parts([Session(device, start) for start in starts])
    newest = grown.newest(device)
    older = grown.older(device, newest, LARGEST if SESSION.of(context.options.extra) else SEARCHED)
    if older is None:
        return [
            Partition(
                1, "newest session; --session looks for older ones", "", Session(device, newest), session=1
            )
        ]
    starts = [*older, newest]
    first = grown.first(device, starts[0])
    return _parts([*([first] if first else []), *(Session(device, start) for start in starts)])


def _parts(sessions: Sequence[BlockDevice]) -> Sequence[Partition]:
    return [
        Partition(number, f"session {number}", "", device, session=number)
        for number, device in enumerate(sessions, 1)
    ]


FORMAT: Final = PartitionsFormat(
    name="sessions",
    title="Sessions in one ISO image",
    open=open_sessions,
    probe=probe,
    beside=True,
    options=(SESSION,),
)
