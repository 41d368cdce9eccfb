"""Title keys of the Wii U: in tickets, encrypted with a common key that the user must give. Source: WiiUBrew, "Ticket"."""

from __future__ import annotations

from typing import Final

from imgmount.codecs.aes import decrypt_cbc
from imgmount.core.format import Context
from imgmount.errors import FormatError
from imgmount.sources.keyring import Keyring

TICKET_KEY: Final = 0x1BF
TICKET_TITLE: Final = 0x1DC
MIN_TICKET: Final = 0x1E4
COMMON: Final = "wiiu-common"


def title_key(ticket: bytes, context: Context) -> bytes:
    """The title key that ``ticket`` holds, or that the user has. Raises ``KeyRequiredError``."""
    if len(ticket) < MIN_TICKET:
        raise FormatError("wiiu", f"a ticket of {len(ticket)} bytes")
    title = ticket[TICKET_TITLE : TICKET_TITLE + 8]
    ring, name = Keyring(context), title.hex()
    own = next(ring.candidates(name, (f"{name}.key",), (f"titleKeys/{name.upper()}.key", f"titleKeys/{name}.key")), None)
    if own is not None:
        return own
    for common in ring.candidates(COMMON, (f"{COMMON}.key", "common.key"), ("common.key",)):
        return decrypt_cbc(common, ticket[TICKET_KEY : TICKET_KEY + 16], title + bytes(8))
    raise ring.required(COMMON, (f"{COMMON}.key", "common.key"), ("common.key",))
