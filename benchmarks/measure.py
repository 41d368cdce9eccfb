"""Measures a row: all its programs in turn, each round from new mounts and with another program first."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import process
from .images import Work
from .mounts import Tool, mounted
from .process import Sample
from .reading import Reading
from .row import Decoder, Row


@dataclass
class Program:
    """One program of a row; ``absent`` says why there are no figures of it."""

    tool: Tool | Decoder
    image: Path
    role: str  # "ours", "against" (another imgmount) or "peer"
    samples: list[Sample] = field(default_factory=list)
    absent: str = ""

    @contextmanager
    def excused(self) -> Iterator[None]:
        """A program that is not there, or fails, or reads something else, is no reason to stop."""
        try:
            yield
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.absent = str(error)

    def facts(self, unit: str, amount: int) -> dict[str, Any]:
        """Medians: the speed in ``unit``, processor seconds for a GB, a million reads or all, bytes of memory; and what they are of."""
        facts: dict[str, Any] = {"name": self.tool.name, "role": self.role}
        if self.absent:
            return facts | {"absent": self.absent}
        seconds = statistics.median(sample.seconds for sample in self.samples)
        used = statistics.median(sample.processor for sample in self.samples)
        facts["memory"] = round(statistics.median(sample.memory for sample in self.samples))
        match unit:
            case "MB/s":
                facts |= {"speed": amount / 1e6 / seconds, "processor": used / amount * 1e9}
            case "reads/s":
                facts |= {"speed": amount / seconds, "processor": used / amount * 1e6}
            case _:
                facts |= {"speed": seconds, "processor": used}
        samples = [
            (round(sample.seconds, 6), round(sample.processor, 6), sample.memory) for sample in self.samples
        ]
        return facts | {"samples": samples}


def measure(row: Row, ours: dict[str, Tool], work: Work, rounds: int) -> dict[str, Any]:
    """The row and the figures of each program, those of ``ours`` (by role) first."""
    image = row.image.path(work)
    programs = [Program(tool, image, role) for role, tool in ours.items()]
    for peer in row.peers:
        other = peer.image if isinstance(peer, Tool) else None
        programs.append(Program(peer, other.path(work) if other else image, "peer"))
    with tempfile.TemporaryDirectory(prefix="imgmount-benchmarks-") as scratch:
        _check(programs, row.reading, Path(scratch))
        for number in range(rounds):
            turn = number % len(programs)
            for program in programs[turn:] + programs[:turn]:
                if not program.absent:
                    with program.excused():
                        program.samples.append(_sample(program, row.reading, Path(scratch)))
    amount = max((sample.amount for program in programs for sample in program.samples), default=1)
    unit = row.reading.unit
    figures = [program.facts(unit, amount) for program in programs]
    return {"name": row.name, "title": row.title, "unit": unit, "amount": amount, "programs": figures}


def _check(programs: list[Program], reading: Reading, scratch: Path) -> None:
    """Read all once, not measured: that warms the host's cache, and shows who reads what the first program does not."""
    expected: object = None
    for program in programs:
        if isinstance(program.tool, Tool):
            with program.excused(), mounted(program.tool, program.image, scratch / "mount") as mount:
                found = reading.sum(mount.path)
                expected = expected or found
                if found != expected:
                    raise ValueError(f"does not read what the first does: {found}, not {expected}")


def _sample(program: Program, reading: Reading, scratch: Path) -> Sample:
    tool, image = program.tool, program.image
    if isinstance(tool, Decoder):
        with tempfile.TemporaryDirectory(dir=scratch) as own:
            return process.run([word.format(image=image, scratch=own) for word in tool.command])
    with mounted(tool, image, scratch / "mount") as mount:
        if reading.act is None:
            return mount.start
        reading.prepare(mount.path)
        before, started = process.processor(mount.processes()), time.perf_counter()
        amount = reading.act(mount.path)
        seconds, processes = time.perf_counter() - started, mount.processes()
        used = process.spent(before, process.processor(processes))
        return Sample(seconds, used, process.memory(processes), amount)
