"""Folders whose index is damaged: each file's record names the folder that it is in."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, Final

from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME
from imgmount.filesystems.ntfs.index import entries
from imgmount.filesystems.ntfs.records import FileName, parse_record

if TYPE_CHECKING:
    from imgmount.filesystems.ntfs.mft import Mft
    from imgmount.filesystems.ntfs.volume import NtfsVolume

log = logging.getLogger(__name__)

_ATTRIBUTES: Final = Struct("<I")
_ATTRIBUTES_AT: Final = 56  # in a name
_FOLDER: Final = 0x1000_0000  # among them, where the name stands in an index
NOBODY: Final = (1 << 64) - 1  # instead of the number of a folder
MAX_LOST: Final = 1000  # records that are counted
MAX_MORE: Final = 1 << 22  # names of files that have several


class Parents:
    """In which folders the files of a volume are: what one scan of its records told.

    ``lost`` are those that are damaged.
    """

    def __init__(self, mft: Mft) -> None:
        self._first = array("Q")
        self._more: dict[int, list[int]] = {}
        self.lost: set[int] = set()
        left = 0
        for number, raw in mft.scan():
            self._first.extend([NOBODY] * (number - len(self._first)))
            parents: list[int] = []
            try:
                parents = [name.parent & records.RECORD_MASK for _, name in names_in(raw, number)]
            except ImageError:
                if len(self.lost) < MAX_LOST:
                    self.lost.add(number)
            self._first.append(parents[0] if parents else NOBODY)
            for parent in set(parents[1:]):
                if left == MAX_MORE:
                    raise FormatError(NAME, f"more than {MAX_MORE} files with several names")
                left += 1
                self._more.setdefault(parent, []).append(number)

    def records_in(self, folder: int) -> Iterator[int]:
        """The numbers of the records that have names in ``folder``."""
        yield from self._more.get(folder, ())
        at = -1
        try:
            while True:
                at = self._first.index(folder, at + 1)
                yield at
        except ValueError:
            return


def names_in(raw: bytes, number: int) -> Iterator[tuple[int, FileName]]:
    """(reference of the file, name) of each name in a record that is in use. Raises ``FormatError``."""
    if raw[:4] == b"FILE" and not raw[22] & records.IN_USE:
        return
    record = parse_record(raw, number)
    for name in records.file_names(record):
        yield record.base or record.sequence << 48 | number, name


def names_of(volume: NtfsVolume, folder: int) -> Iterator[tuple[int, FileName]]:
    """(reference, name) of what is in the folder of a number, as the records of the files have it."""
    try:
        sequences: tuple[int, ...] = (0, volume.mft.record(folder).sequence)
    except ImageError:
        sequences = ()  # it could be any
    for number, raw in volume.mft.batch(volume.parents.records_in(folder)):
        try:
            for reference, name in names_in(raw, number):
                if name.parent & records.RECORD_MASK == folder and (
                    not sequences or name.parent >> 48 in sequences
                ):
                    yield reference, name
        except ImageError:
            continue


def rescue(
    volume: NtfsVolume, folder: int, found: list[tuple[int, str]], cause: ImageError
) -> ImageError | None:
    """Add to ``found`` what the index of ``folder`` no longer tells.

    The result is what may be missing even then.
    """
    reason = cause.reason if isinstance(cause, FormatError) else str(cause)
    known = set(found)
    try:
        for reference, name in names_of(volume, folder):
            if name.space != records.DOS and (reference, name.name) not in known:
                found.append((reference, name.name))
                known.add((reference, name.name))
        lost = len(volume.parents.lost - {folder})
    except ImageError as exc:
        return FormatError(NAME, f"folder {folder}: {reason}; {exc}")
    if lost:
        return FormatError(NAME, f"folder {folder}: {reason}; and {lost} file records are damaged")
    if folder not in volume.rescued:
        volume.rescued.add(folder)
        log.warning("%s: folder %d: %s: its names are taken from the file records", NAME, folder, reason)
    return None


def folders(volume: NtfsVolume, parent: int) -> frozenset[int]:
    """The references of what the index of ``parent`` says are folders, whatever their records say."""
    if parent not in volume.said_folders:
        found: set[int] = set()
        try:
            for node in volume.index(volume.mft.record(parent)).nodes():
                found |= {entry.reference for entry in entries(node) if _is_folder(entry.key)}
        except ImageError as exc:
            log.debug("%s: folder %d: %s", NAME, parent, exc)
        volume.said_folders[parent] = frozenset(found)
    return volume.said_folders[parent]


def _is_folder(key: bytes) -> bool:
    return len(key) >= records.NAME_SIZE and bool(_ATTRIBUTES.unpack_from(key, _ATTRIBUTES_AT)[0] & _FOLDER)
