"""Programs of the host that do their work and end."""

from __future__ import annotations

from collections.abc import Sequence


def failure_of(command: Sequence[str]) -> str | None:
    """Run a program, without a shell. What it says last when it fails, None if it does not."""
    import subprocess  # takes long to load, and most mounts need none

    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1]
