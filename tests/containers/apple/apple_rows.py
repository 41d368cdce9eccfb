"""What the collection of third-party images says of Apple's, for tests that compare all of them."""

from __future__ import annotations

import json
from typing import Any

from helpers import IMAGES

HUGE = ("samples__openwall.dmg", "big_expectunexpected.dmg")  # 16 GiB each


def rows(*families: str) -> list[dict[str, Any]]:
    """The rows of ``families`` whose raw content is known; none where the collection is absent."""
    index = IMAGES / "INDEX.json"
    if not index.exists():
        return []
    found = json.loads(index.read_text())
    return [
        row
        for row in found
        if row["family"] in families and row.get("raw") and not row["file"].endswith(HUGE)
    ]
