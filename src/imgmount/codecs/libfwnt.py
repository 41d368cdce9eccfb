"""The LZNT1 decompressor of libfwnt (LGPL), which may not be there.

It is the system's, or the one inside PyPI ``libfwnt-python``. It is called through ctypes, so that other
threads run meanwhile; the module of the wheel would hold them up. API: libfwnt.h, "LZNT1 compression
functions".
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

from imgmount.core.system_library import first_loadable

SYSTEM: Final = ("libfwnt.so.1", "libfwnt.1.dylib")


@cache
def _decompressor() -> Any:
    """The C function, or None where it is not installed."""
    wheel = find_spec("pyfwnt")
    names = [*SYSTEM, wheel.origin] if wheel is not None and wheel.origin else SYSTEM
    name = first_loadable(names)
    found = getattr(ctypes.CDLL(name), "libfwnt_lznt1_decompress", None) if name else None
    if found is not None:
        found.argtypes = [c_char_p, c_size_t, c_void_p, POINTER(c_size_t), c_void_p]
        found.restype = c_int
    return found


def lznt1(data: bytes, size: int) -> bytearray | None:
    """Up to ``size`` bytes, whole chunks of 4 KiB; None where the library is absent or refuses the data."""
    expand = _decompressor()
    if expand is None or not data or not size:
        return None
    out = bytearray(size)
    count = c_size_t(size)
    place = (ctypes.c_char * size).from_buffer(out)  # keeps ``out`` at its address
    done = expand(data, len(data), ctypes.addressof(place), byref(count), None)
    del place
    if done != 1 or count.value > size:
        return None
    del out[count.value :]
    return out
