"""The clusters of Wii partitions: 32 KiB, of which 1 KiB is hashes and 31 KiB data, encrypted one by one.

64 clusters are a group, over which a tree of SHA-1 hashes stands: H0 for each KiB of data, H1 for the H0
tables of 8 clusters (a subgroup), H2 for the H1 tables of 8 subgroups, and in the partition's H3 table one
for the H2 table of each group. Source: WiiBrew, "Wii disc".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha1
from typing import Final, NamedTuple, Protocol, runtime_checkable

from imgmount.codecs.aes import BLOCK, ZERO_IV, ChainedEncryptor, decrypt_parts
from imgmount.core.device import BlockDevice

CLUSTER: Final = 0x8000
HASHES: Final = 0x400  # bytes at the start of a cluster
DATA: Final = CLUSTER - HASHES
GROUP_CLUSTERS: Final = 64
SUBGROUP: Final = 8
GROUP: Final = GROUP_CLUSTERS * CLUSTER
GROUP_DATA: Final = GROUP_CLUSTERS * DATA
DIGEST: Final = 20
H0_SIZE: Final = DATA // HASHES * DIGEST  # one for each KiB of data
H1: Final = 0x280
H2: Final = 0x340
TABLE_SIZE: Final = SUBGROUP * DIGEST  # of H1 and H2
DATA_IV: Final = 0x3D0  # of the encrypted hashes
H3_SIZE: Final = 0x18000


class HashException(NamedTuple):
    """A stored hash that the data does not have: ``digest`` at ``offset`` of the hashes of ``cluster``."""

    cluster: int
    offset: int
    digest: bytes


@runtime_checkable
class DecryptedParts(Protocol):
    """A disc image that stores the data of Wii partitions decrypted, so that no key is needed."""

    def wii_data(self, offset: int) -> BlockDevice | None:
        """The data, decrypted and without hashes, of the partition whose data begins at ``offset``."""


@runtime_checkable
class WiiPart(Protocol):
    """A partition's data that comes with the files that describe it."""

    def management(self) -> Mapping[str, BlockDevice]:
        """``ticket.bin``, ``tmd.bin``, ``cert.bin`` and ``h3.bin``."""


def decrypt(key: bytes, raw: bytes) -> bytes:
    """The data of whole clusters, without hashes."""
    return decrypt_parts(
        key, raw, [(at + HASHES, at + CLUSTER, _data_iv(raw, at)) for at in range(0, len(raw), CLUSTER)]
    )


def decrypt_whole(key: bytes, raw: bytes) -> bytes:
    """Whole clusters, with their hashes."""
    parts = []
    for at in range(0, len(raw), CLUSTER):
        parts += [(at, at + HASHES, ZERO_IV), (at + HASHES, at + CLUSTER, _data_iv(raw, at))]
    return decrypt_parts(key, raw, parts)


def _data_iv(raw: bytes, cluster: int) -> bytes:
    return raw[cluster + DATA_IV : cluster + DATA_IV + BLOCK]


def hash_blocks(data: bytes | memoryview) -> list[bytearray]:
    """The 64 blocks of hashes of a group's data; zeros fill what is missing of the group."""
    view = memoryview(data if len(data) == GROUP_DATA else bytes(data).ljust(GROUP_DATA, b"\0"))
    blocks = []
    for start in range(0, GROUP_DATA, DATA):
        block = bytearray(HASHES)
        block[:H0_SIZE] = b"".join(
            [sha1(view[at : at + HASHES]).digest() for at in range(start, start + DATA, HASHES)]
        )
        blocks.append(block)
    for first in range(0, GROUP_CLUSTERS, SUBGROUP):
        h1 = b"".join(sha1(block[:H0_SIZE]).digest() for block in blocks[first : first + SUBGROUP])
        for block in blocks[first : first + SUBGROUP]:
            block[H1 : H1 + TABLE_SIZE] = h1
    h2 = b"".join(
        sha1(blocks[first][H1 : H1 + TABLE_SIZE]).digest() for first in range(0, GROUP_CLUSTERS, SUBGROUP)
    )
    for block in blocks:
        block[H2 : H2 + TABLE_SIZE] = h2
    return blocks


def encrypt(key: bytes, data: bytes | memoryview, exceptions: Sequence[HashException]) -> bytes:
    """A group (the last of a partition may be short) as it is on the disc, from its data.

    ``cluster`` counts in the group.
    """
    blocks = hash_blocks(data)
    for cluster, offset, digest in exceptions:
        blocks[cluster][offset : offset + DIGEST] = digest
    return assemble(key, data, blocks)


def assemble(key: bytes | None, data: bytes | memoryview, blocks: Sequence[bytearray]) -> bytes:
    """The clusters of ``data`` with their blocks of hashes, encrypted where there is a key."""
    view = memoryview(data)
    parts = [view[start : start + DATA] for start in range(0, len(data), DATA)]
    whole = zip(blocks, parts, strict=False)  # a short group has hashes for a whole one
    if key is None:
        return b"".join([piece for pair in whole for piece in pair])
    chain = ChainedEncryptor(key)
    pieces = []
    for block, part in whole:
        hashes = chain.after_zero(block)
        pieces += [
            hashes,
            chain.after(bytes(block[DATA_IV : DATA_IV + BLOCK]), hashes[DATA_IV - BLOCK : DATA_IV], part),
        ]
    return b"".join(pieces)


def check_group(clear: bytes, h3: bytes, scrubbed: Collection[int]) -> Iterator[str]:
    """What is wrong with a decrypted group (hashes and data; the last may be short), whose H3 hash is ``h3``.

    Clusters in ``scrubbed`` were erased, as nothing uses them.
    """
    kept = [index for index in range(len(clear) // CLUSTER) if index not in scrubbed]
    if not kept:
        return
    h2 = clear[kept[0] * CLUSTER + H2 : kept[0] * CLUSTER + H2 + TABLE_SIZE]
    if sha1(h2).digest() != h3:
        yield "its H2 table does not match H3"
    for index in kept:
        at = index * CLUSTER
        hashes = clear[at : at + HASHES]
        h1 = hashes[H1 : H1 + TABLE_SIZE]
        good = hashes[H2 : H2 + TABLE_SIZE] == h2 and _has(h2, index // SUBGROUP, h1)
        good = good and _has(h1, index % SUBGROUP, hashes[:H0_SIZE])
        parts = (clear[at + part : at + part + HASHES] for part in range(HASHES, CLUSTER, HASHES))
        if not good or any(not _has(hashes, number, part) for number, part in enumerate(parts)):
            yield f"cluster {index} does not match its hashes"


def _has(table: bytes, index: int, data: bytes) -> bool:
    return table[index * DIGEST : (index + 1) * DIGEST] == sha1(data).digest()
