"""Options of discs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from imgmount.core.option import NUMBER, Option

SESSION: Final = Option("session", "which session of a multisession disc", metavar=NUMBER, flag=True)
XA: Final = Option(
    "xa",
    "sectors of Video CD and PlayStation files: their 2324 bytes (default), whole sectors, "
    "or 2048 bytes as kernels read them",
    ("form2", "raw", "cooked"),
    flag=True,
)
OPTIONS: Final = (SESSION, XA)


def session(given: Mapping[str, str]) -> int | None:
    """The session that the user wants, None for the newest."""
    return int(SESSION.of(given)) if SESSION.of(given) else None


def no_session(wanted: int, count: int) -> str:
    """What is wrong where a disc of ``count`` sessions has none with the number ``wanted``."""
    return f"there is no session {wanted}, only {'1 to ' if count > 1 else ''}{count}"
