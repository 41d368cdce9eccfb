"""Amiga floppies packed track by track with DMS, the Disk Masher System. No file archives.

Everything is big endian: an archive header of 56 bytes, then for each track a header of 20 and its data.
Tracks inherit the state of the one before them, so the whole disk is decoded at open. Source: xDMS 1.3
(public domain), its headers and messages.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple

from construct import Bytes, Const, Int16ub, Int24ub, Int32ub, Padding, Struct

from imgmount.codecs.crcs import ShiftedCrc
from imgmount.codecs.dms import KEEP, SIMPLE, DmsDecoder
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.header import parsed, within
from imgmount.core.slices import MemoryDevice
from imgmount.errors import (
    ChecksumError,
    FormatError,
    ImageError,
    PasswordRequiredError,
    UnsupportedError,
    WrongPasswordError,
)

log = logging.getLogger(__name__)

MAGIC: Final = b"DMS!"
_HEADER = Struct(  # offset
    "magic" / Const(MAGIC),  # 0x00
    Padding(4),  # 0x04  who made it
    "flags" / Int32ub,  # 0x08
    "date" / Int32ub,  # 0x0C  seconds since 1970
    "low" / Int16ub,  # 0x10  first track
    "high" / Int16ub,  # 0x12  last track
    Padding(1),
    "packed" / Int24ub,  # 0x15
    Padding(1),
    "unpacked" / Int24ub,  # 0x19
    Padding(18),  # 0x1C  machine and processor
    "version" / Int16ub,  # 0x2E  of the program that packed it, times 100
    Padding(2),
    "disk_type" / Int16ub,  # 0x32
    "mode" / Int16ub,  # 0x34
    "crc" / Int16ub,  # 0x36  of 0x04-0x35
)
HEADER_SIZE: Final = 56
_TRACK = Struct(  # offset
    "magic" / Const(b"TR"),  # 0x00
    "number" / Int16ub,  # 0x02
    Padding(2),
    "packed" / Int16ub,  # 0x06  bytes that follow
    "middle" / Int16ub,  # 0x08  bytes before run lengths are undone
    "size" / Int16ub,  # 0x0A
    "flags" / Bytes(1),  # 0x0C
    "mode" / Bytes(1),  # 0x0D
    "sum" / Int16ub,  # 0x0E  of the bytes of the track
    "data_crc" / Int16ub,  # 0x10  of the bytes that follow
    "crc" / Int16ub,  # 0x12  of 0x00-0x11
)
TRACK_SIZE: Final = 20

ENCRYPTED: Final = 2
FLAGS: Final = {
    1: "no zeros",
    4: "appended",
    8: "banner",
    16: "high density",
    32: "MS-DOS",
    256: "FILEID.DIZ",
}
FILE_ARCHIVE: Final = 7  # disk type
DISK_TYPES: Final = ("", "OFS", "FFS", "OFS INTL", "FFS INTL", "OFS DIRC", "FFS DIRC")
MODES: Final = ("none", "simple", "quick", "medium", "deep", "heavy1", "heavy2")

FILE_ID: Final = 80  # numbers of tracks that are not the disk's
BANNER: Final = 0xFFFF
TRACKS: Final = 80
LARGEST_NOTE: Final = 2048  # a track of this size and more is not an extra bootblock or a text
LARGEST_TRACK: Final = 22 * 1024  # of a high density disk
MAX_ARCHIVES: Final = 8  # in one file
MAX_RECORDS: Final = 100  # 80 tracks, and texts
MAX_NOTE: Final = 4000  # characters of a text that are shown


class Track(NamedTuple):
    """A track's header, checked, and where its data is."""

    number: int
    offset: int
    packed: int
    middle: int
    size: int
    flags: int
    mode: int
    sum: int
    data_crc: int
    follows_loss: bool = False

    @property
    def is_disk(self) -> bool:
        """Whether it is part of the disk."""
        return self.number < TRACKS and self.size > LARGEST_NOTE


class DmsDevice(MappedDevice):
    """The disk in a DMS archive.

    A track that is damaged, lost, or inherits from one cannot be read. Tracks that were not packed are zeros.
    """

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._file = file
        self._problems: list[str] = []
        self._notes: dict[str, str] = {}
        self._end_lost = False  # nobody knows how many tracks followed
        archives = self._archives()
        self._header = archives[0][0]
        records = [track for _, tracks in archives for track in tracks]
        sizes = [track.size for track in records if track.is_disk]
        if not sizes:
            raise FormatError("dms", "the archive has no track of the disk", offset=HEADER_SIZE)
        self.block_size = max(sizes)
        self.size = TRACKS * self.block_size
        self._tracks: list[MemoryDevice | ImageError | None] = [None] * TRACKS
        self._modes = sorted({track.mode for track in records if track.is_disk})
        for header, tracks in archives:
            self._decode(header, tracks, context.options.password)
        self._lose(archives)

    def _archives(self) -> list[tuple[Any, list[Track]]]:
        """(header, tracks) of each archive in the file: several may hold one disk, one after the other."""
        found: list[tuple[Any, list[Track]]] = []
        taken: set[int] = set()
        offset = 0
        while not found or (len(found) < MAX_ARCHIVES and self._file.pread(offset, 4) == MAGIC):
            header = _header(self._file, offset)
            tracks = list(self._records(offset + HEADER_SIZE, header.high))
            numbers = {track.number for track in tracks if track.is_disk}
            if numbers & taken:
                self._report(
                    FormatError("dms", "a second archive, of another disk, is left out", offset=offset)
                )
                break
            taken |= numbers
            found.append((header, tracks))
            offset = tracks[-1].offset + tracks[-1].packed if tracks else offset + HEADER_SIZE
        return found

    def _records(self, offset: int, high: int) -> Iterator[Track]:
        """The tracks with sound headers. Behind an unsound one the next is looked for."""
        last = -1
        for _ in range(MAX_RECORDS):
            if offset >= self._file.size:
                return
            try:
                track = _track(self._file, offset)
            except ImageError as exc:
                if last >= high and self._file.pread(offset, 2) != b"TR":
                    return  # it is what follows the archive
                self._report(exc)
                if (found := _next_track(self._file, offset + 1)) is None:
                    self._end_lost = True
                    return
                track = found._replace(follows_loss=True)
            yield track
            last = track.number if track.is_disk else last
            offset = track.offset + track.packed

    def _report(self, problem: ImageError) -> None:
        self._problems.append(str(problem))
        log.warning("%s", problem)

    def _decode(self, header: Any, records: list[Track], password: str | None) -> None:
        encrypted = bool(header.flags & ENCRYPTED)
        if encrypted and password is None:
            raise PasswordRequiredError("dms: the archive is encrypted")
        state = crc16((password or "").encode("latin-1", "replace")) if encrypted else None
        decoder = DmsDecoder()
        inherited: ImageError | None = None
        blind: ImageError | None = None
        believed = not encrypted  # the first track proves the password
        for track in records:
            if track.follows_loss:
                reason = "the track that this one inherits from is lost"
                inherited = FormatError("dms", reason, offset=track.offset)
                blind = inherited if encrypted else None  # the state of the cipher is lost as well
            try:
                if blind is not None:
                    raise blind.again()
                data, state = self._data(track, state)
                if not track.is_disk:
                    self._note(track, data)
                    continue
                if inherited is not None and track.mode > SIMPLE:
                    raise inherited.again()
                self._tracks[track.number] = MemoryDevice(
                    _content(decoder, track, data).ljust(self.block_size, b"\0")
                )
                problem = None
            except ImageError as exc:
                if not believed and track.is_disk:
                    raise WrongPasswordError(
                        "dms: the password is wrong, or the first track damaged"
                    ) from exc
                self._report(exc)
                problem = exc
            if track.is_disk:
                self._tracks[track.number] = problem or self._tracks[track.number]
                inherited = (problem or inherited) if track.flags & KEEP else None
                believed = True

    def _lose(self, archives: list[tuple[Any, list[Track]]]) -> None:
        """Tracks that stood at a damaged place, or behind a cut, cannot be read; others were not packed."""
        lost: set[int] = set()
        for header, tracks in archives:
            before, longest, after_loss = header.low - 1, 0, False
            for track in tracks:
                after_loss |= track.follows_loss
                if not track.is_disk:
                    continue
                gap = range(before + 1, track.number)
                if after_loss:
                    lost.update(gap)
                else:
                    longest = max(longest, len(gap))
                before, after_loss = track.number, False
            end = range(before + 1, min(header.high + 1, TRACKS))
            if after_loss or len(end) > longest:  # empty tracks left out look like those before
                lost.update(end)
        present = {track.number for _, tracks in archives for track in tracks if track.is_disk}
        if self._end_lost:
            lost.update(range(max(present) + 1, TRACKS))
        lost -= present
        for number in lost:
            reason = f"track {number} is lost: no sound header leads to it"
            self._tracks[number] = FormatError("dms", reason, offset=HEADER_SIZE)
        if lost:
            numbers = ", ".join(map(str, sorted(lost)))
            self._report(FormatError("dms", f"{len(lost)} tracks are lost: {numbers}", offset=HEADER_SIZE))

    def _data(self, track: Track, state: int | None) -> tuple[bytes, int | None]:
        """What is stored of a track, decrypted; and the state of the cipher after it."""
        data = self._file.read_exactly(track.offset, track.packed, "dms")
        if crc16(data) != track.data_crc:
            raise ChecksumError(
                "dms", f"track {track.number} is damaged: its CRC differs", offset=track.offset
            )
        return (data, state) if state is None or track.number == FILE_ID else decrypt(data, state)

    def _note(self, track: Track, data: bytes) -> None:
        name = {FILE_ID: "FILEID.DIZ", BANNER: "banner"}.get(track.number)
        if name is not None:
            text = _content(DmsDecoder(), track, data).decode("latin-1")
            self._notes[name] = text.replace("\0", "")[:MAX_NOTE].strip()

    def _map(self, offset: int) -> Extent:
        number, skip = divmod(offset, self.block_size)
        track = self._tracks[number]
        if isinstance(track, ImageError):
            raise track.again()
        return Extent(self.block_size - skip, track, skip if track else 0)

    def info(self) -> Mapping[str, str]:
        header = self._header
        facts = {"compression": ", ".join(MODES[mode] for mode in self._modes)}
        if 0 < header.disk_type < len(DISK_TYPES):
            facts["disk"] = DISK_TYPES[header.disk_type]
        facts["flags"] = ", ".join(
            text for bit, text in (FLAGS | {ENCRYPTED: "encrypted"}).items() if header.flags & bit
        )
        facts["tracks"] = f"{header.low} to {header.high}"
        if header.date:
            facts["date"] = datetime.fromtimestamp(header.date, UTC).strftime("%Y-%m-%d %H:%M:%S")
        facts["packed by"] = f"DMS {header.version / 100:.2f}"
        return {name: value for name, value in (facts | self._notes).items() if value}

    def verify(self) -> Iterator[str]:
        """What was wrong when it was decoded."""
        yield from self._problems


def _header(file: BlockDevice, offset: int) -> Any:
    raw = file.read_exactly(offset, HEADER_SIZE, "dms")
    header = parsed(_HEADER, raw, offset, "dms", "the header")
    if crc16(raw[4:-2]) != header.crc:
        raise ChecksumError("dms", "the header is damaged: its CRC differs", offset=offset + HEADER_SIZE - 2)
    if header.disk_type == FILE_ARCHIVE:
        raise UnsupportedError("dms: archives of files, which hold no disk")
    return header


def _next_track(file: BlockDevice, offset: int) -> Track | None:
    """The first sound header from ``offset`` on, as far away as the longest track is."""
    data = file.pread(offset, 2 * LARGEST_TRACK).partition(MAGIC)[0]  # not into the next archive
    at = -1
    while (at := data.find(b"TR", at + 1)) >= 0:
        with contextlib.suppress(ImageError):
            return _track(file, offset + at)
    return None


def _track(file: BlockDevice, offset: int) -> Track:
    raw = file.read_exactly(offset, TRACK_SIZE, "dms")
    header = parsed(_TRACK, raw, offset, "dms", "the header of a track")
    if crc16(raw[:-2]) != header.crc:
        reason = "the header of a track is damaged (its CRC differs)"
        raise ChecksumError("dms", reason, offset=offset)
    if header.mode[0] >= len(MODES):
        reason = f"compression {header.mode[0]} of a track is not from 0 to {len(MODES) - 1}"
        raise FormatError("dms", reason, offset=offset)
    within("dms", "size of a track", header.size, 0, LARGEST_TRACK, offset=offset)
    # the escapes of run lengths double it at most
    within("dms", "size of a track in run lengths", header.middle, 0, 2 * LARGEST_TRACK, offset=offset)
    return Track(
        header.number, offset + TRACK_SIZE, header.packed, header.middle, header.size, header.flags[0],
        header.mode[0], header.sum, header.data_crc,
    )  # fmt: skip


def _content(decoder: DmsDecoder, track: Track, data: bytes) -> bytes:
    try:
        content = decoder.track(data, track.mode, track.flags, track.middle, track.size)
    except FormatError as exc:
        raise FormatError("dms", f"track {track.number}: {exc.reason}", offset=track.offset) from exc
    if sum(content) & 0xFFFF != track.sum:
        raise ChecksumError(
            "dms", f"track {track.number} is damaged: its checksum differs", offset=track.offset
        )
    return content


def decrypt(data: bytes, state: int) -> tuple[bytes, int]:
    """(plain bytes, the state that the next track begins with)."""
    plain = bytearray()
    for byte in data:
        plain.append(byte ^ state & 0xFF)
        state = (state >> 1) + byte & 0xFFFF
    return bytes(plain), state


@cache
def _crc() -> ShiftedCrc:
    return ShiftedCrc(0xA001)


def crc16(data: bytes) -> int:
    """CRC-16/ARC."""
    return _crc().update(data, 0)


FORMAT: Final = ContainerFormat(
    name="dms",
    title="Amiga floppy packed with DMS",
    extensions=(".dms",),
    checks="CRC-16 of header and tracks, sums of their content",
    open=DmsDevice,
    limits="decoded whole at open; archives of files are refused",
)
