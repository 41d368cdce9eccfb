"""An installed or downloaded Wii U title: its metadata, and its files in ``.app`` files beside it.

``title.tmd`` has the metadata, ``title.tik`` the key; downloaded, they are ``tmd`` and ``cetk``, and contents
have no ``.app``. Source: WiiUBrew, "Title metadata". All is big endian.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.errors import FormatError, MissingPartError
from imgmount.families.nintendo.title_keys import MAX_TICKET, WIIU_COMMON, Ticket, find_title_key
from imgmount.families.nintendo.wiiu import ContentKey, decrypts_fst, read_fst
from imgmount.families.nintendo.wiiu_title import CONTENTS, ISSUER, ISSUER_ROOT, MAX_TMD, VERSION, Tmd
from imgmount.filesystems.wiiufst.volume import Source, WiiuVolume

TICKETS: Final = ("title.tik", "cetk")


def probe(tmd: BlockDevice) -> Match:
    """CERTAIN for the metadata of a title of the Wii U."""
    head = tmd.read_exactly(0, CONTENTS, "nus")
    return Match.CERTAIN if head[ISSUER] == ISSUER_ROOT and head[VERSION] == 1 else Match.NO


class TitleSource(Source):
    """The clusters of a title: content k is cluster k, in a file of its own."""

    def __init__(self, tmd: BlockDevice, context: Context) -> None:
        self._siblings = context.siblings
        self.tmd: Tmd = Tmd.parse(tmd.pread(0, MAX_TMD), "nus")
        self._key: ContentKey | None = None
        first = self._content(0)
        if any(content.encrypted for content in self.tmd.contents.values()):
            self._key = ContentKey(find_title_key(self._ticket(), context, partial(decrypts_fst, first, 0)))
        self.fst = read_fst(first, 0, first.size, self.stored(0)[1], "nus")

    def _ticket(self) -> Ticket:
        """The title's ticket; without one, a ticket that only names the title: the user may have its key."""
        for name in TICKETS:
            try:
                ticket = self._siblings.open(name)
            except MissingPartError:
                continue
            return Ticket.wiiu(ticket.pread(0, MAX_TICKET))
        return Ticket(self.tmd.title_id, b"", WIIU_COMMON)

    def _content(self, index: int) -> BlockDevice:
        if index not in self.tmd.contents:
            raise FormatError("nus", f"the metadata names no content {index}")
        name = f"{self.tmd.contents[index].id:08x}"
        try:
            return self._siblings.open(f"{name}.app")
        except MissingPartError as exc:
            try:
                return self._siblings.open(name)
            except MissingPartError:
                raise exc from None

    def stored(self, index: int) -> tuple[BlockDevice, ContentKey | None]:
        return self._content(index), self._key if self.tmd.contents[index].encrypted else None

    def h3(self, index: int) -> bytes:
        device = self._siblings.open(f"{self.tmd.contents[index].id:08x}.h3")
        return device.pread(0, MAX_TMD)


def open_title(tmd: BlockDevice, context: Context) -> WiiuVolume:
    """The title that ``tmd`` describes."""
    return WiiuVolume(TitleSource(tmd, context), context)


FORMAT: Final = FilesystemFormat(
    name="nus",
    title="Wii U title, installed or downloaded",
    extensions=("title.tmd",),
    probe=probe,
    open=open_title,
    needs="crypto",
)
