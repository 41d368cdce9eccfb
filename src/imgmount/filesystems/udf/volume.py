"""A UDF volume put together: partitions, file set, root directory, integrity.

Source: ECMA-167 4/8, UDF 2.2 and 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.layout import LayoutError
from imgmount.core.node import Directory, Filesystem
from imgmount.errors import FormatError, ImageError
from imgmount.families.optical.options import no_session, session
from imgmount.filesystems.udf.anchors import FIRST_ANCHOR, Anchor, anchors, sessions
from imgmount.filesystems.udf.descriptors import Descriptors
from imgmount.filesystems.udf.icb import VolumeSpace
from imgmount.filesystems.udf.nodes import UdfDirectory, make_node
from imgmount.filesystems.udf.partitions import Disc, LaterSessionError, VirtualPartition, build
from imgmount.filesystems.udf.structs import (
    BLOCK_SIZES,
    FILE_SET,
    FILE_SET_DESCRIPTOR,
    FMT,
    INTEGRITY,
    INTEGRITY_CLOSED,
    INTEGRITY_DESCRIPTOR,
    INTEGRITY_TABLES_AT,
    INTEGRITY_USE,
    Place,
    long_ad,
    read_descriptor,
)

MAX_FILE_SETS: Final = 64
# integrity descriptors of a volume: one for each time a write-once disc was opened
MAX_INTEGRITY: Final = 1024
CLOSED: Final = "closed"
OPEN: Final = "open: not unmounted cleanly"


class UdfFilesystem(Filesystem):
    """A UDF volume, as one anchor describes it."""

    def __init__(self, image: BlockDevice, anchor: Anchor, passed_over: ImageError | None = None) -> None:
        """``passed_over`` is why a later session, or likelier anchor, was not taken."""
        self.image = image
        self.anchor = anchor
        self.passed_over = passed_over
        self.descriptors = Descriptors(image, anchor)
        volume = self.descriptors.volume
        if volume.block_size != anchor.block_size:
            raise FormatError(
                FMT,
                f"logical blocks have {volume.block_size} bytes, not the {anchor.block_size} of the anchor",
            )
        self.disc = Disc(image, anchor.block_size, anchor.end, self.descriptors.partitions, [])
        self.space: VolumeSpace = build(self.disc, self.descriptors.maps)
        file_set = self._file_set(long_ad(volume.contents, 0))
        self.label = volume.identifier or file_set.identifier
        place = long_ad(file_set.root, 0)
        root = make_node(self.space, place, self.space.entry(place))
        if not isinstance(root, UdfDirectory):
            raise FormatError(FMT, "the root is not a directory", offset=place.block * anchor.block_size)
        self._root = root
        self.root_place = place

    @property
    def root(self) -> Directory:
        return self._root

    def _file_set(self, place: Place) -> Any:
        """The prevailing descriptor of the file set (4/8.3.1).

        On write-once media the later ones supersede the first.
        """
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
            if found.number == newest.number and found.descriptor_number > newest.descriptor_number:
                newest = found
        return newest

    def integrity(self) -> tuple[Any, Any] | None:
        """(the last logical volume integrity descriptor, UDF's part of it), if they can be read (3/8.8.2)."""
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
        except LayoutError:
            use = None
        return head, use

    @cached_property
    def state(self) -> tuple[str, tuple[int, int] | None]:
        """Whether the volume was closed, and how many files and directories it says it has.

        On a write-once disc the virtual allocation table says so, and the integrity descriptor stays open for
        ever.
        """
        table = next((part for part in self.space.partitions if isinstance(part, VirtualPartition)), None)
        if table is not None:
            return CLOSED, table.counts
        found = self.integrity()
        if found is None:
            return "not recorded", None
        head, use = found
        return CLOSED if head.type == INTEGRITY_CLOSED else OPEN, (
            use.files,
            use.directories,
        ) if use else None

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
        if self.passed_over:
            facts["passed over"] = str(self.passed_over)
        if counts:
            facts["files"], facts["directories"] = map(str, counts)
        return facts


def open_udf(image: BlockDevice, context: Context, session_base: int = 0) -> UdfFilesystem:
    """The volume in ``image``.

    Of several sessions it is the last, or the one that the options name (counted from 1).

    ``session_base`` is the block at which the session of interest begins, where the caller knows. Raises
    ``ImageError``.
    """
    wanted = session(context.options.extra)
    if wanted is not None and not session_base:
        found = sessions(image)
        count = max(1, len(found))
        if not 1 <= wanted <= count:
            raise ImageError(f"{FMT}: {no_session(wanted, count)}")
        if count > 1:
            return UdfFilesystem(image, found[wanted - 1])
    problem: ImageError | None = None
    candidates = anchors(image, session_base)
    scanned = False
    while (anchor := next(candidates, None)) is not None:
        try:
            return UdfFilesystem(image, anchor, problem)
        except LaterSessionError as exc:
            if scanned:
                problem = problem or exc
                continue
            scanned = True
            later = [
                one
                for one in reversed(sessions(image))
                if not session_base or one.block == session_base + FIRST_ANCHOR
            ]
            candidates = chain(later, candidates)
        except ImageError as exc:
            problem = problem or exc
    raise problem or FormatError(
        FMT, "no anchor volume descriptor is found", offset=FIRST_ANCHOR * BLOCK_SIZES[0]
    )
