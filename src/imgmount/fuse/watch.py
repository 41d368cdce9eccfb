"""When a mount ends: when it is unmounted, at a signal, or when nothing was asked of it for some time."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

from imgmount.errors import MountError
from imgmount.fuse.mountpoint import detach

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Watch:
    """Waits for the end of one mount. ``idle`` is in seconds, None for no limit."""

    def __init__(self, target: Path, idle: float | None) -> None:
        self._target = target
        self.idle = idle
        self._asked = monotonic()
        self._ends: SimpleQueue[str] = SimpleQueue()  # which a signal's handler may use

    def listen(self) -> None:
        """Take signals for a wish to end. For the main thread."""
        for number in SIGNALS:
            # whoever started us under nohup has SIGHUP ignored
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self._ends.put("a signal"))

    def used(self) -> None:
        """Something is asked of the mount."""
        self._asked = monotonic()

    def hung_up(self, error: OSError) -> None:
        """The kernel has ended the mount."""
        self._ends.put(str(error))

    def wait(self) -> None:
        """Return when the mount is to end."""
        while True:
            try:
                reason = self._ends.get(timeout=self._remaining())
            except Empty:
                if not self._remaining() and self._unmount():
                    self.idle = None  # a copy of the mount may live on elsewhere: it still counts
                continue
            log.debug("%s: ends: %s", self._target, reason)
            return

    def _remaining(self) -> float | None:
        """Seconds until the mount may go."""
        return None if self.idle is None else max(0.0, self._asked + self.idle - monotonic())

    def _unmount(self) -> bool:
        """Unmount if nobody is in it: the kernel refuses while a file is open, or a folder somebody's own."""
        self._asked = monotonic()
        try:
            detach(self._target)
        except MountError as exc:
            log.debug("%s", exc)
            return False
        return True
