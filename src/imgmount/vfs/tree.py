"""Decides what an image looks like as a tree of files; no other module does.

- ``tree``: one volume is the root; several are ``p1/ p2/ p5/`` (slot numbers), unreadable ones ``p3.raw``,
  and links in ``by-label/`` and ``by-uuid/``.
- ``raw``: ``disk.raw``, and ``p1.raw``... where the image is divided; tracks as ``track01.iso``...
  It stands in for a tree that cannot be given, if the image can be a disk at all: a text is none.
- ``all``: both, with ``disk/`` for a filesystem on the undivided disk.
- ``deleted``: as ``tree``, for deleted files that can still be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import count
from typing import Any, Final

from imgmount.chain.likeness import why_no_disk
from imgmount.chain.open import Image
from imgmount.chain.volume import Volume
from imgmount.core.names import safe_name
from imgmount.core.node import Directory, Node
from imgmount.errors import FormatError, ImageError, NotADiskError, UnknownFormatError
from imgmount.vfs.nodes import RawFile, StaticDirectory, StaticSymlink
from imgmount.vfs.vfs import SPACE_BITS, Vfs

MAX_FOLDERS: Final = 100  # kept of the path of a deleted file


class View(Enum):
    """Which files a mount shows."""

    TREE = "tree"
    RAW = "raw"
    ALL = "all"
    DELETED = "deleted"


def build_vfs(image: Image, view: View, *, or_raw: bool = True) -> Vfs:
    """The files of ``image``. Raises ``ImageError`` where the only filesystem is damaged beyond opening.

    ``or_raw`` is whether the raw view may stand in for a tree that cannot be given. ``notes`` of the result
    are lines for the user: what is served raw, and why.
    """
    builder = _Builder(image, or_raw=or_raw)
    if view is View.RAW:
        return builder.folder(list(builder.raw()))
    if view is View.ALL:
        return builder.folder([*builder.raw(), *builder.trees((*image.hidden, *image.volumes))])
    if view is View.DELETED:
        return builder.deleted()
    main = _only(image)
    return builder.several() if main is None else builder.single(main)


def places(image: Image) -> list[tuple[str, Volume]]:
    """(name of its folder, volume) of what the tree shows; the one that is the root has no name."""
    main = _only(image)
    return [(volume.name, volume) for volume in image.volumes] if main is None else [("", main)]


def _only(image: Image) -> Volume | None:
    """The volume that is the root of the tree, if it is a single one."""
    return image.whole or (image.volumes[0] if len(image.volumes) == 1 else None)


class _Builder:
    def __init__(self, image: Image, *, or_raw: bool) -> None:
        self.image = image
        self.or_raw = or_raw
        self.notes: list[str] = []
        self._mtime_ns = image.path.stat().st_mtime_ns
        self._numbers = count(2)  # 1 is the root
        self._spaces: dict[str, int] = {}  # name in the root -> number space of its filesystem

    def folder(self, entries: list[tuple[str, Node]]) -> Vfs:
        """A root folder of volumes and raw files."""
        return Vfs(
            StaticDirectory(1, dict(entries), self._mtime_ns), self._spaces, self.notes, self.image.disk.size
        )

    def single(self, volume: Volume) -> Vfs:
        """The root of one filesystem; the raw view where there is none."""
        problem = volume.problem
        if problem is None:
            return Vfs(volume.filesystem.root, {}, self.notes, volume.device.size)
        if isinstance(problem, FormatError):
            raise problem.again()
        self._check_substitute(problem)
        self.notes.append(f"{problem.with_advice()}: raw view")
        return self.folder(list(self.raw()))

    def _check_substitute(self, problem: ImageError) -> None:
        """Raise why there is no tree, where the raw view may not stand in or would show no disk."""
        if not self.or_raw:
            raise problem.again()
        if self.image.is_disk or not isinstance(problem, UnknownFormatError):
            return
        if isinstance(problem, NotADiskError):
            raise problem.again()
        if reason := why_no_disk(self.image.disk):
            raise NotADiskError(f"no disk image: {reason}")

    def several(self) -> Vfs:
        """A folder per volume; the raw view where none can be browsed."""
        trees = list(self.trees(self.image.volumes))
        if not trees:
            if not self.or_raw:
                raise UnknownFormatError("no part of it has a filesystem that can be shown")
            return self.folder(list(self.raw()))
        browsed = dict(trees)
        raw = [
            entry
            for volume in self.image.volumes
            if volume.name not in browsed
            for entry in self._files(volume)
        ]
        return self.folder([*trees, *raw, *self.links()])

    def deleted(self) -> Vfs:
        """The deleted files of one volume; a folder per volume where there are several."""
        found = []
        for number, volume in enumerate(self.image.volumes, 1):
            if volume.problem is not None:
                self.notes.append(f"{volume.name}: {volume.problem}")
            elif (files := volume.deleted()) is not None:
                self._spaces[volume.name] = number
                found.append((volume.name, self._nested(files)))
            else:
                self.notes.append(f"{volume.name}: deleted files of this file system cannot be found")
        if len(found) == 1 and len(self.image.volumes) == 1:
            return Vfs(found[0][1], {}, self.notes, self.image.disk.size)
        return self.folder(list(found))

    def _nested(self, files: Iterator[tuple[str, Node]]) -> StaticDirectory:
        """Deleted files by their paths.

        The folders are not those of the image: their numbers lie behind those of all nodes.
        """
        numbers = count(1 << (SPACE_BITS - 1))
        tops: dict[str, Any] = {}
        for path, node in files:
            *folders, name = path.split("/")
            here = tops
            for folder in folders[-MAX_FOLDERS:]:
                inner = here.setdefault(safe_name(folder, set()), {})
                # a file has the name of the folder, so the folder gets another
                here = inner if isinstance(inner, dict) else here
            if isinstance(node, Directory):
                here.setdefault(safe_name(name, set()), {})
            else:
                here[safe_name(name, set(here))] = node

        def built(entries: dict[str, Any]) -> StaticDirectory:
            number = next(numbers)
            nodes = {name: built(node) if isinstance(node, dict) else node for name, node in entries.items()}
            return StaticDirectory(number, nodes, self._mtime_ns)

        return built(tops)

    def raw(self) -> Iterator[tuple[str, Node]]:
        """The disk and its parts as files."""
        yield "disk.raw", RawFile(next(self._numbers), self.image.disk, self._mtime_ns)
        for volume in self.image.volumes:
            yield from self._files(volume)

    def _files(self, volume: Volume) -> Iterator[tuple[str, Node]]:
        """What the raw view shows of a part."""
        if volume.index:
            for name, device in volume.partition.files or ((f"{volume.name}.raw", volume.device),):
                yield name, RawFile(next(self._numbers), device, self._mtime_ns)

    def trees(self, volumes: tuple[Volume, ...]) -> Iterator[tuple[str, Directory]]:
        """The volumes that can be browsed; the others leave a note where files could be expected."""
        for number, volume in enumerate(volumes, 1):
            if volume.problem is None:
                self._spaces[volume.name] = number
                yield volume.name, volume.filesystem.root
            elif volume.partition.holds_files:
                self.notes.append(f"{volume.name}: {volume.problem.with_advice()}: raw view")

    def links(self) -> Iterator[tuple[str, Node]]:
        """``by-label/`` and ``by-uuid/``, with a link for each label and identifier that is known."""
        labels: dict[str, Node] = {}
        identifiers: dict[str, Node] = {}
        for volume in self.image.volumes:
            filesystem = None if volume.problem else volume.filesystem
            raw = volume.partition.files[0][0] if volume.partition.files else f"{volume.name}.raw"
            target = f"../{volume.name if filesystem else raw}"
            self._link(labels, (filesystem.label if filesystem else "") or volume.partition.name, target)
            for identifier in dict.fromkeys((filesystem.uuid if filesystem else "", volume.partition.uuid)):
                self._link(identifiers, identifier, target)
        for name, links in (("by-label", labels), ("by-uuid", identifiers)):
            if links:
                yield name, StaticDirectory(next(self._numbers), links, self._mtime_ns)

    def _link(self, links: dict[str, Node], name: str, target: str) -> None:
        if name.strip():
            links[safe_name(name, links)] = StaticSymlink(next(self._numbers), target, self._mtime_ns)
