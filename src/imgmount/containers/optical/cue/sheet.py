"""What a cue sheet says, made into tracks. See ``cue``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from imgmount.containers.optical.audio_files import samples_of, sectors_of
from imgmount.containers.optical.cue.lines import RAW_TYPES, CueSheet, SheetFile, SheetTrack
from imgmount.containers.optical.text_sheet import open_data, read_text
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.slices import Concat, Slice
from imgmount.errors import FormatError, ImageError
from imgmount.families.optical.disc import PREGAP, Disc, Track, session_gap
from imgmount.families.optical.layouts import PLAIN, contradiction, find_layout, has_descriptor, settled
from imgmount.families.optical.sectors import Mode

log = logging.getLogger(__name__)

WAVES: Final = (b"RIFF", b"FORM")


def read_sheet(file: BlockDevice, context: Context) -> Disc:
    """The disc that the sheet ``file`` describes. Raises ``FormatError``, ``MissingPartError``."""
    sheet = CueSheet(read_text(file, "cue", context.options.encoding))
    if not sheet.files or not sheet.tracks:
        missing = "TRACK" if sheet.files else "FILE"
        raise FormatError(
            "cue", f"the sheet has no {missing} line: it needs a FILE line and a TRACK line below it"
        )
    for source in sheet.files:
        if source.indexes:
            _read_file(sheet, source, context)
    tracks = _addressed(sheet)
    return Disc("cue", tracks, problems=sheet.problems)


def _read_file(sheet: CueSheet, source: SheetFile, context: Context) -> None:
    """Give each track its part of the file, or what is wrong with it."""
    starts = _starts(sheet, source)
    try:
        stored = open_data(source.name, context, "cue", alone=len(sheet.files) == 1)
    except ImageError as exc:
        for number, (track, start) in enumerate(starts):
            track.fault = exc
            track.sectors += starts[number + 1][1] - start if number + 1 < len(starts) else 0
        return
    if _is_audio_file(source, stored):
        try:
            stored, big_endian = samples_of(stored, "cue")
        except FormatError as exc:
            log.warning("cue: %s is shown as it is: %s", source.name, exc.reason)
            _place_original(source, starts, stored)
            return
    else:
        big_endian = source.kind == "MOTOROLA"
    _place(sheet, source, starts, stored, big_endian=big_endian)


def _is_audio_file(source: SheetFile, stored: BlockDevice) -> bool:
    """Whether ``stored`` is a file of some form of sound, rather than sectors."""
    if any(track.layout.mode is not Mode.AUDIO for track in source.tracks):
        return source.kind not in RAW_TYPES and stored.pread(0, 4) in WAVES
    if source.kind not in RAW_TYPES:
        return source.kind != "BIN"
    return stored.pread(0, 4) in WAVES and source.name.lower().endswith((".wav", ".aif", ".aiff"))


def _starts(sheet: CueSheet, source: SheetFile) -> list[tuple[SheetTrack, int]]:
    """(track, sector of its first index in the file), in order.

    What lies before the first index belongs to the first track, too. An index that lies before the one above
    it is left out.
    """
    starts: list[tuple[SheetTrack, int]] = []
    kept = []
    last = 0
    for track, index, at in source.indexes:
        if at < last:
            sheet.problems.append(f"track {track.number}: INDEX {index:02} lies before the index above it")
            continue
        last = at
        kept.append((track, index, at))
        if not starts or starts[-1][0] is not track:
            starts.append((track, at if starts else 0))
    left_out = [track for track, _, _ in source.indexes if track not in [one for one, _ in starts]]
    for track in left_out:
        track.fault = FormatError("cue", f"track {track.number} begins before the track above it does")
    source.indexes = kept
    return starts


def _place(
    sheet: CueSheet,
    source: SheetFile,
    starts: list[tuple[SheetTrack, int]],
    stored: BlockDevice,
    *,
    big_endian: bool,
) -> None:
    """Each track reaches up to the first index of the next one; the last, to the end."""
    offset = 0
    for number, (track, start) in enumerate(starts):
        end = starts[number + 1][1] if number + 1 < len(starts) else None
        first = _first(source, track, start)
        if track.layout.mode is Mode.AUDIO:
            track.layout = track.layout._replace(big_endian=big_endian)
        sheet.problems += _settle(track, stored, offset, first or 0, alone=end is None)
        stride = track.layout.stride
        left = max(0, stored.size - offset)
        sectors = -(-left // stride) if end is None else end - start
        size = left if end is None else sectors * stride
        if size > left or not left:
            have = f"{left // stride} of {sectors} sectors are there" if left else "nothing of it is there"
            track.fault = FormatError("cue", f"{source.name} ends before track {track.number} does: {have}")
        track.parts.append(Slice(stored, min(offset, stored.size), min(size, left)))
        track.sectors += sectors
        if not track.met:
            track.met = first is not None
            track.before += sectors if first is None else first
        offset += size


def _first(source: SheetFile, track: SheetTrack, start: int) -> int | None:
    """Sectors from ``start`` to INDEX 01 of ``track``; None if that is not in this file."""
    return next((at - start for other, index, at in source.indexes if other is track and index == 1), None)


def _settle(
    track: SheetTrack, stored: BlockDevice, offset: int, pregap: int, *, alone: bool
) -> Iterator[str]:
    """Take the size of data sectors from the bytes; a sheet that contradicts them is reported."""
    stated = track.layout
    if track.doubt is not None:
        found = find_layout(stored, offset, pregap)
        if found is None and has_descriptor(stored, PLAIN, offset + pregap * PLAIN.stride):
            found = PLAIN
        track.layout = found or stated
        track.fault = track.fault or (None if found else track.doubt)
    elif stated.mode is not Mode.AUDIO:
        track.layout = settled(stored, offset, stated, pregap=pregap, alone=alone)
        if track.layout.stride != stated.stride:
            yield contradiction(track.number, stated, track.layout)


def _place_original(source: SheetFile, starts: list[tuple[SheetTrack, int]], stored: BlockDevice) -> None:
    """Tracks whose samples are in another form are shown as the file that holds them."""
    suffix = source.name.rpartition(".")[2].lower()
    total = sectors_of(stored)
    for number, (track, start) in enumerate(starts):
        end = starts[number + 1][1] if number + 1 < len(starts) else max(start, total)
        track.original = (suffix, stored)
        track.sectors = end - start
        track.before = _first(source, track, start) or 0
        track.met = True


def _addressed(sheet: CueSheet) -> list[Track]:
    """The tracks with their places on the disc.

    The first 150 sectors of the first pregap come before LBA 0 and do not count.
    """
    found: list[Track] = []
    end, session = 0, 1
    for track in sheet.tracks:
        if not track.met:
            if track.fault is None:
                sheet.problems.append(
                    f"track {track.number} has no INDEX 01: it is taken to begin at its first index"
                )
            track.before = 0
        gap = track.gap or 0
        if not found:
            gap = max(0, gap - PREGAP)
        elif track.session != session:
            gap = max(0, PREGAP - track.before) if track.gap is None else track.gap
            gap += track.between or session_gap(session)
        session = track.session
        lba = end + gap + track.before
        found.append(_track(track, lba))
        end = lba + max(0, track.sectors - track.before) + track.postgap
    return found


def _track(track: SheetTrack, lba: int) -> Track:
    parts = [part for part in track.parts if part.size]
    if track.fault is not None and (not parts or track.fault is track.doubt):
        left = max(0, track.sectors - track.before)
        return Track.lost(track.number, track.session, lba, track.layout, track.fault, sectors=left)
    area = parts[0] if len(parts) == 1 else Concat.of(parts)
    return Track(
        track.number, track.session, lba, track.layout, area, track.before,
        original=track.original, fault=track.fault,
    )  # fmt: skip
