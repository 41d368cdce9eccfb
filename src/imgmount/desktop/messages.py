"""Messages and questions of a program that was started from an icon: nobody reads its standard error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final, TypeVar

from imgmount.core.printable import printable
from imgmount.errors import ImgMountError

A = TypeVar("A")

PATIENCE: Final = 5  # seconds for a service of the desktop to answer
PASSWORD: Final = "imgmount: password"  # noqa: S105  a title


def with_failures_shown(run: Callable[[A], int], args: A, subject: str) -> int:
    """What ``run(args)`` returns; what it raises is told to the desktop first."""
    title = f"{Path(subject).name or 'imgmount'}: failed"
    try:
        return run(args)
    except Exception as exc:
        tell(title, _reason(exc))
        raise


def _reason(exc: Exception) -> str:
    if isinstance(exc, ImgMountError):
        return str(exc)
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return f"internal error, {type(exc).__name__}: {exc}"


def tell(title: str, text: str) -> bool:
    """Show a message in the first way that works. False if none does."""
    title, text = printable(title), printable(text)
    if any(_succeeds(command) for command in _notifications(title, text)):
        return True
    return any(_starts(command) for command in _dialogs(title, text))


def _notifications(title: str, text: str) -> Iterator[list[str]]:
    marked_up = escape(text, quote=False)
    yield ["notify-send", "--app-name=imgmount", "--icon=imgmount", "--", title, marked_up]
    where = ["--dest", "org.freedesktop.Notifications", "--object-path", "/org/freedesktop/Notifications"]
    method = ["--method", "org.freedesktop.Notifications.Notify"]
    strings = map(_gvariant, ("imgmount", "imgmount", title, marked_up))
    name, icon, summary, body = strings
    yield ["gdbus", "call", "--session", *where, *method, name, "0", icon, summary, body, "[]", "{}", "-1"]


def _gvariant(text: str) -> str:
    """A string in GVariant's own notation."""
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _dialogs(title: str, text: str) -> Iterator[list[str]]:
    yield ["kdialog", "--title", title, "--error", text]
    yield ["zenity", "--error", "--no-markup", f"--title={title}", f"--text={text}"]
    yield ["xmessage", "-center", f"{title}\n{text}"]


def ask_password(name: str, *, again: bool = False) -> str | None:
    """The password that the user types into a window; None without one. ``again``: the last was wrong."""
    question = printable(f"{'That was wrong. ' if again else ''}Password of {name}")
    for command in (
        ["zenity", "--password", f"--title={question}"],
        ["kdialog", "--title", PASSWORD, "--password", question],
    ):
        if shutil.which(command[0]):
            # no shell; a name from the image's path is one word
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            return done.stdout.removesuffix("\n") if done.returncode == 0 else None
    return None


def _succeeds(command: Sequence[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    try:
        # no shell
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def _starts(command: Sequence[str]) -> bool:
    """Start a program that stays until its window is closed."""
    return shutil.which(command[0]) is not None and start(command) is not None


def start(command: Sequence[str]) -> int | None:
    """The process of a program that outlives us; None if it cannot be started."""
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    try:
        return os.posix_spawnp(command[0], list(command), os.environ, file_actions=quiet, setsid=True)
    except OSError:
        return None
