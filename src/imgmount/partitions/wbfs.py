"""The discs in a Wii backup file system: a partition of a disk, or a file with several.

Source: libwbfs; see ``families.nintendo.wbfs``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.core.slices import Unreadable
from imgmount.errors import ImageError
from imgmount.families.nintendo.wbfs import Wbfs


def read_partitions(file: BlockDevice, _: Context) -> Sequence[Partition]:
    """A part for each slot in use, numbered from 1. A damaged one raises its error when it is read."""
    wbfs = Wbfs.read(file)
    parts = []
    for slot in wbfs.slots:
        try:
            disc = wbfs.disc(file, slot)
            parts.append(Partition(slot + 1, "disc", disc.name, disc))
        except ImageError as exc:
            parts.append(Partition(slot + 1, "disc", "", Unreadable(0, exc), fault=exc))
    return parts


def about(file: BlockDevice) -> Mapping[str, str]:
    """Raises ``FormatError``."""
    wbfs = Wbfs.read(file)
    return {"discs": str(len(wbfs.slots)), "sectors": f"{wbfs.sector} bytes"}


def probe(file: BlockDevice) -> Match:
    """CERTAIN where there is a disc."""
    return Match.CERTAIN if Wbfs.read(file).slots else Match.NO


FORMAT: Final = PartitionsFormat(
    name="wbfs", title="Wii backup file system", probe=probe, open=read_partitions, about=about
)
