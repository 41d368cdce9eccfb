"""What is made from the parsers and the formats: ``imgmount --print bash|zsh|fish|man|mime|...``.

They are files, made once, because a shell should not start Python for each TAB.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.cli.commands import COMMANDS, parser_for
from imgmount.cli.parser import Parser, UsageError
from imgmount.cli.roff import entries, head, roff, see_also
from imgmount.core.format import Later


class Option(NamedTuple):
    """One option of one command. ``metavar`` is empty if it takes no value."""

    names: tuple[str, ...]
    metavar: str
    choices: tuple[str, ...]
    help: str


class Command(NamedTuple):
    """``name`` is empty for mounting."""

    name: str
    summary: str
    arguments: str
    options: tuple[Option, ...]


def run(argv: list[str]) -> int:
    """Print one of them."""
    names = (*WRITERS, *OTHERS)
    if len(argv) != 1 or argv[0] not in names:
        raise UsageError(f"--print takes one of {', '.join(names)}")
    sys.stdout.writelines(f"{line}\n" for line in _lines(argv[0]))
    return 0


def _lines(name: str) -> Iterator[str]:
    if name in OTHERS:
        return iter(OTHERS[name]())
    commands = [
        _command("mount", ""),
        *(_command(name, name) for name in COMMANDS),
        _command("unmount", "-u"),
    ]
    return WRITERS[name](commands)


def _command(module: str, name: str) -> Command:
    parser = parser_for(module)
    positional = [action for action in parser._actions if not action.option_strings]  # noqa: SLF001
    arguments = " ".join(map(_argument, positional))
    return Command(name, parser.description or "", arguments, tuple(_options(parser)))


def _argument(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    shapes: dict[object, str] = {None: name, "?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}
    return shapes[action.nargs]


def _options(parser: Parser) -> Iterator[Option]:
    for action in parser._actions:  # noqa: SLF001  argparse has no public list
        if not action.option_strings:
            continue
        choices = tuple(map(str, action.choices or ()))
        metavar = "" if action.nargs == 0 else str(action.metavar or "|".join(choices))
        yield Option(tuple(action.option_strings), metavar, choices, action.help or "")


def _bash(commands: list[Command]) -> Iterator[str]:
    every = {option.names: option for command in commands for option in command.options}.values()
    yield "# bash completion of imgmount; made by: imgmount --print bash"
    yield "_imgmount() {"
    yield '    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=""'
    yield "    COMPREPLY=()"
    yield "    case $previous in"
    for option in every:
        if option.choices:
            yield f'        {"|".join(option.names)}) words="{" ".join(option.choices)}" ;;'
    plain = [name for option in every if option.metavar and not option.choices for name in option.names]
    yield f"        {'|'.join(plain)}) return ;;  # a file, or anything"
    yield "    esac"
    yield "    if [[ -z $words && $cur == -* ]]; then"
    yield "        case ${COMP_WORDS[1]} in"
    for command in [*commands[1:], commands[0]]:
        pattern = {"": "*", "-u": "-u|--unmount"}.get(command.name, command.name)
        names = [name for option in command.options for name in option.names]
        words = " ".join(names if command.name else [*names, "-u", "--unmount"])
        yield f'            {pattern}) words="{words}" ;;'
    yield "        esac"
    yield "    fi"
    yield '    [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")'
    yield "    if [[ -z $words && $COMP_CWORD -eq 1 ]]; then"
    commands_first = f'compgen -W "{" ".join(COMMANDS)}" -- "$cur"'
    yield f'        mapfile -t COMPREPLY < <({commands_first}; compgen -f -- "$cur")'
    yield "    fi"
    yield "}"
    yield "complete -o filenames -o default -F _imgmount imgmount"


def _zsh(commands: list[Command]) -> Iterator[str]:
    yield "#compdef imgmount"
    yield "# made by: imgmount --print zsh"
    yield "_imgmount() {"
    yield "    local -a commands=("
    for command in commands:
        if command.name in COMMANDS:
            yield f"        {_quoted(f'{command.name}:{command.summary}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then"
    yield "        _describe -t commands command commands"
    yield "    fi"
    yield "    case $words[2] in"
    for command in [*commands[1:], commands[0]]:
        pattern = {"": "*", "-u": "-u|--unmount"}.get(command.name, command.name)
        shift = "shift words; (( CURRENT-- )); " if command.name in COMMANDS else ""
        yield f"        {pattern}) {shift}_arguments -s \\"
        for option in command.options:
            for name in option.names:
                yield f"            {_quoted(_zsh_option(name, option))} \\"
        yield "            '*:file:_files' ;;"
    yield "    esac"
    yield "}"
    yield '_imgmount "$@"'


def _zsh_option(name: str, option: Option) -> str:
    explained = option.help.replace("[", r"\[").replace("]", r"\]")
    if not option.metavar:
        return f"*{name}[{explained}]"
    values = f"({' '.join(option.choices)})" if option.choices else "_files"
    return f"*{name}[{explained}]:{option.metavar.replace(':', ' ')}:{values}"


def _fish(commands: list[Command]) -> Iterator[str]:
    yield "# fish completion of imgmount; made by: imgmount --print fish"
    seen = "__fish_seen_subcommand_from"
    for command in commands:
        if command.name in COMMANDS:
            summary = _quoted(command.summary)
            yield f"complete -c imgmount -n __fish_is_first_arg -a {command.name} -d {summary}"
    for command in commands:
        condition = {"": f"not {seen} {' '.join(COMMANDS)}", "-u": "__fish_contains_opt -s u unmount"}
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
            )
            values = (
                f" -x -a {_quoted(' '.join(option.choices))}"
                if option.choices
                else " -r" * bool(option.metavar)
            )
            when = condition.get(command.name, f"{seen} {command.name}")
            yield f"complete -c imgmount -n {_quoted(when)} {names}{values} -d {_quoted(option.help)}"
    yield "complete -c imgmount -n __fish_is_first_arg -s u -l unmount -d 'Unmount'"


def _quoted(text: str) -> str:
    """One word for any shell."""
    return "'" + text.replace("'", "’") + "'"


def _man(commands: list[Command]) -> Iterator[str]:
    yield from head(
        "imgmount", 1, "User Commands", "mount any disk image as files, or read it without mounting"
    )
    yield ".SH SYNOPSIS"
    for command in commands:
        words = roff(f"imgmount {command.name}".strip())
        yield f".B {words}\n[\\fIoptions\\fR] {roff(command.arguments)}\n.br"
    yield ".SH DESCRIPTION"
    yield roff(_DESCRIPTION)
    general = [
        option for option in commands[0].options if all(option in command.options for command in commands)
    ]
    reading = [
        option
        for option in commands[0].options
        if option in _named(commands, "info").options and option not in general
    ]
    yield from _man_options(".SH GENERAL OPTIONS", general)
    yield from _man_options(".SH HOW TO READ THE IMAGE", reading)
    for command in commands:
        name = f"imgmount {command.name}".strip()
        yield f".SH {({'': 'mounting', '-u': 'unmounting'}.get(command.name, command.name)).upper()}"
        yield f"{roff(command.summary)}\n.PP\n.B {roff(name)}\n{roff(command.arguments)}"
        yield from _man_options(
            "", [option for option in command.options if option not in (*general, *reading)]
        )
    for title, pairs in _SECTIONS.items():
        yield f".SH {title}"
        yield from entries(pairs)
    yield see_also(
        "imgmount-formats(7)", "mount.imgmount(8)", "mount(8)", "umount(8)", "fusermount3(1)", "fuse(8)"
    )


def _named(commands: list[Command], name: str) -> Command:
    return next(command for command in commands if command.name == name)


def _man_options(title: str, options: list[Option]) -> Iterator[str]:
    if title:
        yield title
    for option in options:
        names = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.names)
        value = f" \\fI{roff(option.metavar)}\\fR" if option.metavar else ""
        yield f".TP\n{names}{value}\n{roff(option.help)}"


_DESCRIPTION: Final = (
    "The first word decides what is done; without a command the image is mounted. Write ./info for an image "
    "that has the name of a command. A single filesystem is shown as it is; several are p1, p2... with links "
    "in by-label and by-uuid. A part without a filesystem is shown as raw files. Images are never written. "
    "Every option for reading the image can also be given in -o: fs=joliet. "
    "Without MOUNTPOINT, a folder that is named after the volume, or the image, is made beside the image, or "
    "in ~/imgmount where that cannot be written to; with --open also where file managers do not list what is "
    "mounted: outside of your home and of /media, and in hidden folders."
)
_SECTIONS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "KEYS": (
        (
            "--keys FILE",
            "Lines NAME=HEX, lines with 32 digits alone, one key as 16 bytes, or a folder of NAME.key.",
        ),
        ("--key NAME=HEX", "The same, but everybody can see it with ps(1)."),
        ("beside the image", "game.key, IMAGE.key, disc.key, NAME.key, common.key."),
        (
            "~/.config/imgmount/keys/",
            "NAME.key and IMAGE.key; $XDG_CONFIG_HOME, if set, instead of ~/.config.",
        ),
        ("~/.wiiu/", "common.key, discKeys/IMAGE.key, titleKeys/TITLE.key."),
        ("wii-common, wii-korean, wii-vwii, wii-debug", "What title keys of Wii discs are encrypted with."),
        (
            "wiiu-disc, wiiu-common, wiiu-debug",
            "A disc of the Wii U, and what its title keys are encrypted with.",
        ),
        ("nfs", "A Wii disc in the files of a Wii U; htk.bin is the same."),
        ("0005000010112233", "The key of the title of this id, in place of the common one."),
    ),
    "EXIT STATUS": (
        ("0", "Done."),
        ("1", "The host or the call is at fault."),
        ("2", "The image is at fault: damaged, unknown, incomplete, or without its key."),
        ("32", "The mount failed, when called by mount(8)."),
        ("130, 141", "Interrupted; the reader of the output has gone."),
    ),
    "ENVIRONMENT": (
        ("IMGMOUNT_KEYS", "Keys of images: NAME=HEX, with blanks between them."),
        ("IMGMOUNT_PASSWORD", "The password of the image, where no option gives it."),
        ("IMGMOUNT_DEBUG", "If set, errors that should not happen end in a traceback."),
        ("NOTIFY_SOCKET", "Where --foreground tells systemd that the mount answers, for Type=notify."),
        ("TZ", "The zone of times that the image stores without one."),
    ),
}
WRITERS: Final[Mapping[str, Callable[[list[Command]], Iterator[str]]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    "man": _man,
}
OTHERS: Final[Mapping[str, Later]] = {
    "man-formats": Later("imgmount.cli.manpages:formats_page"),
    "man-mount": Later("imgmount.cli.manpages:mount_page"),
    "mime": Later("imgmount.desktop.mime:mime_package"),
    "opened-types": Later("imgmount.desktop.mime:opened_types"),
    "offered-types": Later("imgmount.desktop.mime:offered_types"),
}
