"""The tree of a GameCube disc or Wii partition.

The table of files (FST) has 12 bytes a node, a directory's descendants behind it: {u8 kind, u24 name, u32 A,
u32 B}. A file lies at A and has B bytes; a directory ends before node B. Names follow the nodes.
"""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import table
from imgmount.core.format import Context
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.slices import Slice
from imgmount.errors import FormatError, ImageError, MountError
from imgmount.families.nintendo.banner import MAX_READ, NAME, banner
from imgmount.families.nintendo.disc_header import DEFAULT_ENCODING
from imgmount.families.nintendo.wii_clusters import WiiPart
from imgmount.filesystems.gcfst.boot import (
    APPLOADER,
    BI2,
    BI2_SIZE,
    BOOT_SIZE,
    MAX_FST,
    NODE,
    Boot,
    apploader_size,
)

NAME_MASK: Final = 0x00FF_FFFF
DIRECTORY_KIND: Final = 1
MAX_NAME: Final = 1 << 10  # bytes: a name without its end would be all that follows
FST_IDS: Final = 1 << 8  # ids below are those of sys/ and its files


class GcVolume(Filesystem):
    """A GameCube disc or the data of a Wii partition."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.device = device
        self.boot = Boot.read(device)
        if not self.boot.has_root(device):
            raise FormatError("gcfst", "the table of files has no root directory", offset=self.boot.fst)
        self.encoding = _charset(context.options.encoding or DEFAULT_ENCODING)
        self.label = self.boot.game.label(self.encoding)

    @property
    def root(self) -> Directory:
        return _Top(self)

    @cached_property
    def _fst(self) -> tuple[array[int], bytes]:
        """(the numbers of all nodes, the names)."""
        boot = self.boot
        raw = self.device.read_exactly(boot.fst, min(boot.fst_size, MAX_FST), "gcfst")
        nodes = int.from_bytes(raw[8:NODE], "big")
        return table(raw[: nodes * NODE], 4, "big"), raw[nodes * NODE :]

    def children(self, index: int) -> Iterator[tuple[str, Node]]:
        """What directory ``index`` holds. Each directory ends inside the one above it, so every walk ends."""
        numbers, names = self._fst
        end = numbers[3 * index + 2]
        shift = self.boot.shift
        index += 1
        while index < end:
            word, first, last = numbers[3 * index : 3 * index + 3]
            start = word & NAME_MASK
            stop = names.find(b"\0", start, start + MAX_NAME)
            if start >= len(names):
                raise FormatError(
                    "gcfst",
                    f"the name of node {index} begins past the end of the table",
                    offset=self.boot.fst + NODE * index,
                )
            name = names[start : stop if stop >= 0 else start + MAX_NAME].decode(
                self.encoding, "surrogateescape"
            )
            if word >> 24 == 0:
                yield name, _GcFile(self, FST_IDS + index, first << shift, last)
                index += 1
                continue
            if word >> 24 != DIRECTORY_KIND or not index < last <= end:
                place = self.boot.fst + NODE * index
                raise FormatError(
                    "gcfst",
                    f"directory {index} ends at node {last}, but its parent ends at {end}",
                    offset=place,
                )
            yield name, _GcDirectory(self, FST_IDS + index, index)
            index = last

    def system_files(self) -> Iterator[tuple[str, Node]]:
        """What ``sys/`` holds. A file whose length is not known is left out; its error comes last."""
        device, boot = self.device, self.boot
        ids = count(3)
        problem: ImageError | None = None
        yield "boot.bin", _GcFile(self, next(ids), 0, BOOT_SIZE)
        yield "bi2.bin", _GcFile(self, next(ids), BI2, BI2_SIZE)
        yield "fst.bin", _GcFile(self, next(ids), boot.fst, boot.fst_size)
        try:
            yield "apploader.img", _GcFile(self, next(ids), APPLOADER, apploader_size(device))
        except ImageError as exc:
            problem = exc
        if boot.dol:
            yield "main.dol", _GcFile(self, next(ids), boot.dol, boot.dol_size(device))
        if problem is not None:
            raise problem

    def top(self) -> Iterator[tuple[str, Node]]:
        """The root: ``sys``, ``files``, and what describes a Wii partition."""
        yield "sys", _System(self)
        yield "files", _GcDirectory(self, FST_IDS, 0)
        if isinstance(self.device, WiiPart):
            for number, (name, device) in enumerate(self.device.management().items()):
                yield name, _Beside(FST_IDS - 1 - number, device)

    def info(self) -> Mapping[str, str]:
        return {**self.boot.game.facts(self.encoding), **self._banner()}

    def _banner(self) -> Mapping[str, str]:
        """The facts in the banner, if there is one that can be read."""
        try:
            node = next(
                (node for name, node in self.children(0) if name == NAME and isinstance(node, File)), None
            )
            data = node.open().pread(0, MAX_READ) if node else b""
        except ImageError:
            return {}
        return banner(data, japanese=self.boot.game.id[3:4] == "J")


def _charset(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as exc:
        raise MountError(f"no encoding is called {name!r}") from exc


class _GcNode(Node):
    """A node of the volume. Discs store no times."""

    __slots__ = ("_volume",)

    def __init__(self, volume: GcVolume, number: int) -> None:
        self._volume = volume
        self.id = number


class _Top(_GcNode, Directory):
    __slots__ = ()

    def __init__(self, volume: GcVolume) -> None:
        super().__init__(volume, 1)

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self._volume.top()


class _System(_GcNode, Directory):
    __slots__ = ()

    def __init__(self, volume: GcVolume) -> None:
        super().__init__(volume, 2)

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self._volume.system_files()


class _GcDirectory(_GcNode, Directory):
    """A directory of the table: node ``index``."""

    __slots__ = ("_index",)

    def __init__(self, volume: GcVolume, number: int, index: int) -> None:
        super().__init__(volume, number)
        self._index = index

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self._volume.children(self._index)


class _GcFile(_GcNode, File):
    """``size`` bytes at ``offset`` of the volume."""

    __slots__ = ("_offset", "_size")

    def __init__(self, volume: GcVolume, number: int, offset: int, size: int) -> None:
        super().__init__(volume, number)
        self._offset = offset
        self._size = size

    def stat(self) -> Stat:
        return Stat(FILE_MODE, self._size)

    def open(self) -> BlockDevice:
        return Slice(self._volume.device, self._offset, self._size)


class _Beside(File):
    """A file that lies outside of the partition's data."""

    __slots__ = ("_device",)

    def __init__(self, number: int, device: BlockDevice) -> None:
        self.id = number
        self._device = device

    def stat(self) -> Stat:
        return Stat(FILE_MODE, self._device.size)

    def open(self) -> BlockDevice:
        return self._device
