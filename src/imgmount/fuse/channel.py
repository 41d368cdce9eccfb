"""The line to the kernel: requests are read from /dev/fuse and replies are written there.

One thread leads: it reads a request, answers it, and reads the next. Before it does what takes time, which is
to decode, to wait for the host's disk, or to move many bytes while more is asked, it gives the lead to
another: so quick questions need no hand-over, and slow ones hold up nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Final

from imgmount.core.device import Buffer
from imgmount.core.patience import takes_time, this_thread
from imgmount.fuse.protocol import BLOCK, OUT_HEADER, SMALLEST_BUFFER

MAX_THREADS: Final = 2 * (os.cpu_count() or 1) + 8  # the latter wait for the host's disk
MAX_REPLY: Final = 512 << 10  # bytes of a file at once: with its header it fits into a pipe of 1 MiB
PIPE: Final = 1 << 20
LARGE: Final = 64 << 10  # bytes that take longer to move than a hand-over takes
MAX_BUFFERS: Final = 1000  # of one writev(2), which takes 1024
GONE: Final = (errno.ENOENT, errno.EINTR)  # whoever asked has been killed meanwhile
UNMOUNTED: Final = (errno.ENODEV, errno.EBADF, errno.ECONNABORTED)

Run = tuple[int, int, int]  # length, descriptor of a host file, offset in it
Answer = Callable[["Line", memoryview], None]  # the line to reply on, the request


class Line(threading.local):
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
        self._expect(size)
        self._write(OUT_HEADER.pack(size, 0, self.unique), *buffers)

    def fail(self, code: int) -> None:
        """The request failed with errno ``code``."""
        self._write(OUT_HEADER.pack(OUT_HEADER.size, -code, self.unique))

    def _expect(self, size: int) -> None:
        """``size`` bytes are about to be moved: another thread had better answer what is asked already."""
        if size >= LARGE and this_thread.hand_over is not None and self.is_asked():
            takes_time()

    def is_asked(self) -> bool:
        """Whether requests are waiting."""
        return bool(self._more.poll(0))

    def _write(self, *buffers: Buffer) -> None:
        try:
            os.writev(self._fd, buffers)
        except OSError as exc:
            if exc.errno not in GONE:
                raise

    def splice(self, runs: Sequence[Run]) -> bool:
        """Reply with runs of host files, which the kernel moves without us. False if they cannot be had."""
        reader, writer = self._pipe or self._open_pipe()
        size = sum(length for length, _, _ in runs)
        if size + (len(runs) + 2) * BLOCK > self._fits:
            return False
        self._expect(size)
        try:
            os.write(writer, OUT_HEADER.pack(OUT_HEADER.size + size, 0, self.unique))
            if all(_fill(writer, *run) for run in runs):
                os.splice(reader, self._fd, OUT_HEADER.size + size, flags=os.SPLICE_F_MOVE)
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
        self._line = Line(fd)
        self._lock = threading.Lock()
        self._threads = 0
        self._idle: list[threading.Lock] = []  # of threads that wait for the lead, the warmest last
        self._vacant = False  # nobody leads: all are busy

    def serve_one(self) -> None:
        """Answer the first request in this thread."""
        self._answer(self._line, memoryview(os.read(self._fd, SMALLEST_BUFFER)))

    def start(self) -> None:
        """Begin to serve, in other threads."""
        self._threads += 1
        threading.Thread(target=self._serve, name=f"answers-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        buffer, baton = memoryview(bytearray(SMALLEST_BUFFER)), threading.Lock()
        baton.acquire()
        try:
            while True:
                self._lead(buffer)
                self._wait(baton)
        except OSError as exc:
            self._ended(exc)
            with self._lock:  # the others meet the same when they lead
                idle, self._idle, self._vacant = self._idle, [], True
            for baton in idle:
                baton.release()

    def _lead(self, buffer: memoryview) -> None:
        """Answer requests until one takes time. Raises ``OSError`` when the kernel hangs up."""
        line, answer, prepare, fd, thread = self._line, self._answer, self._prepare, self._fd, this_thread
        thread.hand_over = self._hand_over
        while thread.hand_over is not None:
            while prepare() and thread.hand_over is not None and not line.is_asked():
                pass
            if thread.hand_over is None:  # what was prepared took time
                return
            try:
                size = os.readv(fd, [buffer])
            except OSError as exc:
                if exc.errno in GONE:
                    continue
                raise
            if not size:
                raise OSError(errno.ENODEV, "The line is closed")
            answer(line, buffer[:size])

    def _hand_over(self) -> None:
        with self._lock:
            baton = self._idle.pop() if self._idle else None
            self._vacant = baton is None and self._threads == MAX_THREADS
            more = baton is None and not self._vacant
        if baton is not None:
            baton.release()
        elif more:
            self.start()

    def _wait(self, baton: threading.Lock) -> None:
        """Return when this thread has the lead again."""
        with self._lock:
            if self._vacant:
                self._vacant = False
                return
            self._idle.append(baton)
        baton.acquire()
