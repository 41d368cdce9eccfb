"""Numbers of nodes: inodes count from 16 in every volume and snapshot, and one tree shows them all."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

BITS: Final = 44  # of a node's number: made-up nodes of forks are numbered above
SYSTEM: Final = 0x0FFF_FFFF_0000_0000  # inodes of a sealed system volume begin here
_VOLUME_BITS: Final = 7
_SNAPSHOT_BITS: Final = 12
MAX_SNAPSHOTS: Final = (1 << _SNAPSHOT_BITS) - 1


def space_of(index: int, snapshot: int = 0) -> int:
    """The number of a view: of volume ``index`` as it is, or of its ``snapshot``, counted from 1."""
    return index | snapshot << _VOLUME_BITS


def number(space: int, inode: int) -> int:
    """A number for a node, the same at every open. It is the inode's own in the first volume.

    There are 36 bits for the inode in a volume, and 24 in a snapshot; a larger one gives a hash of itself.
    """
    if space >> _VOLUME_BITS == 0 and inode < 1 << 35:  # most are
        return space << 36 | inode
    index, snapshot = space & (1 << _VOLUME_BITS) - 1, space >> _VOLUME_BITS
    if not snapshot:
        return index << 36 | _fitted(inode, 36)
    return 1 << BITS - 1 | index << 36 | snapshot << 24 | _fitted(inode, 24)


def _fitted(inode: int, bits: int) -> int:
    half = 1 << bits - 1
    if inode < half:
        return inode
    if SYSTEM <= inode < SYSTEM + (half >> 1):
        return half | inode - SYSTEM
    return (
        half
        | half >> 1
        | int.from_bytes(blake2b(inode.to_bytes(8, "little"), digest_size=8).digest(), "little") % (half >> 1)
    )
