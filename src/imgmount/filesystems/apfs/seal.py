"""Sealed volumes: each node is hashed in the node above it, the root in the integrity record.

Reference, "Sealed Volumes". What is hashed is the whole block, with zeros where other nodes have a header.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import Final, Self

from imgmount.errors import ChecksumError, FormatError, UnsupportedError
from imgmount.filesystems.apfs.objects import HEADER, INTEGRITY, NAME, Blocks
from imgmount.filesystems.apfs.omap import ObjectMap
from imgmount.filesystems.apfs.superblock import VolumeSuperblock

# version, flags, type of hash, where the root's hash is, transaction that broke the seal
_RECORD: Final = Struct("<IIIIQ")
BROKEN: Final = 1
HASHES: Final = {1: ("sha256", 32), 2: ("sha512_256", 32), 3: ("sha384", 48), 4: ("sha512", 64)}


class Seal:
    """How a sealed volume is hashed. A seal that was broken is not checked."""

    def __init__(self, name: str, size: int, root: bytes, *, broken: bool) -> None:
        self.name = name
        self.size = size
        self.root = root
        self.broken = broken

    @classmethod
    def of(cls, blocks: Blocks, superblock: VolumeSuperblock, objects: ObjectMap, xid: int) -> Self:
        """The seal of a volume. Raises ``ImageError``."""
        where = objects.find(superblock.integrity, xid)
        data = blocks.object(where.block, (INTEGRITY,), "the integrity record")
        _, flags, kind, at, broken = _RECORD.unpack_from(data, HEADER.size)
        if kind not in HASHES:
            raise UnsupportedError(f"{NAME}: a volume sealed with hashes of type {kind}")
        name, size = HASHES[kind]
        root = data[at : at + size]
        if len(root) != size:
            raise FormatError(NAME, f"the hash of the root at {at:#x} of an integrity record")
        return cls(name, size, root, broken=bool(flags & BROKEN or broken))

    def check(self, data: bytes, digest: bytes, oid: int) -> None:
        """Compare a node with ``digest``, empty for the root. Raises ``ChecksumError``."""
        if self.broken:
            return
        try:
            found = hashlib.new(self.name, data).digest()
        except ValueError as exc:
            raise UnsupportedError(f"{NAME}: no {self.name} here, which a sealed volume needs") from exc
        if found != (digest[: self.size] if digest else self.root):
            raise ChecksumError(NAME, f"the hash of node {oid:#x} of a sealed volume is wrong")
