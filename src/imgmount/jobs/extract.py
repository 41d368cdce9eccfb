"""Writing a tree of nodes below one folder of the host, and nowhere else.

Every name is one component, opened relative to a descriptor of the folder it belongs in and never through a
symbolic link, so neither a link from the image nor one that was there before can lead a file out of the
folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat as s
from collections.abc import Iterator
from errno import EDQUOT, ELOOP, EMFILE, ENFILE, ENOSPC, ENOTDIR, EROFS
from typing import Final, NamedTuple, Protocol, Self

from imgmount.core.device import BlockDevice
from imgmount.core.holes import stretches
from imgmount.core.node import Directory, File, Node, Stat, Symlink
from imgmount.errors import ImageError
from imgmount.vfs.vfs import MAX_DEPTH, Vfs

log = logging.getLogger(__name__)

READ_SIZE: Final = 1 << 20
HOPELESS: Final = frozenset({ENOSPC, EDQUOT, EROFS, EMFILE, ENFILE})  # the next file would fail as well
NOT_A_FOLDER: Final = frozenset({ENOTDIR, ELOOP})  # a file; a link
PERMISSIONS: Final = 0o777
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Report(Protocol):
    """Is told how an extraction goes."""

    def advance(self, size: int, name: str) -> None:
        """``size`` more bytes of the file ``name`` are written."""

    def problem(self, text: str) -> None:
        """Something was left out; ``text`` is one line that begins with its path."""


class _Level(NamedTuple):
    """A folder that is being filled: ``fd`` is the host's, ``made`` whether we made it."""

    path: str
    node: Directory
    fd: int
    inode: int
    made: bool
    entries: Iterator[tuple[str, Node]]


class Extraction:
    """Copies nodes to the folder ``target``. What fails is reported, and the rest goes on.

    ``image_failed``: something could not be read. ``host_failed``: something could not be written.
    """

    def __init__(self, vfs: Vfs, target: str, *, preserve: bool, force: bool, report: Report) -> None:
        self._vfs = vfs
        self._preserve = preserve
        self._root_user = os.geteuid() == 0
        self._force = force
        self._report = report
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._links: dict[int, str] = {}  # inode number -> where its content is already
        self.image_failed = self.host_failed = False
        # the user may name a link
        self._target = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._target)

    def extract(self, path: str, node: Node) -> None:
        """Copy ``node``, and what is below it, to its ``path`` under the target.

        Raises ``OSError`` where that is hopeless.
        """
        try:
            fd = self._open_folder(path.rpartition("/")[0], make=True)
        except OSError as exc:
            self._host_problem(path, exc)
            return
        try:
            if not path:
                assert isinstance(node, Directory)
                self._fill(self._level(path, node, os.dup(fd), made=False))
            elif isinstance(node, Directory):
                if (level := self._attempt_folder(fd, path, node)) is not None:
                    self._fill(level)
            else:
                self._attempt(fd, path, node)
        finally:
            os.close(fd)

    def _open_folder(self, path: str, *, make: bool = False) -> int:
        """A descriptor of the folder at ``path`` under the target, reached through no link."""
        fd = os.dup(self._target)
        for name in filter(None, path.split("/")):
            try:
                below = (
                    self._make_folder(fd, name, PERMISSIONS & ~self._umask)[0]
                    if make
                    else os.open(name, _FOLDER, dir_fd=fd)
                )
            finally:
                os.close(fd)
            fd = below
        return fd

    def _fill(self, top: _Level) -> None:
        levels = [top]
        try:
            while levels:
                level = levels[-1]
                name, node = next(level.entries, ("", None))
                if node is None:
                    self._finish(level)
                    os.close(levels.pop().fd)
                    continue
                path = f"{level.path}/{name}"
                if not isinstance(node, Directory):
                    self._attempt(level.fd, path, node)
                elif self._vfs.inode(path, node) in (above.inode for above in levels):
                    self._image_problem(path, "a directory that holds itself")
                elif len(levels) == MAX_DEPTH:
                    self._image_problem(path, f"a directory {MAX_DEPTH} levels deep: it is left out")
                elif (below := self._attempt_folder(level.fd, path, node)) is not None:
                    levels.append(below)
        finally:
            for level in levels:
                os.close(level.fd)

    def _level(self, path: str, node: Directory, fd: int, *, made: bool) -> _Level:
        listing = node.listing()
        if listing.damage is not None:
            self._image_problem(path, listing.damage)
        return _Level(path, node, fd, self._vfs.inode(path, node), made, iter(listing.nodes.items()))

    def _attempt_folder(self, parent: int, path: str, node: Directory) -> _Level | None:
        try:
            fd, made = self._make_folder(parent, path.rpartition("/")[2], s.S_IRWXU)
        except OSError as exc:
            self._host_problem(path, exc)
            return None
        return self._level(path, node, fd, made=made)

    def _make_folder(self, parent: int, name: str, mode: int) -> tuple[int, bool]:
        """(descriptor, whether it is new). A folder may be there already; a link to one is not one."""
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError as exists:
            try:
                return os.open(name, _FOLDER, dir_fd=parent), False
            except OSError as exc:
                if not self._force or exc.errno not in NOT_A_FOLDER:
                    raise exists from None
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, mode, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent), True

    def _finish(self, level: _Level) -> None:
        """Set mode and times last: filling a folder needs write permission and changes its times."""
        if not level.made:
            return
        try:
            stat = level.node.stat()
            # without -p the owner can change and remove the copy, even if the image allows no one to write
            self._stamp(level.fd, stat if self._preserve else stat._replace(mode=stat.mode | s.S_IRWXU))
        except (ImageError, OverflowError) as exc:  # a number that no host can store
            self._image_problem(level.path, exc)
        except OSError as exc:
            self._host_problem(level.path, exc)

    def _attempt(self, parent: int, path: str, node: Node) -> None:
        name = path.rpartition("/")[2]
        try:
            if isinstance(node, File):
                self._file(parent, name, path, node)
            elif isinstance(node, Symlink):
                self._symlink(parent, name, node)
            else:
                self._special(parent, name, path, node.stat())
        except (ImageError, OverflowError) as exc:  # a number that no host can store
            self._image_problem(path, exc)
        except OSError as exc:
            self._host_problem(path, exc)

    def _file(self, parent: int, name: str, path: str, node: File) -> None:
        if node.guess:
            log.warning("%s: a guess: %s", path, node.guess)
        stat = node.stat()
        inode = self._vfs.inode(path, node)
        self._make_room(parent, name)
        if stat.nlink > 1 and inode in self._links:
            self._hard_link(self._links[inode], parent, name)
            return
        with node.open() as content:
            fd = os.open(name, _NEW_FILE, s.S_IRUSR | s.S_IWUSR, dir_fd=parent)
            try:
                self._copy(content, fd, path)
                self._stamp(fd, stat)
            except BaseException:
                os.unlink(name, dir_fd=parent)  # half a file would look like a complete one
                raise
            finally:
                os.close(fd)
        if stat.nlink > 1:
            self._links[inode] = path

    def _copy(self, content: BlockDevice, fd: int, name: str) -> None:
        """Write the data; holes stay holes."""
        os.ftruncate(fd, content.size)
        for offset, size in stretches(content, READ_SIZE):
            data = memoryview(content.pread(offset, size))
            done = 0
            while done < size:
                done += os.pwrite(fd, data[done:], offset + done)
            self._report.advance(size, name)

    def _hard_link(self, existing: str, parent: int, name: str) -> None:
        folder, _, stored = existing.rpartition("/")
        fd = self._open_folder(folder)
        try:
            os.link(stored, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _symlink(self, parent: int, name: str, node: Symlink) -> None:
        stat, target = node.stat(), node.readlink()
        self._make_room(parent, name)
        try:
            os.symlink(target, name, dir_fd=parent)
        except ValueError as exc:  # NUL, a lone surrogate
            raise ImageError(f"a link to {target!r}, which no host can store") from exc
        if self._preserve and self._root_user:
            os.chown(name, *_owner(stat), dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=_times(stat), dir_fd=parent, follow_symlinks=False)

    def _special(self, parent: int, name: str, path: str, stat: Stat) -> None:
        if not (self._preserve and self._root_user):
            self._report.problem(
                f"{path}: {_SPECIAL.get(s.S_IFMT(stat.mode), 'special file')} left out; as root, -p makes it"
            )
            return
        self._make_room(parent, name)
        os.mknod(name, s.S_IFMT(stat.mode) | s.S_IRUSR | s.S_IWUSR, stat.rdev, dir_fd=parent)
        os.chown(name, *_owner(stat), dir_fd=parent, follow_symlinks=False)
        os.chmod(name, s.S_IMODE(stat.mode), dir_fd=parent)  # it is ours and new: no link
        os.utime(name, ns=_times(stat), dir_fd=parent, follow_symlinks=False)

    def _make_room(self, parent: int, name: str) -> None:
        """With ``--force``, remove the file or link that is there; a folder is never removed."""
        if self._force:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)

    def _stamp(self, fd: int, stat: Stat) -> None:
        if self._preserve:
            if self._root_user:
                os.fchown(fd, *_owner(stat))  # chown comes before chmod, because it clears bits of the mode
            os.fchmod(fd, s.S_IMODE(stat.mode))
        else:
            os.fchmod(fd, stat.mode & PERMISSIONS & ~self._umask)
        os.utime(fd, ns=_times(stat))

    def _image_problem(self, path: str, problem: object) -> None:
        self.image_failed = True
        self._report.problem(f"{path or '/'}: {problem}")

    def _host_problem(self, path: str, error: OSError) -> None:
        if error.errno in HOPELESS:
            raise error
        self.host_failed = True
        self._report.problem(f"{path or '/'}: {error.strerror or error}")


_SPECIAL: Final = {s.S_IFCHR: "device", s.S_IFBLK: "device", s.S_IFIFO: "FIFO", s.S_IFSOCK: "socket"}


def _times(stat: Stat) -> tuple[int, int]:
    atime = stat.mtime_ns if stat.atime_ns is None else stat.atime_ns
    return atime, stat.mtime_ns


def _owner(stat: Stat) -> tuple[int, int]:
    return -1 if stat.uid is None else stat.uid, -1 if stat.gid is None else stat.gid
