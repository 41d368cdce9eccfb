"""What the kernel asks of a file system and how it is answered, in bytes: linux/fuse.h.

Version 7.31 of the protocol, and STATX of 7.39, which newer kernels send of themselves. A request is a header
and arguments, a reply a header and a result. Times are seconds and nanoseconds.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from imgmount.core.node import Stat

MAJOR, MINOR = 7, 31
ROOT: Final = 1  # number of the root folder

# enum fuse_opcode
LOOKUP, FORGET, GETATTR, READLINK = 1, 2, 3, 5
OPEN, READ, STATFS, RELEASE, GETXATTR, LISTXATTR = 14, 15, 17, 18, 22, 23
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY = 26, 27, 28, 29, 36, 38
BATCH_FORGET, READDIRPLUS, LSEEK, STATX = 42, 44, 46, 52

# flags of INIT
ASYNC_READ: Final = 1 << 0
DO_READDIRPLUS: Final = 1 << 13
ASYNC_DIO: Final = 1 << 15
NO_OPEN: Final = 1 << 17
PARALLEL_DIROPS: Final = 1 << 18
MAX_PAGES: Final = 1 << 22
CACHE_SYMLINKS: Final = 1 << 23

# flags of a reply to OPEN and OPENDIR
KEEP_CACHE: Final = 1 << 1
CACHE_DIR: Final = 1 << 3

FOREVER: Final = 86_400 * 365  # seconds: the image does not change
BLOCK: Final = 4096
SMALLEST_BUFFER: Final = 64 << 10  # for requests: far more than the 8 KiB that the kernel asks for
NS: Final = 1_000_000_000

IN_HEADER: Final = struct.Struct("=IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
OUT_HEADER: Final = struct.Struct("=IiQ")  # length, negative errno, unique
INIT_IN: Final = struct.Struct("=IIII")  # major, minor, max_readahead, flags
# major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages
INIT_OUT: Final = struct.Struct("=IIIIHHIIH34x")
FLAGS_IN: Final = struct.Struct("=I")  # flags of open(2)
OPEN_OUT: Final = struct.Struct("=QII")  # handle, flags, padding
READ_IN: Final = struct.Struct("=QQI")  # handle, offset, size
LSEEK_IN: Final = struct.Struct("=QQI")  # handle, offset, whence
LSEEK_OUT: Final = struct.Struct("=Q")
XATTR_IN: Final = struct.Struct("=II")  # size, padding; GETXATTR: a name follows
XATTR_OUT: Final = struct.Struct("=II")  # size, padding
# blocks, bfree, bavail, files, ffree, bsize, namelen, frsize
STATFS_OUT: Final = struct.Struct("=5Q3I28x")
# ino, size, blocks, atime, mtime, ctime; their nanoseconds; mode, nlink, uid, gid, rdev, blksize, flags
_ATTR: Final = "6Q10I"
_ATTR_OUT: Final = struct.Struct(f"=QII{_ATTR}")  # seconds and nanoseconds it is valid, padding
# seconds and nanoseconds it is valid, flags; mask, blksize, attributes, nlink, uid, gid, mode; ino, size,
# blocks, mask of attributes; times of access, birth, inode and content; major and minor number
_STATX_OUT: Final = struct.Struct("=QII16xIIQIIIHxxQQQQqIxxxxqIxxxxqIxxxxqIxxxxII120x")
# node, generation, seconds that name and attributes are valid, their nanoseconds
_ENTRY_OUT: Final = struct.Struct(f"=QQQQII{_ATTR}")
# ino, how many entries there are up to the end of this one, length of the name, type
_DIRENT: Final = struct.Struct("=QQII")
_DIRENTPLUS: Final = struct.Struct(f"{_ENTRY_OUT.format}{_DIRENT.format[1:]}")
_PADDING: Final = tuple(bytes(-length % 8) for length in range(8))
ENTRY_SIZE: Final = _ENTRY_OUT.size  # what READDIRPLUS has before each entry of READDIR
NO_ENTRY: Final = _ENTRY_OUT.pack(0, 0, FOREVER, 0, 0, 0, *(0,) * 16)  # a name that is not there

STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800

Attributes = tuple[int, ...]  # what ``attributes`` returns


class Owner:
    """Whose the files are, and what they may: the user's word, else the image's, else ours."""

    def __init__(self, uid: int | None, gid: int | None, umask: int | None, ours: tuple[int, int]) -> None:
        self._uid, self._one_uid = ours[0] if uid is None else uid, uid is not None
        self._gid, self._one_gid = ours[1] if gid is None else gid, gid is not None
        self._mask = ~(umask or 0)

    def attributes(self, stat: Stat, inode: int) -> Attributes:
        """``struct fuse_attr``, as numbers in order."""
        mode, size, mtime, atime, ctime, uid, gid, nlink, rdev, allocated, birth = stat
        mtime_s, mtime_ns = divmod(mtime, NS)
        atime_s, atime_ns = (mtime_s, mtime_ns) if atime is None else divmod(atime, NS)
        if ctime is None:
            ctime = birth
        ctime_s, ctime_ns = (mtime_s, mtime_ns) if ctime is None else divmod(ctime, NS)
        return (
            inode, size, ((size if allocated is None else allocated) + 511) >> 9,
            atime_s & U64, mtime_s & U64, ctime_s & U64, atime_ns, mtime_ns, ctime_ns,
            mode & self._mask, nlink & U32,
            self._uid if self._one_uid or uid is None else uid,
            self._gid if self._one_gid or gid is None else gid,
            rdev & U32, BLOCK, 0,
        )  # fmt: skip


U32: Final = (1 << 32) - 1
U64: Final = (1 << 64) - 1


def attr_out(attributes: Attributes) -> bytes:
    """The reply to GETATTR."""
    return _ATTR_OUT.pack(FOREVER, 0, 0, *attributes)


def statx_out(attributes: Attributes, birth_ns: int | None) -> bytes:
    """The reply to STATX: the same and the time of birth."""
    ino, size, blocks, atime, mtime, ctime, *nanoseconds, mode, nlink, uid, gid, rdev, blksize, _ = attributes
    atime_ns, mtime_ns, ctime_ns = nanoseconds
    btime, btime_ns = divmod(birth_ns or 0, NS)
    return _STATX_OUT.pack(
        FOREVER, 0, 0, STATX_BASIC_STATS | (0 if birth_ns is None else STATX_BTIME), blksize, 0,
        nlink, uid, gid, mode, ino, size, blocks, 0, _signed(atime), atime_ns, btime, btime_ns,
        _signed(ctime), ctime_ns, _signed(mtime), mtime_ns, os.major(rdev), os.minor(rdev),
    )  # fmt: skip


def _signed(seconds: int) -> int:
    return seconds - (seconds >> 63 << 64)


def entry_out(node: int, attributes: Attributes) -> bytes:
    """The reply to LOOKUP: the node's number and attributes."""
    return _ENTRY_OUT.pack(node, 0, FOREVER, FOREVER, 0, 0, *attributes)


def direntplus(name: bytes, offset: int, node: int, attributes: Attributes) -> bytes:
    """An entry of READDIRPLUS, the ``offset``-th: what LOOKUP replies, and an entry of READDIR."""
    length = len(name)
    return (
        _DIRENTPLUS.pack(
            node, 0, FOREVER, FOREVER, 0, 0, *attributes, attributes[0], offset, length, attributes[9] >> 12
        )
        + name
        + _PADDING[length & 7]
    )


def bare_direntplus(name: bytes, offset: int, inode: int, kind: int = 0) -> bytes:
    """The same where nothing but the name is told, and perhaps the ``kind``: the file type of the mode."""
    return NO_ENTRY + _DIRENT.pack(inode, offset, len(name), kind >> 12) + name + _PADDING[len(name) & 7]
