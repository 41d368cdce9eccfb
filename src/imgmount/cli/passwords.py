"""Passwords of an image: given by the command line or the environment, or asked for."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Final

from imgmount.chain.open import Image
from imgmount.core.format import Options
from imgmount.errors import KeyRequiredError, PasswordRequiredError, WrongPasswordError

log = logging.getLogger(__name__)

TRIES: Final = 3


def given(args: argparse.Namespace) -> list[str]:
    """The password, and others to try where an image has several: one a line of ``--password-file``."""
    if args.password is not None:
        return [str(args.password)]
    if args.password_file == "-":  # noqa: S105  not a password
        return [sys.stdin.readline().rstrip("\r\n")]
    if args.password_file is not None:
        # open, not Path.open: importing pathlib would slow down every start
        with open(  # noqa: PTH123
            args.password_file, encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            return _lines(file.read())
    password = os.environ.get("IMGMOUNT_PASSWORD")
    return [] if password is None else [password]


def _lines(text: str) -> list[str]:
    """The first line, which may be an empty password, and the others that are not."""
    first, *others = [line.rstrip("\r") for line in text.split("\n")]
    return [first, *(line for line in others if line)]


class Questions:
    """Asks for passwords where none was given, if there is a terminal or, with --notify, a desktop.

    ``options`` have those that were answered, the newest first.
    """

    def __init__(self, args: argparse.Namespace, options: Options) -> None:
        self.options = options
        self._image = args.image
        self._ask = _question(args) if options.password is None else None
        self._answers: list[str] = []

    def unlocks(self, image: Image) -> bool:
        """Whether there is another password to open it with, of which a file system in it has need."""
        if self._ask is None:
            return False
        problems = (volume.problem for volume in image.volumes)
        locks = (one for one in problems if isinstance(one, PasswordRequiredError | WrongPasswordError))
        lock = next(locks, None)
        return lock is not None and self.answers(lock)

    def answers(self, lock: KeyRequiredError) -> bool:
        """Whether there is another password against ``lock``. That the last was wrong is told."""
        if self._ask is None or len(self._answers) == TRIES:
            return False
        if self._answers:
            log.warning("%s: %s", self._image, lock)
        answer = self._ask(bool(self._answers))
        if not answer:
            return False
        self._answers.insert(0, answer)
        self.options = self.options._replace(password=answer, spare_passwords=tuple(self._answers[1:]))
        return True


def _question(args: argparse.Namespace) -> Callable[[bool], str | None] | None:
    """What asks the user for the password, again or for the first time; None where there is nobody to ask."""
    if all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):  # None if closed
        from getpass import getpass

        return lambda _: getpass(f"Password of {args.image}: ")
    if getattr(args, "notify", False):
        from imgmount.desktop.messages import ask_password

        name = os.path.basename(args.image)  # noqa: PTH119  pathlib is slow to import
        return lambda again: ask_password(name, again=again)
    return None
