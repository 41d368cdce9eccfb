"""The tree of a Wii U table of files, wherever its clusters are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final

from imgmount.codecs import wiiu
from imgmount.codecs.wiiu import Fst
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Verifiable
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.errors import FormatError, ImageError

MODES: Final = {0: "raw", 1: "raw", wiiu.HASHED: "hashed"}
FIRST_ID: Final = 1


class Source(ABC):
    """Where the clusters of a table of files are stored, and its key."""

    fst: Fst

    @abstractmethod
    def stored(self, index: int) -> tuple[BlockDevice, bytes | None]:
        """(cluster ``index`` as it is stored, its key; None where it is not encrypted). Raises ``ImageError``."""

    def info(self) -> Mapping[str, str]:
        """Facts about the title."""
        return {}


class WiiuVolume(Filesystem):
    """A partition of a disc, or an installed title."""

    def __init__(self, source: Source, context: Context) -> None:
        self.source = source
        self.fst = source.fst
        self._context = context
        self._clusters: dict[int, BlockDevice] = {}
        self._lock = Lock()

    @property
    def root(self) -> Directory:
        return _WiiuDirectory(self, 0)

    def cluster(self, index: int) -> BlockDevice:
        """The decrypted data of cluster ``index``. Raises ``ImageError``."""
        if index >= len(self.fst.clusters):
            raise FormatError(self.fst.fmt, f"cluster {index} of {len(self.fst.clusters)}")
        with self._lock:  # one device each, so that they share what is decoded
            if index not in self._clusters:
                stored, key = self.source.stored(index)
                mode = self.fst.clusters[index][2]
                self._clusters[index] = wiiu.open_cluster(stored, key, index, mode, self._context.cache)
            return self._clusters[index]

    def info(self) -> Mapping[str, str]:
        kinds = Counter(MODES.get(mode, str(mode)) for _, _, mode in self.fst.clusters)
        return {**self.source.info(), "clusters": ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))}

    def verify(self) -> Iterator[str]:
        """The hashes of hashed clusters."""
        for index in range(len(self.fst.clusters)):
            try:
                device = self.cluster(index)
            except ImageError as exc:
                yield f"cluster {index}: {exc}"
                continue
            if isinstance(device, Verifiable):
                yield from (f"cluster {index}: {problem}" for problem in device.verify())


class _WiiuDirectory(Directory):
    __slots__ = ("_index", "_volume")

    def __init__(self, volume: WiiuVolume, index: int) -> None:
        self._volume = volume
        self._index = index
        self.id = FIRST_ID + index

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE)

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        for node in volume.fst.children(self._index):
            name = node.name.decode("utf-8", "surrogateescape")
            yield name, _WiiuDirectory(volume, node.number) if node.is_directory else _WiiuFile(volume, node)


class _WiiuFile(File):
    __slots__ = ("_node", "_volume")

    def __init__(self, volume: WiiuVolume, node: wiiu.Node) -> None:
        self._volume = volume
        self._node = node
        self.id = FIRST_ID + node.number

    def stat(self) -> Stat:
        return Stat(FILE_MODE, self._node.size)

    def open(self) -> BlockDevice:
        return wiiu.content(self._volume.cluster(self._node.cluster), self._node)
