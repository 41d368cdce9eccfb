"""The commands: one module of this folder each, with its parser, and how one is run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from imgmount.cli.words import find_command, without_end

if TYPE_CHECKING:
    from imgmount.cli.parser import Parser

COMMANDS: Final = ("cat", "extract", "formats", "help", "info", "list", "ls", "timeline", "verify")
PROGRAMS: Final = {"mount": "imgmount", "unmount": "imgmount -u"}  # what needs no word, and may have one
WORDS: Final = {**{name: name for name in (*COMMANDS, *PROGRAMS)}, "umount": "unmount"}


class Command(Protocol):
    """What each module of this folder that is a command offers."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options and arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the result is the exit code. Raises ``ImgMountError`` and ``OSError``."""


def parser_for(name: str) -> Parser:
    """The parser of a command, or of ``mount`` and ``unmount``."""
    from imgmount.cli.parser import Parser

    command = _module(name)
    parser = Parser(PROGRAMS.get(name, f"imgmount {name}"), command.SUMMARY)
    if name == "mount":
        parser.epilog = _EPILOG
    command.add_arguments(parser)
    parser.usage = parser.usage_line("[OPTION...]")
    return parser


def summary_of(name: str) -> str:
    """What the command does, in one line."""
    return _module(name).SUMMARY


def dispatch(words: Sequence[str]) -> int:
    """Run the command that ``words`` name, with the others."""
    return run_command(*command_of(words))


def command_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """(the command that ``words`` name, the others)."""
    word, others = find_command(words, WORDS, _options_with_value)
    return WORDS[word], others


def _options_with_value() -> frozenset[str]:
    """Of any command."""
    return frozenset().union(*(parser_for(name).options_with_value() for name in WORDS.values()))


def run_command(name: str, argv: Sequence[str], **more: object) -> int:
    """Parse ``argv`` and run the command; ``more`` is added to what the parser found."""
    parser, argv = parser_for(name), without_end(argv)
    args = parser.parse_intermixed_args(argv)
    vars(args).update(more)
    if name == "mount":
        args = _with_mount_options(parser, args, argv, more)
    subject.append(str(args.image or "").removeprefix("./"))  # as pathlib prints it
    from imgmount.cli.log import configure

    configure(args.verbose, args.log_file)
    if getattr(args, "password", None) is not None:
        import logging

        logging.getLogger(__name__).warning(
            "--password shows the password in the list of processes; use --password-file"
        )
    run = _module(name).run
    if getattr(args, "notify", False):
        from imgmount.desktop.messages import with_failures_shown

        return with_failures_shown(run, args, subject[-1])
    return run(args)


_EPILOG: Final = f"""\
other commands: imgmount {{{",".join(COMMANDS)}}} ...
                imgmount -u MOUNTPOINT|IMAGE...
An image that is called like a command is ./info."""

subject: Final[list[str]] = []  # the image of the command that runs, for the error line


def _with_mount_options(
    parser: Parser, args: argparse.Namespace, argv: list[str], more: dict[str, object]
) -> argparse.Namespace:
    """``-o fs=joliet`` says the same as ``--fs joliet``: fstab has nothing but ``-o``."""
    from imgmount.fuse.options import parse

    known = parser.long_options()
    ours = parse(args.mount_options, known, sloppy=True).ours
    args = parser.parse_intermixed_args([*ours, *argv])
    vars(args).update(more, long_options=known)
    return args


def _module(name: str) -> Command:
    return cast("Command", import_module(f"imgmount.cli.{name}"))
