"""Programs that mount images, and their mounts."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import process
from .images import Image
from .process import Sample

SOURCE = Path(__file__).parent.parent / "src"
_marks = itertools.count()


@dataclass(frozen=True)
class Tool:
    """A program that mounts an image as a daemon. ``command`` has places for {image} and {target}."""

    name: str
    command: tuple[str, ...]
    answers: str = ""  # what is read, below the mount point
    on_file: bool = False  # the mount point is a file, and that is what is read
    image: Image | None = None  # instead of the row's


@dataclass(frozen=True)
class Mount:
    """What is read, and what it took until it was there."""

    path: Path
    start: Sample
    mark: str

    def processes(self) -> list[int]:
        return process.marked(self.mark)


def imgmount(path: Path, name: str, options: tuple[str, ...], answers: str) -> Tool:
    """The program at ``path``, or the package in that folder."""
    command: tuple[str, ...] = (str(path),)
    if path.is_dir():
        command = ("env", f"PYTHONPATH={path}", sys.executable, "-m", "imgmount")
    return Tool(name, (*command, *options, "{image}", "{target}"), answers)


@contextmanager
def mounted(tool: Tool, image: Path, target: Path) -> Iterator[Mount]:
    """A new mount at ``target``, which is there only meanwhile. Raises OSError where the program fails."""
    (target.touch if tool.on_file else target.mkdir)()
    mark = f"{os.getpid()}-{next(_marks)}"
    before, started = process.waited(), time.perf_counter()
    launched = subprocess.Popen(
        [word.format(image=image, target=target) for word in tool.command],
        env=process.marked_environment(mark),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        path = _answer(tool, target, launched)
        seconds = time.perf_counter() - started
        launched.wait(10)  # what became a daemon stays
        processes = process.marked(mark)
        used = process.waited() - before + sum(process.processor(processes).values())
        yield Mount(path, Sample(seconds, used, process.memory(processes)), mark)
    finally:
        _stop(target, mark)
        launched.wait()
        (target.unlink if tool.on_file else target.rmdir)()


def _answer(tool: Tool, target: Path, launched: subprocess.Popen[bytes]) -> Path:
    """What is to be read, once it is there."""
    path = target / tool.answers

    def answers() -> bool:
        if launched.poll():
            raise ChildProcessError(f"{tool.name} ended with {launched.returncode}")
        return os.path.ismount(target) and path.exists()

    process.wait_for(answers, f"{tool.name} shows no {path.name}")
    return path


def _stop(target: Path, mark: str) -> None:
    """Unmount, and wait for the end of its processes."""

    def unmounted() -> bool:
        command = ["fusermount3", "-u", str(target)]
        return (
            not os.path.ismount(target)
            or not subprocess.run(command, capture_output=True, check=False).returncode
        )

    process.wait_for(unmounted, f"{target} cannot be unmounted")
    for number in process.marked(mark):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)  # one that would stay, or that never mounted
    process.wait_for(lambda: not process.marked(mark), f"the processes of {target} stay")
