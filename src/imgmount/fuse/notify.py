"""The protocol of sd_notify(3): lines in a datagram to the socket that ``$NOTIFY_SOCKET`` names."""

from __future__ import annotations

import logging
import os
from typing import Final

log = logging.getLogger(__name__)

PATIENCE: Final = 5  # seconds for a service manager that does not read


def notify(*lines: str) -> None:
    """Tell the service manager that started this process, if one wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    from socket import AF_UNIX, SOCK_DGRAM, socket

    if address[0] == "@":  # not in the file system
        address = f"\0{address[1:]}"
    try:
        with socket(AF_UNIX, SOCK_DGRAM) as channel:
            channel.settimeout(PATIENCE)
            channel.sendto("\n".join(lines).encode(), os.fsencode(address))
    except OSError as exc:
        log.warning("$NOTIFY_SOCKET cannot be told: %s", exc.strerror or exc)
