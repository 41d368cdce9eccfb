"""The images that are read: made by other programs where there is one, once, and kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .process import quietly

MIB = 1 << 20


@dataclass(frozen=True)
class Work:
    """The folder of the images, and how many bytes of data each has."""

    folder: Path
    size: int


@dataclass(frozen=True)
class Image:
    """``make`` writes it, a file or a folder, to a path of that name, in a folder that is otherwise its own."""

    name: str
    make: Callable[[Work, Path], None]

    def path(self, work: Work) -> Path:
        path, own = work.folder / self.name, work.folder / f"making-{self.name}"
        if not path.exists():
            print(f"making {path}", flush=True)
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir(parents=True)
            self.make(work, own / self.name)  # a run that is broken off leaves no half image
            (own / self.name).rename(path)
            shutil.rmtree(own)
        return path


def _programs(work: Work, target: Path) -> None:
    """The libraries of this machine, which compress as programs do, and differ from place to place."""
    left = work.size
    with target.open("wb") as out:
        for path in sorted(Path("/usr/lib").rglob("*.so.*"), key=lambda path: path.name):
            if path.is_file() and not path.is_symlink():
                left -= out.write(path.read_bytes()[:left])
    if left:
        raise ValueError(f"/usr/lib has {left} bytes less than the images are to have")


DATA = Image("data.raw", _programs)


def _data_alone(work: Work, target: Path) -> None:
    target.mkdir()
    (target / DATA.name).hardlink_to(DATA.path(work))


TREE = Image("tree", _data_alone)


def names(folders: int, files: int) -> Image:
    """So many small files, in so many folders each with its share, or all in one of its own."""

    def make(_: Work, target: Path) -> None:
        for number in range(files):
            path = target / f"folder {number * folders // files:03}" / f"file number {number:05}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{number}\n")

    return Image(f"names-{files}", make)


NAMES = names(200, 20_000)


def of(source: Image, *commands: str) -> Callable[[Work, Path], None]:
    """What ``commands`` make; they have places for {source}, {target} and {room}, the size of the data and something more."""

    def make(work: Work, target: Path) -> None:
        places = {"source": source.path(work), "target": target, "room": work.size + 64 * MIB}
        for command in commands:
            quietly(*(word.format(**places) for word in command.split()))

    return make
