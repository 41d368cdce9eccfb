"""The nodes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT, S_IFSOCK, S_IMODE
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.names import MAX_NAME_BYTES
from imgmount.core.node import (
    DIRECTORY_MODE,
    FILE_MODE,
    SYMLINK_MODE,
    Directory,
    File,
    Node,
    Special,
    Stat,
    Symlink,
)
from imgmount.core.xattrs import collect
from imgmount.errors import ImageError
from imgmount.families.windows import attributes, names, reparse, security
from imgmount.families.windows.times import filetime_ns
from imgmount.filesystems.wim import items
from imgmount.filesystems.wim.image import Image
from imgmount.filesystems.wim.metadata import NO_HASH, NO_SECURITY, Entry, Facts, Stream

NOT_REBASED: Final = 1  # flag of a reparse point: an absolute target does not count from the image's root
MAX_XATTR: Final = 64 << 10  # bytes of one extended attribute: what Linux can show
MAX_XATTRS: Final = 1 << 20  # bytes of all streams that are shown as attributes of one file
MAX_XATTR_NAME: Final = 255
SPECIAL_FILES: Final = (S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK)
_POINT: Final = Struct("<IHH")
_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)


class _WimNode(Node):
    """A node is an entry; ``_depth`` is how many levels below the image's root its directory is."""

    __slots__ = ("_depth", "_entry", "_image")
    _mode = FILE_MODE

    def __init__(self, image: Image, entry: Entry, depth: int) -> None:
        self._image = image
        self._entry = entry
        self._depth = depth
        self.id = image.id(entry)

    def _size(self, _: Facts) -> int:
        return 0

    def stat(self) -> Stat:
        entry, mode = self._entry, self._mode
        facts = entry.facts
        size, written, read = self._size(facts), filetime_ns(facts.written), filetime_ns(facts.read)
        links = self._image.links(entry) if facts.tag or facts.reserved or facts.flags else 1
        if (unix := items.unix(entry)) is None:
            return Stat(mode, size, written, read, None, None, None, links)
        mode = S_IFMT(mode) | S_IMODE(unix.mode)
        return Stat(mode, size, written, read, None, unix.uid, unix.gid, links, unix.rdev)

    def xattrs(self) -> Mapping[str, bytes]:
        return collect(self._xattrs(), "wim")

    def _xattrs(self) -> Iterator[tuple[str, bytes]]:
        image, entry = self._image, self._entry
        facts = entry.facts
        yield "user.wim.attributes", attributes.text(facts.attributes)
        yield "user.wim.created", _time(facts.made)
        if short := entry.short_name:
            yield "user.wim.short_name", short.encode("utf-8", "surrogatepass")
        name = entry.name
        if name and (names.shown(name) != name or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES):
            yield "user.wim.name", name.encode("utf-8", "surrogatepass")
        if facts.security != NO_SECURITY and (descriptor := image.metadata.security(facts.security)):
            yield "user.wim.security_descriptor", descriptor
            for kind, sid in zip(("owner", "group"), security.owners(descriptor), strict=True):
                if sid:
                    yield f"user.wim.{kind}", sid.encode()
        if facts.attributes & attributes.REPARSE_POINT:
            yield from self._point(facts)
        yield from items.xattrs(entry)
        yield from self._streams()

    def _point(self, facts: Facts) -> Iterator[tuple[str, bytes]]:
        """The reparse point as Windows has it, with its header."""
        try:
            point = self._image.point(self._entry)
        except ImageError:
            return
        yield "user.wim.reparse", _POINT.pack(point.tag, len(point.data), facts.reserved) + point.data

    def _streams(self) -> Iterator[tuple[str, bytes]]:
        """Alternate streams, unless they are files."""
        image = self._image
        left = 0 if image.streams_as_files else MAX_XATTRS
        for stream in image.contents(self._entry).named if left else ():
            name = f"user.ads.{names.shown(stream.name)}"
            try:
                content = image.stream(stream.digest if stream.digest != NO_HASH else None)
                if (
                    content.size > min(left, MAX_XATTR)
                    or len(name.encode("utf-8", "replace")) > MAX_XATTR_NAME
                ):
                    continue
                yield name, content.read_exactly(0, content.size, "wim")
            except ImageError:
                continue
            left -= content.size


def _time(filetime: int) -> bytes:
    """``2026-11-29T14:07:45.1234567Z``."""
    seconds, hundreds = divmod(filetime, 10_000_000)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return b"%d" % filetime
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{hundreds:07}Z".encode()


class WimDirectory(_WimNode, Directory):
    """A directory."""

    __slots__ = ("_listing",)
    case_sensitive = False
    _mode = DIRECTORY_MODE

    def __init__(self, image: Image, entry: Entry, depth: int, listing: int) -> None:
        """``listing`` is where the entries begin among which this one is."""
        super().__init__(image, entry, depth)
        self._listing = listing

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self.scan()

    def scan(self) -> Iterator[tuple[str, Node]]:
        """(name, node) of the entries, and of their streams where those are files. Raises ``ImageError``."""
        image, depth = self._image, self._depth
        below = self._entry.facts.below
        if not below:
            return
        first = True
        for entry in image.follow(below):
            if first:
                image.claim(self._entry, self._listing)
                first = False
            name = names.shown(entry.name)
            yield name, _node(image, entry, depth, below)
            if image.streams_as_files:
                for number, stream in enumerate(image.contents(entry).named, 1):
                    yield f"{name}:{names.shown(stream.name)}", WimStream(image, entry, number, stream)


def _node(image: Image, entry: Entry, depth: int, listing: int) -> Node:
    """The node of an entry in a directory ``depth`` levels below the root."""
    kind = entry.raw[8] | entry.raw[9] << 8  # the attributes that matter are among the first 16
    if kind & attributes.REPARSE_POINT:
        tag = entry.facts.tag
        if tag in reparse.LINKS:
            return WimLink(image, entry, depth)
        if tag in reparse.SPECIALS:
            return WimSpecial(image, entry, reparse.SPECIALS[tag])
    if kind & attributes.DIRECTORY:
        return WimDirectory(image, entry, depth + 1, listing)
    if entry.raw[64:84] == NO_HASH and (unix := items.unix(entry)) and S_IFMT(unix.mode) in SPECIAL_FILES:
        return WimSpecial(image, entry, S_IFMT(unix.mode))
    return WimFile(image, entry, depth)


class WimFile(_WimNode, File):
    """A regular file."""

    __slots__ = ()

    def _size(self, facts: Facts) -> int:
        image, digest = self._image, facts.digest
        if facts.streams or facts.attributes & attributes.REPARSE_POINT:
            found = image.contents(self._entry).data
            return image.blobs.size(found) if found else 0
        return image.blobs.size(digest) if digest != NO_HASH else 0

    def open(self) -> BlockDevice:
        return self._image.open(self._entry)


class WimStream(_WimNode, File):
    """An alternate stream as a file of its own; its number is the entry's, moved on inside it."""

    __slots__ = ("_stream",)

    def __init__(self, image: Image, entry: Entry, number: int, stream: Stream) -> None:
        super().__init__(image, entry, 0)
        self.id = image.number << 36 | entry.offset + number
        self._stream = stream

    def stat(self) -> Stat:
        return super().stat()._replace(nlink=1)

    def _size(self, _: Facts) -> int:
        return self._image.blobs.size(self._stream.digest) if self._stream.digest != NO_HASH else 0

    def xattrs(self) -> Mapping[str, bytes]:
        return {}

    def open(self) -> BlockDevice:
        digest = self._stream.digest
        return self._image.stream(digest if digest != NO_HASH else None)


class WimLink(_WimNode, Symlink):
    """A symbolic link or a junction."""

    __slots__ = ()
    _mode = SYMLINK_MODE

    def _size(self, _: Facts) -> int:
        try:
            return len(self.readlink().encode("utf-8", "surrogateescape"))
        except ImageError:
            return 0

    def readlink(self) -> str:
        """The target: absolute ones were made relative to the image's root when it was captured, if they lead into it."""
        entry = self._entry
        rebased = not entry.facts.flags & NOT_REBASED
        return reparse.posix_target(self._image.point(entry), self._depth, lambda _: rebased, "wim")


class WimSpecial(_WimNode, Special):
    """A socket, FIFO or device node."""

    __slots__ = ("_mode",)

    def __init__(self, image: Image, entry: Entry, kind: int) -> None:
        super().__init__(image, entry, 0)
        self._mode = kind | 0o444
