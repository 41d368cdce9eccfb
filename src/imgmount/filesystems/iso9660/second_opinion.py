"""A second opinion on a volume: its trees as pycdlib reads them, compared with ours."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, Final

from imgmount.core.device import BlockDevice, Extent
from imgmount.core.device_file import DeviceFile
from imgmount.core.node import Directory, File, Node, Symlink
from imgmount.core.slices import Concat
from imgmount.errors import ImageError, MountError, in_our_words
from imgmount.filesystems.iso9660.descriptors import FIRST_SECTOR, MAX_DESCRIPTORS, NAME, SECTOR, STANDARD_ID
from imgmount.filesystems.iso9660.tree import RELOCATION_NAMES
from imgmount.filesystems.iso9660.volume import JOLIET, PLAIN, ROCK_RIDGE, Iso9660

_PATH_ARGUMENT: Final = {ROCK_RIDGE: "rr_path", JOLIET: "joliet_path", PLAIN: "iso_path"}
# pycdlib raises its own errors for what it checks and these for what it does not
_UNCHECKED: Final = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
    MemoryError,
)


def compare(volume: Iso9660) -> Iterator[str]:
    """One line for each complaint of pycdlib and each difference to our tree, in every namespace.

    Raises ``MountError`` where pycdlib is not installed.
    """
    try:
        import pycdlib
        from pycdlib.pycdlibexception import PyCdlibException
    except ImportError:
        raise MountError("the second opinion needs pycdlib: pip install imgmount[strict]") from None
    disc, start = volume.device, volume.session_start
    complaints = (PyCdlibException, ImageError, *_UNCHECKED)
    theirs = pycdlib.PyCdlib()
    try:
        theirs.open_fp(io.BufferedReader(DeviceFile(_from_start(disc, start) if start else disc)))
    except complaints as exc:
        yield f"{NAME}: pycdlib cannot open it: {in_our_words(exc)}"
        return
    try:
        for view in volume.views:
            yield from _compare(theirs, view, volume.tree_root(view), complaints)
    finally:
        theirs.close()


def _from_start(disc: BlockDevice, session: int) -> BlockDevice:
    """``disc`` with the descriptors of another session in place of the first one's.

    ``session`` is the block at which that begins.
    """
    first, count = session + FIRST_SECTOR, 1
    while (
        count < MAX_DESCRIPTORS and disc.pread((first + count) * SECTOR + 1, len(STANDARD_ID)) == STANDARD_ID
    ):
        count += 1
    begin, size = FIRST_SECTOR * SECTOR, count * SECTOR
    rest = begin + size
    return Concat(
        [Extent(begin, disc), Extent(size, disc, first * SECTOR), Extent(disc.size - rest, disc, rest)]
    )


def _compare(
    theirs: Any, view: str, root: Directory, complaints: tuple[type[Exception], ...]
) -> Iterator[str]:
    ours: dict[str, Node] = {}
    yield from _collect(root, "", ours, view)
    try:
        records = dict(_walk(theirs, view))
    except complaints as exc:
        yield f"{NAME}: {view}: pycdlib cannot list it: {in_our_words(exc)}"
        return
    moved = tuple(f"{path}/" for path, (_, record) in records.items() if _is_relocated(record))
    for path in sorted(records.keys() - ours.keys()):
        if not (moved and path.split("/", 1)[0].encode() in RELOCATION_NAMES):
            yield f"{NAME}: {view}: only pycdlib has {path!r}"
    for path, node in ours.items():
        if path.startswith(moved) or f"{path}/" in moved:  # pycdlib leaves these where the writer moved them
            continue
        if path not in records:
            yield f"{NAME}: {view}: pycdlib lacks {path!r}"
            continue
        try:
            difference = _difference(theirs, view, node, *records[path])
        except complaints as exc:
            difference = f"pycdlib cannot read it: {in_our_words(exc)}"
        if difference:
            yield f"{NAME}: {view}: {path!r}: {difference}"


def _collect(directory: Directory, prefix: str, found: dict[str, Node], view: str) -> Iterator[str]:
    listing = directory.listing()
    if listing.damage:
        yield f"{listing.damage}: {view}:/{prefix}"
    for name, node in listing.nodes.items():
        found[prefix + name] = node
        if isinstance(node, Directory):
            yield from _collect(node, f"{prefix}{name}/", found, view)


def _walk(theirs: Any, view: str) -> Iterator[tuple[str, tuple[str, Any]]]:
    """(name as we show it, (pycdlib's path, its record))."""
    argument = _PATH_ARGUMENT[view]
    for where, folders, files in theirs.walk(**{argument: "/"}):
        for name in (*folders, *files):
            path = f"{where.rstrip('/')}/{name}"
            yield _shown(path, view), (path, theirs.get_record(**{argument: path}))


def _shown(path: str, view: str) -> str:
    shown = path.lstrip("/")
    if view != ROCK_RIDGE:
        stem, mark, version = shown.rpartition(";")
        shown = stem if mark and version.isdigit() else shown
    return shown.removesuffix(".") if view == PLAIN else shown


def _is_relocated(record: Any) -> bool:
    fields = record.rock_ridge
    return fields is not None and bool(fields.relocated_record() or fields.child_link_record_exists())


def _length(record: Any) -> int:
    """The size of a file of any number of extents."""
    length = 0
    while record is not None:
        length += record.data_length
        record = record.data_continuation
    return length


def _difference(theirs: Any, view: str, node: Node, path: str, record: Any) -> str:
    """What differs between our node and their record, or nothing."""
    if isinstance(node, Directory) != bool(record.is_dir()):
        return "a directory for one, not for the other"
    if isinstance(node, Symlink):
        target = (
            record.rock_ridge.symlink_path().decode("utf-8", "surrogateescape") if record.rock_ridge else ""
        )
        return "" if target == node.readlink() else f"link to {node.readlink()!r}, to {target!r} for pycdlib"
    if not isinstance(node, File):
        return ""
    with node.open() as content:
        if node.stat().allocated is not None:
            return ""  # zisofs, which pycdlib does not decode
        if content.size != _length(record):
            return f"{content.size} bytes, {_length(record)} for pycdlib"
        sink = _Comparison(content)
        if content.size:
            theirs.get_file_from_iso_fp(sink, **{_PATH_ARGUMENT[view]: path})
        return "" if sink.equal else f"the content differs from byte {sink.tell()} on"


class _Comparison(io.RawIOBase):
    """Takes what pycdlib writes and compares it with our content.

    ``tell`` stops at the first write that differs.
    """

    def __init__(self, content: BlockDevice) -> None:
        super().__init__()
        self._content = content
        self._position = 0
        self.equal = True

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.equal = self.equal and self._content.pread(self._position, len(data)) == bytes(data)
        self._position += len(data) if self.equal else 0
        return len(data)
