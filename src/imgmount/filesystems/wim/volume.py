"""A WIM as a tree: the root of its image, or a folder for each of several, with links by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

from imgmount.codecs import lzms
from imgmount.codecs.libwim import Kind
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.node import DIRECTORY_MODE, SYMLINK_MODE, Directory, Filesystem, Node, Stat, Symlink
from imgmount.core.option import IMAGE
from imgmount.errors import FormatError, ImageError, MountError, UnsupportedError
from imgmount.families.windows import names
from imgmount.families.windows.options import STREAMS
from imgmount.families.windows.times import filetime_ns
from imgmount.filesystems.wim import items
from imgmount.filesystems.wim.blobs import Blobs
from imgmount.filesystems.wim.header import VERSIONS, Header
from imgmount.filesystems.wim.image import IMAGE_BITS, Image
from imgmount.filesystems.wim.nodes import WimDirectory
from imgmount.filesystems.wim.parts import Parts
from imgmount.filesystems.wim.xml import Xml

MANY: Final = 20  # images that are described one by one
MAX_ASKED: Final = 300_000  # files of which ``info`` sees whether their content is here: a second or two


class WimVolume(Filesystem):
    """All images of a WIM, or of the set that it is a part of."""

    def __init__(self, device: BlockDevice, context: Context) -> None:
        self.header = Header.read(device)
        if self.header.compression.kind is Kind.LZMS:
            lzms.check()
        self.parts = Parts(device, self.header, context)
        self.blobs = Blobs(self.parts.found, context.cache, self.parts.others())
        first = self.parts.found[0]
        self.xml = Xml(self.blobs.pool.resource(first, first.header.xml))
        if self.xml.encrypted:
            raise UnsupportedError("wim: an encrypted ESD: only the service that it was made for has its key")
        as_files = STREAMS.of(context.options.extra) == "files"
        count = first.header.images
        self.images = [Image(number, self.blobs, streams_as_files=as_files) for number in range(1, count + 1)]
        if not self.images:
            raise FormatError(
                "wim", "no image: it only has content for other WIMs, which --refs makes use of"
            )
        self.only = self._chosen(context.options.extra)
        self.label = self.xml.name(self.only.number) if self.only else ""
        self.uuid = str(UUID(bytes_le=self.header.guid))

    def _chosen(self, extra: Mapping[str, str]) -> Image | None:
        """The image that is the root: the only one, or that of the option ``image``, a number or a name."""
        wanted = IMAGE.of(extra)
        if not wanted:
            return self.images[0] if len(self.images) == 1 else None
        for image in self.images:
            if wanted in (str(image.number), self.xml.name(image.number)):
                return image
        raise MountError(
            f"image {wanted!r} is neither a number from 1 to {len(self.images)} nor an image's name"
        )

    @property
    def root(self) -> Directory:
        return _ImageRoot(self, self.only) if self.only else _Images(self)

    def info(self) -> Mapping[str, str]:
        header = self.header
        kind, chunk = header.compression
        facts = {
            "version": VERSIONS[header.version] + (", pipable" if header.pipable else ""),
            "compression": f"{kind.name}, chunks of {chunk >> 10} KiB" if kind else "none",
            "images": str(len(self.images)),
        }
        if header.parts > 1:
            facts["parts"] = f"{len(self.parts.found)} of {header.parts}"
            if self.parts.missing:
                facts["missing parts"] = ", ".join(map(str, self.parts.missing))
        if header.boot:
            facts["boot image"] = str(header.boot)
        if self.xml.note:
            facts["XML"] = self.xml.note
        for image in self.images[:MANY]:
            facts[f"image {image.number}"] = self.xml.about(image.number)
        facts["missing content"] = self._missing()
        return facts

    def _missing(self) -> str:
        """How many blobs that entries name are in no part that is here.

        Of very many entries only the first are looked at.
        """
        left = MAX_ASKED
        absent: set[bytes] = set()
        notes = []
        for image in self.images:
            try:
                for entry in image.metadata.walk():
                    if not left and not self.parts.missing:
                        return f"{_count(absent)} of the first {MAX_ASKED} files"
                    left -= 1
                    lost = (one.digest for one in entry.streams() if not self.blobs.holds(one.digest))
                    absent.update(lost)
            except ImageError:
                notes.append(f"image {image.number} cannot be read")
        return ", ".join([_count(absent), *notes])


def _count(absent: set[bytes]) -> str:
    return f"{len(absent)} blobs" if absent else "none"


class _Images(Directory):
    """The folder of several images; none of them is read for it."""

    __slots__ = ("_volume",)

    def __init__(self, volume: WimVolume) -> None:
        self._volume = volume
        self.id = 0

    def stat(self) -> Stat:
        volume = self._volume
        return Stat(
            DIRECTORY_MODE,
            mtime_ns=max(filetime_ns(volume.xml.modified(image.number)) for image in volume.images),
        )

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        return items.NAMESPACES

    def _scan(self) -> Iterator[tuple[str, Node]]:
        volume = self._volume
        for image in volume.images:
            yield str(image.number), _ImageRoot(volume, image)
        taken = {str(image.number) for image in volume.images}
        for image in volume.images:
            name = names.shown(volume.xml.name(image.number))
            if name and name not in taken:
                taken.add(name)
                yield name, _ImageLink(image.number, filetime_ns(volume.xml.modified(image.number)))


class _ImageLink(Symlink):
    """A link to an image, called as that is."""

    __slots__ = ("_mtime_ns", "_target")

    def __init__(self, number: int, mtime_ns: int) -> None:
        self.id = number
        self._target = str(number)
        self._mtime_ns = mtime_ns

    def stat(self) -> Stat:
        return Stat(SYMLINK_MODE, len(self._target), self._mtime_ns)

    def readlink(self) -> str:
        return self._target


class _ImageRoot(Directory):
    """The root of an image, which is read when it is entered."""

    __slots__ = ("_image", "_volume")
    case_sensitive = False

    def __init__(self, volume: WimVolume, image: Image) -> None:
        self._volume = volume
        self._image = image
        self.id = image.number << IMAGE_BITS

    def _directory(self) -> WimDirectory:
        return WimDirectory(self._image, self._image.metadata.root(), 0, 0)

    def stat(self) -> Stat:
        if self._volume.only is None:  # listing all images does not enter them
            return Stat(DIRECTORY_MODE, mtime_ns=filetime_ns(self._volume.xml.modified(self._image.number)))
        return self._directory().stat()

    @property
    def xattr_prefixes(self) -> tuple[str, ...]:
        try:
            captured_on_unix = items.unix(self._image.metadata.root()) is not None
        except ImageError:
            captured_on_unix = False
        return items.NAMESPACES if captured_on_unix else super().xattr_prefixes

    def xattrs(self) -> Mapping[str, bytes]:
        return self._directory().xattrs()

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self._directory().scan()

    def _scan_names(self) -> Iterator[str]:
        return self._directory().scan_names()
