"""The software licence that a disk image asks its user to agree to. It is shown and does not stop the user.

Source: Apple's Software License Agreements for UDIF; Inside Macintosh on ``TEXT`` and region codes.
"""

from __future__ import annotations

import struct
from typing import Final

from imgmount.containers.apple.udif.tables import Resources

FIRST_ID: Final = 5000  # of the resources that belong to a language
# region, number of its resources, whether it is written in two bytes a character
ENTRY: Final = struct.Struct(">3H")
MAX_TEXT: Final = 64 << 10
TWO_BYTES: Final = {14: "shift_jis", 51: "euc_kr", 52: "gb2312", 53: "big5"}  # region codes


def licence(resources: Resources) -> tuple[str, int]:
    """(text in the default language, number of languages); ("", 0) without one."""
    texts = {identifier: data for identifier, _, data in resources[b"TEXT"]}
    if not texts:
        return "", 0
    lists = resources[b"LPic"]
    region, chosen = (0, FIRST_ID) if not lists else _default(lists[0][2])
    data = texts.get(chosen) or next(iter(texts.values()))
    text = data[:MAX_TEXT].decode(TWO_BYTES.get(region, "mac_roman"), "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip(), len(texts)


def _default(data: bytes) -> tuple[int, int]:
    """(region, identifier of its text) of the default language."""
    if len(data) < 4:
        return 0, FIRST_ID
    wanted, count = struct.unpack_from(">2H", data)
    for number in range(min(count, (len(data) - 4) // ENTRY.size)):
        region, place, _ = ENTRY.unpack_from(data, 4 + number * ENTRY.size)
        if region == wanted:
            return region, FIRST_ID + place
    return wanted, FIRST_ID
