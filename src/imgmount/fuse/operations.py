"""A protocol adapter: calls of libfuse become questions to the vfs, and the answers become structures of C.

Paths come as bytes and are decoded as UTF-8 with surrogate escapes. Directories that are being listed have
handles; files have none, so the kernel need not tell of opening and closing one: a small file costs one
request instead of three. Reads are answered with file descriptors: of the host file wherever the bytes lie
there unchanged, so that the kernel moves them without us; of a memory file for decoded bytes; of an empty one
for holes.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from errno import ENODATA, ENOSYS, ENXIO, EOPNOTSUPP, ERANGE, EROFS
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from imgmount.core.device import BlockDevice, Buffer, Extent, buffers_of
from imgmount.core.holes import next_data, next_hole
from imgmount.core.node import Listing, Node, Stat, Symlink, as_file
from imgmount.errors import ImageError
from imgmount.fuse import libfuse
from imgmount.fuse.errnos import guarded
from imgmount.fuse.libfuse import mfusepy
from imgmount.fuse.options import MountOptions
from imgmount.fuse.replies import BATCH, Replies, Reply
from imgmount.fuse.scratch import Scratch
from imgmount.sources.file import FileDevice
from imgmount.vfs.vfs import Vfs

NS: Final = 1_000_000_000
TIMEOUT: Final = 86_400.0 * 365  # the image does not change
BLOCK: Final = 4096
ZEROS: Final = 4 << 20  # size of the memory file behind holes; a longer run is several
GUESS: Final = "user.imgmount.guess"  # of deleted files: what of them is one
MAX_FILES: Final = 256  # kept at hand
MAX_BUFFERS: Final = 64  # of one reply; a read in more buffers is gathered in memory
FD: Final = libfuse.BUF_IS_FD | libfuse.BUF_FD_SEEK


Callback = Callable[..., int | None]
FuseBuf = tuple[int, int, int, int, int]  # struct fuse_buf: size, flags, memory, descriptor, position


class _OpenFile:
    """A file that is being read. Where it is one run of a host file, ``host`` and ``start`` say which."""

    __slots__ = ("device", "host", "start")

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.host: FileDevice | None = None
        self.start = 0
        try:
            runs = list(itertools.islice(device.extents(0, device.size), 2))
        except ImageError:  # damaged somewhere: each read will see
            return
        if len(runs) == 1 and isinstance(runs[0].device, FileDevice):
            self.host, self.start = runs[0].device, runs[0].offset


class _Files:
    """The files that were read last, by path.

    Any number of threads may ask. A file that is pushed out is freed when its last read ends.
    """

    def __init__(self, vfs: Vfs) -> None:
        self._vfs = vfs
        self._lock = threading.Lock()
        self._files: OrderedDict[bytes, _OpenFile] = OrderedDict()

    def __getitem__(self, path: bytes) -> _OpenFile:
        with self._lock:
            if (known := self._files.get(path)) is not None:
                self._files.move_to_end(path)
                return known
        where = _decode(path)
        file = _OpenFile(as_file(self._vfs.find(where), where).open())
        with self._lock:
            file = self._files.setdefault(path, file)
            if len(self._files) > MAX_FILES:
                self._files.popitem(last=False)
        return file


class _OpenDirectory:
    """A directory while it is listed: its entries stay as they were when the listing began."""

    __slots__ = ("path", "replies")

    def __init__(self, path: str) -> None:
        self.path = path
        self.replies: Replies | None = None  # until it is read: the kernel may know it already


class Operations:
    """The callbacks of one mount. ``ready`` is called once, when the kernel has begun to ask.

    ``every_open`` has the kernel tell of each file that is opened, also of those that it knows already.
    """

    def __init__(
        self,
        vfs: Vfs,
        options: MountOptions,
        ready: Callable[[], None],
        *,
        every_open: bool = False,
    ) -> None:
        self._vfs = vfs
        # whose files are: the user's word, else the image's, else ours
        self._uid, self._one_uid = _or(options.uid, os.getuid()), options.uid is not None
        self._gid, self._one_gid = _or(options.gid, os.getgid()), options.gid is not None
        self._mask = ~_or(options.umask, 0)
        self._xattr_prefixes = vfs.root.xattr_prefixes
        self._ready = ready
        self._numbers = itertools.count(1)
        self._files = _Files(vfs)
        self._opens = True
        self._every_open = every_open
        self._directories: dict[int, _OpenDirectory] = {}
        self._replies: WeakKeyDictionary[Listing, Replies] = WeakKeyDictionary()
        self._scratch = Scratch()
        self._zeros = os.memfd_create("zeros", os.MFD_CLOEXEC)
        os.ftruncate(self._zeros, ZEROS)

    def callbacks(self, noting: Callable[[Callback], Callback] = lambda operation: operation) -> Any:
        """``struct fuse_operations`` filled in, each operation by way of ``noting``.

        It must live as long as the mount.
        """
        table = mfusepy.fuse_operations()
        types = dict(field[:2] for field in mfusepy.fuse_operations._fields_)
        self._kept = {
            name: prototype(guarded(noting(getattr(self, name))))
            for name, prototype in libfuse.PROTOTYPES.items()
        }
        for name, callback in self._kept.items():
            setattr(table, name, ctypes.cast(callback, types[name]))
        return table

    def init(self, connection: int, config: int) -> None:
        conn = mfusepy.fuse_conn_info.from_address(connection)
        wanted = libfuse.CAP_SPLICE_WRITE | libfuse.CAP_SPLICE_MOVE | libfuse.CAP_READDIRPLUS
        conn.want = (conn.want | wanted & conn.capable) & ~libfuse.CAP_READDIRPLUS_AUTO
        settings = mfusepy.fuse_config.from_address(config)
        settings.use_ino = settings.kernel_cache = 1
        self._opens = self._every_open or not conn.capable & libfuse.CAP_NO_OPEN_SUPPORT
        settings.entry_timeout = settings.attr_timeout = settings.negative_timeout = TIMEOUT
        self._ready()

    def getattr(self, path: bytes, address: int, _: int | None) -> None:
        where = _decode(path)
        node = self._vfs.find(where)
        ctypes.memmove(
            address,
            libfuse.pack_stat(self._facts(node.stat(), self._vfs.inode(where, node))),
            libfuse.STAT_SIZE,
        )

    def _facts(self, stat: Stat, inode: int) -> tuple[int, ...]:
        mode, size, mtime, atime, ctime, uid, gid, nlink, rdev, allocated, birth = stat
        mtime_s, mtime_ns = mtime // NS, mtime % NS
        if ctime is None:
            ctime = mtime if birth is None else birth
        return (
            inode, mode & self._mask, nlink,
            self._uid if self._one_uid or uid is None else uid,
            self._gid if self._one_gid or gid is None else gid,
            rdev, size, BLOCK, ((size if allocated is None else allocated) + 511) >> 9,
            mtime_s if atime is None else atime // NS, mtime_ns if atime is None else atime % NS,
            mtime_s, mtime_ns,
            ctime // NS, ctime % NS,
        )  # fmt: skip

    def readlink(self, path: bytes, buffer: int, size: int) -> None:
        node = self._vfs.find(_decode(path))
        if not isinstance(node, Symlink):
            raise OSError(22, "Not a symbolic link")
        target = node.readlink().encode("utf-8", "surrogateescape")[: size - 1] + b"\0"
        ctypes.memmove(buffer, target, len(target))

    def open(self, _: bytes, info: int) -> None:
        if mfusepy.fuse_file_info.from_address(info).flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(EROFS, "Read-only file system")
        if not self._opens:
            raise OSError(ENOSYS, "Every file may be read: do not ask again")

    def read_buf(self, path: bytes, reply: int, size: int, offset: int, _: int) -> None:
        file = self._files[path]
        device = file.device
        self._scratch.clear()
        if file.host is not None and offset < device.size:
            buffers = [_of_host(file.host, file.start + offset, min(size, device.size - offset))]
        elif len(runs := list(device.extents(offset, size))) > MAX_BUFFERS:
            buffers = [self._copied(buffers_of(runs))]
        else:
            buffers = [buffer for run in runs for buffer in self._buffers(run)]
        ctypes.c_void_p.from_address(reply).value = libfuse.pack_buffers(buffers or [(0, 0, 0, -1, 0)])

    def _buffers(self, run: Extent) -> list[FuseBuf]:
        length, device, offset = run
        if isinstance(device, FileDevice):
            return [_of_host(device, offset, length)]
        if device is not None:
            return [self._copied(device.buffers(offset, length))]
        whole, rest = divmod(length, ZEROS)
        return [(ZEROS, FD, 0, self._zeros, 0)] * whole + [(rest, FD, 0, self._zeros, 0)] * (rest > 0)

    def _copied(self, buffers: Iterable[Buffer]) -> FuseBuf:
        length, position = self._scratch.add(buffers)
        return length, FD, 0, self._scratch.fd, position

    def lseek(self, path: bytes, offset: int, whence: int, _: int) -> int:
        device = self._files[path].device
        if offset >= device.size:
            raise OSError(ENXIO, "past the end")
        if whence == os.SEEK_HOLE:
            return next_hole(device, offset)
        found = next_data(device, offset)
        if found >= device.size:
            raise OSError(ENXIO, "only a hole follows")
        return found

    def statfs(self, _: bytes, address: int) -> None:
        facts = mfusepy.c_statvfs.from_address(address)
        facts.f_bsize = facts.f_frsize = BLOCK
        facts.f_blocks = -(-self._vfs.size // BLOCK)
        facts.f_bfree = facts.f_bavail = facts.f_files = facts.f_ffree = facts.f_favail = 0
        facts.f_namemax = 255

    def opendir(self, path: bytes, info: int) -> None:
        handle = next(self._numbers)
        self._directories[handle] = _OpenDirectory(_decode(path).rstrip("/"))
        libfuse.set_fh(info, handle)
        libfuse.cache_directory(info)

    def releasedir(self, _: bytes | None, info: int) -> None:
        del self._directories[libfuse.get_fh(info)]

    def readdir(
        self, _: bytes | None, buffer: int, fill: Callable[..., int], offset: int, info: int, __: int
    ) -> None:
        directory = self._directories[libfuse.get_fh(info)]
        replies = directory.replies
        if replies is None:
            replies = directory.replies = self._read(directory.path)
        for dots in (b".", b"..")[offset:]:  # the kernel numbers these itself
            offset += 1
            fill(buffer, dots, None, offset, 0)
        number, skip = divmod(offset - 2, BATCH)
        while batch := replies[number]:
            for name, stat in itertools.islice(batch, skip, None):
                offset += 1
                if fill(buffer, name, stat, offset, libfuse.FILL_DIR_PLUS if stat else 0):
                    return
            number, skip = number + 1, 0

    def _read(self, path: str) -> Replies:
        listing = self._vfs.listing(path)
        if listing.damage is not None and not listing.nodes:
            raise listing.damage.again()
        known = self._replies.get(listing)
        if known is None:
            space = self._vfs.space(path) if path else None
            known = self._replies.setdefault(listing, Replies(listing.nodes, partial(self._packed, space)))
        return known

    def _packed(self, space: int | None, entries: Iterable[tuple[str, Node]]) -> list[Reply]:
        """``space`` is None in the folder that holds the volumes, each of which has one of its own."""
        inode_of, facts, pack = self._vfs.inode, self._facts, libfuse.pack_stat
        replies: list[Reply] = []
        for name, node in entries:
            inode = inode_of(f"/{name}", node) if space is None else (space | node.id) + 1
            try:
                stat: bytes | None = pack(facts(node.stat(), inode))
            except ImageError:  # the name is listed all the same; getattr reports the error
                stat = None
            replies.append((name.encode("utf-8", "surrogateescape"), stat))
        return replies

    def getxattr(self, path: bytes, name: bytes, buffer: int | None, size: int) -> int:
        wanted = name.decode("utf-8", "surrogateescape")
        # ls(1) asks for two attributes of each file, unless this error has been returned once
        if not wanted.startswith(self._xattr_prefixes):
            raise OSError(EOPNOTSUPP, "No such namespace")
        value = self._xattrs(path).get(wanted)
        if value is None:
            raise OSError(ENODATA, "No such attribute")
        return _give(value, buffer, size)

    def listxattr(self, path: bytes, buffer: int | None, size: int) -> int:
        names = b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in self._xattrs(path))
        return _give(names, buffer, size)

    def _xattrs(self, path: bytes) -> Mapping[str, bytes]:
        node = self._vfs.find(_decode(path))
        found = node.xattrs()
        return {**found, GUESS: node.guess.encode()} if node.guess else found


def _of_host(file: FileDevice, offset: int, length: int) -> FuseBuf:
    """A run of a host file, which must still be there: the kernel would take its end for the end of ours."""
    file.check_reaches(offset + length)
    return length, FD, 0, file.fd, offset


def _decode(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _give(value: bytes, buffer: int | None, size: int) -> int:
    """Answer of an xattr call: with ``size`` 0 only the length is asked for."""
    if size and buffer:
        if len(value) > size:
            raise OSError(ERANGE, "Buffer too small")
        ctypes.memmove(buffer, value, len(value))
    return len(value)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
