"""The tree of a Wii U table of files, wherever its clusters are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha1
from threading import Lock
from typing import Final

from imgmount.codecs.aes import BLOCK
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.read_through import read_through
from imgmount.errors import FormatError, ImageError
from imgmount.families.nintendo import wiiu
from imgmount.families.nintendo.wiiu import HASHED_BLOCK, ContentKey, Fst, HashedCluster
from imgmount.families.nintendo.wiiu_title import MAX_META, META, Content, Tmd, meta_facts

MODES: Final = {False: "raw", True: "hashed"}
FIRST_ID: Final = 1


class Source(ABC):
    """Where the clusters of a table of files are stored, its key, and the title's metadata if it has any."""

    fst: Fst
    tmd: Tmd | None

    @abstractmethod
    def stored(self, index: int) -> tuple[BlockDevice, ContentKey | None]:
        """(cluster ``index`` as it is stored, its key; None where it is not encrypted).

        Raises ``ImageError``.
        """

    @abstractmethod
    def h3(self, index: int) -> bytes:
        """The H3 hashes of cluster ``index``, empty where there are none. Raises ``ImageError``."""


class WiiuVolume(Filesystem):
    """A partition of a disc, or an installed title."""

    def __init__(self, source: Source, context: Context) -> None:
        self.source = source
        self.fst = source.fst
        self._context = context
        self._clusters: dict[int, BlockDevice] = {}
        self._lock = Lock()
        self._meta = self._read_meta()
        self.label = self._meta.get("title", "")

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
                hashed = self.fst.clusters[index].hashed
                self._clusters[index] = wiiu.open_cluster(
                    stored, key, index, self._context.cache, hashed=hashed
                )
            return self._clusters[index]

    def _read_meta(self) -> dict[str, str]:
        """The facts in ``meta/meta.xml``, if there is one that can be read."""
        try:
            node = self.fst.find(*META)
            if node is None or node.is_directory:
                return {}
            return meta_facts(wiiu.content(self.cluster(node.cluster), node).pread(0, MAX_META))
        except ImageError:
            return {}

    def info(self) -> Mapping[str, str]:
        kinds = Counter(MODES[cluster.hashed] for cluster in self.fst.clusters)
        facts = {"clusters": ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))}
        if (tmd := self.source.tmd) is not None:
            facts = {"title id": tmd.title_id.hex(), "title version": str(tmd.version), **facts}
        return self._meta | facts

    def verify(self) -> Iterator[str]:
        """The metadata's own hashes, and those of each cluster: H0 to H3 and the metadata's, or its SHA-1."""
        contents = self.source.tmd.contents if self.source.tmd else {}
        if self.source.tmd:
            yield from self.source.tmd.verify()
        for index in range(len(self.fst.clusters)):
            try:
                yield from (
                    f"cluster {index}: {problem}" for problem in self._check(index, contents.get(index))
                )
            except ImageError as exc:
                yield f"cluster {index}: {exc}"

    def _check(self, index: int, content: Content | None) -> Iterator[str]:
        device = self.cluster(index)
        if isinstance(device, HashedCluster):
            h3 = self.source.h3(index) if content else None
            if h3 is not None and content and sha1(h3).digest() != content.digest:
                yield "its H3 hashes do not match the TMD"
            yield from device.verify((content or self.fst.clusters[index]).size // HASHED_BLOCK, h3)
        elif content and not content.hashed and not _digests(device, content):
            yield "its data does not match the TMD"


def _digests(device: BlockDevice, content: Content) -> bool:
    """Whether ``device`` has the SHA-1 of ``content``; packers round the size up to whole AES blocks."""
    if content.size > device.size:
        return False
    digest = sha1()
    for data in read_through(device, 0, content.size):
        digest.update(data)
    if digest.digest() == content.digest:
        return True
    digest.update(device.pread(content.size, -content.size % BLOCK))
    return digest.digest() == content.digest


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

    def __init__(self, volume: WiiuVolume, node: wiiu.FstEntry) -> None:
        self._volume = volume
        self._node = node
        self.id = FIRST_ID + node.number

    def stat(self) -> Stat:
        return Stat(FILE_MODE, self._node.size)

    def open(self) -> BlockDevice:
        return wiiu.content(self._volume.cluster(self._node.cluster), self._node)
