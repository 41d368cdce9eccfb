"""Parsed pieces of an image that are kept for a while."""

from __future__ import annotations

from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


def keep(kept: dict[_K, _V], key: _K, value: _V, limit: int) -> None:
    """Add to a cache that many threads may use: entries are written once and dropped whole, oldest first.

    A full one loses its older half, so that looking for what to drop is rare.
    """
    if len(kept) >= limit:
        for old in list(kept)[: -(-limit // 2)]:
            kept.pop(old, None)
    kept[key] = value
