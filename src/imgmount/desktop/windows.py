"""A folder in the user's file manager."""

from __future__ import annotations

import os
from pathlib import Path
from select import select
from typing import Final

from imgmount.desktop.messages import start
from imgmount.errors import MountError

OPENERS: Final = (["xdg-open"], ["gio", "open"], ["exo-open"])
PATIENCE: Final = 3  # seconds: some of them end only with the window, and a failure takes less


def show(folder: Path) -> None:
    """Open ``folder`` with the program that the user has chosen for folders. Raises ``MountError``."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise MountError(f"mounted at {folder}, but there is no desktop here to open it")
    if not any(_opens([*words, str(folder)]) for words in OPENERS):
        raise MountError(f"mounted at {folder}, but no program opened it: install xdg-utils, a file manager")


def _opens(command: list[str]) -> bool:
    process = start(command)
    if process is None:
        return False
    ending = os.pidfd_open(process)
    try:
        ended = bool(select([ending], [], [], PATIENCE)[0])
    finally:
        os.close(ending)
    return not ended or os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
