"""An LVM2 volume group on one disk: where the extents of its logical volumes are.

Source: LVM2, ``lib/format_text/import_vsn1.c`` and ``lib/striped/striped.c`` (settings of volumes and
segments), the kernel's ``drivers/md/dm-stripe.c``. Places and sizes are in sectors of 512 bytes or in
extents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.slices import Concat, Unreadable
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.partitions.lvm2.label import SECTOR
from imgmount.partitions.lvm2.text import Section

MAX_SIZE: Final = 1 << 63
MAX_STRIPES: Final = 128


class Striped(MappedDevice):
    """``stripe_size`` bytes of each area in turn. The areas are equally long, a multiple of the stripe."""

    def __init__(self, areas: Sequence[Extent], stripe_size: int) -> None:
        self._areas = areas
        self._stripe_size = stripe_size
        self.size = sum(area.length for area in areas)

    def _map(self, offset: int) -> Extent:
        stripe, skip = divmod(offset, self._stripe_size)
        row, column = divmod(stripe, len(self._areas))
        area = self._areas[column]
        return Extent(self._stripe_size - skip, area.device, area.offset + row * self._stripe_size + skip)


class Member(NamedTuple):
    """A physical volume that is here."""

    device: BlockDevice
    has_metadata: bool


class Group:
    """A volume group, as far as its physical volumes are ``members``, which are here by UUID."""

    def __init__(self, members: Mapping[str, Member], group: Section) -> None:
        self._members = members
        self._extent = group.number("extent_size") * SECTOR
        if not 0 < self._extent < MAX_SIZE:
            raise FormatError("lvm2", "extents of no size")
        self._physical = group.section("physical_volumes")
        self.logical = dict(group.section("logical_volumes").sections())
        self._refused = dict(self._snapshots())
        self._shared = self._overlapping()

    def _snapshots(self) -> Iterator[tuple[str, ImageError]]:
        """Volumes whose extents hold something else: stores of snapshots, and origins during a merge."""
        for volume in self.logical.values():
            for _, segment in volume.sections():
                origin = segment.get("origin")
                for key in ("cow_store", "merging_store"):
                    if segment.get("type") == "snapshot" and isinstance(store := segment.get(key), str):
                        yield store, UnsupportedError(f"lvm2: snapshot of {origin}")
                        if key == "merging_store" and isinstance(origin, str):
                            yield origin, UnsupportedError("lvm2: origin of a snapshot that is being merged")

    def _overlapping(self) -> set[str]:
        """The volumes that share extents with another one, or with themselves: one of the two is wrong."""
        claims = []
        for name, volume in self.logical.items():
            for _, segment in volume.sections():
                try:
                    for pv, first, count in self._stripes(segment):
                        # an extent past the end of its volume is wrong by itself
                        if first + count <= self._physical.section(pv).number("pe_count"):
                            claims.append((pv, first, first + count, name))
                except ImageError:
                    continue
        shared: set[str] = set()
        last, end, owner = "", 0, ""
        for pv, first, stop, name in sorted(claims):
            if pv == last and first < end:
                shared |= {owner, name}
            if pv != last or stop > end:
                last, end, owner = pv, stop, name
        return shared

    def _stripes(self, segment: Section) -> list[tuple[str, int, int]]:
        """(volume, first extent, extents) of each area of a segment. Raises ``FormatError``."""
        if segment.get("type") not in ("striped", "linear"):
            return []
        count, stripes, items = (
            segment.number("extent_count"),
            segment.number("stripe_count"),
            segment.items_of("stripes"),
        )
        if not 0 < stripes <= MAX_STRIPES or count % stripes or len(items) != 2 * stripes:
            raise FormatError(
                "lvm2", f"a segment of {count} extents in {stripes} stripes on {len(items) // 2} areas"
            )
        areas = []
        for name, first in zip(items[::2], items[1::2], strict=True):
            if not isinstance(name, str) or not isinstance(first, int) or not 0 <= first < MAX_SIZE:
                raise FormatError("lvm2", f"a segment on {name!r:.40} from extent {first!r:.40}")
            areas.append((name, first, count // stripes))
        return areas

    def _area(self, name: str, first: int, count: int) -> Extent:
        """Extents of a physical volume. Raises ``ImageError`` where it is not here."""
        volume = self._physical.get(name)
        if not isinstance(volume, Section):
            if name in self.logical:
                raise UnsupportedError(f"lvm2: a segment on another logical volume, {name}")
            raise FormatError("lvm2", f"a segment on {name!r:.40}, which is no volume of the group")
        if first + count > volume.number("pe_count"):
            raise FormatError(
                "lvm2", f"extents {first}+{count} of {name}, which has {volume.number('pe_count')}"
            )
        member = self._members.get(_plain(volume))
        if member is None:
            hint = volume.get("device")
            where = f" (last seen as {hint})" if isinstance(hint, str) else ""
            raise MissingPartError(
                f"lvm2: physical volume {volume.text('id')}{where} is missing: it is not on this disk"
            )
        start = volume.number("pe_start") * SECTOR + first * self._extent
        return Extent(count * self._extent, member.device, start)

    def _segment(self, segment: Section, faults: list[ImageError]) -> Extent:
        """What a segment consists of.

        What cannot be read raises when it is, and is appended to ``faults``.
        """
        kind, length = segment.text("type"), segment.number("extent_count") * self._extent
        if not 0 < length < MAX_SIZE:
            raise FormatError("lvm2", f"a segment of {segment.number('extent_count')} extents")
        if kind == "zero":
            return Extent(length)
        if kind not in ("striped", "linear"):
            faults.append(UnsupportedError(f"lvm2: {kind:.40} volumes"))
            return Extent(length, Unreadable(length, faults[-1]))
        areas = []
        for name, first, count in self._stripes(segment):
            try:
                areas.append(self._area(name, first, count))
            except ImageError as exc:
                faults.append(exc)
                areas.append(Extent(count * self._extent, Unreadable(count * self._extent, exc)))
        if len(areas) == 1:
            return areas[0]
        stripe = segment.number("stripe_size") * SECTOR
        if not stripe or areas[0].length % stripe:
            raise FormatError("lvm2", f"stripes of {stripe} bytes in areas of {areas[0].length}")
        return Extent(length, Striped(areas, stripe))

    def home(self, name: str) -> str:
        """The UUID of the physical volume that shows a logical volume.

        It is the first of those here that the volume lies on; if there is none, the first of the group.
        """
        its_own = (
            pv
            for segment in self._segments(name)
            for pv in segment.items_of("stripes")[: 2 * MAX_STRIPES : 2]
        )
        for pv in chain(its_own, self._physical):
            uuid = _plain(self._physical.section(str(pv)))
            if uuid in self._members and self._members[uuid].has_metadata:
                return uuid
        return ""

    def _segments(self, name: str) -> list[Section]:
        """Those of a logical volume, in order as far as they say where they begin."""
        found = [section for key, section in self.logical[name].sections() if key.startswith("segment")]
        return sorted(found, key=_start)

    def volume(self, name: str) -> tuple[str, BlockDevice, ImageError | None]:
        """(kind, content, why it or a part of it cannot be read) of a logical volume."""
        segments = self._segments(name)
        kinds = [
            "linear" if segment.get("stripe_count") == 1 else str(segment.get("type")) for segment in segments
        ]
        kind = f"lvm2 {'+'.join(dict.fromkeys(kinds)):.60}"
        faults: list[ImageError] = []
        try:
            runs, end = [], 0
            for segment in segments:
                if segment.number("start_extent") != end:
                    raise FormatError("lvm2", f"the segments of {name} do not follow each other")
                runs.append(self._segment(segment, faults))
                end += segment.number("extent_count")
            if (
                not runs
                or len(runs) != self.logical[name].number("segment_count")
                or end * self._extent >= MAX_SIZE
            ):
                raise FormatError("lvm2", f"{name} has {len(runs)} segments with {end} extents")
        except ImageError as exc:
            return kind, Unreadable(self._extent, exc), exc  # how long it would be is not known
        if name in self._shared:
            faults.insert(0, FormatError("lvm2", f"{name} shares extents with another volume"))
        elif name in self._refused:
            faults.insert(0, self._refused[name])
        else:
            return kind, Concat(runs), faults[0] if faults else None
        return kind, Unreadable(end * self._extent, faults[0]), faults[0]


def _plain(volume: Section) -> str:
    """The UUID of a physical volume as its label has it, empty where there is none."""
    uuid = volume.get("id")
    return uuid.replace("-", "") if isinstance(uuid, str) else ""


def _start(segment: Section) -> int:
    start = segment.get("start_extent")
    return start if isinstance(start, int) else 0
