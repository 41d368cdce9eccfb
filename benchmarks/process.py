"""What processes cost: seconds of processor time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MARK = "IMGMOUNT_BENCHMARK"


@dataclass(frozen=True)
class Sample:
    """One measurement; ``amount`` is what was done in it: bytes, reads, or 1."""

    seconds: float
    processor: float  # seconds, user and system, of all threads
    memory: int  # bytes resident at most
    amount: int = 1


def wait_for(happens: Callable[[], bool], what: str) -> None:
    """Until it does; a minute is too long."""
    deadline = time.monotonic() + 60
    while not happens():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.002)


def quietly(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def marked_environment(mark: str) -> dict[str, str]:
    """For a program whose processes ``marked`` is to find, daemons too."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {_MARK: mark}


def marked(mark: str) -> list[int]:
    """The processes of a program that was started with ``mark``."""
    found, word = [], f"{_MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone, or another user's
            if word in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def processor(processes: Iterable[int]) -> dict[int, float]:
    """User and system time of each, all threads, also those that have ended. /proc/PID/stat has the same in ticks of 10 ms."""
    times = {}
    for process in processes:
        with suppress(OSError):
            times[process] = time.clock_gettime((~process << 3) | 2)  # as clock_getcpuclockid(3) makes it
    return times


def spent(before: dict[int, float], after: dict[int, float]) -> float:
    """Between two of these; a process that has come since counts from its start."""
    return sum(value - before.get(process, 0.0) for process, value in after.items())


def memory(processes: Iterable[int]) -> int:
    """The most that each had resident (VmHWM), added, in bytes."""
    total = 0
    for process in processes:
        with suppress(OSError):
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                total += int(line.split()[1]) * 1024 if line.startswith("VmHWM") else 0
    return total


def waited() -> float:
    """Processor time of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(command: list[str]) -> Sample:
    """A program that does its work and ends."""
    before, peak, started = waited(), 0, time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory([process.pid]))
            time.sleep(0.01)
        seconds = time.perf_counter() - started
    if process.returncode:
        raise ChildProcessError(f"{command[0]} ended with {process.returncode}")
    return Sample(seconds, waited() - before, peak)
