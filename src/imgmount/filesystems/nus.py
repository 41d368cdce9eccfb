"""An installed or downloaded Wii U title: ``title.tmd`` with the ``.app`` files beside it, which are the clusters of its files.

Source: WiiUBrew, "Title metadata". All is big endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

from imgmount.codecs.wiiu import read_fst
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match
from imgmount.errors import FormatError, MissingPartError
from imgmount.filesystems.wiiufst.volume import Source, WiiuVolume
from imgmount.sources.wiiu_keys import MIN_TICKET, TICKET_TITLE, title_key

ISSUER: Final = slice(0x140, 0x147)
ISSUER_ROOT: Final = b"Root-CA"
VERSION: Final = 0x180  # 1 on the Wii U, 0 on the Wii
TITLE_ID: Final = 0x18C
TITLE_VERSION: Final = 0x1DC
COUNT: Final = 0x1DE
CONTENTS: Final = 0xB04
_CONTENT: Final = Struct(">IHHQ32x")  # id, index, type, size
ENCRYPTED: Final = 0x0001  # of types
MAX_TICKET: Final = 1 << 16


def probe(tmd: BlockDevice) -> Match:
    """CERTAIN for the metadata of a title of the Wii U."""
    head = tmd.read_exactly(0, CONTENTS, "nus")
    return Match.CERTAIN if head[ISSUER] == ISSUER_ROOT and head[VERSION] == 1 else Match.NO


class TitleSource(Source):
    """The clusters of a title: content k is cluster k, in a file of its own."""

    def __init__(self, tmd: BlockDevice, context: Context) -> None:
        self._siblings = context.siblings
        head = tmd.read_exactly(0, CONTENTS, "nus")
        count = int.from_bytes(head[COUNT : COUNT + 2], "big")
        raw = tmd.read_exactly(CONTENTS, count * _CONTENT.size, "nus")
        self._contents = {index: (number, kind) for number, index, kind, _ in _CONTENT.iter_unpack(raw)}
        self._title = head[TITLE_ID : TITLE_ID + 8]
        self._version = int.from_bytes(head[TITLE_VERSION : TITLE_VERSION + 2], "big")
        self._key: bytes | None = None
        if any(kind & ENCRYPTED for _, kind in self._contents.values()):
            self._key = title_key(self._ticket(), context)
        first, key = self.stored(0)
        self.fst = read_fst(first, 0, first.size, key, "nus")

    def _ticket(self) -> bytes:
        """``title.tik``, or in its place one that only names the title: the user may have the title's own key."""
        try:
            ticket = self._siblings.open("title.tik")
        except MissingPartError:
            return bytes(TICKET_TITLE) + self._title
        return ticket.read_exactly(0, min(max(ticket.size, MIN_TICKET), MAX_TICKET), "nus")

    def stored(self, index: int) -> tuple[BlockDevice, bytes | None]:
        if index not in self._contents:
            raise FormatError("nus", f"no content {index}")
        number, kind = self._contents[index]
        return self._siblings.open(f"{number:08x}.app"), self._key if kind & ENCRYPTED else None

    def info(self) -> Mapping[str, str]:
        return {"title id": self._title.hex(), "title version": str(self._version), "contents": str(len(self._contents))}


def open_title(tmd: BlockDevice, context: Context) -> WiiuVolume:
    """The title that ``tmd`` describes."""
    return WiiuVolume(TitleSource(tmd, context), context)


FORMAT: Final = Format(
    name="nus", title="Wii U title, installed or downloaded", kind=Kind.FILESYSTEM, probe=probe, open=open_title, extra="crypto"
)
