"""Who answers when, and how replies are put together, over a socket that stands for the kernel."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import AF_UNIX, SO_SNDBUF, SOCK_SEQPACKET, SOL_SOCKET, socketpair

import pytest

from imgmount.core.device import Buffer
from imgmount.fuse.channel import MAX_THREADS, Channel, Line
from imgmount.fuse.protocol import OUT_HEADER


class Kernel:
    """Sends requests of one number each, and reads the replies."""

    def __init__(self) -> None:
        self.end, self.ours = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self.ours.setsockopt(SOL_SOCKET, SO_SNDBUF, 4 << 20)
        self.end.settimeout(20)
        self.threads: dict[int, int] = {}
        self.slow = threading.Event()

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            self.end.send(number.to_bytes(8, "little"))

    def told(self) -> tuple[int, int, bytes]:
        """(unique, errno, result) of the next reply."""
        reply = self.end.recv(2 << 20)
        size, code, unique = OUT_HEADER.unpack_from(reply)
        assert size == len(reply)
        return unique, -code, reply[OUT_HEADER.size :]

    def answer(self, line: Line, request: memoryview) -> None:
        """Numbers from 1000 on take time."""
        line.unique = number = int.from_bytes(request, "little")
        self.threads[number] = threading.get_ident()
        if number >= 1000:
            assert self.slow.wait(20)
            time.sleep(0.01)
        line.reply(b"done")


def await_threads() -> None:
    """None may read from a descriptor that is closed, and perhaps opened again."""
    for thread in threading.enumerate():
        if thread.name.startswith("answers"):
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.slow.set()
    kernel.end.close()
    await_threads()
    kernel.ours.close()


def test_a_few_threads_answer_what_is_quick(kernel: Kernel) -> None:
    Channel(kernel.ours.fileno(), kernel.answer, lambda: False, lambda _: None).start()
    for number in range(30):
        kernel.ask(number)
        assert kernel.told() == (number, 0, b"done")
        time.sleep(0.01)  # to be waiting again
    assert len(set(kernel.threads.values())) <= 4 < MAX_THREADS


def test_what_is_prepared_is_given_up_when_something_is_asked(kernel: Kernel) -> None:
    steps = 0
    asked = threading.Event()

    def prepare() -> bool:
        nonlocal steps
        steps += 1
        if steps == 3:
            kernel.ask(2)
            asked.set()
        return steps < 1000

    Channel(kernel.ours.fileno(), kernel.answer, prepare, lambda _: None).start()
    kernel.ask(1)
    assert kernel.told()[0] == 1
    assert asked.wait(20)
    assert kernel.told()[0] == 2


def test_what_takes_time_holds_up_nobody(kernel: Kernel) -> None:
    Channel(kernel.ours.fileno(), kernel.answer, lambda: False, lambda _: None).start()
    slow = range(1000, 1000 + MAX_THREADS - 1)
    kernel.ask(*slow, 1)
    assert kernel.told()[0] == 1
    kernel.slow.set()
    assert {kernel.told()[0] for _ in slow} == set(slow)
    kernel.ask(4)
    assert kernel.told()[0] == 4


def test_more_slow_requests_than_threads_are_answered_all(kernel: Kernel) -> None:
    Channel(kernel.ours.fileno(), kernel.answer, lambda: False, lambda _: None).start()
    wanted = range(1000, 1000 + 3 * MAX_THREADS)
    kernel.ask(*wanted)
    kernel.slow.set()
    assert {kernel.told()[0] for _ in wanted} == set(wanted)
    assert len(set(kernel.threads.values())) <= MAX_THREADS
    kernel.ask(1)
    assert kernel.told()[0] == 1


def test_the_end_of_the_line_is_told() -> None:
    ended: list[OSError] = []
    over = threading.Event()
    null = os.open("/dev/null", os.O_WRONLY)  # it cannot be read

    def end(error: OSError) -> None:
        ended.append(error)
        over.set()

    Channel(null, lambda *_: None, lambda: False, end).start()
    assert over.wait(20)
    await_threads()
    assert {error.errno for error in ended} == {errno.EBADF}
    os.close(null)


def test_replies_in_one_piece_and_in_many(kernel: Kernel) -> None:
    line = Line(kernel.ours.fileno())
    line.unique = 5
    many: list[Buffer] = [bytes([number % 256]) * 3 for number in range(3000)]
    few: list[Buffer] = [b"a", memoryview(b"bc")]
    for pieces in ([], few, many):
        line.reply(*pieces)
        assert kernel.told() == (5, 0, b"".join(pieces))
    line.fail(13)
    assert kernel.told() == (5, 13, b"")


def test_a_reply_that_is_refused_becomes_an_error(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(kernel.ours.fileno())
    line.unique = 6
    write = os.writev

    def once(fd: int, buffers: Sequence[Buffer]) -> int:
        monkeypatch.setattr(os, "writev", write)
        raise OSError(errno.ENOMEM, "Cannot allocate memory", fd, len(buffers))

    monkeypatch.setattr(os, "writev", once)
    line.reply(b"lost")
    assert kernel.told() == (6, errno.EIO, b"")


def test_runs_of_files_are_moved(kernel: Kernel, tmp_path: Path) -> None:
    content = b"".join(number.to_bytes(4, "big") for number in range(50_000))
    (tmp_path / "file").write_bytes(content)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    line = Line(kernel.ours.fileno())
    assert line.splice([(5000, fd, 100_001), (30_000, fd, 3), (1, fd, len(content) - 1)])
    assert kernel.told()[2] == content[100_001:105_001] + content[3:30_003] + content[-1:]
    assert not line.splice([(5000, fd, 0), (10, fd, len(content) - 5)])  # the file ends before
    assert not line.splice([(2 << 20, fd, 0)])  # more than a pipe holds
    assert line.splice([(100, fd, 0)])
    assert kernel.told()[2] == content[:100]
    os.close(fd)
