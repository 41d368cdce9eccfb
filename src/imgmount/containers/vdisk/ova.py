"""Virtual appliances (OVA): a tar that holds an OVF description and disks. The disk is read in place.

With several disks the first one that the tar holds is opened; the option ``member`` names another. Specs:
DMTF DSP0243, "Open Virtualization Format" 2.1, 5 and 7.1; POSIX pax for the tar.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.containers.choice import choose
from imgmount.containers.vdisk.options import MEMBER
from imgmount.core.checks import Finding, Seal, from_hex
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import text
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.slices import Concat, Slice, Unreadable
from imgmount.errors import FormatError, MissingPartError

log = logging.getLogger(__name__)

RECORD: Final = 512
_PAX_LENGTH = re.compile(rb"(\d{1,6}) ")
MAX_MEMBERS: Final = 4096
MAX_PAX: Final = 1 << 20  # of extended headers together
DISKS: Final = (".vmdk", ".vhd", ".vhdx", ".vdi", ".qcow2", ".qcow", ".img", ".raw")
PACKED: Final = (".gz", ".bz2", ".xz")
DESCRIPTION: Final = ".ovf"
MANIFEST: Final = ".mf"
MAX_DESCRIPTION: Final = 4 << 20
MAX_PIECES: Final = 4096
_PIECE = re.compile(r"(?P<name>.+)\.(?P<number>[0-9]{9})")  # of a file in pieces (DSP0243, 7.1)
_ELEMENT = re.compile(r"<(?:\w{1,32}:)?(File|Disk)\s([^<>]*)>")
_DIGEST = re.compile(r"^(SHA(?:1|256|512)) ?\((.+)\) ?= ?([0-9A-Fa-f]+)\s*$", re.MULTILINE)  # DSP0243, 5.1
_ATTRIBUTE = re.compile(r"(?:\w{1,32}:)?(\w{1,64})\s*=\s*[\"']([^\"']*)[\"']")


class Member(NamedTuple):
    """A file in the tar."""

    name: str
    offset: int
    size: int


def members(file: BlockDevice) -> Iterator[Member]:
    """The regular files of the tar, in order. Raises ``FormatError``."""
    offset, named, extended = 0, {}, 0
    for _ in range(MAX_MEMBERS):
        record = file.pread(offset, RECORD)
        if len(record) < RECORD or not any(record):
            return
        kind, size = record[156:157], _number(record[124:136], offset)
        offset += RECORD
        if kind in (b"x", b"L"):
            extended += size
            if extended > MAX_PAX:
                raise FormatError(
                    "ova", f"extended headers of {extended} bytes: at most {MAX_PAX} are read", offset=offset
                )
            content = file.read_exactly(offset, size, "ova")
            named = _pax(content) if kind == b"x" else {"path": text(content, "utf-8")}
        elif kind in (b"0", b"\0", b"7"):
            size = int(named["size"]) if re.fullmatch("[0-9]{1,19}", named.get("size", "")) else size
            prefix, name = text(record[345:500], "utf-8"), text(record[:100], "utf-8")
            yield Member(named.get("path") or (f"{prefix}/{name}" if prefix else name), offset, size)
            named = {}
        offset += -(-size // RECORD) * RECORD
    raise FormatError("ova", f"more than {MAX_MEMBERS} members")


def _number(field: bytes, offset: int) -> int:
    """A size: octal digits, or after a byte of 0x80 a binary number (GNU)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip() or b"0"
    if not re.fullmatch(b"[0-7]+", digits):
        raise FormatError("ova", f"a member's size {field!r} is not octal", offset=offset + 124)
    return int(digits, 8)


def _pax(content: bytes) -> dict[str, str]:
    """The records of an extended header, each "LENGTH KEY=VALUE" and a newline.

    The length is that of the whole record.
    """
    found: dict[str, str] = {}
    at = 0
    while length := _PAX_LENGTH.match(content, at):
        key, _, value = content[length.end() : at + int(length[1]) - 1].partition(b"=")
        if not key:
            break
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += int(length[1])
    return found


class Disk(NamedTuple):
    """A file of the appliance that is a disk, whole or in pieces that follow each other."""

    name: str
    pieces: tuple[Member, ...]


def probe(file: BlockDevice) -> Match:
    """A tar is an appliance if it holds a description.

    DSP0243 wants it first, and some writers put it last.
    """
    return Match.CERTAIN if any(_is_description(member.name) for member in members(file)) else Match.NO


class OvaDevice(MappedDevice):
    """One disk of an appliance: the image of a disk, to be opened in turn."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._file = file
        self._members = found = list(members(file))
        described = next((one for one in found if _is_description(one.name)), None)
        files = _described(file, described) if described else {}
        disks = list(_disks(found, files))
        self._names = [disk.name for disk in disks]
        name = choose("ova", self._names, MEMBER.of(context.options.extra))
        self._disk = next(disk for disk in disks if disk.name == name)
        self._problems: list[str] = []
        self._content = self._open(file, self._disk, files.get(self._disk.name))
        for problem in self._problems:
            log.warning("ova: %s", problem)
        self.size = self._content.size

    def _open(self, file: BlockDevice, disk: Disk, said: _Said | None) -> BlockDevice:
        """The bytes of ``disk``; pieces that are missing cannot be read."""
        extents: list[Extent] = []
        piece_size = (said and said.chunk) or disk.pieces[0].size
        numbers = [_number_of(piece.name) for piece in disk.pieces]
        for number, piece in zip(numbers, disk.pieces, strict=True):
            if number > MAX_PIECES:
                raise FormatError("ova", f"{piece.name!r} is piece {number}: at most {MAX_PIECES} are read")
            extents += [
                self._lost(disk, f"{disk.name}.{lost:09}", piece_size) for lost in range(len(extents), number)
            ]
            if piece.offset + piece.size > file.size:
                end = piece.offset + piece.size
                reason = f"{piece.name!r} is cut: it ends at {end:#x}, the file at {file.size:#x}"
                raise FormatError("ova", reason, offset=piece.offset)
            extents.append(Extent(piece.size, file, piece.offset))
        size = sum(extent.length for extent in extents)
        if said and said.size > size and said.chunk:
            extents.append(self._lost(disk, f"{disk.name}.{len(extents):09}", said.size - size))
        elif said and said.size and said.size != size:
            self._problems.append(f"{disk.name!r} has {size} bytes, the description says {said.size}")
        return Concat(extents)

    def _lost(self, disk: Disk, name: str, size: int) -> Extent:
        self._problems.append(f"{name!r} is missing, a piece of {disk.name!r}: {size} bytes cannot be read")
        return Extent(
            size, Unreadable(size, MissingPartError(f"ova: {name!r} is missing, a piece of {disk.name!r}"))
        )

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._content, offset)

    def info(self) -> Mapping[str, str]:
        facts = {"disk": self._disk.name}
        if len(self._disk.pieces) > 1:
            facts["pieces"] = str(len(self._disk.pieces))
        if len(self._names) > 1:
            facts["other disks"] = ", ".join(name for name in self._names if name != self._disk.name)
        return facts

    def verify(self) -> Iterator[Finding]:
        """What contradicts the description, what is missing, and the digests of the manifest."""
        yield from self._problems
        places = {member.name: member for member in self._members}
        for manifest in self._members:
            if not manifest.name.lower().endswith(MANIFEST):
                continue
            lines = self._file.pread(manifest.offset, min(manifest.size, MAX_DESCRIPTION))
            for algorithm, name, digest in _DIGEST.findall(lines.decode("utf-8", "replace")):
                if name not in places:
                    yield f"{name!r} is missing: {manifest.name!r} has its {algorithm}"
                    continue
                content = Slice(self._file, places[name].offset, places[name].size)
                yield Seal.of(f"{algorithm} of {name!r}", from_hex(digest), content, algorithm.lower())


class _Said(NamedTuple):
    """What the description says of a file."""

    size: int
    chunk: int  # 0: it is in one piece
    is_disk: bool


def _described(file: BlockDevice, member: Member) -> dict[str, _Said]:
    """The files that the description refers to, by name (DSP0243, 7.1: File; 9.2: Disk)."""
    text = file.pread(member.offset, min(member.size, MAX_DESCRIPTION)).decode("utf-8", "replace")
    elements = [(kind, dict(_ATTRIBUTE.findall(rest))) for kind, rest in _ELEMENT.findall(text)[:MAX_MEMBERS]]
    disks = {attributes.get("fileRef", "") for kind, attributes in elements if kind == "Disk"}
    return {
        html.unescape(one["href"]): _Said(
            _digits(one.get("size")), _digits(one.get("chunkSize")), one.get("id") in disks
        )
        for kind, one in elements
        if kind == "File" and "href" in one
    }


def _digits(text: str | None) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,18}", text) else 0


def _disks(found: list[Member], said: Mapping[str, _Said]) -> Iterator[Disk]:
    """The disks in the order of the tar: files called like one, and those that the description calls so."""
    pieces: dict[str, list[Member]] = {}
    for member in found:
        piece = _PIECE.fullmatch(member.name)
        name = piece["name"] if piece and member.name not in said else member.name
        pieces.setdefault(name, []).append(member)
    for name, members_ in pieces.items():
        if _is_disk(name) or (name in said and said[name].is_disk):
            unique = {_number_of(member.name): member for member in members_}
            yield Disk(name, tuple(unique[number] for number in sorted(unique)))


def _number_of(name: str) -> int:
    piece = _PIECE.fullmatch(name)
    return int(piece["number"]) if piece else 0


def _is_description(name: str) -> bool:
    return name.lower().endswith(DESCRIPTION)


def _is_disk(name: str) -> bool:
    name = name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name.endswith(DISKS)


FORMAT: Final = ContainerFormat(
    name="ova",
    title="Virtual appliance (OVA)",
    extensions=(".ova",),
    checks="files and sizes against the description, digests in the manifest",
    open=OvaDevice,
    probe=probe,
    options=(MEMBER,),
)
