"""The line to the kernel: requests are read from /dev/fuse and replies are written there.

Threads wait for requests, and whichever the kernel wakes answers. Where none is left to wait, another joins
and stays. So there are three for one reader, who asks again before the thread that answered is back; to hand
over from one of them to another would take longer than most answers.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from imgmount.core.device import Buffer
from imgmount.fuse.protocol import BLOCK, OUT_HEADER, SMALLEST_BUFFER

log = logging.getLogger(__name__)

MAX_THREADS: Final = 2 * (os.cpu_count() or 1) + 8  # the latter wait for the host's disk
MAX_REPLY: Final = 512 << 10  # bytes of a file at once: with its header it fits into a pipe of 1 MiB
PIPE: Final = 1 << 20
MAX_BUFFERS: Final = 1000  # of one writev(2), which takes 1024
GONE: Final = (errno.ENOENT, errno.EINTR)  # whoever asked has been killed meanwhile
UNMOUNTED: Final = (errno.ENODEV, errno.ECONNABORTED)

Run = tuple[int, int, int]  # length, descriptor of a host file, offset in it
Answer = Callable[["Line", memoryview], None]  # the line to reply on, the request


class Line:
    """What one thread replies with. ``unique`` is the number of the request that is being answered."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._more = select.poll()
        self._more.register(fd, select.POLLIN)
        self.unique = 0
        self._pipe: tuple[int, int] | None = None
        self._fits = 0

    def reply(self, *buffers: Buffer) -> None:
        """The result of a request, in pieces that are not copied on the way to the kernel."""
        if len(buffers) > MAX_BUFFERS:
            buffers = (b"".join(buffers),)
        size = OUT_HEADER.size + sum(map(len, buffers))
        if not self._write(OUT_HEADER.pack(size, 0, self.unique), *buffers):
            self.fail(errno.EIO)  # or whoever asked waits for ever

    def fail(self, code: int) -> None:
        """The request failed with errno ``code``."""
        self._write(OUT_HEADER.pack(OUT_HEADER.size, -code, self.unique))

    def is_asked(self) -> bool:
        """Whether requests are waiting."""
        return bool(self._more.poll(0))

    def _write(self, *buffers: Buffer) -> bool:
        """False if the kernel refuses the reply, for want of memory perhaps."""
        try:
            os.writev(self._fd, buffers)
        except OSError as exc:
            if exc.errno in UNMOUNTED:
                raise
            if exc.errno not in GONE:
                log.warning("a reply was refused: %s", exc.strerror)
                return False
        return True

    def splice(self, runs: Sequence[Run]) -> bool:
        """Reply with runs of host files, which the kernel moves without us. False if they cannot be had."""
        reader, writer = self._pipe or self._open_pipe()
        size = sum(length for length, _, _ in runs)
        if size + (len(runs) + 2) * BLOCK > self._fits:
            return False
        try:
            os.write(writer, OUT_HEADER.pack(OUT_HEADER.size + size, 0, self.unique))
            if all(_fill(writer, *run) for run in runs):
                # without SPLICE_F_MOVE, which would take the pages away from the host file's cache
                os.splice(reader, self._fd, OUT_HEADER.size + size)
                return True
        except OSError as exc:
            self._close_pipe()
            if exc.errno in GONE:
                return True
            if exc.errno in UNMOUNTED:
                raise
            return False
        self._close_pipe()
        return False

    def _open_pipe(self) -> tuple[int, int]:
        self._pipe = os.pipe()
        try:
            self._fits = fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, PIPE)
        except OSError:  # the user has too much in pipes already
            self._fits = fcntl.fcntl(self._pipe[1], fcntl.F_GETPIPE_SZ)
        return self._pipe

    def _close_pipe(self) -> None:
        """It holds a part of a reply."""
        for end in self._pipe or ():
            os.close(end)
        self._pipe = None


def _fill(writer: int, length: int, fd: int, offset: int) -> bool:
    """Put a run of a host file into a pipe that has room for it. False if the file ends before."""
    while length:
        moved = os.splice(fd, writer, length, offset_src=offset)
        if not moved:
            return False
        length -= moved
        offset += moved
    return True


class Channel:
    """All threads that serve one mount: each request is handed to ``answer``.

    ``prepare`` is called while nothing is asked, until it has nothing to do and returns False. ``ended`` is
    called with the error that ended it: the kernel has hung up, as a rule.
    """

    def __init__(
        self, fd: int, answer: Answer, prepare: Callable[[], bool], ended: Callable[[OSError], None]
    ) -> None:
        self._fd = fd
        self._answer = answer
        self._prepare = prepare
        self._ended = ended
        self._lock = threading.Lock()
        self._threads = 0
        self._waiting = 0
        self._asked = 0  # requests so far

    def serve_one(self) -> None:
        """Answer the first request in this thread."""
        self._answer(Line(self._fd), memoryview(os.read(self._fd, SMALLEST_BUFFER)))

    def start(self) -> None:
        """Begin to serve, in other threads."""
        self._add_thread()

    def _add_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._serve, name=f"answers-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        line, buffer = Line(self._fd), memoryview(bytearray(SMALLEST_BUFFER))
        try:
            while True:
                self._answer(line, buffer[: self._receive(buffer)])
                self._look_ahead(line)
        except OSError as exc:
            self._ended(exc)

    def _receive(self, buffer: memoryview) -> int:
        """Size of the next request, which is in ``buffer`` then."""
        with self._lock:
            self._waiting += 1
        while True:
            try:
                size = os.readv(self._fd, [buffer])
            except OSError as exc:
                if exc.errno not in GONE:
                    raise
                continue
            if not size:
                raise OSError(errno.ENODEV, "The line is closed")
            with self._lock:
                self._asked += 1
                self._waiting -= 1
                if not self._waiting and self._threads < MAX_THREADS:
                    with suppress(RuntimeError):  # the user may have no more threads: those there are go on
                        self._add_thread()
            return size

    def _look_ahead(self, line: Line) -> None:
        """Prepare as long as nothing is asked, of this thread or another."""
        asked = self._asked
        while self._prepare() and asked == self._asked and not line.is_asked():
            pass
