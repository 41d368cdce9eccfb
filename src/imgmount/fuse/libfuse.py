"""libfuse through the structures of mfusepy; the ones that are filled most often are filled by hand.

mfusepy prefers libfuse 2 where both are installed; we need 3 (READDIRPLUS, lseek) and say so before importing
it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Sequence
from typing import Final

from imgmount.core.system_library import first_loadable
from imgmount.errors import MountError
from imgmount.fuse.refusal import INSTALL

SONAMES: Final = ("libfuse3.so.4", "libfuse3.so.3")  # newest first


def _choose() -> None:
    wanted = os.environ.get("FUSE_LIBRARY_PATH")
    name = first_loadable([wanted] if wanted else SONAMES)
    if name is None:
        raise MountError(f"{wanted or 'libfuse 3'} cannot be loaded: {INSTALL}")
    os.environ["FUSE_LIBRARY_PATH"] = name


_choose()
import mfusepy  # noqa: E402  it loads the library that was chosen

VERSION: Final[tuple[int, int]] = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor)
if VERSION[0] != 3:
    raise MountError(
        f"libfuse 3 is needed, {os.environ['FUSE_LIBRARY_PATH']} is version {VERSION[0]}.{VERSION[1]}"
    )

__all__ = ["mfusepy"]

# fuse_common.h: FUSE_CAP_*
CAP_SPLICE_WRITE: Final = 1 << 7
CAP_SPLICE_MOVE: Final = 1 << 8
CAP_READDIRPLUS: Final = 1 << 13
CAP_READDIRPLUS_AUTO: Final = 1 << 14
CAP_NO_OPEN_SUPPORT: Final = 1 << 17

# fuse.h: enum fuse_fill_dir_flags
FILL_DIR_PLUS: Final = 2

# fuse_common.h: enum fuse_buf_flags
BUF_IS_FD: Final = 1 << 1
BUF_FD_SEEK: Final = 1 << 2

_libc = ctypes.CDLL(None)
malloc = _libc.malloc
malloc.argtypes = (ctypes.c_size_t,)
malloc.restype = ctypes.c_void_p

FillDir = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int
)
_path, _pointer, _int, _size, _offset = (
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_size_t,
    ctypes.c_int64,
)

# The operations that a read-only filesystem has, with every pointer as a plain number: fuse.h, struct
# fuse_operations.
PROTOTYPES: Final = {
    "getattr": ctypes.CFUNCTYPE(_int, _path, _pointer, _pointer),
    "readlink": ctypes.CFUNCTYPE(_int, _path, _pointer, _size),
    "open": ctypes.CFUNCTYPE(_int, _path, _pointer),
    "read_buf": ctypes.CFUNCTYPE(_int, _path, _pointer, _size, _offset, _pointer),
    "statfs": ctypes.CFUNCTYPE(_int, _path, _pointer),
    "getxattr": ctypes.CFUNCTYPE(_int, _path, _path, _pointer, _size),
    "listxattr": ctypes.CFUNCTYPE(_int, _path, _pointer, _size),
    "opendir": ctypes.CFUNCTYPE(_int, _path, _pointer),
    "readdir": ctypes.CFUNCTYPE(_int, _path, _pointer, FillDir, _offset, _pointer, _int),
    "releasedir": ctypes.CFUNCTYPE(_int, _path, _pointer),
    "init": ctypes.CFUNCTYPE(_pointer, _pointer, _pointer),
    "lseek": ctypes.CFUNCTYPE(_offset, _path, _offset, _int, _pointer),
}

_FH: Final = mfusepy.fuse_file_info.fh.offset

_library = ctypes.CDLL(os.environ["FUSE_LIBRARY_PATH"])
_library.fuse_get_context.restype = ctypes.POINTER(mfusepy.fuse_context)
_library.fuse_exit.argtypes = (_pointer,)
_library.fuse_exit.restype = None


def this_mount() -> int:
    """The ``struct fuse`` whose request this thread is answering."""
    return int(_library.fuse_get_context().contents.fuse)


def leave(mount: int) -> None:
    """Let the loop of ``mount`` end as after an unmount, once its main thread is woken."""
    _library.fuse_exit(mount)


_thread = threading.local()


def keep_thread_state() -> None:
    """Keep this thread's Python state for its next callback: a new one costs as much as a small read."""
    if not hasattr(_thread, "kept"):
        ctypes.pythonapi.PyGILState_Ensure()
        _thread.kept = True


def get_fh(info: int) -> int:
    """The handle in the ``fuse_file_info`` at address ``info``."""
    return ctypes.c_uint64.from_address(info + _FH).value


def set_fh(info: int, fh: int) -> None:
    """Hand a handle to libfuse; it comes back with every request on the open file."""
    ctypes.c_uint64.from_address(info + _FH).value = fh


def cache_directory(info: int) -> None:
    """Let the kernel keep the listing between opens: the image does not change."""
    opened = mfusepy.fuse_file_info.from_address(info)
    opened.keep_cache = 1
    if hasattr(opened, "cache_readdir"):
        opened.cache_readdir = 1


# What a Stat becomes, in the order that ``pack_stat`` takes it; each time is seconds and nanoseconds.
STAT_FIELDS: Final = (
    "ino",
    "mode",
    "nlink",
    "uid",
    "gid",
    "rdev",
    "size",
    "blksize",
    "blocks",
    "atime",
    "mtime",
    "ctime",
)


def _stat_layout() -> tuple[struct.Struct, list[int]]:
    """The layout of ``struct stat`` on this machine, and which value belongs to each of its places."""
    places: list[tuple[int, str, int]] = []  # offset, code, number of the value
    for name in STAT_FIELDS:
        time = name.endswith("time")
        field = getattr(mfusepy.c_stat, f"st_{name}spec" if time else f"st_{name}")
        width = field.size // 2 if time else field.size
        code = {4: "I", 8: "q" if time else "Q"}[width]
        places.append((field.offset, code, len(places)))
        if time:
            places.append((field.offset + width, code, len(places)))
    places.sort()
    layout, end = "=", 0
    for offset, code, _ in places:
        layout += f"{offset - end}x{code}"
        end = offset + struct.calcsize(f"={code}")
    layout += f"{ctypes.sizeof(mfusepy.c_stat) - end}x"
    return struct.Struct(layout), [number for _, _, number in places]


_STAT, _ORDER = _stat_layout()
_in_order = sorted(_ORDER) == _ORDER
STAT_SIZE: Final = _STAT.size


def pack_stat(values: Sequence[int]) -> bytes:
    """A ``struct stat``."""
    return _STAT.pack(*(values if _in_order else [values[number] for number in _ORDER]))


# struct fuse_bufvec {count, idx, off, fuse_buf[]}; struct fuse_buf {size, flags, mem, fd, pos} grew a sixth
# field in 3.17.
_BUFVEC: Final = struct.Struct("@NNN")
_BUF: Final = struct.Struct("@NiPiq8x" if VERSION >= (3, 17) else "@NiPiq")


def pack_buffers(buffers: Sequence[tuple[int, int, int, int, int]]) -> int:
    """A bufvec of (size, flags, memory, fd, position), allocated as libfuse will free it.

    Returns its address.
    """
    packed = _BUFVEC.pack(len(buffers), 0, 0) + b"".join([_BUF.pack(*buffer) for buffer in buffers])
    address = malloc(len(packed))
    if not address:
        raise MemoryError
    ctypes.memmove(address, packed, len(packed))
    return int(address)
