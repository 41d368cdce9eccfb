"""Options of single formats, declared once: the command line, its help and the manual page read them here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

NUMBER = "N"  # the metavar of a decimal number


class Option(NamedTuple):
    """``-X NAME=VALUE``; with ``flag`` also ``--NAME VALUE``, and of a ``switch`` ``--NAME`` alone.

    ``values`` are those allowed, the default first; without any, ``metavar`` says what is expected and "" is
    the default.
    """

    name: str
    help: str
    values: tuple[str, ...] = ()
    metavar: str = ""
    flag: bool = False

    @classmethod
    def switch(cls, name: str, help: str, *, flag: bool = False) -> Option:  # noqa: A002
        """An option that is off until it is named."""
        return cls(name, help, ("no", "yes"), "", flag)

    @property
    def is_switch(self) -> bool:
        """Whether its name alone means yes."""
        return self.values == ("no", "yes")

    def of(self, given: Mapping[str, str]) -> str:
        """Its value among ``Options.extra``, or its default."""
        return given.get(self.name, self.values[0] if self.values else "")

    def is_on(self, given: Mapping[str, str]) -> bool:
        """Whether a switch is on."""
        return self.of(given) == "yes"

    def complaint(self, value: str) -> str:
        """What is wrong with ``value``, "" if nothing is."""
        if self.values and value not in self.values:
            return f"{self.name} is {' or '.join(self.values)}, not {value!r}"
        if self.metavar == NUMBER and not (value.isascii() and value.isdecimal() and len(value) < 10):
            return f"{self.name} is a number, not {value!r}"
        return ""


IMAGE: Final = Option(
    "image", "which of several images in one file: its number, name or URN", metavar="IMAGE", flag=True
)
SNAPSHOT: Final = Option(
    "snapshot",
    "the state of a QCOW2 or Parallels disk or an APFS volume to show: an identifier or name that info lists",
    metavar="ID",
    flag=True,
)
NO_JOURNAL: Final = Option.switch(
    "no-journal", "do not replay the journal of an ext3, ext4, XFS or HFS+ volume in memory", flag=True
)
