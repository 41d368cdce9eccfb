"""One disc in a file of the Wii backup file system, without its unused sectors.

Files with several: see ``partitions.wbfs``.

Files are cut into ``.wbfs``, ``.wbf1``, ``.wbf2``... Source: libwbfs; see ``families.nintendo.wbfs``.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.nintendo.nkit import restored
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.families.nintendo.nkit import NKit
from imgmount.families.nintendo.wbfs import Wbfs

NKIT: Final = 0x10000


def open_disc(file: BlockDevice, context: Context) -> BlockDevice:
    """The disc in the file, the first if it has several."""
    wbfs = Wbfs.read(file)
    disc = wbfs.disc(file, wbfs.slots[0])
    return restored(disc, NKit.read(file, NKIT, wbfs.sector, "wbfs"), context, "wbfs")


def probe(file: BlockDevice) -> Match:
    """CERTAIN for a file with one disc: several divide it."""
    return Match.CERTAIN if len(Wbfs.read(file).slots) == 1 else Match.NO


FORMAT: Final = ContainerFormat(
    name="wbfs", title="Wii backup file", extensions=(".wbfs",), probe=probe, open=open_disc
)
