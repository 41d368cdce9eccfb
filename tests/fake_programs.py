"""Programs of a desktop that only note how they were called."""

from __future__ import annotations

import time
from pathlib import Path


class FakePrograms:
    """Commands in ``folder``, which is to be in PATH. They note their arguments and end with a code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log"
        folder.mkdir()

    def add(self, *names: str, code: int = 0, says: str = "") -> None:
        for name in names:
            path = self.folder / name
            note = (
                f'printf "%s\\0" {name} "$@" >> "{self._log}.$$"; mv "{self._log}.$$" "{self._log}.done.$$"'
            )
            path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{note}\nprintf %s '{says}'\nexit {code}\n")
            path.chmod(0o755)

    def calls(self, at_least: int = 0) -> list[list[str]]:
        """Each call in order, when there are so many: some programs are not waited for."""
        for _ in range(400):
            notes = sorted(self.folder.glob("log.done.*"), key=_order)
            if len(notes) >= at_least:
                return [path.read_text().split("\0")[:-1] for path in notes]
            time.sleep(0.025)
        raise AssertionError(f"{len(notes)} calls after ten seconds")


def _order(note: Path) -> tuple[int, int]:
    """By time, whose steps are long, and by the number of the process."""
    return note.stat().st_mtime_ns, int(note.name.rpartition(".")[2])
