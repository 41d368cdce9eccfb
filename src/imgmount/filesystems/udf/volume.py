"""From anchor to root directory: how a volume is found and put together (ECMA-167 3/8.4, UDF 2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, NamedTuple

from construct import ConstructError

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import Directory, Filesystem
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.udf.icb import Space
from imgmount.filesystems.udf.nodes import UdfDirectory, make_node
from imgmount.filesystems.udf.partitions import Disc, LaterSessionError, MapEntry, VirtualPartition, build, parse_maps
from imgmount.filesystems.udf.structs import (
    ANCHOR,
    ANCHOR_DESCRIPTOR,
    BLOCK_SIZES,
    FILE_SET,
    FILE_SET_DESCRIPTOR,
    FMT,
    INTEGRITY,
    INTEGRITY_CLOSED,
    INTEGRITY_DESCRIPTOR,
    INTEGRITY_TABLES_AT,
    INTEGRITY_USE,
    LOGICAL_VOLUME,
    LOGICAL_VOLUME_DESCRIPTOR,
    MAPS_AT,
    PARTITION,
    PARTITION_DESCRIPTOR,
    POINTER_DESCRIPTOR,
    TAG,
    TAG_SIZE,
    TERMINATING,
    VOLUME_POINTER,
    Place,
    check_tag,
    long_ad,
    read_descriptor,
)

FIRST_ANCHOR: Final = 256
UNCLOSED_ANCHOR: Final = 512  # where an unclosed disc has it (UDF 6.11)
MAX_SEQUENCE: Final = 1024  # blocks of a volume descriptor sequence
MAX_POINTERS: Final = 16  # extents of a volume descriptor sequence
MAX_FILE_SETS: Final = 64
MAX_INTEGRITY: Final = 1024  # integrity descriptors of a volume: one for each time a write-once disc was opened
CLOSED: Final = "closed"
OPEN: Final = "open: not unmounted cleanly"
SESSION_BLOCK: Final = 2048  # only optical discs have sessions
MAX_SCAN: Final = 1 << 30  # bytes searched for sessions: the largest disc with more than one of them was a CD
SCAN_STEP: Final = 1 << 20
RECOGNITION_AT: Final = 0x8000  # where the volume recognition sequence begins, from the start of a session
RECOGNITION_STEP: Final = 2048  # or a block, where that is larger
MAX_RECOGNITION: Final = 64  # descriptors
_RECOGNITION: Final = b"BEA01"
_UDF: Final = (b"NSR02", b"NSR03")
_OTHERS: Final = (b"TEA01", b"BOOT2", b"CDW02")
_ISO_9660: Final = b"CD001"
VOLUME_DESCRIPTORS: Final = tuple(range(1, 9))  # tag identifiers


class Anchor(NamedTuple):
    """Where the volume descriptors of a session are, and where the session ends, all in blocks."""

    block_size: int
    block: int
    main: tuple[int, int]  # length in bytes, block
    reserve: tuple[int, int]
    end: int


def read_anchor(image: BlockDevice, block_size: int, block: int, end: int) -> Anchor | None:
    """The anchor volume descriptor pointer at ``block`` (3/10.2), if a valid one is there."""
    raw = image.pread(block * block_size, block_size) if block >= 0 else b""
    if len(raw) < block_size:
        return None
    try:
        check_tag(raw, (ANCHOR,), (block,), block * block_size)
    except FormatError:
        return None
    found = ANCHOR_DESCRIPTOR.parse(raw)
    places = [(extent.length, extent.location) for extent in (found.main, found.reserve)]
    return Anchor(block_size, block, places[0], places[1], end)


def anchors(image: BlockDevice, base: int = 0) -> Iterator[Anchor]:
    """Every anchor at its places, likeliest first; ``base`` is the block at which a session begins.

    An anchor at the end that names later descriptors than the one at 256 belongs to a later session, and goes first. Anchors of
    an earlier life may survive at other block sizes: one that the recognition sequence speaks for goes before them.
    """
    for block_size in sorted(BLOCK_SIZES, key=lambda size: not _is_recognised(image, size, base * size)):
        end = image.size // block_size
        first = read_anchor(image, block_size, base + FIRST_ANCHOR, end)
        last = [read_anchor(image, block_size, end - 1 - gap, end) for gap in (0, FIRST_ANCHOR)]
        later = [anchor for anchor in last if anchor and not base and (not first or anchor.main[1] > first.main[1])]
        places = [*later, first, read_anchor(image, block_size, base + UNCLOSED_ANCHOR, end), *last]
        yield from dict.fromkeys(anchor for anchor in places if anchor)


def _is_recognised(image: BlockDevice, block_size: int, start: int) -> bool:
    """Whether there is a volume recognition sequence (2/8.3) in the steps that ``block_size`` asks for."""
    for step in range(MAX_RECOGNITION):
        word = image.pread(start + RECOGNITION_AT + step * max(RECOGNITION_STEP, block_size) + 1, len(_RECOGNITION))
        if word in _UDF:
            return True
        if word not in (_RECOGNITION, _ISO_9660, *_OTHERS):
            return False
    return False


def sessions(image: BlockDevice) -> list[Anchor]:
    """The anchors of all sessions, in order: each begins with a recognition sequence and has an anchor 256 blocks on."""
    found: list[Anchor] = []
    for base in _recognised(image):
        anchor = read_anchor(image, SESSION_BLOCK, base + FIRST_ANCHOR, image.size // SESSION_BLOCK)
        if anchor and (not found or anchor.main != found[-1].main):
            found.append(anchor)
    ends = [anchor.block - FIRST_ANCHOR for anchor in found[1:]]
    return [anchor._replace(end=end) for anchor, end in zip(found, [*ends, image.size // SESSION_BLOCK], strict=False)]


def _recognised(image: BlockDevice) -> Iterator[int]:
    """The blocks where sessions begin, as their recognition sequences say (on bridge discs those of ISO 9660 go first)."""
    ahead = 0
    for start in range(0, min(image.size, MAX_SCAN), SCAN_STEP):
        chunk = image.pread(start, SCAN_STEP)
        for at in range(1, len(chunk), SESSION_BLOCK):
            word = chunk[at : at + len(_RECOGNITION)]
            if word == _RECOGNITION:
                yield (start + at - RECOGNITION_AT) // SESSION_BLOCK - ahead
            ahead = ahead + 1 if word == _ISO_9660 else 0


class Descriptors:
    """The prevailing volume descriptors of an anchor: of several of a kind, the one with the highest sequence number.

    The reserve sequence is read where the main one is damaged or lacks something. ``damage`` says what was wrong.
    """

    def __init__(self, image: BlockDevice, anchor: Anchor) -> None:
        self.damage: list[str] = []
        self._image = image
        self._block_size = anchor.block_size
        self._newest: tuple[int, bytes] | None = None  # sequence number and logical volume descriptor
        self._partitions: dict[int, tuple[int, int, int]] = {}
        for extent in (anchor.main, anchor.reserve):
            self._collect(extent)
            if self._newest and not self.damage and self._complete(self._newest[1]):
                break
        if self._newest is None:
            raise FormatError(FMT, "no logical volume descriptor", offset=anchor.main[1] * anchor.block_size)
        self.volume: Any = LOGICAL_VOLUME_DESCRIPTOR.parse(self._newest[1])
        self.maps: list[MapEntry] = _maps(self._newest[1])

    @property
    def partitions(self) -> dict[int, tuple[int, int]]:
        """Start and length in blocks by partition number."""
        return {number: (start, length) for number, (_, start, length) in self._partitions.items()}

    def _complete(self, volume: bytes) -> bool:
        """Whether every partition that ``volume`` needs has been seen. Raises ``ImageError``."""
        return all(entry.number in self._partitions for entry in _maps(volume))

    def _collect(self, extent: tuple[int, int]) -> None:
        for raw in read_sequence(self._image, self._block_size, extent, self.damage):
            ident = TAG.unpack_from(raw)[0]
            if ident == LOGICAL_VOLUME:
                sequence = LOGICAL_VOLUME_DESCRIPTOR.parse(raw).sequence
                if self._newest is None or sequence > self._newest[0]:
                    self._newest = sequence, raw
            elif ident == PARTITION:
                found = PARTITION_DESCRIPTOR.parse(raw)
                known = self._partitions.get(found.number)
                if known is None or found.sequence > known[0]:
                    self._partitions[found.number] = found.sequence, found.start, found.length


def _maps(volume: bytes) -> list[MapEntry]:
    """The partition maps of a logical volume descriptor. Raises ``ImageError``."""
    found = LOGICAL_VOLUME_DESCRIPTOR.parse(volume)
    return list(parse_maps(volume[MAPS_AT : MAPS_AT + found.maps_length], found.maps_count))


def read_sequence(image: BlockDevice, block_size: int, extent: tuple[int, int], damage: list[str]) -> Iterator[bytes]:
    """The descriptors of a volume descriptor sequence (3/8.4.2); those that are damaged are described in ``damage``."""
    for _ in range(MAX_POINTERS):
        length, first = extent
        blocks = min(length // block_size, MAX_SEQUENCE)
        at, extent = 0, (0, 0)
        while at < blocks:
            offset = (first + at) * block_size
            at += 1
            try:
                if not any(image.read_exactly(offset, TAG_SIZE, FMT)):
                    break  # not recorded
                raw = read_descriptor(image, block_size, first + at - 1, *VOLUME_DESCRIPTORS)
            except ImageError as exc:
                damage.append(str(exc))
                continue
            at += len(raw) // block_size - 1
            ident = TAG.unpack_from(raw)[0]
            if ident == TERMINATING:
                break
            if ident == VOLUME_POINTER:
                following = POINTER_DESCRIPTOR.parse(raw).next
                extent = following.length, following.location
                break
            yield raw
        if not extent[0]:
            return


class UdfFilesystem(Filesystem):
    """A UDF volume, as one anchor describes it."""

    def __init__(self, image: BlockDevice, anchor: Anchor) -> None:
        self.image = image
        self.anchor = anchor
        self.descriptors = Descriptors(image, anchor)
        volume = self.descriptors.volume
        if volume.block_size != anchor.block_size:
            raise FormatError(FMT, f"logical blocks of {volume.block_size} bytes on sectors of {anchor.block_size}")
        self.disc = Disc(image, anchor.block_size, anchor.end, self.descriptors.partitions)
        self.space: Space = build(self.disc, self.descriptors.maps)
        file_set = self._file_set(long_ad(volume.contents, 0))
        self.label = volume.identifier or file_set.identifier
        place = long_ad(file_set.root, 0)
        root = make_node(self.space, place, self.space.entry(place))
        if not isinstance(root, UdfDirectory):
            raise FormatError(FMT, "the root is not a directory", offset=place.block * anchor.block_size)
        self._root = root

    @property
    def root(self) -> Directory:
        return self._root

    def _file_set(self, place: Place) -> Any:
        """The prevailing descriptor of the file set (4/8.3.1): on write-once media the later ones supersede the first."""
        raw, _ = self.space.descriptor(place.partition, place.block, FILE_SET)
        newest = FILE_SET_DESCRIPTOR.parse(raw)
        for _ in range(MAX_FILE_SETS):
            following = long_ad(FILE_SET_DESCRIPTOR.parse(raw).next, 0)
            if not following.length and place.length >= 2 * self.anchor.block_size:
                following = Place(place.partition, place.block + 1, place.length - self.anchor.block_size)
            if not following.length:
                break
            place = following
            try:
                raw, _ = self.space.descriptor(place.partition, place.block, FILE_SET)
            except ImageError:
                break  # not recorded, or the descriptor that ends the sequence
            found = FILE_SET_DESCRIPTOR.parse(raw)
            if (found.number, found.descriptor_number) > (newest.number, newest.descriptor_number):
                newest = found if found.number == newest.number else newest
        return newest

    def integrity(self) -> tuple[Any, Any] | None:
        """The last logical volume integrity descriptor and UDF's part of it (3/8.8.2), if they can be read."""
        extent = self.descriptors.volume.integrity
        block_size = self.anchor.block_size
        newest, block, blocks = None, extent.location, extent.length // block_size
        for _ in range(MAX_INTEGRITY):
            if not blocks:
                break
            try:
                raw = read_descriptor(self.image, block_size, block, INTEGRITY)
            except ImageError:
                break
            newest, block, blocks = raw, block + 1, blocks - 1
            following = INTEGRITY_DESCRIPTOR.parse(raw).next
            if following.length:
                block, blocks = following.location, following.length // block_size
        if newest is None:
            return None
        head = INTEGRITY_DESCRIPTOR.parse(newest)
        try:
            use = INTEGRITY_USE.parse(newest[INTEGRITY_TABLES_AT + 8 * head.partitions :])
        except ConstructError:
            use = None
        return head, use

    @cached_property
    def state(self) -> tuple[str, tuple[int, int] | None]:
        """Whether the volume was closed, and how many files and directories it says it has.

        On a write-once disc the virtual allocation table says so, and the integrity descriptor stays open for ever.
        """
        table = next((part for part in self.space.partitions if isinstance(part, VirtualPartition)), None)
        if table is not None:
            return CLOSED, table.counts
        found = self.integrity()
        if found is None:
            return "not recorded", None
        head, use = found
        return CLOSED if head.type == INTEGRITY_CLOSED else OPEN, (use.files, use.directories) if use else None

    def info(self) -> Mapping[str, str]:
        revision = int.from_bytes(self.descriptors.volume.domain.suffix[:2], "little")
        facts = {
            "revision": f"{revision >> 8:x}.{revision & 0xFF:02x}",
            "block size": str(self.anchor.block_size),
            "anchor": f"block {self.anchor.block}",
        }
        for index, entry in enumerate(self.descriptors.maps):
            start, length = self.disc.extent(entry.number)
            facts[f"partition {index}"] = f"{entry.title}, {length} blocks at {start}"
        facts["integrity"], counts = self.state
        if counts:
            facts["files"], facts["directories"] = map(str, counts)
        return facts

    def verify(self) -> Iterator[str]:
        from imgmount.filesystems.udf.check import check

        return check(self)


def open_udf(image: BlockDevice, context: Context, session_base: int = 0) -> UdfFilesystem:
    """The volume in ``image``: of several sessions the last, or the one that the options name (counted from 1).

    ``session_base`` is the block at which the session of interest begins, where the caller knows. Raises ``ImageError``.
    """
    wanted = context.options.session
    if wanted is not None and not session_base and len(found := sessions(image)) > 1:
        if not 1 <= wanted <= len(found):
            raise ImageError(f"{FMT}: session {wanted} of {len(found)}")
        return UdfFilesystem(image, found[wanted - 1])
    problem: ImageError | None = None
    for anchor in anchors(image, session_base):
        try:
            return UdfFilesystem(image, anchor)
        except LaterSessionError as exc:
            problem = problem or exc
            for later in reversed(sessions(image)):
                if not session_base or later.block == session_base + FIRST_ANCHOR:
                    with suppress(ImageError):
                        return UdfFilesystem(image, later)
        except ImageError as exc:
            problem = problem or exc
    raise problem or FormatError(FMT, "no anchor", offset=FIRST_ANCHOR * BLOCK_SIZES[0])
