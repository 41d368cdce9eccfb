"""argparse as we use it: a usage error is one line; every command has the same general options."""

from __future__ import annotations

import argparse
import os
from typing import Final, NoReturn

from imgmount import __version__
from imgmount.errors import MountError

DEFAULT_WIDTH: Final = 98
MIN_WIDTH: Final = 40
_MISSING: Final = "the following arguments are required: "  # argparse


class UsageError(MountError):
    """The command line cannot be understood."""


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A formatter that is given the width, so that argparse need not import shutil and its compressors."""
    try:
        width = os.get_terminal_size().columns - 2
    except (OSError, ValueError, AttributeError):  # not a terminal, or none at all
        width = DEFAULT_WIDTH
    return argparse.RawDescriptionHelpFormatter(prog, width=max(MIN_WIDTH, width))


class ExitAction(argparse.Action):
    """An option without a value that does its work and ends the program, as --help does."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises ``UsageError`` and takes no abbreviations."""

    def __init__(self, prog: str, description: str, usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=usage,
            allow_abbrev=False,
            formatter_class=_formatter,
            conflict_handler="resolve",  # ls has another use for -h, which is --help elsewhere
        )
        self.set_defaults(image=None)
        self.add_argument("-v", "--verbose", action="count", default=0, help="print more messages; -vv: all")
        self.add_argument("--log-file", metavar="FILE", help="append the log to FILE as well")
        self.add_argument("--version", action="version", version=f"imgmount {__version__}")

    def long_options(self) -> dict[str, bool]:
        """The long options without dashes, and whether each takes a value.

        Options that print and exit are left out.
        """
        exits = (argparse._HelpAction, argparse._VersionAction, ExitAction)  # noqa: SLF001
        return {
            name.removeprefix("--"): action.nargs != 0
            for action in self._actions
            if not isinstance(action, exits)
            for name in action.option_strings
            if name.startswith("--")
        }

    def options_with_value(self) -> frozenset[str]:
        """The options, with dashes, that are followed by a value."""
        return frozenset(
            name for action in self._actions if action.nargs != 0 for name in action.option_strings
        )

    def usage_line(self, *options: str) -> str:
        """The program, ``options`` and the arguments."""
        positional = [action for action in self._actions if not action.option_strings]
        return " ".join([self.prog, *options, *map(_argument, positional)])

    def error(self, message: str) -> NoReturn:
        missing = message.removeprefix(_MISSING)
        if missing != message:
            message = f"{missing} is missing: {self.usage_line('[OPTION...]')}"
        raise UsageError(f"{message}; see '{self.prog} --help'")


def _argument(action: argparse.Action) -> str:
    """A positional argument as a usage shows it: ``[PATH...]``."""
    name = str(action.metavar or action.dest)
    shapes: dict[object, str] = {None: name, "?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}
    return shapes[action.nargs]
