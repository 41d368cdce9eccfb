"""What a result was measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .mounts import Tool
from .row import Decoder
from .rows import ROWS


def facts(ours: dict[str, Tool]) -> dict[str, Any]:
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": int(_field("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg()[0],
        "commit": _output("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        "imgmount": {role: _output(*tool.command[:-2], "--version") for role, tool in ours.items()},
        "peers": _peers(peer for row in ROWS for peer in row.peers),
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "0"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _peers(tools: Iterable[Tool | Decoder]) -> dict[str, str]:
    """Their Debian packages with versions; nothing where there is no dpkg."""
    found, own = {}, {"env", Path(sys.executable).name}  # what starts programs of ours
    for program in sorted({Path(tool.command[0]).name for tool in tools} - own):
        package = _output("dpkg-query", "--search", f"*/{program}").partition(":")[0]
        if shutil.which(program) or package:
            found[program] = _output("dpkg-query", "-W", "-f", "${Package} ${Version}", package)
    return found
