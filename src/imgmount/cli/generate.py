"""What is made from the parsers and the formats: ``imgmount --print bash|zsh|fish|man|mime|...``.

They are files, made once, because a shell should not start Python for each TAB, but for what only it knows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from imgmount.cli.commands import COMMANDS, parser_for
from imgmount.cli.parser import Parser, UsageError
from imgmount.cli.roff import entries, head, roff, see_also
from imgmount.cli.shells import bash, fish, zsh
from imgmount.core.format import ContainerFormat, FilesystemFormat, Format, Later, PartitionsFormat
from imgmount.registry import TABLES, all_formats

_FORMATS: Final[Mapping[str, tuple[type[Format], ...]]] = {
    "container": (ContainerFormat,),
    "partitions": (PartitionsFormat,),
    "fs": (FilesystemFormat,),
    "formats": tuple(TABLES),
}
_NO_FORMAT: Final = {"container": ("raw",), "partitions": ("none",)}


class Option(NamedTuple):
    """One option of one command. ``metavar`` is empty if it takes no value."""

    names: tuple[str, ...]
    metavar: str
    choices: tuple[str, ...]
    help: str


class Command(NamedTuple):
    """``name`` is empty for mounting. ``values`` are those of its first argument, if they can be listed."""

    name: str
    summary: str
    arguments: str
    options: tuple[Option, ...]
    values: tuple[str, ...]


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
    arguments = parser.usage_line().removeprefix(parser.prog).strip()
    actions = parser._actions  # noqa: SLF001  argparse has no public list
    values = next((_choices(action) for action in actions if not action.option_strings), ())
    return Command(name, parser.description or "", arguments, tuple(_options(parser)), values)


def _choices(action: argparse.Action) -> tuple[str, ...]:
    """The values that an option or argument takes; of one that names a format, all formats of its kind."""
    kinds = _FORMATS.get(action.dest, ())
    names = [
        name
        for kind in kinds
        for fmt in all_formats(kind)
        for name in (fmt.name, *(fmt.views if isinstance(fmt, FilesystemFormat) else ()))
    ]
    return tuple(map(str, action.choices or dict.fromkeys([*names, *_NO_FORMAT.get(action.dest, ())])))


def _options(parser: Parser) -> Iterator[Option]:
    for action in parser._actions:  # noqa: SLF001  argparse has no public list
        if not action.option_strings:
            continue
        choices = _choices(action)
        metavar = "" if action.nargs == 0 else str(action.metavar or "|".join(choices))
        yield Option(tuple(action.option_strings), metavar, choices, action.help or "")


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
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
    "man": _man,
}
OTHERS: Final[Mapping[str, Later]] = {
    "man-formats": Later("imgmount.cli.manpages:formats_page"),
    "man-mount": Later("imgmount.cli.manpages:mount_page"),
    "mime": Later("imgmount.desktop.mime:mime_package"),
    "opened-types": Later("imgmount.desktop.mime:opened_types"),
    "offered-types": Later("imgmount.desktop.mime:offered_types"),
}
