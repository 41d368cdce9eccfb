"""Which word of a command line is the command."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from imgmount.cli.commands import WORDS, parser_for
from imgmount.cli.words import find_command, without_end

VALUED = {"--keys", "-o", "-C"}


@pytest.mark.parametrize(
    ("line", "command", "others"),
    [
        ("ls a.iso", "ls", "a.iso"),
        ("a.iso ls", "mount", "a.iso ls"),
        ("--keys k ls a.iso", "ls", "--keys k a.iso"),
        ("--keys=k ls a.iso", "ls", "--keys=k a.iso"),
        ("--keys ls ls a.iso", "ls", "--keys ls a.iso"),
        ("--keys ls a.iso", "mount", "--keys ls a.iso"),
        ("-fo rw ls a.iso", "ls", "-fo rw a.iso"),
        ("-orw ls a.iso", "ls", "-orw a.iso"),
        ("-fC ls ls", "ls", "-fC ls"),
        ("-v -- ls a.iso", "mount", "-v -- ls a.iso"),
        ("ls -- a.iso -b", "ls", "-- a.iso -b"),
        ("-u ls", "ls", "-u"),
        ("-u /mnt", "unmount", "/mnt"),
        ("/mnt --unmount", "unmount", "/mnt"),
        ("-u -- -u", "unmount", "-- -u"),
        ("-- -u", "mount", "-- -u"),
        ("ls", "ls", ""),
        ("-o", "mount", "-o"),
    ],
)
def test_find_command(line: str, command: str, others: str) -> None:
    assert find_command(line.split(), {"ls"}, lambda: VALUED) == (command, others.split())


@pytest.mark.parametrize(
    ("line", "plain"), [("a -b -- -c d --", "a -b ./-c d ./--"), ("a -b", "a -b"), ("-- a", "a")]
)
def test_without_end(line: str, plain: str) -> None:
    assert without_end(line.split()) == plain.split()


def test_no_option_has_a_value_in_one_command_only() -> None:
    """Otherwise options that stand before the command could not be told from its name."""
    options: dict[str, set[bool]] = {}
    for name in WORDS.values():
        for action in parser_for(name)._actions:
            for option in action.option_strings:
                options.setdefault(option, set()).add(action.nargs != 0)
    assert [option for option, kinds in options.items() if len(kinds) > 1] == []


def test_no_option_takes_the_letter_of_another_but_h_of_ls(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, str]] = []
    resolve = argparse.ArgumentParser._handle_conflict_resolve

    def watched(
        container: Any, action: argparse.Action, conflicts: list[tuple[str, argparse.Action]]
    ) -> None:
        taken.extend((name, action.dest) for name, _ in conflicts)
        resolve(container, action, conflicts)

    monkeypatch.setattr(argparse._ActionsContainer, "_handle_conflict_resolve", watched)
    for name in WORDS.values():
        parser_for(name)
    assert taken == [("-h", "human_readable")]
