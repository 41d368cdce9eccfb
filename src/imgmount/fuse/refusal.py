"""Why the host refuses to mount, and what to do next: one line for what libfuse and fusermount3 print."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

WITHOUT_FUSE: Final = "without FUSE: imgmount ls, cat, extract"
INSTALL: Final = f"install the package 'fuse3'; {WITHOUT_FUSE}"
FLAGS: Final = "--device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined"
MARKS: Final = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")  # of containers
VARIABLES: Final = ("container", "KUBERNETES_SERVICE_HOST")


class _Refusal(NamedTuple):
    """What is printed, as a pattern; what that means; and what is to be done, in a container perhaps."""

    said: str
    meaning: str
    remedy: str
    in_container: str = ""


_IN_CONTAINER: Final = f"start the container with {FLAGS}; {WITHOUT_FUSE}"
_REFUSALS: Final = (
    _Refusal(
        "device not found|failed to open /dev/fuse|mount failed: No such device",
        "there is no /dev/fuse that can be opened",
        f"as root, run 'modprobe fuse'; {WITHOUT_FUSE}",
        _IN_CONTAINER,
    ),
    _Refusal(
        "mount failed: (Operation not permitted|Permission denied)",
        "the kernel does not allow it",
        f"fusermount3 must be set-uid root, and is not under NoNewPrivileges; {WITHOUT_FUSE}",
        _IN_CONTAINER,
    ),
    _Refusal("failed to exec fusermount", "fusermount3, which mounts for users, cannot be run", INSTALL),
    _Refusal(
        "user_allow_other",
        "allow_other and allow_root are for root here",
        "leave them out, or have root add the line user_allow_other to /etc/fuse.conf",
    ),
    _Refusal("no write access to mountpoint", "the folder is another user's", "choose one of your own"),
)


def in_container() -> bool:
    """Whether this is a container, as far as one can see from within."""
    return any(map(os.path.exists, MARKS)) or any(map(os.environ.get, VARIABLES))


def explain(target: Path, said: str) -> str:
    """Why nothing could be mounted at ``target``, where ``said`` was printed."""
    for refusal in _REFUSALS:
        if re.search(refusal.said, said):
            remedy = refusal.in_container if refusal.in_container and in_container() else refusal.remedy
            return f"{target}: {refusal.meaning}: {remedy}"
    lines = said.strip().splitlines()
    return f"{target}: {lines[-1] if lines else 'the mount failed, and nothing says why'}"


class Muted:
    """Standard error, kept back: libfuse and fusermount3 print on it while they mount."""

    def __init__(self) -> None:
        self.lifted = False
        self._stderr = os.dup(2)
        self._file = os.memfd_create("stderr", os.MFD_CLOEXEC)
        os.dup2(self._file, 2)

    def lift(self) -> str:
        """Print on standard error again. Returns what was kept back."""
        self.lifted = True
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        with os.fdopen(self._file, "rb") as file:
            file.seek(0)
            return file.read().decode("utf-8", "replace")
