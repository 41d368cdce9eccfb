"""Virtual appliances (OVA): a tar whose first member is an OVF description. The disk inside is read in place.

With several disks the first one that the tar holds is opened; the option ``member`` names another. Specs:
DMTF DSP0243, "Open Virtualization Format", 4; POSIX pax for the tar.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.containers.vdisk.options import MEMBER
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import text
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError, ImageError

log = logging.getLogger(__name__)

RECORD: Final = 512
_PAX_LENGTH = re.compile(rb"(\d{1,6}) ")
MAX_MEMBERS: Final = 4096
MAX_PAX: Final = 1 << 20  # of extended headers together
MAGIC_OFFSET: Final = 257
DISKS: Final = (".vmdk", ".vhd", ".vhdx", ".vdi", ".qcow2", ".qcow", ".img", ".raw")
PACKED: Final = (".gz", ".bz2", ".xz")
DESCRIPTION: Final = ".ovf"


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
                raise FormatError("ova", f"extended headers of {extended} bytes", offset=offset)
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
        raise FormatError("ova", f"a member's size is {field!r}", offset=offset + 124)
    return int(digits, 8)


def _pax(content: bytes) -> dict[str, str]:
    """The records of an extended header, each "LENGTH KEY=VALUE" and a newline; the length is that of the whole record."""
    found: dict[str, str] = {}
    at = 0
    while length := _PAX_LENGTH.match(content, at):
        key, _, value = content[length.end() : at + int(length[1]) - 1].partition(b"=")
        if not key:
            break
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += int(length[1])
    return found


def probe(file: BlockDevice) -> Match:
    """A tar is an appliance if it begins with its description (DSP0243, 4)."""
    first = next(members(file), None)
    return Match.CERTAIN if first is not None and first.name.lower().endswith(DESCRIPTION) else Match.NO


class OvaDevice(MappedDevice):
    """One member of an appliance: the image of a disk, to be opened in turn."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._disks = [member for member in members(file) if _is_disk(member.name)]
        wanted = MEMBER.of(context.options.extra)
        found = [
            one for one in self._disks if not wanted or wanted in (one.name, one.name.rsplit("/", 1)[-1])
        ]
        if not found:
            present = ", ".join(one.name for one in self._disks) or "none"
            raise ImageError(f"ova: no disk {repr(wanted) if wanted else 'inside'}; there are: {present}")
        self._member = found[0]
        if self._member.offset + self._member.size > file.size:
            raise FormatError(
                "ova", f"{self._member.name!r} is cut: the file ends inside it", offset=self._member.offset
            )
        if not wanted and len(self._disks) > 1:
            log.warning(
                "ova: %s is opened, of %d disks: -X member=NAME chooses", self._member.name, len(self._disks)
            )
        self._file = file
        self.size = self._member.size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._file, self._member.offset + offset)

    def info(self) -> Mapping[str, str]:
        facts = {"disk": self._member.name}
        if len(self._disks) > 1:
            facts["other disks"] = ", ".join(one.name for one in self._disks if one != self._member)
        return facts


def _is_disk(name: str) -> bool:
    name = name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name.endswith(DISKS)


FORMAT: Final = ContainerFormat(
    name="ova", title="Virtual appliance (OVA)", open=OvaDevice, probe=probe, options=(MEMBER,)
)
