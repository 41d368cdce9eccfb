"""Facts of NTFS about a file for which POSIX has no field, as extended attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.core.names import MAX_NAME_BYTES
from imgmount.core.xattrs import collect
from imgmount.errors import ImageError
from imgmount.families.windows import attributes, names, security
from imgmount.families.windows.times import filetime_text
from imgmount.filesystems.ntfs import records, wof
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.ea import extended_attributes
from imgmount.filesystems.ntfs.facts import MAX_EAS, Facts
from imgmount.filesystems.ntfs.records import Record
from imgmount.filesystems.ntfs.security import descriptor

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.volume import NtfsVolume

MAX_VALUE: Final = 64 << 10  # bytes of one attribute: what Linux can show
MAX_NAME: Final = 255
MAX_TOTAL: Final = 1 << 20  # bytes of all streams of one file that are shown as attributes
MAX_STREAMS: Final = 255

Pairs = Iterator[tuple[str, bytes]]


def xattrs_of(volume: NtfsVolume, record: Record, facts: Facts, *, streams: bool) -> dict[str, bytes]:
    """The attributes of a file: its streams too, where they are not files. Raises ``ImageError``."""
    return collect(_all(volume, record, facts, streams=streams), NAME)


def _all(volume: NtfsVolume, record: Record, facts: Facts, *, streams: bool) -> Pairs:
    yield "user.ntfs.attributes", attributes.text(facts.attributes)
    if facts.created:
        yield "user.ntfs.created", filetime_text(facts.created)
    yield from _names(record)
    yield from _security(volume, record)
    named = (records.REPARSE_POINT, "user.ntfs.reparse"), (records.OBJECT_ID, "user.ntfs.object_id")
    for kind, name in named:
        if (stream := volume.stream(record, kind)) is not None and stream.size <= MAX_VALUE:
            yield name, volume.content(stream).pread(0, stream.size)
    yield from _eas(volume, record)
    if streams:
        yield from _streams(volume, record)


def _names(record: Record) -> Pairs:
    """The short name of DOS, and a name that cannot be shown as it is."""
    for _, name, space in records.file_names(record):
        stored = name.encode("utf-8", "surrogatepass")
        if space == records.DOS:
            yield "user.ntfs.short_name", stored
        elif names.shown(name) != name or len(stored) > MAX_NAME_BYTES:
            yield "user.ntfs.name", stored


def _security(volume: NtfsVolume, record: Record) -> Pairs:
    """The security descriptor and whose the file is; ``verify`` says where that is damaged."""
    try:
        found = descriptor(volume, record)
    except ImageError:
        return
    if found:
        yield "user.ntfs.security_descriptor", found
        for kind, sid in zip(("owner", "group"), security.owners(found), strict=True):
            if sid:
                yield f"user.ntfs.{kind}", sid.encode()


def _eas(volume: NtfsVolume, record: Record) -> Pairs:
    stream = volume.stream(record, records.EA)
    if stream is None or stream.size > MAX_EAS:
        return
    for name, value in extended_attributes(volume.content(stream).pread(0, stream.size)):
        if len(name) <= MAX_NAME - len("user.ea.") and len(value) <= MAX_VALUE:
            yield f"user.ea.{names.shown(name)}", value


def _streams(volume: NtfsVolume, record: Record) -> Pairs:
    """The streams that are small enough, and not encrypted. One that is damaged costs itself alone."""
    left = MAX_TOTAL
    for number, stream in enumerate(volume.streams(record)):
        name = f"user.ads.{names.shown(stream.name)}"
        fits = stream.size <= min(left, MAX_VALUE) and len(name.encode("utf-8", "replace")) <= MAX_NAME
        if stream.name == wof.STREAM or not fits or number >= MAX_STREAMS or stream.is_encrypted:
            continue
        try:
            yield name, volume.content(stream).pread(0, stream.size)
        except ImageError:
            continue
        left -= stream.size
