"""The options that single formats declare, gathered: light enough for every start of the command line.

A format with an option declares it in one of these modules, which import nothing else, and names it in its
``FORMAT``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from imgmount.core.option import Option
from imgmount.errors import MountError

MODULES: Final = (
    "imgmount.containers.evidence.options",
    "imgmount.containers.vdisk.options",
    "imgmount.families.apple.options",
    "imgmount.families.optical.options",
    "imgmount.families.unix.options",
    "imgmount.families.windows.options",
)


def all_options() -> dict[str, Option]:
    """Every option that single formats declare, by name."""
    found = [option for module in MODULES for option in import_module(module).OPTIONS]
    return {option.name: option for option in sorted(found)}


def check_options(given: Mapping[str, str]) -> None:
    """Refuse keys that no format knows and values that it does not take. Raises ``MountError``."""
    known = all_options() if given else {}
    for name, value in given.items():
        if name not in known:
            raise MountError(f"no format has an option {name!r}; there are {', '.join(known)}")
        if complaint := known[name].complaint(value):
            raise MountError(f"option {complaint}")
