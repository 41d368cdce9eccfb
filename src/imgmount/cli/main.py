"""The command line's entry point."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    raise SystemExit(f"not yet: {argv}")
