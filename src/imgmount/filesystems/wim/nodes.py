"""The nodes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT, S_IFSOCK
from struct import Struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.fields import build
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
from imgmount.families.windows.times import filetime_ns, filetime_text
from imgmount.filesystems.wim import items
from imgmount.filesystems.wim.blobs import NO_HASH
from imgmount.filesystems.wim.image import IMAGE_BITS, Image
from imgmount.filesystems.wim.metadata import NO_SECURITY, Entry, Stream

NOT_REBASED: Final = 1  # flag of a reparse point: an absolute target does not count from the image's root
MAX_XATTR: Final = 64 << 10  # bytes of one extended attribute: what Linux can show
MAX_XATTRS: Final = 1 << 20  # bytes of all streams that are shown as attributes of one file
MAX_XATTR_NAME: Final = 255
SPECIAL_FILES: Final = (S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK)
_POINT: Final = Struct("<IHH")


class _WimNode(Node):
    """A node is an entry; ``_depth`` is how many levels below the image's root its directory is."""

    __slots__ = ("_depth", "_image", "_offset", "_stat")
    _mode = FILE_MODE

    def __init__(self, image: Image, entry: Entry, depth: int) -> None:
        self._image = image
        self._offset = entry.offset
        self._depth = depth
        group = entry.group
        self.id, links = image.linked(group) if group else (image.number << IMAGE_BITS | entry.offset, 1)
        facts, mode, size = entry.facts, self._mode, self._size(entry)
        uid: int | None
        gid: int | None
        if (unix := items.unix(entry)) is None:
            uid, gid, rdev = None, None, 0
        else:
            uid, gid, rights, rdev = unix
            mode = mode & ~0o7777 | rights & 0o7777
        written, read = filetime_ns(facts.written), filetime_ns(facts.read)
        self._stat = build(Stat, (mode, size, written, read, None, uid, gid, links, rdev, None, None))

    def _size(self, _: Entry) -> int:
        return 0

    @property
    def _entry(self) -> Entry:
        return self._image.metadata.entry(self._offset)

    def stat(self) -> Stat:
        return self._stat

    def xattrs(self) -> Mapping[str, bytes]:
        return collect(self._xattrs(), "wim")

    def _xattrs(self) -> Iterator[tuple[str, bytes]]:
        image, entry = self._image, self._entry
        facts = entry.facts
        yield "user.wim.attributes", attributes.text(facts.attributes)
        yield "user.wim.created", filetime_text(facts.made)
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
            yield from self._point(entry)
        yield from items.xattrs(entry)
        yield from self._streams(entry)

    def _point(self, entry: Entry) -> Iterator[tuple[str, bytes]]:
        """The reparse point as Windows has it, with its header."""
        try:
            point = self._image.point(entry)
        except ImageError:
            return
        yield "user.wim.reparse", _POINT.pack(point.tag, len(point.data), entry.facts.reserved) + point.data

    def _streams(self, entry: Entry) -> Iterator[tuple[str, bytes]]:
        """Alternate streams, unless they are files."""
        image = self._image
        left = 0 if image.streams_as_files else MAX_XATTRS
        for stream in image.contents(entry).named if left else ():
            name = f"user.ads.{names.shown(stream.name)}"
            try:
                content = image.stream(stream.digest)
                if (
                    content.size > min(left, MAX_XATTR)
                    or len(name.encode("utf-8", "replace")) > MAX_XATTR_NAME
                ):
                    continue
                yield name, content.read_exactly(0, content.size, "wim")
            except ImageError:
                continue
            left -= content.size


class WimDirectory(_WimNode, Directory):
    """A directory."""

    __slots__ = ("_below", "_listing")
    case_sensitive = False
    _mode = DIRECTORY_MODE

    def __init__(self, image: Image, entry: Entry, depth: int, listing: int) -> None:
        """``listing`` is where the entries begin among which this one is."""
        super().__init__(image, entry, depth)
        self._listing = listing
        self._below = entry.facts.below

    def _scan(self) -> Iterator[tuple[str, Node]]:
        return self.scan()

    def _scan_names(self) -> Iterator[str]:
        return self.scan_names()

    def _entries(self) -> Iterator[Entry]:
        """What lies in this directory, and in no other. Raises ``ImageError``."""
        image, below = self._image, self._below
        first = True
        for entry in image.follow(below) if below else ():
            if first:
                image.claim(self._offset, below, self._listing)
                first = False
            yield entry

    def scan_names(self) -> Iterator[str]:
        """The names of ``scan``."""
        for entry in self._entries():
            name = names.shown(entry.name)
            yield name
            for stream in self._image.contents(entry).named if self._image.streams_as_files else ():
                yield f"{name}:{names.shown(stream.name)}"

    def scan(self) -> Iterator[tuple[str, Node]]:
        """(name, node) of the entries, and of their streams where those are files. Raises ``ImageError``."""
        image, depth, below = self._image, self._depth, self._below
        for entry in self._entries():
            name = names.shown(entry.name)
            yield name, _node(image, entry, depth, below)
            if image.streams_as_files:
                for number, stream in enumerate(image.contents(entry).named, 1):
                    yield f"{name}:{names.shown(stream.name)}", WimStream(image, entry, number, stream)


def _node(image: Image, entry: Entry, depth: int, listing: int) -> Node:
    """The node of an entry in a directory ``depth`` levels below the root."""
    facts = entry.facts
    if facts.attributes & attributes.REPARSE_POINT:
        if facts.tag in reparse.LINKS:
            return WimLink(image, entry, depth)
        if facts.tag in reparse.SPECIALS:
            return WimSpecial(image, entry, reparse.SPECIALS[facts.tag])
    if facts.attributes & attributes.DIRECTORY:
        return WimDirectory(image, entry, depth + 1, listing)
    if facts.digest == NO_HASH and (unix := items.unix(entry)) and S_IFMT(unix.mode) in SPECIAL_FILES:
        return WimSpecial(image, entry, S_IFMT(unix.mode))
    return WimFile(image, entry, depth)


class WimFile(_WimNode, File):
    """A regular file."""

    __slots__ = ()

    def _size(self, entry: Entry) -> int:
        facts = entry.facts
        if facts.streams or facts.attributes & attributes.REPARSE_POINT:
            return self._image.size(self._image.contents(entry).data)
        return self._image.size(facts.digest)

    def open(self) -> BlockDevice:
        return self._image.open(self._entry)


class WimStream(_WimNode, File):
    """An alternate stream as a file of its own; its number is the entry's, moved on inside it."""

    __slots__ = ("_digest",)

    def __init__(self, image: Image, entry: Entry, number: int, stream: Stream) -> None:
        super().__init__(image, entry, 0)
        self.id = image.number << IMAGE_BITS | entry.offset + number
        self._digest = stream.digest
        self._stat = self._stat._replace(size=image.size(stream.digest), nlink=1)

    def xattrs(self) -> Mapping[str, bytes]:
        return {}

    def open(self) -> BlockDevice:
        return self._image.stream(self._digest)


class WimLink(_WimNode, Symlink):
    """A symbolic link or a junction."""

    __slots__ = ()
    _mode = SYMLINK_MODE

    def stat(self) -> Stat:
        try:
            return self._stat._replace(size=len(self.readlink().encode("utf-8", "surrogateescape")))
        except ImageError:
            return self._stat

    def readlink(self) -> str:
        """The target.

        An absolute one counts from the image's root, unless it led elsewhere when it was captured.
        """
        entry = self._entry
        rebased = not entry.facts.flags & NOT_REBASED
        return reparse.posix_target(self._image.point(entry), self._depth, lambda _: rebased, "wim")


class WimSpecial(_WimNode, Special):
    """A socket, FIFO or device node."""

    __slots__ = ("_mode",)

    def __init__(self, image: Image, entry: Entry, kind: int) -> None:
        self._mode = kind | 0o444
        super().__init__(image, entry, 0)
