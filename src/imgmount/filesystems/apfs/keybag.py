"""Keybags: encrypted lists of wrapped keys, one of the container and one of each encrypted volume.

Reference, "Encryption".
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from imgmount.codecs.xts import UNIT, decrypt_units
from imgmount.core.header import within
from imgmount.errors import ChecksumError, FormatError
from imgmount.filesystems.apfs.objects import HEADER, NAME, Blocks, header, is_sound

# tags of a container's bag, and of a volume's
VOLUME_KEY, VOLUME_BAG = 2, 3
UNLOCK_RECORD, HINT = 3, 4
_BAG: Final = Struct("<HHI8x")  # version, keys, their bytes
_VERSION: Final = 2
_ENTRY: Final = Struct("<16sHH4x")  # whose, tag, length
_ALIGNMENT: Final = 16
_EXTENT: Final = Struct("<QQ")  # block, blocks
MAX_BYTES: Final = 1 << 20
MAX_ENTRIES: Final = 1024
# stands before the salt in the text whose digest is the key of a blob's HMAC
_SEAL: Final = bytes((1, 0x16, 0x20, 0x17, 0x15, 5))
MAX_LENGTH_BYTES: Final = 4  # bytes of a length in DER


class Entry(NamedTuple):
    """An entry: the UUID of the volume or user that it belongs to, what it is, and the data."""

    owner: bytes
    tag: int
    data: bytes


class Blob(NamedTuple):
    """A wrapped key. Those that a password unwraps have a salt and a number of rounds."""

    uuid: bytes
    flags: int
    wrapped: bytes
    rounds: int
    salt: bytes

    @property
    def short(self) -> bool:
        """Whether the key is one of 128 bits, of a volume that was converted from Core Storage."""
        return bool(self.flags & 2)


def read_bag(blocks: Blocks, extent: tuple[int, int], key: bytes, kind: int) -> list[Entry]:
    """The entries of the bag in ``extent`` (block, blocks), encrypted with ``key`` twice.

    Raises ``ImageError``.
    """
    start, count = extent
    within(NAME, "number of blocks in a keybag", count, 1, MAX_BYTES // blocks.size)
    coded = blocks.raw(start, count)
    first = start * (blocks.size // UNIT)
    data = decrypt_units(2 * key, coded, range(first, first + len(coded) // UNIT))
    if not is_sound(data) or header(data).type != kind:
        raise ChecksumError(NAME, "the checksum of a keybag is wrong", offset=start * blocks.size)
    return list(_entries(data))


def _entries(data: bytes) -> Iterator[Entry]:
    version, count, size = _BAG.unpack_from(data, HEADER.size)
    at, end = HEADER.size + _BAG.size, len(data)
    if version != _VERSION or count > MAX_ENTRIES or size > end:
        raise FormatError(NAME, f"a keybag of version {version} with {count} keys in {size} bytes")
    for number in range(count):
        if at + _ENTRY.size > end:
            raise FormatError(NAME, f"key {number} of {count} lies outside its keybag")
        owner, tag, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        if at + length > end:
            raise FormatError(NAME, f"key {number} of {count} lies outside its keybag")
        yield Entry(owner, tag, data[at : at + length])
        at = -(-(at + length) // _ALIGNMENT) * _ALIGNMENT


def find(entries: list[Entry], owner: bytes, tag: int) -> bytes | None:
    """The data of the first entry of ``owner`` with ``tag``."""
    return next((entry.data for entry in entries if (entry.owner, entry.tag) == (owner, tag)), None)


def extent(data: bytes) -> tuple[int, int]:
    """The place of a volume's bag, (block, blocks). Raises ``FormatError``."""
    if len(data) < _EXTENT.size:
        raise FormatError(NAME, "the place of a keybag is cut short")
    start, count = _EXTENT.unpack_from(data)
    return start, count


def parse_blob(data: bytes) -> Blob:
    """A wrapped key, whose HMAC is right. Raises ``FormatError``."""
    outer = dict(_elements(_content(data, 0x30)))
    seal, salt, inner = outer.get(0x81, b""), outer.get(0x82, b""), outer.get(0xA3, b"")
    whole = next(
        (element for tag, element in _elements(_content(data, 0x30), whole=True) if tag == 0xA3), b""
    )
    if not inner or not hmac.compare_digest(
        hmac.digest(sha256(_SEAL + salt).digest(), whole, "sha256"), seal
    ):
        raise ChecksumError(NAME, "the HMAC of a wrapped key is wrong")
    fields = dict(_elements(inner))
    flags, rounds = fields.get(0x82, b""), fields.get(0x84, b"")
    return Blob(
        fields.get(0x81, b""), int.from_bytes(flags[:4], "little"), fields.get(0x83, b""),
        int.from_bytes(rounds, "big"), fields.get(0x85, b""),
    )  # fmt: skip


def _content(data: bytes, tag: int) -> bytes:
    """The content of the one element ``data`` is."""
    return next((content for found, content in _elements(data) if found == tag), b"")


def _elements(data: bytes, *, whole: bool = False) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of DER elements in a row; ``whole``: with tag and length before it.

    Raises ``FormatError``.
    """
    at = 0
    while at + 2 <= len(data) and data[at]:
        start, tag, length = at, data[at], data[at + 1]
        at += 2
        if length & 0x80:
            width = length & 0x7F
            if not 0 < width <= MAX_LENGTH_BYTES:
                raise FormatError(NAME, f"a length of {width} bytes in a wrapped key")
            length, at = int.from_bytes(data[at : at + width], "big"), at + width
        if at + length > len(data):
            raise FormatError(NAME, f"{length} bytes in a wrapped key that has {len(data)}")
        yield tag, data[start if whole else at : at + length]
        at += length
