"""NDIF, the images of Disk Copy 6, self-mounting ones too (``.img``, ``.smi``): chunks that a resource maps.

Nothing in the data fork says what it is: without resource ``bcem`` 128 it cannot be read. Source: the
ClassicMac project's ``disk-images/ndif.md``, from Disk Copy 6.1.2, 6.3.3 and 6.5. Big endian.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match
from imgmount.families.apple.forkfiles import forks_of

MAPS: Final = ((b"bcem", 128), (b"bcm#", 128))  # of the first part of an image, and of the others


def probe(file: BlockDevice) -> Match:
    """PROVEN by the resource that maps the data, which may begin with anything."""
    forks = forks_of(file)
    if forks is None or not any(forks.read(*one) is not None for one in MAPS):
        return Match.NO
    return Match.PROVEN


FORMAT: Final = ContainerFormat(
    name="ndif",
    title="Disk Copy 6 image (NDIF)",
    extensions=(".img", ".image"),
    checks="CRC-32 of the disk",
    open=Later("imgmount.containers.apple.ndif.device:NdifDevice"),
    probe=probe,
    guest=True,
    limits="chunks of type F0 (said to be ShrinkWrap 3's) are refused",
)
