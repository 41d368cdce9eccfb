"""An AmigaDOS volume: its blocks, and which header is whose."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import Filesystem, Node
from imgmount.errors import ChecksumError, FormatError, ImageError, MountError, UnsupportedError
from imgmount.filesystems.amigados import blocks, nodes
from imgmount.filesystems.amigados.bitmap import Bitmap
from imgmount.filesystems.amigados.blocks import (
    DIRC,
    FFS,
    HEAD,
    INTL,
    LNFS,
    T_COMMENT,
    T_HEADER,
    TAIL,
    Header,
    T,
    long_at,
)

log = logging.getLogger(__name__)

DEFAULT_ENCODING: Final = "latin-1"
BOOT_SIZE: Final = 1024
_DATE: Final = Struct(">3I")
_DAY_0: Final = datetime(1978, 1, 1, tzinfo=UTC)  # a wall clock's, whatever the zone


class AmigaVolume(Filesystem):
    """An OFS or FFS volume."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.encoding = _charset(context.options.encoding or DEFAULT_ENCODING)
        boot = device.pread(0, BOOT_SIZE)
        try:
            self.root_place = blocks.find_root(device)
        except FormatError as exc:
            reason = blocks.NO_FILESYSTEM.get(boot[:4], "a disk that is read by its own loader, or damaged")
            raise UnsupportedError(f"amigados: no root block: {reason}") from exc
        if not self.root_place.sound:
            log.warning("amigados: bad checksum of root block %d", self.root_place.key)
        self.root_block = self.read(self.root_place.key)
        self.root_header = Header(self.root_place.key, self.root_block[-TAIL:], self.root_place.sound)
        self.boot = boot
        self.link_counts: dict[int, int] = {}  # names of files that have several
        self._upward: dict[int, tuple[bytes, int]] = {}  # name and parent of directories
        kind = blocks.dos_type(boot)
        self.dos_type = _guess_dos_type(self.root_block, device) if kind is None else kind
        self.intl = self.dos_type >= INTL
        self.label = self.text(blocks.bcpl(self.root_header.tail, T.name, blocks.MAX_NAME))

    @cached_property
    def long_names(self) -> bool:
        """Whether headers have the long layout.

        A volume whose dos type was changed without formatting it has short ones. Names tell, by the slot that
        they are in.
        """
        if self.dos_type not in LNFS:
            return False
        for slot, found in self.children(self.root_place.key):
            if isinstance(found, ImageError):
                continue
            by_long, by_short = (blocks.entry_name(found.tail, long=layout) for layout in (True, False))
            fits = self.slot(by_long) == slot
            if fits != (self.slot(by_short) == slot):
                return fits
        return True

    def slot(self, name: bytes) -> int:
        """The slot of its directory in which AmigaDOS looks for ``name``."""
        return blocks.name_hash(name, self.root_place.hash_size, intl=self.intl)

    @property
    def root(self) -> nodes.AmigaDirectory:
        return nodes.AmigaDirectory(self, self.root_header)

    def name(self, header: Header) -> bytes:
        """The name of an entry, as stored."""
        return blocks.entry_name(header.tail, long=self.long_names)

    def text(self, raw: bytes) -> str:
        """A name or comment, in the volume's encoding."""
        return raw.decode(self.encoding, "surrogateescape")

    def read(self, key: int) -> bytes:
        """Block ``key``. Raises ``FormatError``."""
        place = self.root_place
        if not place.reserved <= key < place.blocks:
            raise FormatError("amigados", f"block {key} lies outside the volume of {place.blocks} blocks")
        return self.device.read_exactly(key * place.block_size, place.block_size, "amigados")

    def checked(self, key: int) -> bytes:
        """Block ``key``, whose checksum must be right. Raises ``ImageError``."""
        block = self.read(key)
        self._prove(key, blocks.longs(block))
        return block

    def longs(self, key: int) -> tuple[int, ...]:
        """The longs of block ``key``, whose checksum must be right. Raises ``ImageError``."""
        longs = blocks.longs(self.read(key))
        self._prove(key, longs)
        return longs

    def _prove(self, key: int, longs: tuple[int, ...]) -> None:
        if sum(longs) & 0xFFFF_FFFF:
            raise ChecksumError(
                "amigados",
                f"block {key} is damaged: its checksum differs",
                offset=key * self.root_place.block_size,
            )

    def header(self, key: int) -> Header:
        """The header in block ``key``, which may have a bad checksum.

        Raises ``FormatError`` where it is none at all.
        """
        block = self.read(key)
        if long_at(block, 0) != T_HEADER or long_at(block, 4) != key:
            raise FormatError(
                "amigados", f"block {key}, which should hold a header, does not", offset=key * len(block)
            )
        return Header(key, block[-TAIL:], blocks.checksum(block) == 0)

    def children(self, key: int) -> Iterator[tuple[int, Header | ImageError]]:
        """(slot, header) along the hash chains of a directory; an error ends its chain.

        Headers come once each.
        """
        place = self.root_place
        block = self.root_block if key == place.key else self.read(key)
        seen: set[int] = {key}
        for slot, first in enumerate(blocks.table(block, place.hash_size)):
            link = first
            while link:
                if link in seen:
                    yield (
                        slot,
                        FormatError(
                            "amigados",
                            f"header {link} is listed twice in its directory",
                            offset=key * place.block_size,
                        ),
                    )
                    break
                seen.add(link)
                try:
                    found = self.header(link)
                    if found.kind == blocks.ST_USERDIR and (parent := found.long(T.parent)) != key:
                        # or folders could hold themselves
                        reason = f"folder {link} says that it belongs to {parent}, not to {key}"
                        raise FormatError("amigados", reason, offset=link * place.block_size)
                except ImageError as exc:
                    yield slot, exc
                    break
                yield slot, found
                link = found.long(T.hash_chain)

    def comment(self, header: Header) -> bytes:
        """The comment of an entry, b"" where there is none, or none that can be read."""
        comment = blocks.entry_comment(header.tail, long=self.long_names)
        if comment or not self.long_names or not (key := header.long(T.long_comment)):
            return comment
        try:
            return self.long_comment(key)
        except ImageError:
            return b""

    def long_comment(self, key: int) -> bytes:
        """The comment that has block ``key`` to itself. Raises ``ImageError``."""
        block = self.checked(key)
        if long_at(block, 0) != T_COMMENT:
            raise FormatError(
                "amigados", f"block {key}, which should hold a comment, does not", offset=key * len(block)
            )
        return blocks.bcpl(block, HEAD, blocks.MAX_COMMENT)

    def node(self, header: Header) -> Node:
        """The node of a header. A hard link to a file is that file."""
        kind = header.kind
        if kind in nodes.KINDS:
            return nodes.KINDS[kind](self, header)
        if kind == blocks.ST_LINKFILE:
            return self._linked(header)
        offset = header.key * self.root_place.block_size
        return nodes.Broken(
            self, header, FormatError("amigados", f"a header has the unknown type {kind}", offset=offset)
        )

    def _linked(self, link: Header) -> Node:
        """The file that a link stands for, perhaps at the end of a chain of links."""
        found = link
        try:
            for _ in range(nodes.MAX_HOPS):
                found = self.header(found.long(T.real_entry))
                if found.kind == blocks.ST_FILE:
                    return nodes.AmigaFile(self, found)
                if found.kind != blocks.ST_LINKFILE:
                    break
            offset = link.key * self.root_place.block_size
            raise FormatError("amigados", "a hard link leads to no file", offset=offset)
        except ImageError as exc:
            return nodes.Broken(self, link, exc)

    def path(self, key: int) -> list[bytes]:
        """The names from the root to directory ``key``.

        Raises ``ImageError`` where its parents do not lead there.
        """
        names: list[bytes] = []
        while key != self.root_place.key:
            if len(names) == nodes.MAX_DEPTH:
                raise FormatError("amigados", f"a directory more than {nodes.MAX_DEPTH} levels deep")
            if key not in self._upward:
                header = self.header(key)
                self._upward[key] = self.name(header), header.long(T.parent)
            name, key = self._upward[key]
            names.append(name)
        return names[::-1]

    @cached_property
    def bitmap(self) -> Bitmap:
        """Which blocks are free."""
        return Bitmap(self)

    def info(self) -> Mapping[str, str]:
        place, tail = self.root_place, self.root_header.tail
        facts = {
            "type": f"DOS\\{self.dos_type}, {type_name(self.dos_type)}",
            "bootblock": boot_kind(self.boot),
        }
        facts["blocks"] = f"{place.blocks} of {place.block_size} bytes, root at {place.key}"
        free = self.bitmap.free
        facts["free"] = f"{free} blocks" if self.bitmap.damage is None else f"unknown: {self.bitmap.damage}"
        for name, offset in (("created", T.created), ("changed", T.disk_date), ("root changed", T.date)):
            facts[name] = date_text(*_DATE.unpack_from(tail, offset))
        return {name: value for name, value in facts.items() if value}


def type_name(kind: int) -> str:
    """``FFS INTL`` for 3."""
    family = "FFS" if kind & FFS else "OFS"
    return family + (
        " DIRC" if kind in DIRC else " LNFS" if kind in LNFS else " INTL" if kind >= INTL else ""
    )


def boot_kind(boot: bytes) -> str:
    """What starts from the disk."""
    if boot[:4] == b"KICK":
        return "Kickstart"
    if blocks.dos_type(boot) is None:
        return "not DOS"
    if len(boot) < BOOT_SIZE or not long_at(boot, 4):
        return "DOS, not bootable"
    return (
        "DOS, bootable" if blocks.boot_checksum(boot) == long_at(boot, 4) else "DOS, code with a bad checksum"
    )


def date_text(days: int, minutes: int, ticks: int) -> str:
    """A date as the Amiga's clock showed it."""
    if days > 100_000 or not (days or minutes or ticks):
        return ""
    return (_DAY_0 + timedelta(days=days, minutes=minutes, seconds=ticks // 50)).strftime("%Y-%m-%d %H:%M:%S")


def _guess_dos_type(root_block: bytes, device: BlockDevice) -> int:
    """OFS or FFS, by what the first file's first block looks like: only OFS writes types there."""
    size = len(root_block)
    for key in blocks.table(root_block, size // 4 - (HEAD + TAIL) // 4):
        header = device.pread(key * size, size) if key else b""
        if (
            len(header) == size
            and blocks.secondary(header) == blocks.ST_FILE
            and (first := long_at(header, 16))
        ):
            head = device.pread(first * size, 8)
            return 0 if long_at(head, 0) == blocks.T_DATA and long_at(head, 4) == key else FFS
    return 0


def _charset(name: str) -> str:
    """The codec called ``name``. Raises ``MountError``."""
    try:
        return codecs.lookup(name).name
    except LookupError as exc:
        raise MountError(f"no charset is called {name!r}") from exc
