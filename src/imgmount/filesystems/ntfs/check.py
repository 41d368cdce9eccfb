"""What an NTFS volume says about itself, checked: boot sectors, $MFTMirr, records, indexes, clusters."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import Boot, backup, parse_boot
from imgmount.filesystems.ntfs.census import Census
from imgmount.filesystems.ntfs.index import entries
from imgmount.filesystems.ntfs.logfile import State
from imgmount.filesystems.ntfs.mft import MIRROR, SECURE
from imgmount.filesystems.ntfs.records import FileName, unfixed
from imgmount.filesystems.ntfs.rescue import names_of
from imgmount.filesystems.ntfs.security import shared

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.volume import NtfsVolume

MAX_LINES: Final = 100  # about the same thing
MAX_MIRROR: Final = 4096  # records
_BPB: Final = slice(0x0B, 0x50)  # of a boot sector: what has to be the same in its backup

Named = tuple[int, FileName]  # (reference, name)


def check(volume: NtfsVolume) -> Iterator[str]:
    """Each problem, in one line."""
    if volume.is_dirty:
        yield "the volume was not unmounted properly"
    if volume.log_state not in (State.CLEAN, State.EMPTY):
        yield (
            f"the log {volume.log_state.value}"
            if volume.log_state is State.OPEN
            else f"the log is {volume.log_state.value}"
        )
    yield from _boot(volume)
    if volume.mft.damage:
        yield f"$MFT: {volume.mft.damage}"
    yield from _mirror(volume)
    census = Census(volume)
    yield from islice(census.records(), MAX_LINES)
    for folder in census.folders:
        yield from islice(_folder(volume, census, folder), MAX_LINES)
    yield from census.clusters()
    yield from islice(_descriptors(volume), MAX_LINES)


def _boot(volume: NtfsVolume) -> Iterator[str]:
    device, boot = volume.device, volume.boot
    try:
        parse_boot(device, 0)
    except ImageError as exc:
        yield f"the boot sector is damaged: {exc}"
        return
    if device.size < boot.size:
        yield f"the image ends at {device.size:#x}, the volume at {boot.size:#x}"
    if device.size <= boot.size:
        return  # there is no room for the backup
    try:
        spare: Boot | None = parse_boot(device, boot.size)
    except ImageError:
        spare = backup(device)
    if spare is None:
        yield "the backup of the boot sector is missing or damaged"
    elif device.pread(0, 0x50)[_BPB] != device.pread(spare.offset, 0x50)[_BPB]:
        yield f"the boot sector and its backup at {spare.offset:#x} differ"


def _mirror(volume: NtfsVolume) -> Iterator[str]:
    mft, size = volume.mft, volume.boot.record_size
    try:
        stream = volume.stream(mft.record(MIRROR), records.DATA)
        if stream is None:
            raise FormatError("ntfs", "no data")
        content = volume.content(stream)
    except ImageError as exc:
        yield f"$MFTMirr: {exc}"
        return
    for number in range(min(content.size // size, mft.count, MAX_MIRROR)):
        try:
            if _bare(mft.raw(number)) != _bare(content.pread(number * size, size)):
                yield f"record {number} differs from its copy in $MFTMirr"
        except ImageError as exc:
            yield f"record {number} and its copy in $MFTMirr: {exc}"


def _bare(raw: bytes) -> bytes:
    """A record without its fixups, which each copy counts for itself."""
    if raw[:4] != b"FILE":
        return raw
    data = bytearray(unfixed(raw, b"FILE", "record", 0))
    start, count = int.from_bytes(raw[4:6], "little"), int.from_bytes(raw[6:8], "little")
    data[start : start + 2 * count] = bytes(2 * count)
    return bytes(data)


def _folder(volume: NtfsVolume, census: Census, number: int) -> Iterator[str]:
    """The index of a folder against the records of what is in it."""
    try:
        count = total = 0
        for reference, name in volume.index(volume.mft.record(number)).named():
            count += 1
            total ^= hash((reference & records.RECORD_MASK, name.name, name.space))
            if name.parent & records.RECORD_MASK != number:
                parent = name.parent & records.RECORD_MASK
                yield f"folder {number}: {name.name!r} says that it is in folder {parent}"
            if (reason := census.wrong(reference)) is not None:
                yield f"folder {number}: {name.name!r}: {reason}"
        if census.named(number) != (count, total):
            yield from _differences(volume, number)
    except ImageError as exc:
        yield f"folder {number}: {exc}"


def _differences(volume: NtfsVolume, number: int) -> Iterator[str]:
    mask = records.RECORD_MASK
    listed = {
        (reference & mask, name.name) for reference, name in volume.index(volume.mft.record(number)).named()
    }
    stored = {(reference & mask, name.name) for reference, name in names_of(volume, number)}
    for record, name in sorted(stored - listed):
        yield f"folder {number}: its index lacks {name!r}, which record {record} says is in it"
    for record, name in sorted(listed - stored):
        yield f"folder {number}: its index has {name!r}, record {record} does not say so"


def _descriptors(volume: NtfsVolume) -> Iterator[str]:
    """The checksums of all security descriptors."""
    try:
        secure = volume.mft.record(SECURE)
        if not secure.in_use or volume.stream(secure, records.INDEX_ROOT, "$SII") is None:
            return  # before NTFS 3
        for node in volume.index(secure, "$SII").nodes():
            for entry in entries(node):
                if entry.key:
                    try:
                        shared(volume, int.from_bytes(entry.key[:4], "little"))
                    except ImageError as exc:
                        yield f"$Secure: {exc}"
    except ImageError as exc:
        yield f"$Secure: {exc}"
