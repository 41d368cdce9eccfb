"""What filesystems of numbered inodes share: their nodes, and reading inode tables and directories."""

from __future__ import annotations

import stat as s
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from imgmount.core.device import BlockDevice
from imgmount.core.kept import keep
from imgmount.core.node import Directory, File, Filesystem, Node, Special, Stat, Symlink
from imgmount.core.single_parent import SingleParent
from imgmount.errors import FormatError, ImageError

UNKNOWN: Final = 0  # the kind of an entry whose directory does not say it
MAX_DIRECTORY: Final = 256 << 20
MAX_LINK: Final = 1 << 16
_SPAN: Final = 1 << 18  # bytes of a directory read at a time
PAGE: Final = 8192  # bytes of inode tables read at a time
MAX_PAGES: Final = 256


class Inode(Protocol):
    """An inode, as far as a node needs to know it."""

    @property
    def stat(self) -> Stat:
        """What ``stat`` says of it."""


I = TypeVar("I", bound=Inode)  # noqa: E741  an inode


class Entry(NamedTuple):
    """An entry in use: place in the directory, inode, file type (S_IFMT bits or UNKNOWN), name."""

    at: int
    number: int
    kind: int
    name: bytes


class InodeVolume(Filesystem, Generic[I]):
    """A filesystem whose directories name inodes by number."""

    fmt: str
    single_parent: SingleParent
    root_number: int
    folds = False  # whether a directory may ignore the case of names
    # the inode that was asked for last: a walk asks for each several times
    _last: tuple[int, I] | None = None

    @property
    def root(self) -> InodeDirectory[I]:
        return InodeDirectory(self, self.root_number, (0, 0))

    def inode(self, number: int) -> I:
        """Inode ``number``. Raises ``ImageError``."""
        last = self._last
        if last is not None and last[0] == number:
            return last[1]
        found = self._read_inode(number)
        self._last = number, found
        return found

    @abstractmethod
    def _read_inode(self, number: int) -> I:
        """Inode ``number``, read and checked. Raises ``ImageError``."""

    @abstractmethod
    def content(self, inode: I) -> BlockDevice:
        """What the inode of a file or directory holds, ``stat.size`` bytes. Raises ``ImageError``."""

    @abstractmethod
    def target(self, inode: I) -> bytes:
        """What the inode of a symbolic link, of MAX_LINK bytes at most, says."""

    @abstractmethod
    def entries(self, inode: I) -> Iterator[Entry]:
        """The entries of a directory without ``.`` and ``..``.

        What is wrong with some is raised when the others were given.
        """

    def ignores_case(self, inode: I) -> bool:  # noqa: ARG002
        """Whether two names in a directory are one that differ in their case alone, as ``fold`` has it."""
        return False

    def fold(self, name: str) -> str:
        """What such names have in common."""
        return name.casefold()

    def attributes(self, inode: I) -> Mapping[str, bytes]:  # noqa: ARG002
        """The extended attributes of an inode."""
        return {}

    def may_have_attributes(self) -> bool:
        """False where it is known that no inode has extended attributes."""
        return True


class _InodeNode(Node, Generic[I]):
    """What all nodes share. ``id`` is the inode number."""

    __slots__ = ("_volume",)
    kinds: tuple[int, ...] = ()

    def __init__(self, volume: InodeVolume[I], number: int) -> None:
        self._volume = volume
        self.id = number

    def inode(self) -> I:
        """The inode, of the kind that the directory says. Raises ``ImageError``."""
        inode = self._volume.inode(self.id)
        if s.S_IFMT(inode.stat.mode) not in self.kinds:
            mode = inode.stat.mode
            raise FormatError(
                self._volume.fmt, f"inode {self.id} has the mode {mode:#o}, its directory says otherwise"
            )
        return inode

    def stat(self) -> Stat:
        return self.inode().stat

    def xattrs(self) -> Mapping[str, bytes]:
        return self._volume.attributes(self.inode())

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        return ("",) if self._volume.may_have_attributes() else ()


class InodeFile(_InodeNode[I], File):
    """A regular file."""

    __slots__ = ()
    kinds = (s.S_IFREG,)

    def open(self) -> BlockDevice:
        return self._volume.content(self.inode())


class InodeSymlink(_InodeNode[I], Symlink):
    """A symbolic link."""

    __slots__ = ()
    kinds = (s.S_IFLNK,)

    def readlink(self) -> str:
        inode = self.inode()
        if inode.stat.size > MAX_LINK:
            raise FormatError(
                self._volume.fmt, f"a symbolic link of {inode.stat.size} bytes (inode {self.id})"
            )
        return self._volume.target(inode).decode("utf-8", "surrogateescape")


class InodeSpecial(_InodeNode[I], Special):
    """A device node, FIFO or socket."""

    __slots__ = ()
    kinds = (s.S_IFCHR, s.S_IFBLK, s.S_IFIFO, s.S_IFSOCK)

    def stat(self) -> Stat:
        return self.inode().stat._replace(size=0)


class InodeDirectory(_InodeNode[I], Directory):
    """A directory, found at ``place``: (directory, position in it)."""

    __slots__ = ("_place",)
    kinds = (s.S_IFDIR,)

    def __init__(self, volume: InodeVolume[I], number: int, place: tuple[int, int]) -> None:
        super().__init__(volume, number)
        self._place = place

    @property
    def case_sensitive(self) -> bool:  # type: ignore[override]  # most filesystems know it beforehand
        if not self._volume.folds:
            return True
        try:
            return not self._volume.ignores_case(self.inode())
        except ImageError:
            return True

    def fold(self, name: str) -> str:
        return self._volume.fold(name)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        inode = self.inode()
        self._volume.single_parent.claim(self.id, self._place)
        for at, number, kind, name in self._volume.entries(inode):
            yield name.decode("utf-8", "surrogateescape"), self._node(number, kind, (self.id, at))

    def _node(self, number: int, kind: int, place: tuple[int, int]) -> Node:
        if kind == UNKNOWN:
            try:
                kind = s.S_IFMT(self._volume.inode(number).stat.mode)
            except ImageError:
                kind = s.S_IFREG  # whose stat will say what is wrong
        if kind == s.S_IFDIR:
            return InodeDirectory(self._volume, number, place)
        node = InodeFile if kind == s.S_IFREG else InodeSymlink if kind == s.S_IFLNK else InodeSpecial
        return node(self._volume, number)


class TablePages:
    """Inode tables, read in pages that any number of threads may use: written once and dropped whole."""

    def __init__(self, device: BlockDevice, fmt: str) -> None:
        self._device = device
        self._fmt = fmt
        self._pages: dict[int, bytes] = {}

    def read(self, offset: int, size: int) -> bytes:
        """The ``size`` bytes at ``offset``: a power of two and aligned to it.

        Raises ``FormatError`` past the image's end.
        """
        page = max(PAGE, size)
        skip = offset % page
        data = self._page(offset - skip, page)[skip : skip + size]
        if len(data) != size:
            raise FormatError(self._fmt, "an inode lies outside the image", offset=offset)
        return data

    def _page(self, start: int, size: int) -> bytes:
        page = self._pages.get(start)
        if page is None:
            page = self._device.pread(start, size)
            keep(self._pages, start, page, MAX_PAGES)
        return page


def directory_parts(
    content: BlockDevice, block_size: int, fmt: str, image_size: int
) -> Iterator[tuple[int, bytes | ImageError]]:
    """(position, bytes or error) of a directory in long runs of blocks; of single blocks where a run fails.

    One that is larger than its image has blocks more than once.
    """
    if content.size > min(MAX_DIRECTORY, max(_SPAN, image_size)):
        yield 0, FormatError(fmt, f"a directory of {content.size} bytes")
        return
    step = max(_SPAN, block_size)
    for start in range(0, content.size, step):
        try:
            yield start, content.pread(start, step)
        except ImageError:
            for block in range(start, min(start + step, content.size), block_size):
                try:
                    yield block, content.pread(block, block_size)
                except ImageError as exc:
                    yield block, exc


def scan(
    parts: Iterable[tuple[int, bytes | ImageError]], parse: Callable[[bytes, int], Iterable[Entry]]
) -> Iterator[Entry]:
    """The entries that ``parse`` finds in the parts of a directory.

    What is wrong first is raised when all were given.
    """
    damage: ImageError | None = None
    for base, part in parts:
        if isinstance(part, ImageError):
            damage = damage or part
            continue
        try:
            yield from parse(part, base)
        except ImageError as exc:
            damage = damage or exc
    if damage is not None:
        raise damage
