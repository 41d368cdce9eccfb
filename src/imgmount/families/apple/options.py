"""Options of file systems of Macs."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import NO_JOURNAL, Option

FORKS: Final = Option(
    "forks",
    "resource forks of Macs: extended attributes (default), files '._NAME', or a folder '..namedfork'",
    ("xattr", "appledouble", "tree"),
    flag=True,
)
NAMES: Final = Option(
    "names", "names of Macs: composed as elsewhere (default), or as stored", ("nfc", "stored"), flag=True
)
HIDDEN: Final = Option.switch("hidden", "show the folders that macOS hides behind hard links", flag=True)
FLAT: Final = Option.switch("flat", "show MFS without the folders of the Finder", flag=True)
SHARED: Final = (FORKS, NAMES)
OPTIONS: Final = (*SHARED, NO_JOURNAL, HIDDEN, FLAT)
