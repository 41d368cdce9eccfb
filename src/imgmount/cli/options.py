"""The options that say how an image is read. Every command that opens an image takes all of them."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, Final

from imgmount.cli.parser import UsageError

if TYPE_CHECKING:
    from imgmount.chain.open import Image
    from imgmount.core.cache import ReadCache
    from imgmount.core.format import Options
    from imgmount.core.option import Option
    from imgmount.vfs.vfs import Vfs

VIEWS: Final = ("tree", "raw", "all", "deleted")  # the values of vfs.tree.View, which takes 30 ms to import
DEFAULT_VIEW: Final = None  # files, or raw where there are none
FORMAT_OPTION: Final = "option of a format: "  # begins the names of such options in the parsed arguments
DEFAULT_CACHE: Final = "64M"
_SUFFIXES: Final = {"": 0, "K": 10, "M": 20, "G": 30}


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``make_options`` and ``open_from`` read."""
    group = parser.add_argument_group("how to read the image")
    group.add_argument(
        "--container", metavar="FORMAT", help="format of the outermost container; 'raw' for none"
    )
    group.add_argument(
        "--partitions", metavar="FORMAT", help="format of the partition table; 'none' for none"
    )
    group.add_argument(
        "--fs", metavar="FORMAT", help="format of the file system, or one of its views: 'joliet'"
    )
    group.add_argument(
        "--encoding", metavar="NAME", help="character set of file names where the image declares none"
    )
    group.add_argument(
        "--refs", metavar="same-dir|DIR|any", action="append", default=[],
        help="where to look for files that the image names: beside it (default), in DIR too, "
        "or anywhere that it says",
    )  # fmt: skip
    group.add_argument(
        "--password", metavar="TEXT", help="the password; unsafe: every user sees it in the process list"
    )
    group.add_argument(
        "--password-file",
        metavar="FILE",
        help="a file of lines: the password, and others to try; '-' is a line of standard input",
    )
    group.add_argument(
        "--key",
        metavar="NAME=HEX",
        action="append",
        default=[],
        help="a key; unsafe like --password: see --keys",
    )
    keys = "a file of lines NAME=HEX, or a folder of NAME.key; also $IMGMOUNT_KEYS"
    group.add_argument("--keys", metavar="FILE|DIR", action="append", default=[], help=keys)
    group.add_argument(
        "--cache-size",
        metavar="SIZE",
        type=byte_count,
        default=DEFAULT_CACHE,
        help="memory for decoded data, with K, M or G; 64M by default",
    )
    _add_format_arguments(parser)


def _add_format_arguments(parser: argparse.ArgumentParser) -> None:
    """``-X`` and the flags of options that single formats declare."""
    from imgmount.format_options import all_options

    options = all_options().values()
    group = parser.add_argument_group("options of single formats")
    others = "; ".join(
        f"{option.name}={_expected(option)}: {option.help}" for option in options if not option.flag
    )
    group.add_argument(
        "-X", "--extra", metavar="KEY=VALUE", action="append", default=[],
        help=f"any of the options below, or one without a name of its own: {others}",
    )  # fmt: skip
    for option in options:
        if not option.flag:
            continue
        how: dict[str, Any] = {"choices": option.values or None, "metavar": option.metavar or None}
        if option.is_switch:
            how = {"action": "store_const", "const": "yes"}
        group.add_argument(f"--{option.name}", dest=f"{FORMAT_OPTION}{option.name}", help=option.help, **how)


def _expected(option: Option) -> str:
    return "|".join(option.values) or option.metavar


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """``--view``, ``--raw`` and ``--deleted``."""
    parser.add_argument(
        "--view",
        choices=VIEWS,
        help="files, raw disks and partitions, both, or deleted files; "
        "by default files, or raw for a disk without any",
    )
    parser.add_argument(
        "--raw", dest="view", action="store_const", const="raw", help="the same as --view raw"
    )
    parser.add_argument(
        "--deleted", dest="view", action="store_const", const="deleted", help="the same as --view deleted"
    )


def add_notify_argument(parser: argparse.ArgumentParser) -> None:
    """``--notify``."""
    parser.add_argument(
        "--notify", action="store_true", help="show failures and questions on the desktop as well"
    )


def byte_count(text: str) -> int:
    """``64M`` as a number of bytes. Raises ``ArgumentTypeError``."""
    number = text.rstrip("KMGkmg")
    suffix = text[len(number) :].upper()
    if not (number.isascii() and number.isdecimal()) or suffix not in _SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: 64M")
    if not int(number):
        raise argparse.ArgumentTypeError("without memory every read decodes its data again; 64M is usual")
    return int(number) << _SUFFIXES[suffix]


def make_options(args: argparse.Namespace) -> Options:
    """What the user asked for. Raises ``MountError``."""
    from imgmount.cli.keys import VARIABLE, UserKeys  # these cost 5 ms that --help does without
    from imgmount.cli.passwords import given
    from imgmount.core.format import Options

    keys = UserKeys(args.key, args.keys, os.environ.get(VARIABLE, ""))
    passwords = given(args)
    return Options(
        container=args.container,
        partitions=args.partitions,
        fs=args.fs,
        encoding=_encoding(args.encoding),
        refs=args.refs,
        password=passwords[0] if passwords else None,
        spare_passwords=tuple(passwords[1:]),
        keys=keys.named,
        spare_keys=tuple(keys.spare),
        extra=_extra(args),
    )


def make_cache(args: argparse.Namespace) -> ReadCache:
    """A cache of the size asked for."""
    from imgmount.core.cache import ReadCache

    return ReadCache(args.cache_size)


def open_from(args: argparse.Namespace) -> Image:
    """``args.image``, opened as the options say, without read-ahead. Raises ``ImgMountError``.

    A password that is missing is asked for where there is somebody to ask.
    What cannot be opened is an error, also with ``--raw``: the bytes of its file are not those of the disk.
    """
    from imgmount.cli.advice import AS_FILE
    from imgmount.errors import FormatError, UnsupportedError

    options = make_options(args)
    try:
        return _open(args, options)
    except (FormatError, UnsupportedError) as exc:
        if "view" in args and options.container is None:
            exc.advise(AS_FILE)
        raise


def _open(args: argparse.Namespace, options: Options) -> Image:
    """Open the image, and again with each password that the user is asked for."""
    from imgmount.chain.open import open_image
    from imgmount.cli.passwords import Questions
    from imgmount.errors import PasswordRequiredError, WrongPasswordError

    questions = Questions(args, options)
    while True:
        try:
            image = open_image(args.image, questions.options, make_cache(args))
        except (PasswordRequiredError, WrongPasswordError) as exc:
            if not questions.answers(exc):
                raise
            continue
        if getattr(args, "view", DEFAULT_VIEW) == "raw" or not questions.unlocks(image):
            return image
        image.close()


def vfs_from(args: argparse.Namespace, image: Image) -> Vfs:
    """The view that ``args`` names; what is served raw, and why, goes to the log. Raises ``ImageError``."""
    from imgmount.cli.advice import advise_on_tree
    from imgmount.errors import ImageError
    from imgmount.vfs.tree import View, build_vfs

    view = View.TREE if args.view is DEFAULT_VIEW else View(args.view)
    try:
        vfs = build_vfs(image, view, or_raw=args.view is DEFAULT_VIEW)
    except ImageError as exc:
        advise_on_tree(exc, image)
        raise
    for note in vfs.notes:
        warn(f"{image.path}: {note}")
    return vfs


def warn(text: str) -> None:
    """Tell the user, and the log."""
    import logging

    logging.getLogger(__name__).warning("%s", text)


def _encoding(name: str | None) -> str | None:
    if name is not None:
        try:
            "".encode(name)
        except LookupError:
            raise UsageError(f"--encoding: Python has no encoding called {name!r}") from None
    return name


def _extra(args: argparse.Namespace) -> dict[str, str]:
    """Options of single formats, by their own flags and by ``-X``; a switch needs no value.

    Raises ``UsageError``.
    """
    from imgmount.errors import MountError
    from imgmount.format_options import all_options, check_options

    given = {
        name.removeprefix(FORMAT_OPTION): value
        for name, value in vars(args).items()
        if name.startswith(FORMAT_OPTION)
    }
    found = {name: str(value) for name, value in given.items() if value is not None}
    known = all_options()
    for text in args.extra:
        name, equals, value = text.partition("=")
        if not equals and not (name in known and known[name].is_switch):
            raise UsageError(f"-X: {text!r} is not KEY=VALUE")
        found[name.strip()] = value if equals else "yes"
    try:
        check_options(found)
    except MountError as exc:
        raise UsageError(f"-X: {exc}") from None
    return found
