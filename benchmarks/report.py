"""Results as lines of a table, and as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

_LINE = "{:32} {:24} {:>10} {:>10} {:>7}   {}"
_EACH = {"MB/s": "s/GB", "reads/s": "us/read", "s": "s"}


def ratios(row: dict[str, Any], of: dict[str, Any], to: dict[str, Any]) -> tuple[float, float, float]:
    """How many times faster ``of`` is than ``to``, and how many times the processor time and the memory it takes."""
    speed = _divide(of["speed"], to["speed"])
    return (
        1 / speed if row["unit"] == "s" else speed,
        _divide(of["processor"], to["processor"]),
        _divide(of["memory"], to["memory"]),
    )


def best_peer(row: dict[str, Any]) -> dict[str, Any] | None:
    """The best figure of any peer, each for itself."""
    peers = [program for program in row["programs"] if program["role"] == "peer" and "absent" not in program]
    if not peers:
        return None
    best = {key: min(peer[key] for peer in peers) for key in ("speed", "processor", "memory")}
    if row["unit"] != "s":
        best["speed"] = max(peer["speed"] for peer in peers)
    return best


def _divide(one: float, other: float) -> float:
    return one / other if other else math.inf


def heading() -> str:
    return _LINE.format("", "", "speed", "processor", "MB", "times the best peer's: speed, processor, memory")


def lines(row: dict[str, Any]) -> list[str]:
    """One for each program; peers have the ratios of our figures to theirs."""
    title, found, unit = row["title"], [], row["unit"]
    best = best_peer(row)
    for program in row["programs"]:
        if "absent" in program:
            found.append(f"{title:32} {program['name']:24} none: {program['absent']}")
        else:
            beside = ""
            if best and program["role"] != "peer":
                beside = "{:.2f}x {:.2f}x {:.2f}x".format(*ratios(row, program, best))
            speed = f"{program['speed']:.{3 if unit == 's' else 0}f} {unit}"
            used = f"{program['processor']:.{0 if unit == 'reads/s' else 3}f} {_EACH[unit]}"
            found.append(
                _LINE.format(title, program["name"], speed, used, f"{program['memory'] / 1e6:.0f}", beside)
            )
        title = ""
    return found


def as_json(head: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """``head`` and, on a line for each, ``rows``."""
    text = json.dumps(head, indent=1).removesuffix("\n}")
    return f'{text},\n "rows": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]\n}\n"
