"""Where the partitions of a Wii disc are, and where the parts of a partition. Source: WiiBrew, "Wii disc".

At 0x40000 stand four groups of partitions, each with its own table; offsets are stored divided by four. A
partition begins with its ticket, which holds the title key. All is big endian.
"""

from __future__ import annotations

from hashlib import sha1
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import FormatError
from imgmount.families.nintendo import wii_clusters as wii
from imgmount.families.nintendo.disc_header import WII_MAGIC

TABLES: Final = 0x40000
_GROUP: Final = Struct(">II")  # partitions, place of their table
_ENTRY: Final = Struct(">I4s")  # place, kind
GROUPS: Final = 4
MAX_PARTITIONS: Final = 128  # in all groups
KINDS: Final = {0: "DATA", 1: "UPDATE", 2: "CHANNEL"}
FLAGS: Final = 0x60  # of the disc header: no hashes, not encrypted
TICKET_SIZE: Final = 0x2A4
HEADER_SIZE: Final = 0x2C0
# TMD size and place, certificates' size and place, H3 place, data place and size
_HEADER: Final = Struct(">7I")
TITLE_ID: Final = 0x1DC
MAX_SIDE: Final = 16 << 20  # of TMD and certificates
_MAGIC: Final = WII_MAGIC.to_bytes(4, "big")
_MAGIC_AT: Final = 0x18


class Layout(NamedTuple):
    """Where the parts of a partition lie, from ``start``; ``start`` and ``data`` are places on the disc."""

    start: int
    ticket: bytes
    tmd: tuple[int, int]
    cert: tuple[int, int]
    h3: int
    data: int
    size: int

    @property
    def title_id(self) -> bytes:
        return self.ticket[TITLE_ID : TITLE_ID + 8]


def entries(disc: BlockDevice) -> list[tuple[int, str]]:
    """(place, kind) of each partition. Raises ``FormatError``."""
    groups = list(_GROUP.iter_unpack(disc.read_exactly(TABLES, GROUPS * _GROUP.size, "wii")))
    total = sum(count for count, _ in groups)
    within("wii", "number of partitions", total, 1, MAX_PARTITIONS, offset=TABLES)
    found = []
    for count, place in groups:
        for offset, kind in _ENTRY.iter_unpack(disc.read_exactly(place << 2, count * _ENTRY.size, "wii")):
            number = int.from_bytes(kind, "big")
            name = (
                kind.decode("ascii", "replace")
                if all(0x20 < byte < 0x7F for byte in kind)
                else f"{number:#x}"
            )
            found.append((offset << 2, KINDS.get(number, name)))
    return found


def layout(disc: BlockDevice, start: int) -> Layout:
    """The partition at ``start``. Raises ``FormatError``."""
    raw = disc.read_exactly(start, HEADER_SIZE, "wii")
    tmd_size, tmd, cert_size, cert, h3, data, size = _HEADER.unpack_from(raw, TICKET_SIZE)
    if max(tmd_size, cert_size) > MAX_SIDE or not data or not size:
        reason = f"the partition has no data, or its TMD or certificates are larger than {MAX_SIDE >> 20} MiB"
        raise FormatError("wii", reason, offset=start + TICKET_SIZE)
    return Layout(
        start,
        raw[:TICKET_SIZE],
        (tmd << 2, tmd_size),
        (cert << 2, cert_size),
        h3 << 2,
        start + (data << 2),
        size << 2,
    )


def is_clear(cluster: bytes) -> bool:
    """Whether the first cluster of a partition is in clear: its hash is right, or it holds a disc header."""
    data = cluster[wii.HASHES :]
    return data[_MAGIC_AT:].startswith(_MAGIC) or sha1(data[: wii.HASHES]).digest() == cluster[: wii.DIGEST]


def fits(key: bytes, cluster: bytes) -> bool:
    """Whether ``key`` decrypts the first cluster of a partition."""
    return is_clear(wii.decrypt_whole(key, cluster))
