"""argparse with our manners: a usage error is an exception with one line, and every command knows the same general options."""

from __future__ import annotations

import argparse
from typing import NoReturn

from imgmount import __version__
from imgmount.errors import MountError


class UsageError(MountError):
    """The command line cannot be understood."""


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises ``UsageError`` and takes no abbreviations."""

    def __init__(self, prog: str, description: str, usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=usage,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.set_defaults(image=None)
        self.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: everything")
        self.add_argument("--log-file", metavar="FILE", help="append the log to FILE as well")
        self.add_argument("--version", action="version", version=f"imgmount {__version__}")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")
