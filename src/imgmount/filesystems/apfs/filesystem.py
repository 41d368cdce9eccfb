"""A container as a filesystem: its one volume, or a folder for each of several.

A volume that cannot be read hides no other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final, NamedTuple
from uuid import UUID

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.names import safe_name
from imgmount.core.node import Directory, Filesystem, Node
from imgmount.core.option import SNAPSHOT
from imgmount.errors import FormatError, ImageError, UnsupportedError
from imgmount.filesystems.apfs import snapshots
from imgmount.filesystems.apfs.container import FUSION, newest
from imgmount.filesystems.apfs.folders import LockedVolume, VolumesFolder
from imgmount.filesystems.apfs.names import composed
from imgmount.filesystems.apfs.numbers import space_of
from imgmount.filesystems.apfs.objects import NAME, VOLUME, header
from imgmount.filesystems.apfs.omap import Nodes, ObjectMap
from imgmount.filesystems.apfs.superblock import ROLES, VolumeSuperblock, parse_volume
from imgmount.filesystems.apfs.unlock import volume_key
from imgmount.filesystems.apfs.view import View, Wishes
from imgmount.filesystems.apfs.volume import Container, Volume

log = logging.getLogger(__name__)

_DATA_ROLE: Final = next(role for role, name in ROLES.items() if name == "Data")


class NoSnapshotError(FormatError):
    """A volume without the snapshot that is wanted."""


class Slot(NamedTuple):
    """A volume of the container: what it says of itself, and the view of it or why there is none."""

    number: int
    super: VolumeSuperblock | None
    view: View | ImageError

    @property
    def name(self) -> str:
        """What its folder is called."""
        stored = composed(self.super.name) if self.super is not None else ""
        return stored or f"volume {self.number + 1}"


class ApfsFilesystem(Filesystem):
    """A container and its volumes."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        blocks, main, self.first = newest(device)
        if main.incompat & FUSION:
            raise UnsupportedError(f"{NAME}: a Fusion drive: this is one of two devices, and both are needed")
        nodes = Nodes(blocks.size)
        self.container = Container(
            blocks, main, ObjectMap(blocks, nodes, main.object_map), nodes, context.cache
        )
        self._wishes = Wishes.of(context.options)
        options = context.options
        self._snapshot = SNAPSHOT.of(options.extra)
        self._passwords = [] if options.password is None else [options.password, *options.spare_passwords]
        slots = [self._slot(index, oid) for index, oid in enumerate(main.volumes) if oid]
        shown = any(isinstance(slot.view, View) for slot in slots)
        self.slots = [slot for slot in slots if not (shown and isinstance(slot.view, NoSnapshotError))]
        self.uuid = str(UUID(bytes=main.uuid))
        self._open()

    def _open(self) -> None:
        """Raise what is wrong where nothing can be shown; tell it where something can."""
        problems = [slot.view for slot in self.slots if isinstance(slot.view, ImageError)]
        if problems and len(problems) == len(self.slots):
            missing = (problem for problem in problems if isinstance(problem, NoSnapshotError))
            raise next(missing, problems[0]).again()
        for problem in problems:
            log.warning("%s", problem)
        if len(self.slots) == 1:
            self.label = self.slots[0].name

    def _slot(self, index: int, oid: int) -> Slot:
        superblock = None
        try:
            where = self.container.objects.find(oid, self.container.super.xid)
            data = self.container.blocks.object(
                where.block, (VOLUME,), f"the superblock of volume {index + 1}"
            )
            if header(data).oid != oid:
                raise FormatError(NAME, f"volume {index + 1} is object {header(data).oid:#x}, not {oid:#x}")
            superblock = parse_volume(data)
            return Slot(index, superblock, self._view(index, superblock))
        except ImageError as exc:
            return Slot(index, superblock, exc.with_traceback(None))

    def _view(self, index: int, superblock: VolumeSuperblock) -> View:
        container = self.container
        key = volume_key(container, superblock, self._passwords) if superblock.encrypted else b""
        objects = ObjectMap(container.blocks, container.nodes, superblock.object_map)
        space = space_of(index)
        volume = Volume(container, superblock, objects, container.super.xid, key=key, slot=index, space=space)
        volume.tree.root()
        view = View(volume, self._wishes, lambda: self._data_of(superblock))
        if not self._snapshot:
            return view
        wanted = snapshots.chosen(volume, self._snapshot)
        if wanted is None:
            known = snapshots.names(volume) or "none"
            raise NoSnapshotError(
                NAME, f"volume {superblock.name!r} has no snapshot {self._snapshot!r}; it has: {known}"
            )
        return view.snapshot(wanted)

    @cached_property
    def folders(self) -> Mapping[int, str]:
        """The names of the volumes' folders, by slot."""
        names: dict[str, int] = {}
        for slot in self.slots:
            names[safe_name(slot.name, names)] = slot.number
        return {index: name for name, index in names.items()}

    def _data_of(self, superblock: VolumeSuperblock) -> str:
        """The folder of the data volume that belongs to a system volume."""
        for slot in self.slots if len(self.slots) > 1 else ():
            found = slot.super
            if (
                found is not None
                and found.role == _DATA_ROLE
                and found.group == superblock.group != UUID(int=0)
            ):
                return self.folders[slot.number]
        return ""

    @property
    def root(self) -> Directory:
        if len(self.slots) == 1 and isinstance(self.slots[0].view, View):
            return self.slots[0].view.root
        entries: dict[str, Node] = {}
        for slot in self.slots:
            view = slot.view
            node = (
                view.root
                if isinstance(view, View)
                else LockedVolume(
                    space_of(slot.number), view, slot.super.modified if slot.super is not None else 0
                )
            )
            entries[self.folders[slot.number]] = node
        newest_change = max((slot.super.modified for slot in self.slots if slot.super is not None), default=0)
        return VolumesFolder(entries, newest_change)

    def _other(self) -> str:
        """What block 0 has, if that is not the checkpoint that is shown."""
        if self.first is None:
            return ", block 0 has none"
        return f", block 0 has {self.first.xid}" if self.first.xid != self.container.super.xid else ""

    def info(self) -> Mapping[str, str]:
        main = self.container.super
        facts = {
            "uuid": self.uuid,
            "blocks": f"{main.blocks} of {main.block_size} bytes",
            "checkpoint": f"{main.xid}{self._other()}",
        }
        for slot in self.slots:
            facts[f"volume {slot.number + 1}"] = _about(slot)
        return facts


def deleted(filesystem: ApfsFilesystem) -> Iterator[tuple[str, Node]]:
    """Files that were deleted while something had them open: they wait in a folder that is not shown."""
    several = len(filesystem.slots) > 1
    for slot in filesystem.slots:
        if isinstance(slot.view, View):
            prefix = f"{filesystem.folders[slot.number]}/" if several else ""
            for name, node in slot.view.private.listing().nodes.items():
                yield prefix + name, node


def _about(slot: Slot) -> str:
    """A volume in one line."""
    found = slot.super
    if found is None:
        return str(slot.view)
    facts = [slot.name]
    facts += [f"role {found.role_name}"] if found.role else []
    facts += [f"group {found.group}"] if found.group.int else []
    facts += [f"UUID {found.uuid}", f"{found.files} files, {found.directories} directories"]
    facts += ["encrypted"] if found.encrypted else []
    facts += ["sealed"] if found.sealed else []
    facts += [f"formatted by {found.formatted_by}"] if found.formatted_by else []
    view = slot.view
    if isinstance(view, View):
        facts += ["case-insensitive" if view.folds else "case-sensitive"]
        facts += [f"snapshots: {snapshots.names(view.live)}"] if found.snapshots else []
        facts += [f"to be reverted to transaction {found.revert_to}"] if found.revert_to else []
    else:
        facts.append(str(view))
    return ", ".join(facts)
