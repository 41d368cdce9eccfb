"""Many kinds of damage to one image, each tried in a forked process with little time, memory and reading.

Run as a program: ``damage.py IMAGE COUNT SEED [TOY]``. It opens the image whole, then forks once for each
damage, changes the file, and takes it back afterwards. It prints one JSON object with what went wrong. Of an image
that is a folder (a sparse bundle), the files in it take turns.

A visit opens the image as deep as it goes, describes it, checks it, reads its disk in pieces, and lists, stats and
reads its files. What may come of that is the right bytes, ``ImageError`` and ``OSError``; nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

PIECE = 1 << 16  # of a disk, read and compared at a time
MAX_PIECES = 64  # of a disk: the first, the last, and some between
MAX_NODES = 300
MAX_PROBLEMS = 100
HEAD = 4096  # of a file, and as much of its end
SPARE_SECONDS = 2.0  # of processor time above the undamaged visit's
SPARE_MEMORY = 200 << 20
SPARE_READS = 20_000  # above ten times the undamaged visit's
SPAN = 256  # of a file, that has one sum; a small damage touches two at most
BLOCKS = (512, 4096)
WIDTHS = (2, 4, 8)


class Damage(NamedTuple):
    """``data`` is written at ``offset``; without data, the file is cut there."""

    kind: str
    offset: int
    data: bytes = b""


class Visit(NamedTuple):
    """What a visit saw: the containers, pieces of the disk by offset, as digests, and files by path: sizes and sums."""

    layers: list[str]
    pieces: dict[int, str]
    reads: int
    files: dict[str, list[int]]


def visit(path: Path, most_reads: int) -> Visit:
    """Look at everything that commands and mounts would ask for. Raises ``TooMuch`` beyond ``most_reads`` host reads."""
    from imgmount.chain.open import open_image
    from imgmount.errors import ImageError
    from imgmount.jobs.describe import describe
    from imgmount.sources.file import FileDevice
    from imgmount.vfs.tree import View, build_vfs

    counted = [0]
    read = FileDevice._read

    def count(self: FileDevice, offset: int, size: int) -> bytes:
        counted[0] += 1
        if counted[0] > most_reads:
            raise TooMuch(f"more than {most_reads} reads of the host")
        return read(self, offset, size)

    FileDevice._read = count  # type: ignore[method-assign]
    layers: list[str] = []
    pieces: dict[int, str] = {}
    files: dict[str, list[int]] = {}
    with contextlib.suppress(ImageError), open_image(path) as image:
        layers += [layer.name for layer in image.layers]
        describe(image)
        for layer in image.layers:
            with contextlib.suppress(ImageError):
                list(islice(layer.check(), MAX_PROBLEMS))
        for offset in places(image.disk.size):
            with contextlib.suppress(ImageError):
                pieces[offset] = hashlib.sha256(image.disk.pread(offset, PIECE)).hexdigest()
        for volume in image.volumes:
            with contextlib.suppress(ImageError):
                list(islice(volume.check(), MAX_PROBLEMS))
            with contextlib.suppress(ImageError):
                list(islice(volume.deleted() or (), MAX_PROBLEMS))
        for path_in_image, node in islice(build_vfs(image, View.ALL).walk(), MAX_NODES):
            if seen := look_at(path_in_image, node):
                files[path_in_image] = seen
    return Visit(layers, pieces, counted[0], files)


def look_at(path: str, node: Any) -> list[int]:
    """What a file manager asks of a node: of a file that can be read, its size and sums of its head and end."""
    from imgmount.core.node import File, Symlink
    from imgmount.errors import ImageError

    for question in (node.stat, node.xattrs):
        with contextlib.suppress(ImageError):
            question()
    with contextlib.suppress(ImageError):
        if isinstance(node, Symlink):
            node.readlink()
        if isinstance(node, File) and not path.endswith(".raw"):
            with node.open() as content:
                head = content.pread(0, HEAD)
                end = content.pread(max(0, content.size - HEAD), HEAD)
                spans = [part[at : at + SPAN] for part in (head, end) for at in range(0, len(part), SPAN)]
                return [content.size, *map(zlib.crc32, spans)]
    return []


def places(size: int) -> list[int]:
    """Where pieces of a disk begin: all of a small one, some of a large one."""
    count = -(-size // PIECE)
    step = max(1, count // MAX_PIECES)
    return sorted({number * PIECE for number in (*range(0, count, step), count - 1) if number >= 0})


class TooMuch(BaseException):
    """More than an image of this size can need. No ``Exception``: nobody may take it for damage."""


def damages(whole: bytes, rng: random.Random) -> Iterator[Damage]:
    """Kinds of damage in turn, without end, where the file has something to lose."""
    size = len(whole)
    filled = [at for at in range(0, size, 512) if any(whole[at : at + 512])] or [0]
    likely = [at for at in filled if at < 64 << 10 or at >= size - 4096] or filled
    first = [0, 0, 0, max(0, size - 512)]  # most headers, and some tails
    while True:
        yield Damage(
            "cut", rng.choice((1, rng.randrange(64), size // 2, size - 1, rng.randrange(size))) % size
        )
        for fill in (b"\0", b"\xff"):
            block = rng.choice(BLOCKS)
            at = rng.choice(likely if rng.random() < 0.5 else filled)
            yield Damage(f"{fill.hex()} block", at, fill * min(block, size - at))
        at = min(size - 1, rng.choice(likely) + rng.randrange(512))
        yield Damage("flip", at, bytes([whole[at] ^ 1 << rng.randrange(8)]))
        at = min(size - 1, rng.choice(filled) + rng.randrange(512))
        yield Damage("flip", at, bytes([whole[at] ^ 1 << rng.randrange(8)]))
        for _ in range(3):
            yield field(whole, rng.choice(first if rng.random() < 0.5 else likely), rng)


def field(whole: bytes, near: int, rng: random.Random) -> Damage:
    """A size or offset field with an extreme value, or one off."""
    width = rng.choice(WIDTHS)
    at = min(max(0, len(whole) - width), near + width * rng.randrange(rng.choice((32, 128, 512)) // width))
    stored = whole[at : at + width]
    order: Any = rng.choice(("little", "big"))
    value = int.from_bytes(stored, order)
    top = (1 << 8 * width) - 1
    new = rng.choice(
        (0, 1, top, top >> 1, (value + 1) & top, (value - 1) & top, value ^ 1 << (8 * width - 1))
    )
    return Damage(f"field of {width}", at, new.to_bytes(width, order)[: len(stored)])


def apply(path: Path, damage: Damage, whole: bytes) -> Callable[[], None]:
    """Damage the file; the result takes it back."""
    with path.open("r+b") as file:
        if damage.data:
            file.seek(damage.offset)
            file.write(damage.data)
        else:
            file.truncate(damage.offset)

    def undo() -> None:
        with path.open("r+b") as file:
            file.seek(damage.offset)
            file.write(
                whole[damage.offset : damage.offset + len(damage.data)]
                if damage.data
                else whole[damage.offset :]
            )

    return undo


def files_in(folder: Path) -> list[Path]:
    """What can be damaged of an image that is a folder."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size)


def damaged(targets: list[Path], seed: str) -> Iterator[tuple[Path, Damage, Callable[[], None]]]:
    """Each damage, already applied, in each file in turn, and what takes it back; without end."""
    wholes = [target.read_bytes() for target in targets]
    kinds = [
        damages(whole, random.Random(seed + (target.name if number else "")))
        for number, (target, whole) in enumerate(zip(targets, wholes, strict=True))
    ]
    while True:
        for target, whole, kind in zip(targets, wholes, kinds, strict=True):
            damage = next(kind)
            yield target, damage, apply(target, damage, whole)


def in_child(path: Path, most_reads: int, seconds: float, memory: int) -> dict[str, Any]:
    """A visit in a forked process: its pieces, or ``failure``, with seconds and memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _child(path, most_reads, seconds, memory, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(child, 0)
    found: dict[str, Any] = json.loads(said) if said else {"failure": f"ended by {_ending(status)}"}
    found["seconds"] = usage.ru_utime + usage.ru_stime
    found["memory"] = usage.ru_maxrss << 10
    if "failure" not in found and found["seconds"] > seconds:
        found["failure"] = f"{found['seconds']:.1f} seconds of processor time, {seconds:.1f} allowed"
    return found


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.WEXITSTATUS(status)}"


def _child(path: Path, most_reads: int, seconds: float, memory: int, writer: int) -> NoReturn:
    limit = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    signal.alarm(120)
    try:
        seen = visit(path, most_reads)
        answer: dict[str, Any] = seen._asdict()
    except OSError:
        answer = Visit([], {}, 0, {})._asdict()
    except BaseException as exc:  # noqa: BLE001  that is what is looked for
        where = traceback.extract_tb(exc.__traceback__)[-1]
        answer = {"failure": f"{type(exc).__name__}: {exc} in {Path(where.filename).name}:{where.lineno}"}
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def misread(first: dict[str, list[int]], found: dict[str, list[int]], damage: Damage) -> list[str]:
    """Files of another size, or with more other bytes than the damage can have changed in their content."""
    spans = 2 * (2 + len(damage.data) // SPAN)  # head and end may be the same bytes
    return [
        path
        for path, sums in found.items()
        if path in first
        and (
            sums[0] != first[path][0]
            or sum(one != two for one, two in zip(sums, first[path], strict=False)) > spans
        )
    ]


def _data_size() -> int:
    """The private memory of this process, which its children begin with."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmData"].split()[0]) << 10


def main(argv: list[str]) -> int:
    """Try the damages and print what went wrong."""
    path, count, seed = Path(argv[0]), int(argv[1]), argv[2]
    if len(argv) > 3:
        importlib.import_module("damage_toys").register(argv[3])
    import logging

    logging.disable(logging.CRITICAL)
    targets = [path] if path.is_file() else files_in(path)
    with contextlib.suppress(OSError):
        visit(path, 1 << 30)  # what it imports, its children have
    first = in_child(path, 1 << 30, 60.0, _data_size() + (2 << 30))
    result: dict[str, Any] = {"tried": 0, "failures": [], "wrong": [], "misread": []}
    result["seconds"] = first["seconds"]
    if "failure" in first:
        result["failures"].append(f"undamaged: {first['failure']}")
        count = 0
    seconds = first["seconds"] * 3 + SPARE_SECONDS
    memory = _data_size() + max(first["memory"], 64 << 20) + SPARE_MEMORY
    for target, damage, undo in islice(damaged(targets, seed), count):
        try:
            found = in_child(path, 10 * first["reads"] + SPARE_READS, seconds, memory)
        finally:
            undo()
        result["tried"] += 1
        where = f"{damage.kind} at {damage.offset:#x}" + (f" of {target.name}" if target != path else "")
        if damage.data and len(damage.data) <= 8:
            where += f" = {damage.data.hex()}"
        if "failure" in found:
            result["failures"].append(f"{where}: {found['failure']}")
        elif damage.kind != "cut" and found["layers"] == first["layers"]:
            wrong = [
                at for at, digest in found["pieces"].items() if first["pieces"].get(at, digest) != digest
            ]
            result["wrong"] += [f"{where}: the piece at {int(at):#x}" for at in wrong[:1]]
            other = misread(first["files"], found["files"], damage)
            result["misread"] += [f"{where}: the file {name}" for name in other[:1]]
    sys.stdout.write(json.dumps(result))
    return 0


def tried(image: Path, count: int, seed: str, toy: str = "") -> dict[str, Any]:
    """The result of this program for ``image``, which is changed and changed back meanwhile."""
    from helpers import SRC

    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-B", __file__, image, str(count), seed, *([toy] if toy else [])],
        capture_output=True, check=False, text=True, timeout=600,
        env=os.environ | {"PYTHONPATH": f"{SRC}:{here}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
