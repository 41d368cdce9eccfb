r"""Directory caches (DOS\4 and DOS\5): the headers of a directory packed together, for fast listing.

No disk needs them to be read: hash tables are the truth, and caches are only compared with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.filesystems.amigados import blocks
from imgmount.filesystems.amigados.blocks import HEAD, T_DIRC, Header, T, long_at

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

# header, size, protection, date; not its owner, and not its type, which amitools omits
_RECORD: Final = Struct(">III4x3Hx")
_DATE: Final = Struct(">3I")


class Entry(NamedTuple):
    """What a header and its record both say."""

    name: bytes
    size: int
    protection: int
    date: tuple[int, ...]
    comment: bytes


def cache_blocks(volume: AmigaVolume, directory: Header) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the blocks of a directory's cache. Raises ``ImageError``."""
    place, seen = directory.long(T.extension), set[int]()
    while place:
        if place in seen:
            raise FormatError(
                "amigados",
                "the chain of a directory cache loops",
                offset=place * volume.root_place.block_size,
            )
        seen.add(place)
        block = volume.checked(place)
        if long_at(block, 0) != T_DIRC or long_at(block, 8) != directory.key:
            raise FormatError(
                "amigados", f"block {place} is not the cache of this directory", offset=place * len(block)
            )
        yield place, block
        place = long_at(block, 16)


def records(block: bytes) -> Iterator[tuple[int, Entry]]:
    """(header, what is said of it) of the records of a cache block. Raises ``FormatError``."""
    at = HEAD
    for _ in range(long_at(block, 12)):
        text = at + _RECORD.size
        if text >= len(block) or text + 1 + block[text] >= len(block):
            raise FormatError("amigados", "a directory cache claims more records than fit into it")
        key, size, protection, *date = _RECORD.unpack_from(block, at)
        name = blocks.bcpl(block, text, len(block))
        text += 1 + len(name)
        comment = blocks.bcpl(block, text, len(block))
        yield key, Entry(name, size, protection, tuple(date), comment)
        at = text + 1 + len(comment)
        at += at & 1


def differences(headers: Mapping[int, Header], known: Mapping[int, Entry]) -> Iterator[tuple[bytes, str]]:
    """(name, what is wrong) of the entries of a directory, by their headers and the records of its cache."""
    for key in known.keys() - headers.keys():
        yield known[key].name, "in the directory cache alone"
    for key, header in headers.items():
        truth = _entry(header)
        if key not in known:
            yield truth.name, "in the hash table alone"
            continue
        for field, cached, true in zip(Entry._fields, known[key], truth, strict=True):
            # the cache keeps the date of a folder's creation
            if cached != true and not (field == "date" and header.kind == blocks.ST_USERDIR):
                yield truth.name, f"{field} {cached!r} in the directory cache, {true!r} in the header"


def _entry(header: Header) -> Entry:
    """What a header says. Caches go with the short layout."""
    tail = header.tail
    name, comment = blocks.entry_name(tail, long=False), blocks.entry_comment(tail, long=False)
    return Entry(
        name, header.long(T.size), header.long(T.protection), _DATE.unpack_from(tail, T.date), comment
    )
