"""An NTFS volume: its table of records, its own files, and what it says about itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from imgmount.core.bitmap import Bitmap
from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.core.node import Directory, Filesystem
from imgmount.core.single_parent import SingleParent
from imgmount.errors import FormatError, ImageError
from imgmount.families.windows import names
from imgmount.families.windows.options import STREAMS, SYSTEM
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.boot import NAME, read_boot
from imgmount.filesystems.ntfs.facts import Facts, bare_folder, facts_of
from imgmount.filesystems.ntfs.index import MAX_BLOCKS, Index
from imgmount.filesystems.ntfs.logfile import State, log_state
from imgmount.filesystems.ntfs.mft import CLUSTERS, LOG_FILE, ROOT, UPCASE, VOLUME, Mft
from imgmount.filesystems.ntfs.nodes import NtfsDirectory
from imgmount.filesystems.ntfs.quick import QuickLook
from imgmount.filesystems.ntfs.records import Record, parse_record
from imgmount.filesystems.ntfs.rescue import Parents
from imgmount.filesystems.ntfs.runs import Disk
from imgmount.filesystems.ntfs.streams import Stream, assemble, parts_of, stream_device

log = logging.getLogger(__name__)

_INFORMATION: Final = 12  # bytes of the information about a volume: version at 8, flags at 10
DIRTY: Final = 1
MAX_UPCASE: Final = 128 << 10  # one unit for each of 65536


class NtfsVolume(Filesystem):
    """A volume. Its root has no parent."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.shows_system = SYSTEM.of(context.options.extra) == "show"
        self.streams_as_files = STREAMS.of(context.options.extra) == "files"
        self.boot = read_boot(device)
        self.disk = Disk(device, self.boot.cluster_size, context.cache)
        self.mft = Mft(self.disk, self.boot)
        self._quick = QuickLook(self.boot.record_size, records.fixups_at(self.mft.own.data))
        self.uuid = f"{self.boot.serial:016X}"
        self.owners = SingleParent(NAME)
        self.rescued: set[int] = set()  # folders that have been reported
        self.said_folders: dict[int, frozenset[int]] = {}  # of folders with damage: see rescue.folders
        if self.boot.offset:
            log.warning("%s: the boot sector is damaged: its backup at %#x is used", NAME, self.boot.offset)
        if self.log_state is State.OPEN:
            log.warning(
                "%s: the log has entries that are not replayed: what was written last may be missing", NAME
            )

    @property
    def root(self) -> Directory:
        try:
            facts = self.facts(self.mft.record(ROOT))
        except ImageError:  # its files still name it
            facts = bare_folder(ROOT, 0)
        return NtfsDirectory(self, facts, 0, ROOT)

    def stream(self, record: Record, kind: int, name: str = "") -> Stream | None:
        """An attribute of a file, put together; None where it has none. Raises ``ImageError``."""
        parts = [part for part in parts_of(record, self.disk, self.mft.referred, kind) if part.name == name]
        return assemble(parts) if parts else None

    def streams(self, record: Record) -> Iterator[Stream]:
        """The named data streams of a file, but those that are damaged. Raises ``ImageError``."""
        parts = [part for part in parts_of(record, self.disk, self.mft.referred, records.DATA) if part.name]
        for name in dict.fromkeys(part.name for part in parts):
            try:
                yield assemble([part for part in parts if part.name == name])
            except ImageError as exc:
                log.warning("%s: record %d, stream %r: %s", NAME, record.number, name, exc)

    def content(self, stream: Stream) -> BlockDevice:
        """What a stream holds. Raises ``ImageError``."""
        return stream_device(stream, self.disk)

    def index(self, record: Record, name: str = "$I30") -> Index:
        """An index of a file: by default the names in a folder. Raises ``ImageError``."""
        root = self.stream(record, records.INDEX_ROOT, name)
        if root is None or root.content is None:
            raise FormatError(NAME, f"record {record.number} has no index {name}")
        blocks = self.stream(record, records.INDEX_ALLOCATION, name)
        if blocks is None:
            return Index(root.content, None, self.boot.cluster_size)
        bitmap = self.stream(record, records.BITMAP, name)
        bits = b"" if bitmap is None else self.content(bitmap).pread(0, MAX_BLOCKS // 8)
        return Index(root.content, self.content(blocks), self.boot.cluster_size, bits)

    def facts(self, record: Record) -> Facts:
        """The facts of a file that a listing has. Raises ``ImageError``."""
        return facts_of(record, self.disk, self.mft.referred)

    def facts_by_number(self, numbers: Iterable[int]) -> dict[int, Facts | str]:
        """The same of many files, by the numbers of their first records; or why one cannot be told."""
        size, quick = self.mft.record_size, self._quick.facts
        known: dict[int, Facts | str] = {}
        for span, data in self.mft.spans(numbers):
            start = span[0] * size
            for number in span:
                at = number * size - start
                known[number] = quick(data, at, number) or self._facts_in(data[at : at + size], number)
        return known

    def _facts_in(self, raw: bytes, number: int) -> Facts | str:
        """The facts of the file of a record, from a close look at all of it; or why there are none."""
        try:
            return self.facts(self._base_record(raw, number))
        except ImageError as exc:
            return exc.reason if isinstance(exc, FormatError) else str(exc)

    def _base_record(self, raw: bytes, number: int) -> Record:
        """The record in ``raw``, if it is the first of a file. Raises ``FormatError``."""
        record = parse_record(raw, number)
        if not record.in_use:
            raise FormatError(NAME, f"record {number} is not in use")
        if record.base:
            raise FormatError(NAME, f"record {number} is a part of another file")
        return record

    def exists(self, path: str) -> bool:
        """Whether there is something at a path from the root, with slashes.

        Letters of any case are the same.
        """
        number = ROOT
        try:
            for wanted in filter(None, path.split("/")):
                capitals = wanted.translate(self.upcase)
                listed = self.index(self.mft.record(number)).names()
                found = next(
                    (entry for entry, name in listed if names.shown(name).translate(self.upcase) == capitals),
                    None,
                )
                if found is None:
                    return False
                number = found & records.RECORD_MASK
        except ImageError:
            return False
        return True

    @cached_property
    def label(self) -> str:  # type: ignore[override]  # it is in a record that opening does not read
        """The label."""
        try:
            found = self.stream(self.mft.record(VOLUME), records.VOLUME_NAME)
        except ImageError:
            return ""
        return names.decode(found.content).rstrip("\0") if found is not None and found.content else ""

    @cached_property
    def _information(self) -> bytes:
        """What the volume says of its version and state. Empty where it is lost."""
        try:
            found = self.stream(self.mft.record(VOLUME), records.VOLUME_INFORMATION)
        except ImageError:
            return b""
        return (
            found.content
            if found is not None and found.content and len(found.content) >= _INFORMATION
            else b""
        )

    @property
    def is_dirty(self) -> bool | None:
        """Whether the volume is marked for a check; None if that is unknown."""
        return bool(self._information[10] & DIRTY) if self._information else None

    @cached_property
    def log_state(self) -> State:
        """Whether all that was written is where it belongs, as the log has it."""
        try:
            found = self.stream(self.mft.record(LOG_FILE), records.DATA)
            return State.DAMAGED if found is None else log_state(self.content(found))
        except ImageError:
            return State.DAMAGED

    @property
    def cluster_count(self) -> int:
        """Clusters that are there: a volume may say that it has more than its image."""
        return min(self.boot.clusters, self.device.size // self.boot.cluster_size)

    @cached_property
    def clusters(self) -> Bitmap:
        """Which clusters are in use. Raises ``ImageError``."""
        found = self.stream(self.mft.record(CLUSTERS), records.DATA)
        if found is None:
            raise FormatError(NAME, "the bitmap of clusters is lost")
        return Bitmap(self.content(found), self.cluster_count, NAME, "clusters")

    @cached_property
    def parents(self) -> Parents:
        """In which folders files say that they are. Raises ``ImageError``."""
        return Parents(self.mft)

    @cached_property
    def upcase(self) -> Mapping[int, int]:
        """The letters that have capitals, by code unit; none where the table is damaged."""
        try:
            found = self.stream(self.mft.record(UPCASE), records.DATA)
            data = b"" if found is None else self.content(found).pread(0, MAX_UPCASE)
        except ImageError as exc:
            log.warning("%s: the table of capitals: %s", NAME, exc)
            return {}
        return {unit: capital for unit, capital in enumerate(table(data, 2, "little")) if unit != capital}

    def info(self) -> Mapping[str, str]:
        boot, state = self.boot, {None: "the volume does not tell its state", False: "clean"}
        facts = {
            "serial": self.uuid,
            "version": "{}.{}".format(*self._information[8:10]) if self._information else "",
            "cluster size": str(boot.cluster_size),
            "sector size": str(boot.sector_size),
            "record size": str(boot.record_size),
            "state": state.get(self.is_dirty, "not unmounted: what was written last may be missing"),
            "log": self.log_state.value,
            "boot sector": f"damaged, its backup at {boot.offset:#x} is used" if boot.offset else "",
            "$MFT": self.mft.damage,
        }
        return {key: value for key, value in facts.items() if value}
