"""Advanced Forensic Format 4.

Disk images as maps of compressed streams in zip volumes, alone or striped over several.

Source: AFF4 Standard v1.0 (Schatz, 2016).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.containers.evidence.aff4.dialect import AFF4, Dialect, standard_stream
from imgmount.containers.evidence.aff4.streams import (
    MAX_SIZE,
    TEXTS,
    UNKNOWN,
    UNREADABLE,
    ImageStream,
    MapDevice,
    Repeated,
    missing,
    number,
    symbolic,
)
from imgmount.containers.evidence.aff4.turtle import RDF_TYPE, Graph
from imgmount.containers.evidence.aff4.volume import INFORMATION, Volume
from imgmount.containers.evidence.options import ON_ERROR
from imgmount.containers.evidence.zero_fill import Span, ZeroFill, spans
from imgmount.core.checks import Checked, Finding, Note, Seal, from_hex
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.option import IMAGE
from imgmount.core.slices import Unreadable
from imgmount.errors import FormatError, ImageError, UnsupportedError

log = logging.getLogger(__name__)

MAX_DEPTH: Final = 8  # maps of maps
MAX_SIBLINGS: Final = 64
MAX_TARGETS: Final = 1 << 16
MAX_MAP_BYTES: Final = 14 << 20
MAX_NAMES: Final = 1 << 20
READ: Final = 1 << 20
_DISKS: Final = ("DiskImage", "ContiguousImage", "DiscontiguousImage", "VolumeImage", "MemoryImage", "Image")
_FACTS: Final = {
    "caseNumber": "case number", "evidenceNumber": "evidence number", "examiner": "examiner",
    "notes": "notes", "caseName": "case name", "caseDescription": "description", "diskMake": "make",
    "diskModel": "model", "diskSerial": "serial number", "diskDeviceName": "device",
    "acquisitionCompletionState": "acquisition", "startTime": "acquisition began",
    "endTime": "acquisition ended",
}  # fmt: skip
_WHY: Final = {
    UNREADABLE: "could not be read when the image was made",
    UNKNOWN: "were not acquired and read as UNKNOWN",
}
_ABSENT: Final = {UNREADABLE: "unreadable", UNKNOWN: "not acquired"}  # labels for imgmount info
_DIGESTS: Final = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


class Aff4Device(MappedDevice):
    """The disk that a set of volumes holds."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._context = context
        self._filled = ZeroFill(context).wanted
        self._volumes = [Volume(file, context.path.name)]
        self._unread = [
            name
            for name in context.siblings.names()
            if name.lower().endswith((".aff4", ".af4")) and name != context.path.name
        ]
        self._streams: dict[str, ImageStream] = {}
        self._maps: dict[str, MapDevice] = {}
        self._fillers: dict[str, BlockDevice] = {}  # what stands for bytes that were not acquired
        self._image = self._choose()
        self._root = self._stream(self._one(self._image, "dataStream") or self._image, MAX_DEPTH)
        self.size = self._root.size
        lost = self._fillers.get(UNREADABLE)
        if lost is not None and any(map_.reaches(lost) for map_ in self._maps.values()):
            log.warning("aff4: some bytes %s: info says which", _WHY[UNREADABLE])

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._root, offset)

    def _values(self, urn: str, name: str) -> list[tuple[str, str]]:
        """(value, datatype) of every fact ``name`` about ``urn``, in any volume."""
        facts = [
            volume.graph.get(urn, {}).get(name if "#" in name else AFF4 + name, [])
            for volume in self._volumes
        ]
        return list(dict.fromkeys(value for found in facts for value in found))

    def _one(self, urn: str, name: str) -> str:
        return next((value for value, _ in self._values(urn, name)), "")

    def _types(self, urn: str) -> set[str]:
        return {value.removeprefix(AFF4) for value, _ in self._values(urn, RDF_TYPE)}

    def _choose(self) -> str:
        """The image; where there is more than one it must be named. Raises ``UnsupportedError``."""
        graph: Graph = self._volumes[0].graph
        images = [urn for urn in graph if self._types(urn) & set(_DISKS) and self._one(urn, "dataStream")]
        if not images:
            images = [urn for urn in graph if "Map" in self._types(urn)] or [
                urn for urn in graph if "ImageStream" in self._types(urn)
            ]
        wanted = IMAGE.of(self._context.options.extra)
        if wanted:
            images = [urn for urn in images if wanted in urn]
        if not images:
            raise UnsupportedError("aff4: a volume without a disk image (logical evidence, AFF4-L)")
        if len(images) > 1:
            raise UnsupportedError(
                f"aff4: {len(images)} images: choose with -X image=URN: {', '.join(images[:8])}"
            )
        return images[0]

    def _stream(self, urn: str, depth: int) -> BlockDevice:
        if depth == 0:
            raise FormatError("aff4", f"maps more than {MAX_DEPTH} deep, or a loop")
        volume = self._home(urn)
        facts = {
            name.removeprefix(AFF4): values[0][0]
            for name, values in volume.graph.get(urn, {}).items()
            if name.startswith(AFF4)
        }
        types = self._types(urn)
        if "Map" in types:
            return self._open_map(volume, urn, facts, depth)
        if "EncryptedStream" in types:
            raise UnsupportedError("aff4: encrypted streams")
        if "ImageStream" in types or "Image" in types:
            if urn not in self._streams:
                self._streams[urn] = ImageStream(volume, urn, facts, self._context)
            return self._streams[urn]
        if urn not in volume:
            raise UnsupportedError(f"aff4: {urn} is of type {', '.join(sorted(types)) or 'nothing'}")
        return volume.open(urn)

    def _open_map(self, volume: Volume, urn: str, facts: Mapping[str, str], depth: int) -> MapDevice:
        if urn in self._maps:
            return self._maps[urn]
        names = volume.read(f"{urn}/idx", MAX_NAMES).decode("utf-8", "replace").split()
        if len(names) > MAX_TARGETS:
            raise FormatError("aff4", f"a map of {len(names)} streams: at most {MAX_TARGETS} are read")
        targets = [self._target(name, depth) for name in names]
        gap = self._target(facts.get("mapGapDefaultStream") or AFF4 + "Zero", depth)
        runs = volume.read(f"{urn}/map", MAX_MAP_BYTES)
        size = number(facts, "size") if "size" in facts else -1
        self._maps[urn] = MapDevice(size, runs, targets, gap, volume.dialect)
        return self._maps[urn]

    def _target(self, urn: str, depth: int) -> BlockDevice | None:
        name = standard_stream(urn).removeprefix(AFF4)
        if name in TEXTS:
            if name not in self._fillers:
                lost = FormatError("aff4", f"these bytes {_WHY[name]}")
                readable = name != UNREADABLE or self._filled
                self._fillers[name] = Repeated(TEXTS[name]) if readable else Unreadable(MAX_SIZE, lost)
            return self._fillers[name]
        try:
            return symbolic(urn)
        except KeyError:
            return self._stream(urn, depth - 1)

    def _home(self, urn: str) -> Volume:
        """The volume that holds the data of ``urn``: this one or, for striped images, one beside it."""
        while True:
            for volume in self._volumes:
                if urn in volume.graph and any(
                    f"{urn}{tail}" in volume for tail in ("", "/00000000", "/map")
                ):
                    return volume
            if not self._unread or len(self._volumes) > MAX_SIBLINGS:
                raise missing(urn, self._one(urn, "stored"))
            name = self._unread.pop(0)
            try:
                self._volumes.append(Volume(self._context.siblings.open(name), name))
            except ImageError as exc:
                log.warning("aff4: %s is not used: %s", name, exc)

    def info(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for volume in self._volumes:
            for facts in volume.graph.values():
                for name, label in _FACTS.items():
                    for value, _ in facts.get(AFF4 + name, []):
                        found.setdefault(label, value)
        for stream in self._streams.values():
            found["chunks"] = f"{stream.units} of {stream.unit} bytes"
            found |= stream.zeroed.info()
        if isinstance(self._root, MapDevice):
            found["map"] = f"{len(self._root)} runs"
        for name, label in _ABSENT.items():
            if ranges := self._ranges(name):
                found[label] = ranges
        if self._volumes[0].dialect is not Dialect.STANDARD:
            found["dialect"] = self._volumes[0].dialect.value
        found["volumes"] = ", ".join(volume.name for volume in self._volumes)
        return found

    def _ranges(self, filler: str) -> str:
        """Where a filler stands; empty if it is nowhere."""
        if filler not in self._fillers:
            return ""
        found: list[Span] = []
        at = 0
        for run in self.extents(0, self.size):
            if run.device is self._fillers[filler]:
                if found and found[-1].end == at:
                    found[-1] = Span(found[-1].start, at + run.length)
                else:
                    found.append(Span(at, at + run.length))
            at += run.length
        total = sum(span.end - span.start for span in found)
        return f"{total} bytes {_WHY[filler]}: {spans(found)}" if found else ""

    def verify(self) -> Iterator[Finding]:
        if lost := self._ranges(UNREADABLE):
            yield lost
        if unknown := self._ranges(UNKNOWN):
            yield Note(unknown)
        for urn in self._maps:
            yield from self._check_map(urn)
        for urn, stream in self._streams.items():
            yield from self._check_chunks(stream)
            for value, kind in self._values(urn, "hash"):
                name = kind.removeprefix(AFF4)
                if name in _DIGESTS:
                    yield Seal.of(f"{name} of {urn}", from_hex(value), stream, _DIGESTS[name])

    def _check_map(self, urn: str) -> Iterator[Checked]:
        volume = self._home(urn)
        for name, member in (("mapPointHash", "map"), ("mapIdxHash", "idx"), ("mapPathHash", "mapPath")):
            for value, kind in self._values(urn, name):
                algorithm = _DIGESTS.get(kind.removeprefix(AFF4))
                if algorithm and f"{urn}/{member}" in volume:
                    content = volume.read(f"{urn}/{member}", MAX_MAP_BYTES)
                    computed = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
                    yield Checked(f"{name} of {urn}", value.lower(), computed)

    @staticmethod
    def _check_chunks(stream: ImageStream) -> Iterator[str]:
        for algorithm in ("sha1", "md5"):
            stored = stream.hashes(algorithm)
            if not stored:
                continue
            width = hashlib.new(algorithm, usedforsecurity=False).digest_size
            for index in range(stream.units):
                try:
                    chunk = stream.decode_unit(index)
                except ImageError as exc:
                    yield str(exc)
                    continue
                digest = hashlib.new(algorithm, chunk, usedforsecurity=False).digest()
                if digest != stored[index * width : (index + 1) * width]:
                    place = f"{index * stream.unit:#x}+{len(chunk):#x}"
                    yield f"chunk {index}, {place}: {algorithm} differs from the stored one"
            return


def probe(file: BlockDevice) -> Match:
    """A zip file is an AFF4 volume if it says so at its beginning or holds the turtle."""
    head = file.pread(0, 512)
    if b"container.description" in head or b"aff4%3A%2F%2F" in head or b"version.txt" in head[:64]:
        return (
            Match.CERTAIN
            if INFORMATION.encode() in file.pread(max(0, file.size - READ), READ)
            else Match.LIKELY
        )
    return Match.LIKELY if INFORMATION.encode() in file.pread(max(0, file.size - READ), READ) else Match.NO


FORMAT: Final = ContainerFormat(
    name="aff4",
    title="Advanced Forensic Format 4",
    extensions=(".aff4",),
    checks="hashes of streams, maps and blocks",
    open=Aff4Device,
    probe=probe,
    limits="disk images; no logical evidence (AFF4-L), no encryption",
    guest=True,
    options=(IMAGE, ON_ERROR),
)
