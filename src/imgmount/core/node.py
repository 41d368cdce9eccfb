"""What a filesystem is made of: directories, files, symlinks and what ``stat`` says about them.

Knows no FUSE.
"""

from __future__ import annotations

import stat as s
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import EISDIR, ENOENT
from typing import Final, NamedTuple, final

from imgmount.core.device import BlockDevice
from imgmount.core.names import UniqueNames
from imgmount.errors import ImageError

DIRECTORY_MODE: Final = s.S_IFDIR | 0o555
FILE_MODE: Final = s.S_IFREG | 0o444
SYMLINK_MODE: Final = s.S_IFLNK | 0o777


class Stat(NamedTuple):
    """Facts about a node.

    Times are nanoseconds since 1970 UTC: of content, access, inode and birth. ``uid`` and ``gid`` None mean
    the user who mounts. ``allocated`` is the number of bytes that occupy space, where that differs from
    ``size`` (sparse and compressed files).
    """

    mode: int
    size: int = 0
    mtime_ns: int = 0
    atime_ns: int | None = None  # None: as mtime
    ctime_ns: int | None = None  # None: as birth_ns, if there is one, else as mtime
    uid: int | None = None
    gid: int | None = None
    nlink: int = 1
    rdev: int = 0
    allocated: int | None = None
    birth_ns: int | None = None  # None: not known


class Node(ABC):
    """Something with a stat. Its name belongs to the directory entry, not to the node.

    ``id`` is a number below 2**48 that is unique in the filesystem and the same at every open; hard links
    share it.
    """

    __slots__ = ("id",)
    id: int

    @property
    def guess(self) -> str:
        """What of a deleted file is taken to be so and cannot be known; "" where nothing is."""
        return ""

    @abstractmethod
    def stat(self) -> Stat:
        """What is known of the node, without reading its content. Raises ``ImageError``."""

    def xattrs(self) -> Mapping[str, bytes]:
        """Extended attributes: what the filesystem knows and POSIX has no field for."""
        return {}

    def more_stats(self, name: str) -> Mapping[str, Stat]:  # noqa: ARG002
        """What else is stored of the file called ``name``, by where: times that a time line should have.

        Raises ``ImageError``.
        """
        return {}

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        """How names of extended attributes begin, here and below: ``""`` stands for any name."""
        return ("user.",)


class File(Node):
    """A regular file."""

    __slots__ = ()

    @abstractmethod
    def open(self) -> BlockDevice:
        """The content, ``stat().size`` bytes long."""

    def streams(self) -> Mapping[str, File]:
        """Further content of the file, by name, in paths ``FILE/..namedfork/NAME``. Raises ``ImageError``."""
        return {}


class Lost(File):
    """A name of which nothing else can be read. Asking for more says why."""

    __slots__ = ("_error",)

    def __init__(self, number: int, error: ImageError) -> None:
        self.id = number
        self._error = error

    def stat(self) -> Stat:
        raise self._error.again()

    def open(self) -> BlockDevice:
        raise self._error.again()


class Symlink(Node):
    """A symbolic link."""

    __slots__ = ()

    @abstractmethod
    def readlink(self) -> str:
        """The target, as stored; it may name anything."""


class Special(Node):
    """A device node, FIFO or socket: it has a stat and nothing else."""

    __slots__ = ()


class Directory(Node):
    """A directory. It is parsed when it is listed, each time: the caller keeps listings, not the parser."""

    __slots__ = ()
    case_sensitive = True

    @abstractmethod
    def _scan(self) -> Iterable[tuple[str, Node]]:
        """(name as stored, node) in disk order, without ``.`` and ``..``.

        Raises ``ImageError`` where it is damaged.
        """

    def _scan_names(self) -> Iterable[str]:
        """The names of ``_scan`` alone, for a filesystem that can list them with less reading."""
        return (name for name, _ in self._scan())

    def fold(self, name: str) -> str:
        """The same text for all spellings of one name; called where ``case_sensitive`` is False."""
        return name.casefold()

    @final
    def entries(self) -> Iterator[tuple[str, Node]]:
        """(name, node), each name once and fit for a path component."""
        taken: set[str] = set()
        names = UniqueNames(taken)
        for raw, node in self._scan():
            taken.add(name := names.fit(raw))
            yield name, node

    @final
    def names(self) -> Iterator[str]:
        """The names of ``entries``, if possible without reading what a stat needs.

        Raises ``ImageError`` where it is damaged.
        """
        taken: set[str] = set()
        names = UniqueNames(taken)
        for raw in self._scan_names():
            taken.add(name := names.fit(raw))
            yield name

    @final
    def listing(self) -> Listing:
        """All entries, for lookups.

        What can still be read of a damaged directory is there; the error is kept beside it.
        """
        nodes: dict[str, Node] = {}
        names = UniqueNames(nodes)
        damage = None
        try:
            for raw, node in self._scan():
                nodes[names.fit(raw)] = node
        except ImageError as exc:
            damage = exc.again()  # without its traceback, which holds on to every frame it passed
        return Listing(nodes, damage, None if self.case_sensitive else self.fold)

    @final
    def lookup(self, name: str) -> Node:
        """The entry called ``name``. Raises ``FileNotFoundError``."""
        return self.listing()[name]


class Listing:
    """The entries of one directory at hand. ``damage`` is the error that ended the scan, if one did."""

    __slots__ = ("__weakref__", "_fold", "_folded", "_names", "_order", "_places", "damage", "nodes")

    def __init__(
        self, nodes: dict[str, Node], damage: ImageError | None, fold: Callable[[str], str] | None
    ) -> None:
        self.nodes = nodes
        self.damage = damage
        self._fold = fold
        self._folded: dict[str, str] = {}
        self._names: tuple[str, ...] = ()
        self._order: int | None = None
        self._places: dict[str, int] = {}

    def __getitem__(self, name: str) -> Node:
        return self.nodes[self.stored(name)]

    def stored(self, name: str) -> str:
        """``name`` as it is listed, which may be in another case. Raises ``FileNotFoundError``."""
        found = name if name in self.nodes else self._in_another_case(name)
        if found is None:
            raise FileNotFoundError(ENOENT, "No such file or directory", name)
        return found

    def _in_another_case(self, name: str) -> str | None:
        if self._fold is None:
            return None
        if not self._folded:
            folded: dict[str, str] = {}
            for known in self.nodes:
                folded.setdefault(self._fold(known), known)
            self._folded = folded
        return self._folded.get(self._fold(name))

    @property
    def names(self) -> Sequence[str]:
        """The names in order."""
        if len(self._names) != len(self.nodes):
            self._names = tuple(self.nodes)
        return self._names

    @property
    def order(self) -> int:
        """The same number for the same names in the same order, in this process."""
        if self._order is None:
            self._order = hash(self.names)
        return self._order

    def place(self, name: str) -> int:
        """Where in ``names`` the name is; it must be there."""
        if len(self._places) != len(self.nodes):
            self._places = {name: place for place, name in enumerate(self.nodes)}
        return self._places[name]


class Filesystem(ABC):
    """A tree of nodes on a device. Opening one reads its superblock and no directory."""

    label: str = ""
    uuid: str = ""  # or serial number, as blkid(8) prints it

    @property
    @abstractmethod
    def root(self) -> Directory:
        """The top directory."""

    def info(self) -> Mapping[str, str]:
        """Facts for ``imgmount info``, in the field's own words: ``{"system id": "LINUX"}``."""
        return {}


def as_directory(node: Node, path: str) -> Directory:
    """``node``, if it is one. Raises ``NotADirectoryError``."""
    if isinstance(node, Directory):
        return node
    raise NotADirectoryError(20, "Not a directory", path)


def as_file(node: Node, path: str) -> File:
    """``node``, if it is one. Raises ``IsADirectoryError`` or ``OSError``."""
    if isinstance(node, File):
        return node
    if isinstance(node, Directory):
        raise IsADirectoryError(EISDIR, "Is a directory", path)
    raise OSError(22, "Not a regular file", path)
