"""The names of key files of Wii and Wii U discs and titles, beside the image and in the user's folders."""

from __future__ import annotations

import re
from typing import Final

WIIU_FOLDER: Final = ".wiiu"  # below the home folder
# what the names of split images have behind the stem
_PART: Final = re.compile(r"_part[0-9]+$|\.part[0-9]+$|\.[0-9]{3,}$", re.IGNORECASE)


def own_names(image: str) -> list[str]:
    """The names that the key of this image alone may have: ``title.wux.key``, ``title.key``."""
    name = _PART.sub("", image)
    stem = _PART.sub("", name.rpartition(".")[0])
    return list(dict.fromkeys(f"{text}.key" for text in (image, name, stem) if text))


def disc_names(image: str) -> list[str]:
    """The names that a disc's key may have beside it, ``game.key`` and ``disc.key`` among them."""
    return list(dict.fromkeys(("game.key", *own_names(image), "disc.key")))
