"""What is done with a mount while it is measured."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20
_RANDOM_READS = 2000


@dataclass(frozen=True)
class Reading:
    """``act`` is measured and returns how much it did, in what ``unit`` counts. Where ``act`` is not given, it is the start."""

    unit: str  # "MB/s", "reads/s" or "s"
    act: Callable[[Path], int] | None
    prepare: Callable[[Path], object]
    sum: Callable[[Path], object]  # the same for each program that reads right


def forget(path: Path) -> None:
    """Have the kernel drop what it knows of a file, which may be in a mount."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sequential(path: Path, start: int = 0, stop: int = sys.maxsize) -> int:
    buffer, offset = bytearray(_MIB), start
    with path.open("rb") as file:
        while offset < stop and (count := os.preadv(file.fileno(), [buffer], offset)):
            offset += count
    return offset - start


def _by_two(path: Path) -> int:
    """Two threads, each with one half."""
    half = path.stat().st_size // 2 // _MIB * _MIB
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(sequential, [path, path], [0, half], [half, sys.maxsize]))


def at_random(path: Path, count: int = _RANDOM_READS) -> int:
    """4 KiB each."""
    rng, blocks = random.Random(1), path.stat().st_size // 4096
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for _ in range(count):
            os.pread(file.fileno(), 4096, rng.randrange(blocks) * 4096)
    return count


def _sum_of_file(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_MIB):
            value = zlib.crc32(block, value)
    return value


def find(folder: Path) -> int:
    """All files, with a look at the size of each."""
    subprocess.run(["find", str(folder), "-type", "f", "-size", "+0"], stdout=subprocess.DEVNULL, check=True)
    return 1


def _sum_of_tree(folder: Path) -> str:
    command = ["find", str(folder), "-type", "f", "-printf", "%P %s\n"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    return f"{len(lines)} files, {hashlib.sha1(b''.join(sorted(lines))).hexdigest()}"


def list_long(folder: Path) -> int:
    subprocess.run(["ls", "-l", str(folder)], stdout=subprocess.DEVNULL, check=True)
    return 1


def _nothing(_: Path) -> None:
    pass


SEQUENTIAL = Reading("MB/s", sequential, forget, _sum_of_file)
BY_TWO = Reading("MB/s", _by_two, forget, _sum_of_file)
AT_RANDOM = Reading("reads/s", at_random, forget, _sum_of_file)
FIND = Reading("s", find, _nothing, _sum_of_tree)
FIND_AGAIN = Reading("s", find, find, _sum_of_tree)
LIST_AGAIN = Reading("s", list_long, list_long, _sum_of_tree)
START = Reading("s", None, _nothing, _nothing)
