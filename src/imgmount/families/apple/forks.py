"""The second fork of a Mac's file and its Finder info, as systems with one fork can see them.

- ``FILE/..namedfork/rsrc`` is the resource fork: for commands. In a mount nothing can lie below a file.
- The attribute ``user.com.apple.ResourceFork`` is the same, up to 64 KiB, as many as Linux allows.
- The attribute ``user.com.apple.FinderInfo`` has the 32 bytes of Finder info, where one is not zero.
- ``forks=appledouble`` shows a companion ``._FILE`` with both beside each file and folder that has any.
- ``forks=tree`` shows a folder ``..namedfork`` at the top: ``..namedfork/FOLDER/FILE/..namedfork/rsrc``.

A filesystem calls ``attributes`` for xattrs, ``streams`` for the fork, and passes what it lists through
``listed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol, runtime_checkable

from imgmount.core.device import BlockDevice
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Node, Stat
from imgmount.core.slices import Concat
from imgmount.errors import ImageError
from imgmount.families.apple.appledouble import double

FINDER_INFO: Final = "com.apple.FinderInfo"
RESOURCE_FORK: Final = "com.apple.ResourceFork"
NAMED_FORK: Final = "..namedfork"
STREAM: Final = "rsrc"
MAX_ATTRIBUTE: Final = 64 << 10  # XATTR_SIZE_MAX of Linux
FINDER_INFO_SIZE: Final = 32

_KIND_AT: Final = 44  # bits of a node's number: the bits above them tell the kind of an added node
_FORK, _COMPANION, _MIRROR, _FOLDER, _INNER = range(1, 6)


@runtime_checkable
class Forked(Protocol):
    """A node that may have a resource fork and Finder info."""

    def finder_info(self) -> bytes:
        """The 32 bytes of Finder info; none where there is none or all are zero. Raises ``ImageError``."""

    def resource_fork(self) -> BlockDevice | None:
        """The resource fork, None where it is empty. Raises ``ImageError``."""


class ForkFile(File):
    """A fork, or what is made of one, as a file of its own, with the times of the file that it belongs to."""

    __slots__ = ("_content", "_owner")

    def __init__(self, owner: Node, content: BlockDevice, kind: int = _FORK) -> None:
        self.id = _number(owner, kind)
        self._owner = owner
        self._content = content

    def stat(self) -> Stat:
        stat = self._owner.stat()
        return stat._replace(mode=FILE_MODE, size=self._content.size, nlink=1, rdev=0, allocated=None)

    def open(self) -> BlockDevice:
        return Concat.of([self._content])  # which the caller may close


def attributes(info: bytes, fork: BlockDevice | None) -> dict[str, bytes]:
    """What of a node's Finder info and fork fits into extended attributes. Raises ``ImageError``."""
    found = {}
    if info:
        found[f"user.{FINDER_INFO}"] = info
    if fork is not None and fork.size <= MAX_ATTRIBUTE:
        found[f"user.{RESOURCE_FORK}"] = fork.pread(0, fork.size)
    return found


def streams(node: Node) -> Mapping[str, File]:
    """The resource fork as ``File.streams`` names it. Raises ``ImageError``."""
    fork = node.resource_fork() if isinstance(node, Forked) else None
    return {} if fork is None else {STREAM: ForkFile(node, fork)}


def listed(
    entries: Iterable[tuple[str, Node]], choice: str, top: Directory | None = None
) -> Iterator[tuple[str, Node]]:
    """The entries of a directory as ``choice`` of FORKS has them; ``top`` is the directory, if a root."""
    for name, node in entries:
        yield name, node
        if choice == "appledouble" and (companion := _companion(node)) is not None:
            yield f"._{name}", companion
    if choice == "tree" and top is not None:
        yield NAMED_FORK, ForkTree(top)


def _companion(node: Node) -> File | None:
    if not isinstance(node, Forked):
        return None
    try:
        info, fork = node.finder_info(), node.resource_fork()
    except ImageError:  # reading the node itself raises the same error
        return None
    if not info and fork is None:
        return None
    return ForkFile(node, double(info.ljust(FINDER_INFO_SIZE, b"\0"), fork), _COMPANION)


class ForkTree(Directory):
    """A directory again, with ``NAME/..namedfork/rsrc`` for each of its files that has a resource fork."""

    __slots__ = ("_of",)

    def __init__(self, of: Directory) -> None:
        self.id = _number(of, _MIRROR)
        self._of = of

    @property
    def case_sensitive(self) -> bool:  # type: ignore[override]  # as the directory has it
        return self._of.case_sensitive

    def fold(self, name: str) -> str:
        return self._of.fold(name)

    def stat(self) -> Stat:
        return self._of.stat()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        listing = self._of.listing()
        for name, node in listing.nodes.items():
            if isinstance(node, Directory):
                if not isinstance(node, ForkTree):
                    yield name, ForkTree(node)
            elif found := streams(node):
                inner = ForkFolder(node, found, _INNER)
                yield name, ForkFolder(node, {NAMED_FORK: inner}, _FOLDER)
        if listing.damage is not None:
            raise listing.damage.again()


class ForkFolder(Directory):
    """A folder that stands for a file."""

    __slots__ = ("_nodes", "_owner")

    def __init__(self, owner: Node, nodes: Mapping[str, Node], kind: int = _FOLDER) -> None:
        self.id = _number(owner, kind)
        self._owner = owner
        self._nodes = nodes

    def stat(self) -> Stat:
        return self._owner.stat()._replace(mode=DIRECTORY_MODE, size=0, nlink=2, allocated=None)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return self._nodes.items()


def _number(owner: Node, kind: int) -> int:
    return owner.id & (1 << _KIND_AT) - 1 | kind << _KIND_AT
