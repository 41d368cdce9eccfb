"""Speed beside the programs that people use today: one image, one run, turn by turn, medians.

    python -m benchmarks [--rows NAME...] [--busy] [--json FILE]

Everything is warm: the question is what the programs cost, not the disk. Every row has the speed, the processor
time and the memory of each program's daemon; what the reader and the kernel do for them is not in the two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatch
from pathlib import Path

from . import machine, report
from .images import Work
from .measure import measure
from .mounts import SOURCE, Tool, imgmount
from .row import Row
from .rows import ROWS


def _path(name: str) -> Path:
    """As daemons, which work elsewhere, find it too."""
    return Path(name).absolute()


def _parser() -> argparse.ArgumentParser:
    summary, _, text = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=summary, epilog=text.partition("\n\n")[2]
    )
    work = Path(tempfile.gettempdir()) / "imgmount-benchmarks"
    parser.add_argument(
        "--rows", nargs="+", metavar="NAME", default=["*"], help="only these; patterns too: 'qcow2*'"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="5 by default")
    parser.add_argument(
        "--busy", action="store_true", help="keep one core busy with something else meanwhile"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results, and what the machine is"
    )
    parser.add_argument(
        "--work", type=_path, default=work, metavar="DIR", help=f"where images are kept: {work}"
    )
    parser.add_argument(
        "--size", type=int, default=256, metavar="MIB", help="of the data in an image; 256 by default"
    )
    place = "an executable, or a folder with the package"
    parser.add_argument(
        "--imgmount", type=_path, default=SOURCE, metavar="PATH", help=f"{place}; src by default"
    )
    parser.add_argument(
        "--against", type=_path, metavar="PATH", help="another imgmount to compare with, likewise"
    )
    return parser


def _ours(row: Row, arguments: argparse.Namespace) -> dict[str, Tool]:
    ours = {"ours": imgmount(arguments.imgmount, "imgmount", row.options, row.answers)}
    if arguments.against:
        ours["against"] = imgmount(arguments.against, "imgmount (against)", row.options, row.answers)
    return ours


def _made(row: Row, work: Work) -> bool:
    """Whether the image is there; what makes it may be missing."""
    try:
        return bool(row.image.path(work))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"left out: {row.name}: {error}")
        return False


@contextmanager
def _busy_core() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            yield
        finally:
            loop.kill()


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    for pattern in arguments.rows:
        if not any(fnmatch(row.name, pattern) for row in ROWS):
            parser.error(f"no row is called {pattern}; --list has their names")
    rows = [row for row in ROWS if any(fnmatch(row.name, pattern) for pattern in arguments.rows)]
    if arguments.list:
        print(*(row.name for row in rows), sep="\n")
        return
    work = Work(arguments.work / f"{arguments.size}MiB", arguments.size << 20)
    rows = [row for row in rows if _made(row, work)]
    facts = machine.facts(_ours(ROWS[0], arguments))
    results = []
    print(report.heading())
    with _busy_core() if arguments.busy else nullcontext():
        for row in rows:
            results.append(measure(row, _ours(row, arguments), work, arguments.rounds))
            print(*report.lines(results[-1]), sep="\n", flush=True)
    if arguments.json:
        head = {"machine": facts, "busy": arguments.busy, "rounds": arguments.rounds}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(report.as_json(head, results))


if __name__ == "__main__":
    main()
