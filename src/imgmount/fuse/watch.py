"""When a mount ends by itself: at a signal, or when nothing was asked of it for some time.

libfuse has handlers for signals too, but reports an end by them as a failure, so that it is kept from setting
them: it replaces none but the default ones.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from select import select
from time import monotonic
from typing import Final, TypeVar

from imgmount.errors import MountError
from imgmount.fuse import libfuse
from imgmount.fuse.mountpoint import detach

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NUDGE: Final = 0.1  # seconds until the main thread is woken again, should it have been about to sleep
_Result = TypeVar("_Result")


class Watch:
    """Ends one mount, from a thread of its own that sleeps until there is a reason.

    ``idle`` is in seconds, None for no limit.
    """

    def __init__(self, target: Path, idle: float | None) -> None:
        self._target = target
        self._idle = idle
        self._asked = monotonic()
        self._over = threading.Event()
        self._reader, self._writer = os.pipe()

    def listen(self) -> None:
        """Take over the signals; they wait until ``start``. For the main thread, which is to serve."""
        self._main = threading.get_ident()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            # whoever started us under nohup has SIGHUP ignored
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)  # the pipe tells

    def noting(self, operation: Callable[..., _Result]) -> Callable[..., _Result]:
        """``operation``, which counts as use of the mount. As it is where nobody wants to know."""
        if self._idle is None:
            return operation

        @functools.wraps(operation)
        def noted(*args: object) -> _Result:
            self._asked = monotonic()
            return operation(*args)

        return noted

    def start(self) -> None:
        """From the first request of the kernel on: watch."""
        mount = libfuse.this_mount()
        threading.Thread(target=self._watch, args=(mount,), name="watch", daemon=True).start()

    def stop(self) -> None:
        """The mount has ended."""
        self._over.set()

    def _watch(self, mount: int) -> None:
        while not select([self._reader], [], [], self._remaining())[0]:
            if self._remaining() == 0 and self._unmounted():
                self._idle = None  # a copy of the mount may live on elsewhere: a signal still counts
        log.debug("%s: ends at a signal", self._target)
        libfuse.leave(mount)
        while not self._over.is_set():
            signal.pthread_kill(self._main, signal.SIGTERM)
            self._over.wait(NUDGE)

    def _remaining(self) -> float | None:
        """Seconds until the mount may go."""
        return None if self._idle is None else max(0.0, self._asked + self._idle - monotonic())

    def _unmounted(self) -> bool:
        """Unmount if nobody is in it: the kernel refuses while a file is open, or a folder somebody's own."""
        self._asked = monotonic()
        try:
            detach(self._target)
        except MountError as exc:
            log.debug("%s", exc)
            return False
        return True
