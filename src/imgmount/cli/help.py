"""``imgmount help [COMMAND]``, and what is printed where no word is given."""

from __future__ import annotations

import argparse
import sys
from typing import Final, TextIO

from imgmount.cli.commands import COMMANDS, PROGRAMS, WORDS, parser_for, summary_of

SUMMARY: Final = "Explain a command, or list them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to explain."""
    parser.add_argument(
        "command", metavar="COMMAND", nargs="?", choices=sorted(WORDS), help="what to explain"
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.command is None:
        overview(sys.stdout)
    else:
        parser_for(WORDS[args.command]).print_help()
    return 0


def overview(stream: TextIO) -> None:
    """Every command in one line."""
    lines = [(parser_for(name).usage_line(), summary_of(name)) for name in PROGRAMS]
    lines += [(f"imgmount {name}", summary_of(name)) for name in COMMANDS]
    width = max(len(left) for left, _ in lines)
    print("usage:", file=stream)
    for left, right in lines:
        print(f"  {left:<{width}}  {right}", file=stream)
    print("'imgmount help COMMAND' says more, 'imgmount --help' how to mount.", file=stream)
