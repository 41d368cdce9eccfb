"""Title keys of the Wii and the Wii U: in tickets, encrypted with a common key that the user must give.

Source: WiiBrew and WiiUBrew, "Ticket". All is big endian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Self

from imgmount.codecs.aes import decrypt_cbc
from imgmount.core.format import Context
from imgmount.errors import FormatError
from imgmount.families.nintendo.key_files import WIIU_FOLDER
from imgmount.sources.keyring import KeySearch

ISSUER: Final = slice(0x140, 0x180)
TITLE_KEY: Final = 0x1BF
TITLE_ID: Final = 0x1DC
KEY_INDEX: Final = 0x1F1
MIN_TICKET: Final = KEY_INDEX + 1
MAX_TICKET: Final = 1 << 16
WII_DEBUG: Final = b"XS00000006"
WII_COMMON: Final = {0: "wii-common", 1: "wii-korean", 2: "wii-vwii"}
WIIU_COMMON: Final = "wiiu-common"
WIIU_DEBUG: Final = b"CA00000004"


class Ticket(NamedTuple):
    """What a ticket says. ``common`` is the name of the common key that its title key is encrypted with."""

    title_id: bytes
    encrypted_key: bytes
    common: str

    @classmethod
    def wii(cls, raw: bytes) -> Self:
        """The ticket of a partition of a Wii disc. Raises ``FormatError``."""
        name = WII_COMMON.get(raw[KEY_INDEX], f"wii-common{raw[KEY_INDEX]}") if len(raw) >= MIN_TICKET else ""
        return cls._parse(raw, "wii-debug" if WII_DEBUG in raw[ISSUER] else name)

    @classmethod
    def wiiu(cls, raw: bytes) -> Self:
        """The ticket of a title of the Wii U. Raises ``FormatError``."""
        return cls._parse(raw, "wiiu-debug" if WIIU_DEBUG in raw[ISSUER] else WIIU_COMMON)

    @classmethod
    def _parse(cls, raw: bytes, common: str) -> Self:
        if len(raw) < MIN_TICKET:
            raise FormatError("ticket", f"it has {len(raw)} bytes, {MIN_TICKET} at least are needed")
        return cls(raw[TITLE_ID : TITLE_ID + 8], raw[TITLE_KEY : TITLE_KEY + 16], common)

    def title_key(self, common: bytes) -> bytes:
        """The title key, with the common key."""
        return decrypt_cbc(common, self.encrypted_key, self.title_id + bytes(8))


def find_title_key(
    ticket: Ticket, context: Context, fits: Callable[[bytes], bool], *, beside: Sequence[str] = ()
) -> bytes:
    """The title key: the user's, or from ``ticket`` with the user's common key. ``fits`` proves it.

    ``beside`` are names of files beside the image that may have the title key. Raises ``KeyRequiredError``.
    """
    name = ticket.title_id.hex()
    own = KeySearch(
        context,
        name,
        beside=beside,
        home=[f"{WIIU_FOLDER}/titleKeys/{one}.key" for one in (name.upper(), name)],
    )
    if (found := next(filter(fits, own), None)) is not None:
        return found
    if not ticket.encrypted_key:
        raise own.failure("there is no ticket, which would have it")
    files = ("devcommon.key" if ticket.common.endswith("debug") else "common.key",)
    search = KeySearch(context, ticket.common, beside=files, home=[f"{WIIU_FOLDER}/{file}" for file in files])
    for common in search:
        if fits(key := ticket.title_key(common)):
            return key
    raise own.failure() if own.tried and not search.tried else search.failure(f"or the title's own, {name!r}")
