"""In a process of its own: the settings last as long as the process does."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from imgmount.core.heap import keep_freed_chunks
class Facts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "uordblks fordblks keepcost".split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Facts
if "keep" in sys.argv:
    keep_freed_chunks()
before = mallinfo2().hblks
chunk = bytearray(1 << 20)
print(mallinfo2().hblks - before)
"""


def mapped(*words: str) -> int:
    """How many blocks a chunk of 1 MiB takes from the kernel for itself."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc of 2.33 or later")
def test_chunks_come_from_the_heap() -> None:
    assert mapped() == 1
    assert mapped("keep") == 0


def test_other_c_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    from imgmount.core.heap import keep_freed_chunks

    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_chunks()
