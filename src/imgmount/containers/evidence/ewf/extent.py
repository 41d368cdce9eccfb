"""How large the disk is, where the sections of a set do not agree.

Some writers leave the volume section empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgmount.codecs.deflate import inflate_upto
from imgmount.containers.evidence.ewf.chunk import read
from imgmount.containers.evidence.ewf.facts import Media
from imgmount.containers.evidence.ewf.tables import CHECKSUM_SIZE, CHECKSUMED, COMPRESSED, PATTERN, Tables
from imgmount.errors import FormatError


def settle(said: Sequence[Media], tables: Tables, *, whole: bool) -> tuple[Media, list[str]]:
    """(the media, what is wrong with what ``said`` has) by the chunks that are stored.

    ``whole`` is the set that is here.

    What is said first is right if the chunks of a whole set fit it, or if nothing does.
    """
    first = said[0]
    problems = [
        f"a section says that the disk has {other.size} bytes in chunks of {other.chunk_size}, "
        f"the first one {first.size} in chunks of {first.chunk_size}"
        for other in dict.fromkeys(said[1:])
        if (other.size, other.chunk_size) != (first.size, first.chunk_size)
    ]
    if _fits(first, tables) or not (whole or not first.size) or not tables.count:
        return first, problems
    fitting = next((other for other in said[1:] if _fits(other, tables)), None)
    if fitting is not None:
        return fitting, problems
    if first.size > tables.count * first.chunk_size:
        return first, problems  # chunks are missing
    size = _stored_size(first, tables)
    stated = f"the volume section says that the disk has {first.size} bytes, its chunks hold {size}"
    return first._replace(size=size, chunks=tables.count), [*problems, stated]


def _fits(media: Media, tables: Tables) -> bool:
    """Whether ``media`` is as large as the chunks that are stored."""
    return (tables.count - 1) * media.chunk_size < media.size <= tables.count * media.chunk_size


def _stored_size(media: Media, tables: Tables) -> int:
    """The size that the stored chunks make: the last of them may be short."""
    before = (tables.count - 1) * media.chunk_size
    try:
        place = tables[tables.count - 1]
        if place.flags & PATTERN:
            return before + media.chunk_size
        raw = bytes(read([place], media.chunk_size)[0])
        if place.flags & COMPRESSED:
            return before + len(inflate_upto(raw, media.chunk_size, wrapper="zlib"))
        return before + len(raw) - (CHECKSUM_SIZE if place.flags & CHECKSUMED else 0)
    except FormatError:
        return before + media.chunk_size
