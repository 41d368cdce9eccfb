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
    if not address:
        return
    from socket import AF_UNIX, SOCK_DGRAM, socket

    # a name that begins with @ is not in the file system
    name = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket(AF_UNIX, SOCK_DGRAM) as channel:
            channel.settimeout(PATIENCE)
            channel.sendto("\n".join(lines).encode(), os.fsencode(name))
    except OSError as exc:
        log.warning("$NOTIFY_SOCKET %s: %s", address, exc.strerror or exc)
