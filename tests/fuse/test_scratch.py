from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from imgmount.fuse.scratch import CAPACITY, Scratch


def test_pieces_lie_in_the_memory_file_where_they_are_said_to_be() -> None:
    scratch = Scratch()
    assert scratch.add([b"one", bytearray(b"two"), memoryview(b"<three>")[1:-1]]) == (11, 0)
    assert scratch.add([b"four"]) == (4, 11)
    assert os.pread(scratch.fd, 99, 0)[:15] == b"onetwothreefour"
    scratch.clear()
    assert scratch.add([b"again"]) == (5, 0)
    assert os.pread(scratch.fd, 5, 0) == b"again"


def test_it_grows_and_keeps_what_it_holds() -> None:
    scratch = Scratch()
    first, second = b"first" * (CAPACITY // 5), b"2nd" * CAPACITY
    assert scratch.add([first]) == (len(first), 0)
    assert scratch.add([second, b"end"]) == (len(second) + 3, len(first))
    assert os.pread(scratch.fd, 5 * CAPACITY, 0).startswith(first + second + b"end")


def test_each_thread_has_its_own() -> None:
    scratch, barrier = Scratch(), Barrier(4)

    def reply(number: int) -> bytes:
        scratch.clear()
        length, position = scratch.add([bytes([number]) * 1000])
        barrier.wait(30)
        return os.pread(scratch.fd, length, position)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reply, range(4))) == [bytes([number]) * 1000 for number in range(4)]
