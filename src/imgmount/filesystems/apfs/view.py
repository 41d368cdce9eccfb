"""How a volume is shown: its names, its forks, its snapshots, and what of it stands for another volume."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from imgmount.core.format import Options
from imgmount.core.node import Directory, Node, Stat
from imgmount.families.apple import options as apple
from imgmount.filesystems.apfs import records as r
from imgmount.filesystems.apfs.names import composed
from imgmount.filesystems.apfs.nodes import FIRMLINK, ApfsDirectory
from imgmount.filesystems.apfs.numbers import number, space_of
from imgmount.filesystems.apfs.snapshots import Snapshot, snapshots
from imgmount.filesystems.apfs.superblock import CASE_INSENSITIVE
from imgmount.filesystems.apfs.volume import Volume

FOLDER: Final = ".snapshots"


class Wishes(NamedTuple):
    """What the user chose."""

    forks: str
    stored: bool

    @classmethod
    def of(cls, options: Options) -> Wishes:
        """The options of the kind that Apple's filesystems share."""
        return cls(apple.FORKS.of(options.extra), apple.NAMES.of(options.extra) == "stored")


class View:
    """A volume, or a snapshot of it, and how it is to be shown.

    ``data_of`` gives the name of the folder beside this volume's that its firmlinks lead to, if there is one.
    """

    def __init__(
        self, volume: Volume, wishes: Wishes, data_of: Callable[[], str], *, live: Volume | None = None
    ) -> None:
        """``live`` is the volume of which ``volume`` is a snapshot."""
        self.volume = volume
        self.live = live or volume
        self.space = volume.space
        self.forks = wishes.forks
        self._wishes = wishes
        self._data_of = data_of
        self._nested = live is not None
        self.folds = bool(volume.super.incompat & CASE_INSENSITIVE)

    @property
    def root(self) -> ApfsDirectory:
        """The top directory."""
        return ApfsDirectory(self, r.ROOT, r.ROOT_PARENT)

    @property
    def private(self) -> ApfsDirectory:
        """The folder of files that were deleted and are still in use."""
        return ApfsDirectory(self, r.PRIVATE, r.ROOT_PARENT)

    def shown(self, name: str) -> str:
        """A name as it is listed."""
        return name if self._wishes.stored else composed(name)

    def fold(self, name: str) -> str:
        """What two names have in common that are one."""
        name = unicodedata.normalize("NFD", composed(name))
        return unicodedata.normalize("NFD", name.casefold()) if self.folds else name

    def beside_root(self) -> Iterator[tuple[str, Node]]:
        """What the top directory shows besides its entries: the folder of snapshots, if there are any."""
        if self.volume.super.snapshots and not self._nested:
            yield FOLDER, SnapshotFolder(self)

    def firmlink(self, inode: int, depth: int) -> str | None:
        """Where the directory ``inode`` leads to, found ``depth`` folders below the root.

        None where it is a directory like any other.
        """
        group = self.volume.super.group
        if not group.int or self._nested or not self.volume.inode(inode).bsd_flags & r.FIRMLINK:
            return None
        beside, stored = self._data_of(), self.volume.attribute(inode, FIRMLINK)
        if not beside or stored is None:
            return None
        path = (
            self.volume.value(stored)
            .pread(0, 4096)
            .split(b"\0", 1)[0]
            .decode("utf-8", "surrogateescape")
            .strip("/")
        )
        return "../" * (depth + 1) + f"{beside}/{path}"

    def snapshot(self, wanted: Snapshot) -> View:
        """The volume as it was."""
        return View(wanted.volume(self.volume), self._wishes, self._data_of, live=self.volume)


class SnapshotFolder(Directory):
    """The folder of a volume's snapshots.

    The list of them is read when it is entered, and no more of each before that.
    """

    __slots__ = ("_view",)

    def __init__(self, view: View) -> None:
        self.id = number(view.space, r.SNAPSHOTS)
        self._view = view

    def stat(self) -> Stat:
        return self._view.root.stat()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        for snapshot in snapshots(self._view.volume):
            yield self._view.shown(snapshot.name), SnapshotRoot(self._view, snapshot)


class SnapshotRoot(Directory):
    """The top directory of a snapshot, which is opened when it is listed."""

    __slots__ = ("_opened", "_snapshot", "_view")
    case_sensitive = False

    def __init__(self, view: View, snapshot: Snapshot) -> None:
        self._view = view
        self._snapshot = snapshot
        self._opened: ApfsDirectory | None = None
        self.id = number(space_of(view.volume.slot, snapshot.ordinal), r.ROOT)

    def _root(self) -> ApfsDirectory:
        root = self._opened
        if root is None:
            root = self._opened = self._view.snapshot(self._snapshot).root
        return root

    def fold(self, name: str) -> str:
        return self._view.fold(name)

    def stat(self) -> Stat:
        return self._root().stat()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self._root().shown()
