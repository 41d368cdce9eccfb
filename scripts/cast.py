#!/usr/bin/env python3
"""Runs a session with real mounts and draws it: ``scripts/cast.py BIN > docs/session.svg``; BIN has imgmount.

The commands run in an empty home, on a terminal of their own. Only the times of typing are made up: the same
output gives the same picture.
"""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

TOP: Final = Path(__file__).parent.parent
IMAGES: Final = {
    "stick.img.xz": "partitions/mbr/usb-stick/stick.img.xz",
    "game.rvz": "containers/wia/gamecube/zstd-32k.rvz",
}
SESSION: Final = (
    "imgmount info stick.img.xz | head -1",
    "imgmount stick.img.xz stick",
    "ls stick stick/by-label",
    "head -1 stick/p1/readme.txt",
    "umount stick",
    "imgmount game.rvz game",
    "ls game/files",
    "md5sum game/files/data/big.txt",
    "umount game",
    "imgmount cat stick.img.xz p1/numbers.txt | tail -1",
)
COLUMNS: Final = 84
CHAR: Final = 8.4  # pixels: the width of a letter
LINE: Final = 19
MARGIN: Final = 16
TYPING: Final = 0.045  # seconds a letter
PAUSE: Final = 0.9  # after each command
STYLE: Final = """\
text{font:14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d4d9e0;white-space:pre}
.c{fill:#fff;font-weight:600}.p{fill:#7bc275}
@keyframes show{from{opacity:0}to{opacity:1}}
text{animation:show .01s both}
@media (prefers-reduced-motion){text{animation:none}}"""


def run(session: tuple[str, ...], programs: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, lines that it printed) of each, in a home that is removed after the last."""
    with tempfile.TemporaryDirectory() as home:
        for name, source in IMAGES.items():
            shutil.copy(TOP / "fixtures" / source, Path(home) / name)
        environment = {
            "HOME": home,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "TZ": "UTC",
            "COLUMNS": str(COLUMNS),
        }
        for command in session:
            yield command, on_terminal(command, home, environment)


def on_terminal(command: str, folder: str, environment: dict[str, str]) -> list[str]:
    """The lines that ``command`` prints where it sees a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb") as screen:
        shell = ["bash", "-e", "-o", "pipefail", "-c", command]
        process = subprocess.Popen(shell, cwd=folder, env=environment, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = bytearray()
        with contextlib.suppress(OSError):  # EIO: the other side has closed it
            while data := os.read(screen.fileno(), 4096):
                shown += data
        if process.wait():
            sys.exit(f"{command}: {shown.decode()}")
    return shown.decode().splitlines()


def draw(session: Iterator[tuple[str, list[str]]]) -> Iterator[str]:
    """The picture: each letter that is typed and each line that is printed appears at its time."""
    texts: list[str] = []
    clock, row = 0.5, 0

    def text(column: int, content: str, when: float, kind: str = "") -> str:
        x, y = MARGIN + column * CHAR, MARGIN + LINE * (row + 1)
        style = f' class="{kind}"' if kind else ""
        return (
            f'<text{style} x="{x:.1f}" y="{y}" style="animation-delay:{when:.2f}s">{escape(content)}</text>'
        )

    for command, lines in session:
        texts.append(text(0, "$", clock, "p"))
        column = 2
        for word in command.split():  # a word at a time keeps the file small
            clock += TYPING * (len(word) + 1)
            texts.append(text(column, word, clock, "c"))
            column += len(word) + 1
        clock += PAUSE / 3
        row += 1
        for line in lines:
            if line:
                texts.append(text(0, line, clock))
            row += 1
        clock += PAUSE
    width, height = 2 * MARGIN + COLUMNS * CHAR, 2 * MARGIN + LINE * row + LINE // 2
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" {size} role="img">'
    yield "<title>A session with imgmount</title>"
    yield f"<style>{STYLE}</style>"
    yield '<rect width="100%" height="100%" rx="8" fill="#1d2127"/>'
    yield from texts
    yield "</svg>"


if __name__ == "__main__":
    print("\n".join(draw(run(SESSION, Path(sys.argv[1]).absolute()))))
