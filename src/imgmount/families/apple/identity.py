"""The identifier of an HFS or HFS+ volume, which is in the Finder info of its header."""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

_SPACE: Final = bytes.fromhex("b3e20f39f29211d697a400306543ecac")


def volume_uuid(finder_info: bytes) -> str:
    """The last eight of its 32 bytes, made a UUID of version 3 as macOS and blkid do; "" for none."""
    number = finder_info[24:32]
    if not any(number):
        return ""
    digest = hashlib.md5(_SPACE + number, usedforsecurity=False).digest()
    return str(UUID(bytes=digest, version=3))
