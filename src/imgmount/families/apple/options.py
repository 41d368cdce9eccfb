"""The options that filesystems of Apple's share, looked up in one place.

- ``forks``: how resource forks are shown, one of ``forks.CHOICES``
- ``names``: ``stored`` shows names decomposed where they are stored so, instead of composed (NFC)
- ``no-journal``: a journal is not replayed
- ``hidden``: what the system keeps in folders of its own is shown
- ``flat``: MFS without the folders of the Finder
- ``wrapper``: the HFS volume around an HFS+ volume, not the latter
"""

from __future__ import annotations

from typing import Final

from imgmount.core.format import Options
from imgmount.errors import MountError
from imgmount.families.apple.forks import CHOICES

NAMES: Final = ("nfc", "stored")
_ON: Final = ("", "1", "yes", "on", "true")
_OFF: Final = ("0", "no", "off", "false")


def flag(options: Options, name: str) -> bool:
    """Whether the user wants ``name``. Raises ``MountError`` for a value that is neither yes nor no."""
    value = options.extra.get(name, "no").lower()
    if value not in (*_ON, *_OFF):
        raise MountError(f"{name}: {value!r} is neither yes nor no")
    return value in _ON


def forks(options: Options) -> str:
    """How resource forks are shown. Raises ``MountError``."""
    return _choice(options, "forks", CHOICES)


def names_as_stored(options: Options) -> bool:
    """Whether names stay decomposed. Raises ``MountError``."""
    return _choice(options, "names", NAMES) == "stored"


def _choice(options: Options, name: str, choices: tuple[str, ...]) -> str:
    value = options.extra.get(name, choices[0])
    if value not in choices:
        raise MountError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    return value
