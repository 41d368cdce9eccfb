"""Images opened by the real command, each in a process of its own with little time and memory.

Run as a program it is the parent of those processes: it imports once and forks for each image, because
hundreds of interpreters would take minutes to start.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from helpers import SRC

CPU_SECONDS = 1
MEMORY = 200 << 20
PROBED = 1 << 20


class Outcome(NamedTuple):
    """How a process ended: exit code (negative for a signal), standard error, most resident memory in bytes, CPU seconds."""

    code: int
    err: str
    memory: int
    seconds: float


class Case(NamedTuple):
    """An image, and the (offset, bytes in hexadecimal) that it has in other places for this once."""

    path: str
    patches: Sequence[tuple[int, str]] = ()


def opened(cases: Sequence[Case], scratch: Path) -> list[Outcome]:
    """``imgmount info`` of each image, and some reads of its disk, under the limits."""
    (scratch / "cases").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-B", __file__, scratch / "cases", scratch / "error"],
        capture_output=True, check=True, env=os.environ | {"PYTHONPATH": f"{SRC}:{Path(__file__).parent}"},
    )  # fmt: skip
    return [Outcome(*fields) for fields in json.loads(done.stdout)]


def complaint(outcome: Outcome) -> str:
    """What is wrong with the way an image was refused or opened; empty if nothing is."""
    lines = outcome.err.splitlines()
    if outcome.code not in (0, 2):
        return f"exit code {outcome.code}"
    if any(not line.startswith("imgmount: ") for line in lines) or "internal error" in outcome.err:
        return "something else than our own lines"
    if outcome.code == 2 and len(lines) != 1 + outcome.err.count("imgmount: ewf: "):
        return f"{len(lines)} lines"
    if outcome.memory > MEMORY:
        return f"{outcome.memory >> 20} MiB"
    return ""


def _child(image: str) -> int:
    """In the forked process: 0 or 2 as the command, whatever reads from the disk give."""
    from imgmount.chain.open import open_image
    from imgmount.cli.main import main
    from imgmount.errors import ImageError

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, 3 * CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    code = main(["info", image])
    resource.setrlimit(resource.RLIMIT_CPU, (3 * CPU_SECONDS, 3 * CPU_SECONDS))
    if code == 0:
        with open_image(image) as opened_image:
            disk = opened_image.disk
            for offset in (0, disk.size // 2, max(0, disk.size - PROBED)):
                try:
                    disk.pread(offset, PROBED)
                except ImageError:
                    continue
    return code


def _run(image: str, patches: Sequence[tuple[int, str]], error: str) -> Outcome:
    with open(image, "r+b") as file:  # noqa: PTH123
        sound = []
        for offset, changed in patches:
            file.seek(offset)
            sound.append((offset, file.read(len(changed) // 2).hex()))
            file.seek(offset)
            file.write(bytes.fromhex(changed))
    try:
        return _fork(image, error)
    finally:
        if sound:
            with open(image, "r+b") as file:  # noqa: PTH123
                for offset, content in sound:
                    file.seek(offset)
                    file.write(bytes.fromhex(content))


def _fork(image: str, error: str) -> Outcome:
    pid = os.fork()
    if not pid:
        os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = 99
        try:
            code = _child(image)
        except BaseException:  # noqa: BLE001
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    return Outcome(
        os.waitstatus_to_exitcode(status),
        Path(error).read_text(errors="replace"),
        usage.ru_maxrss << 10,
        seconds,
    )


if __name__ == "__main__":
    import imgmount.cli.main
    from imgmount import registry

    for kind in registry.TABLES:
        registry.all_formats(kind)
    cases: list[tuple[str, list[tuple[int, str]]]] = json.loads(Path(sys.argv[1]).read_text())
    answer, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: PTH123, SIM115
    imgmount.cli.main.main(["info", __file__])  # whatever is imported later is imported now
    json.dump([_run(path, patches, sys.argv[2]) for path, patches in cases], answer)
