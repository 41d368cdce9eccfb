"""UDF, the file system of DVDs, Blu-ray discs, packet-written CDs and some hard disks.

Its revisions are 1.02 to 2.60.

References: ECMA-167 3rd edition, OSTA UDF 1.02, 1.50, 2.00, 2.01, 2.50, 2.60.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Later, Match
from imgmount.errors import ImageError
from imgmount.families.optical.disc import address_space
from imgmount.families.optical.options import SESSION
from imgmount.filesystems.udf.anchors import anchors
from imgmount.filesystems.udf.descriptors import Descriptors
from imgmount.filesystems.udf.volume import UdfFilesystem, open_udf


def probe(device: BlockDevice) -> Match:
    """A valid anchor (tag, CRC and its own address) is proof."""
    return Match.CERTAIN if any(True for _ in anchors(*address_space(device))) else Match.NO


def rescue(device: BlockDevice) -> Match:
    """A valid anchor whose volume descriptors can be read; the recognition sequence is not asked for."""
    disc, start = address_space(device)
    for anchor in anchors(disc, start):
        try:
            Descriptors(disc, anchor)
        except ImageError:
            continue
        return Match.CERTAIN
    return Match.NO


def open_volume(device: BlockDevice, context: Context) -> UdfFilesystem:
    """The volume whose session begins where ``device`` does; its addresses are those of the whole disc."""
    disc, start = address_space(device)
    return open_udf(disc, context, start)


FORMAT: Final = FilesystemFormat(
    name="udf",
    title="Universal Disk Format",
    extensions=(".udf", ".iso"),
    checks="sum of each tag, CRC-16 of each descriptor",
    system_area=True,
    open=open_volume,
    probe=probe,
    rescue=rescue,
    check=Later("imgmount.filesystems.udf.check:check"),
    deleted=Later("imgmount.filesystems.udf.deleted:deleted"),
    companion="iso9660",
    options=(SESSION,),
    limits="volumes of several discs, compressed extents, named streams above 64 KiB",
)
