"""A protocol adapter: requests of the kernel become questions to the vfs, and the answers become replies.

Nothing that is open has a handle: the kernel is told once that it need not tell of opening and closing files,
where it can do without. Of folders it keeps the listing, and tells of each that is opened: whether the daemon
lives is known by that. Names are decoded as UTF-8 with surrogate escapes. Bytes that lie unchanged in a host
file are moved by the kernel; decoded ones are written to it from where they were decoded.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from errno import EACCES, EINVAL, ENODATA, ENOSYS, ENXIO, EOPNOTSUPP, ERANGE, EROFS
from functools import cached_property, partial
from stat import S_IFDIR
from typing import Final
from weakref import WeakKeyDictionary

from imgmount.core.device import BlockDevice, Buffer, Extent, buffers_of
from imgmount.core.holes import next_data, next_hole
from imgmount.core.node import Listing, Node, Symlink, as_file
from imgmount.errors import ImageError
from imgmount.fuse import protocol as p
from imgmount.fuse.channel import MAX_REPLY, Line, Run
from imgmount.fuse.errnos import guarded
from imgmount.fuse.inodes import Folder, Inodes
from imgmount.fuse.look_ahead import LookAhead
from imgmount.fuse.options import MountOptions
from imgmount.fuse.replies import BATCH, Replies
from imgmount.sources.file import FileDevice
from imgmount.vfs.vfs import Vfs

GUESS: Final = "user.imgmount.guess"  # of deleted files: what of them is one
MAX_FILES: Final = 256  # kept at hand
SPLICED: Final = 16 << 10  # bytes of a host file from which on moving them costs less than copying
DOTS: Final = (b".", b"..")
MAX_NAME: Final = 255
MAX_TARGET: Final = 4095  # bytes of the target of a symlink
BACKGROUND: Final = 12  # read-aheads of the kernel that may wait at once
UNASKED: Final = {p.INIT, p.READ, p.READDIR, p.READDIRPLUS, p.RELEASE, p.RELEASEDIR}  # nobody's own doing

Result = tuple[Buffer, ...] | list[Extent] | None  # what is replied; runs of host files; no reply


class _OpenFile:
    """A file that is being read.

    Where it is one run of a device at the bottom, that is ``below``, and it begins at ``start``.
    """

    __slots__ = ("below", "device", "start")

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.below: BlockDevice | None = None
        self.start = 0
        with suppress(ImageError):  # damaged somewhere: each read will see
            first = next(device.extents(0, device.size), None)
            if first is not None and first.length == device.size:
                _, self.below, self.start = first


class _Files:
    """The files that were read last, by number.

    Any number of threads may ask. A file that is pushed out is freed when its last read ends.
    """

    def __init__(self, inodes: Inodes) -> None:
        self._inodes = inodes
        self._lock = threading.Lock()
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()

    def __getitem__(self, number: int) -> _OpenFile:
        with self._lock:
            if (known := self._files.get(number)) is not None:
                self._files.move_to_end(number)
                return known
        path, node = self._inodes.node(number)
        file = _OpenFile(as_file(node, path).open())
        with self._lock:
            file = self._files.setdefault(number, file)
            if len(self._files) > MAX_FILES:
                self._files.popitem(last=False)
        return file


class Operations:
    """The answers of one mount.

    ``every_open`` has the kernel tell of each file that is opened, also of those that it knows already.
    """

    def __init__(self, vfs: Vfs, options: MountOptions, *, every_open: bool = False) -> None:
        self._vfs = vfs
        self._owner = p.Owner(options.uid, options.gid, options.umask, (os.getuid(), os.getgid()))
        self._for_root = "allow_root" in options.passed  # and us; the kernel lets everybody in
        self._every_open = every_open
        self._inodes = Inodes(vfs)
        self._files = _Files(self._inodes)
        self._opens = True
        self._zeros = os.memfd_create("zeros", os.MFD_CLOEXEC)
        os.ftruncate(self._zeros, MAX_REPLY)
        self._look_ahead = LookAhead(self._inodes, self._replies_of)
        self._replies: WeakKeyDictionary[Listing, Replies] = WeakKeyDictionary()
        self._answers: dict[int, Callable[[int, memoryview], Result]] = {
            p.LOOKUP: self._lookup,
            p.GETATTR: self._getattr,
            p.READLINK: self._readlink,
            p.OPEN: self._open,
            p.READ: self._read,
            p.STATFS: self._statfs,
            p.RELEASE: lambda *_: (),
            p.GETXATTR: self._getxattr,
            p.LISTXATTR: self._listxattr,
            p.INIT: self._init,
            p.OPENDIR: self._opendir,
            p.READDIR: self._readdir,
            p.RELEASEDIR: lambda *_: (),
            p.FORGET: lambda *_: None,
            p.BATCH_FORGET: lambda *_: None,
            p.INTERRUPT: lambda *_: None,
            p.READDIRPLUS: partial(self._readdir, plus=True),
            p.LSEEK: self._lseek,
            p.STATX: self._statx,
            p.DESTROY: lambda *_: (),
        }

    def __call__(self, line: Line, request: memoryview) -> None:
        """Answer a request. Raises ``OSError`` where the line is broken."""
        _, opcode, line.unique, node, uid, _, _, _ = p.IN_HEADER.unpack_from(request)
        result = guarded(self._result, opcode, node, uid, request[p.IN_HEADER.size :])
        if isinstance(result, list):
            if line.splice([self._run(*extent) for extent in result]):
                return
            result = guarded(_copied, result)
        if isinstance(result, tuple):
            line.reply(*result)
        elif result is not None:
            line.fail(result)

    def _result(self, opcode: int, node: int, uid: int, arguments: memoryview) -> Result:
        answer = self._answers.get(opcode)
        if answer is None:
            raise OSError(ENOSYS, "No such operation")
        if self._for_root and uid not in (0, os.getuid()) and opcode not in UNASKED:
            raise OSError(EACCES, "Permission denied")
        return answer(node, arguments)

    def _init(self, _: int, arguments: memoryview) -> Result:
        major, minor, read_ahead, flags = p.INIT_IN.unpack_from(arguments)
        if major > p.MAJOR:  # it asks again
            return (p.INIT_OUT.pack(p.MAJOR, p.MINOR, *(0,) * 7),)
        wanted = p.ASYNC_READ | p.DO_READDIRPLUS | p.ASYNC_DIO | p.PARALLEL_DIROPS | p.MAX_PAGES
        if not self._every_open:
            wanted |= p.NO_OPEN
        self._opens = not flags & wanted & p.NO_OPEN
        return (
            p.INIT_OUT.pack(
                p.MAJOR, min(minor, p.MINOR), read_ahead, flags & (wanted | p.CACHE_SYMLINKS),
                BACKGROUND, BACKGROUND * 3 // 4, p.BLOCK, 1, MAX_REPLY // p.BLOCK,
            ),
        )  # fmt: skip

    def _lookup(self, folder: int, arguments: memoryview) -> Result:
        try:
            number, path, node = self._inodes.lookup(folder, _decode(arguments))
        except FileNotFoundError:
            return (p.NO_ENTRY,)
        return (p.entry_out(number, self._owner.attributes(node.stat(), self._vfs.inode(path, node))),)

    def _getattr(self, number: int, _: memoryview) -> Result:
        path, node = self._inodes.node(number)
        return (p.attr_out(self._owner.attributes(node.stat(), self._vfs.inode(path, node))),)

    def _statx(self, number: int, _: memoryview) -> Result:
        path, node = self._inodes.node(number)
        stat = node.stat()
        attributes = self._owner.attributes(stat, self._vfs.inode(path, node))
        return (p.statx_out(attributes, stat.birth_ns),)

    def _readlink(self, number: int, _: memoryview) -> Result:
        node = self._inodes.node(number)[1]
        if not isinstance(node, Symlink):
            raise OSError(EINVAL, "Not a symbolic link")
        return (node.readlink().encode("utf-8", "surrogateescape")[:MAX_TARGET],)

    def _open(self, _: int, arguments: memoryview) -> Result:
        (flags,) = p.FLAGS_IN.unpack_from(arguments)
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(EROFS, "Read-only file system")
        if not self._opens:
            raise OSError(ENOSYS, "Every file may be read: do not ask again")
        return (p.OPEN_OUT.pack(0, p.KEEP_CACHE, 0),)

    def _opendir(self, *_: object) -> Result:
        return (p.OPEN_OUT.pack(0, p.KEEP_CACHE | p.CACHE_DIR, 0),)

    def _read(self, number: int, arguments: memoryview) -> Result:
        _, offset, size = p.READ_IN.unpack_from(arguments)
        file = self._files[number]
        size = min(size, file.device.size - offset)
        if size <= 0:
            return ()
        if (below := file.below) is not None:
            start = file.start + offset
            is_moved = size >= SPLICED and isinstance(below, FileDevice)
            return [Extent(size, below, start)] if is_moved else tuple(below.buffers(start, size))
        runs = list(file.device.extents(offset, size))
        if size >= SPLICED * len(runs) and all(
            run.device is None or isinstance(run.device, FileDevice) for run in runs
        ):
            return runs
        return _copied(runs)

    def _run(self, length: int, device: BlockDevice | None, offset: int) -> Run:
        """An extent of a host file, or of zeros, as the line takes it."""
        return (length, device.fd, offset) if isinstance(device, FileDevice) else (length, self._zeros, 0)

    def _lseek(self, number: int, arguments: memoryview) -> Result:
        _, offset, whence = p.LSEEK_IN.unpack_from(arguments)
        device = self._files[number].device
        found = device.size
        if offset < device.size:
            found = (next_hole if whence == os.SEEK_HOLE else next_data)(device, offset)
        if offset >= device.size or (whence == os.SEEK_DATA and found >= device.size):
            raise OSError(ENXIO, "No such device or address")
        return (p.LSEEK_OUT.pack(found),)

    def _statfs(self, *_: object) -> Result:
        blocks = -(-self._vfs.size // p.BLOCK)
        return (p.STATFS_OUT.pack(blocks, 0, 0, 0, 0, p.BLOCK, MAX_NAME, p.BLOCK),)

    def _readdir(self, number: int, arguments: memoryview, *, plus: bool = False) -> Result:
        _, offset, size = p.READ_IN.unpack_from(arguments)
        skipped = 0 if plus else p.ENTRY_SIZE
        result: list[bytes] = []
        for entry in self._entries(number, offset):
            size -= len(entry) - skipped
            if size < 0:
                break
            result.append(entry[skipped:])
        return (b"".join(result),)

    def _entries(self, number: int, offset: int) -> Iterator[bytes]:
        """Entries of the folder called ``number`` from ``offset`` on, as READDIRPLUS has them."""
        folder, listing = self._inodes.folder(number)
        if listing.damage is not None and not listing.nodes:
            raise listing.damage.again()
        for place, dots in enumerate(DOTS[offset:], offset + 1):
            yield p.bare_direntplus(dots, place, self._dots(folder.path), S_IFDIR)
        replies = self._replies_of(folder, listing)
        batch, skip = divmod(max(0, offset - len(DOTS)), BATCH)
        while entries := replies[batch]:
            self._look_ahead.follow(folder, replies, batch)
            yield from entries[skip:]
            batch, skip = batch + 1, 0

    def _replies_of(self, folder: Folder, listing: Listing) -> Replies:
        known = self._replies.get(listing)
        if known is None:
            pack = partial(self._packed, folder)
            known = self._replies.setdefault(listing, Replies(listing.nodes, pack))
        return known

    def prepare(self) -> bool:
        """Do a little of what will be asked next. False if there is nothing to do."""
        return guarded(self._look_ahead.step) is True

    def _dots(self, path: str) -> int:
        return self._vfs.inode(path, self._vfs.find(path))

    def _packed(self, folder: Folder, first: int, entries: Iterable[tuple[str, Node]]) -> list[bytes]:
        """``entries`` as READDIRPLUS has them, of which the first is at place ``first``."""
        space = self._vfs.space(folder.path) if folder.path else None
        attributes, direntplus = self._owner.attributes, p.direntplus
        number, offset = folder.first + first, first + len(DOTS)
        packed: list[bytes] = []
        for name, node in entries:
            offset += 1
            # in the folder that holds the volumes each of them has a space of its own
            inode = self._vfs.inode(f"/{name}", node) if space is None else (space | node.id) + 1
            encoded = name.encode("utf-8", "surrogateescape")
            try:
                packed.append(direntplus(encoded, offset, number, attributes(node.stat(), inode)))
            except ImageError:  # the name is listed all the same; LOOKUP reports the error
                packed.append(p.bare_direntplus(encoded, offset, inode))
            number += 1
        return packed

    def _getxattr(self, number: int, arguments: memoryview) -> Result:
        size, _ = p.XATTR_IN.unpack_from(arguments)
        wanted = _decode(arguments[p.XATTR_IN.size :])
        # ls(1) asks for two attributes of each file, unless this error has been returned once
        if wanted != GUESS and not wanted.startswith(self._xattr_prefixes):
            raise OSError(EOPNOTSUPP, "No such namespace")
        value = self._xattrs(number).get(wanted)
        if value is None:
            raise OSError(ENODATA, "No such attribute")
        return _give(value, size)

    @cached_property
    def _xattr_prefixes(self) -> tuple[str, ...]:
        """Found when the first attribute is asked for: some file systems look through their inodes."""
        return self._vfs.root.xattr_prefixes

    def _listxattr(self, number: int, arguments: memoryview) -> Result:
        size, _ = p.XATTR_IN.unpack_from(arguments)
        names = "".join(f"{name}\0" for name in self._xattrs(number))
        return _give(names.encode("utf-8", "surrogateescape"), size)

    def _xattrs(self, number: int) -> Mapping[str, bytes]:
        _, node = self._inodes.node(number)
        found = node.xattrs()
        return {**found, GUESS: node.guess.encode()} if node.guess else found


def _copied(runs: list[Extent]) -> tuple[Buffer, ...]:
    return tuple(buffers_of(runs))


def _decode(name: memoryview) -> str:
    return bytes(name[:-1]).decode("utf-8", "surrogateescape")


def _give(value: bytes, size: int) -> Result:
    """Answer of an xattr call: with ``size`` 0 only the length is asked for."""
    if not size:
        return (p.XATTR_OUT.pack(len(value), 0),)
    if len(value) > size:
        raise OSError(ERANGE, "Buffer too small")
    return (value,)
