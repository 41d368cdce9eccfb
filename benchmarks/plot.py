"""Draws results: ``python -m benchmarks.plot QUIET [BUSY] > docs/speed.svg``, files that ``--json`` wrote.

Each row has the speed of imgmount and of the fastest other program, and three ratios to the best figure of any
other program, right of the line where imgmount is the better one. Dots are filled for QUIET, hollow for BUSY.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from .report import best_peer, ratios

_PANELS = ("speed", "processor time", "memory")
_OURS, _OTHERS, _FIRST, _PANEL, _GAP = 310, 320, 568, 130, 40  # columns, in pixels
_TOP, _STEP, _LEFT = 62, 19, 14
_MOST = 4  # powers of two that a panel shows to each side; what is further lies on its edge
_WIDTH = _FIRST + len(_PANELS) * (_PANEL + _GAP) - 14
_STYLE = """text{font:12px Helvetica,Arial,sans-serif;fill:#2b3440}.h{font-weight:600}.s{fill:#6b7785;font-size:11px}
line{stroke:#e3e8ee}.one{stroke:#8a97a6}.good{stroke:#1f7a5c;fill:#1f7a5c}.bad{stroke:#c2571a;fill:#c2571a}.busy{fill:#fff}"""


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x: float, y: float, x2: float, y2: float, kind: str = "") -> str:
    return f'<line x1="{x:g}" y1="{y:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def _figure(row: dict[str, Any], program: dict[str, Any]) -> str:
    speed = program["speed"]
    if row["unit"] == "s":
        return f"{speed * 1000:.0f} ms" if speed < 1 else f"{speed:.1f} s"
    return f"{speed:,.0f} {row['unit']}"


def _fastest(row: dict[str, Any]) -> dict[str, Any] | None:
    best = best_peer(row)
    peers = (program for program in row["programs"] if program["role"] == "peer" and "absent" not in program)
    return next((peer for peer in peers if best and peer["speed"] == best["speed"]), None)


def _dots(row: dict[str, Any], y: float, kind: str) -> Iterator[str]:
    ours, best = row["programs"][0], best_peer(row)
    if best is None or "absent" in ours:
        return
    speed, *costs = ratios(row, ours, best)
    for number, better in enumerate((speed, *(1 / cost for cost in costs))):
        power = max(-_MOST, min(math.log2(better), _MOST))
        x = _FIRST + number * (_PANEL + _GAP) + (power / _MOST + 1) * _PANEL / 2
        yield f'<circle cx="{x:.1f}" cy="{y:g}" r="4" class="{"good" if better >= 1 else "bad"} {kind}"/>'


def _head(bottom: float) -> Iterator[str]:
    yield _text(_OURS, _TOP - 22, "imgmount", "h", "end") + _text(_OTHERS, _TOP - 22, "fastest other", "h")
    for number, title in enumerate(_PANELS):
        left = _FIRST + number * (_PANEL + _GAP)
        yield _text(left + _PANEL / 2, 18, title, "h", "middle")
        for power in range(-_MOST, _MOST + 1, 2):
            x = left + (power / _MOST + 1) * _PANEL / 2
            mark = f"{2**power}x" if power >= 0 else f"1/{2**-power}"
            yield _text(x, _TOP - 22, mark, "s", "middle")
            yield _line(x, _TOP - 14, x, bottom, "" if power else "one")


def _foot(found: dict[str, Any], y: float) -> str:
    machine = found["machine"]
    words = f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
    words += f"{machine['date'][:10]}; medians of {found['rounds']}. Right of the line, imgmount is the better one; edges: more than 16 times."
    return _text(_LEFT, y, words, "s")


def draw(quiet: dict[str, Any], busy: dict[str, Any] | None) -> Iterator[str]:
    """The lines of the picture."""
    busy_rows = {row["name"]: row for row in busy["rows"]} if busy else {}
    bottom = _TOP + _STEP * len(quiet["rows"]) - 8
    size = f'viewBox="0 0 {_WIDTH} {bottom + 30}" width="{_WIDTH}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield f"<title>imgmount beside other programs</title><style>{_STYLE}</style>"
    yield '<rect width="100%" height="100%" rx="8" fill="#fff" stroke="#c5ced8"/>'
    yield from _head(bottom)
    if busy:
        yield _text(_LEFT, 18, "filled: a quiet machine; hollow: one core is busy with something else", "s")
    for number, row in enumerate(quiet["rows"]):
        y, ours, fastest = _TOP + number * _STEP, row["programs"][0], _fastest(row)
        yield _text(_LEFT, y + 4, row["title"])
        if "absent" not in ours:
            yield _text(_OURS, y + 4, _figure(row, ours), "", "end")
        if fastest:
            yield _text(_OTHERS, y + 4, f"{_figure(row, fastest)}  {fastest['name']}")
        for found, kind in ((busy_rows.get(row["name"]), "busy"), (row, "quiet")):
            if found:
                yield from _dots(found, y, kind)
    yield _foot(quiet, bottom + 20)
    yield "</svg>"


if __name__ == "__main__":
    results = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    print(*draw(results[0], results[1] if len(results) > 1 else None), sep="\n")
