"""The list of files in logical evidence (L01, Lx01): a tree in lines of text, two an entry.

Its data is the container's.

Source: libewf, "Ltree section", EWF2 "Serialized file object data". Categories come in any order; only
``entry`` matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from imgmount.core.checks import Finding, Seal, from_hex
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.fields import NS
from imgmount.core.format import Cataloged, Context, FilesystemFormat, Match
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError, ImageError, UnsupportedError

MAX_DEPTH: Final = 1024
MAX_SIZE: Final = 1 << 62
_DIRECTORY: Final = ("1", "d")  # values of the tag p
_ESCAPES: Final = str.maketrans({"\1": "\n", "\2": "\r", "\3": "\t"})


class _Entry:
    """A line of values, what it means on demand, and its children."""

    __slots__ = ("children", "line", "tree")

    def __init__(self, tree: Ltree, line: int) -> None:
        self.tree = tree
        self.line = line
        self.children: list[_Entry] = []

    def value(self, tag: str) -> str:
        """The value of ``tag``, empty if there is none."""
        column = self.tree.columns.get(tag)
        values = self.tree.lines[self.line].split("\t")
        return values[column].translate(_ESCAPES) if column is not None and column < len(values) else ""

    def number(self, tag: str, default: int = 0) -> int:
        """The value of ``tag`` as a number; ``default`` where it is none."""
        try:
            return int(self.value(tag))
        except ValueError:
            return default

    def stat(self, mode: int, size: int) -> Stat:
        """Its facts; times are seconds, in UTC."""
        changed, accessed = self.number("mo"), self.number("ac")
        return Stat(mode, size, self.number("wr") * NS, accessed * NS or None, changed * NS or None)


class LtreeDirectory(Directory):
    """An entry with children, or one that is said to be a folder."""

    __slots__ = ("_entry",)

    def __init__(self, entry: _Entry) -> None:
        self._entry = entry
        self.id = entry.line

    def stat(self) -> Stat:
        return self._entry.stat(DIRECTORY_MODE, 0)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        for child in self._entry.children:
            folder = child.children or child.value("p") in _DIRECTORY
            yield child.value("n"), LtreeDirectory(child) if folder else LtreeFile(child)


class LtreeFile(File):
    """A file, whose data is one or more runs of the container's."""

    __slots__ = ("_entry",)

    def __init__(self, entry: _Entry) -> None:
        self._entry = entry
        self.id = entry.line

    def _size(self) -> int:
        size = self._entry.number("ls")
        return size if 0 <= size < MAX_SIZE else 0

    def stat(self) -> Stat:
        return self._entry.stat(FILE_MODE, self._size())

    def open(self) -> BlockDevice:
        size, device = self._size(), self._entry.tree.device
        runs = self._runs(device)
        stored = sum(run.length for run in runs)
        if stored == 1 and size > 1:  # one byte stands for all
            return _Fill(size, runs[0])
        duplicate = self._entry.number("du", -1)
        if stored < size and duplicate >= 0:
            runs, stored = [Extent(size, device, duplicate)], size
        if stored < size:
            raise FormatError("ltree", f"{stored} bytes of {size} are kept", offset=self._entry.line)
        return _Cut(Concat(runs), size) if size else MemoryDevice(b"")

    def _runs(self, device: BlockDevice) -> list[Extent]:
        """The tag be: a count, and pairs of offset and size, in hexadecimal."""
        words = self._entry.value("be").split()
        if "S" in words:
            raise UnsupportedError("ltree: sparse extents")
        try:
            numbers = [int(word, 16) for word in words]
        except ValueError as exc:
            raise FormatError("ltree", f"extents {words[:4]}", offset=self._entry.line) from exc
        if numbers and len(numbers) != 2 * numbers[0] + 1:
            raise FormatError(
                "ltree", f"{numbers[0]} extents in {len(numbers)} numbers", offset=self._entry.line
            )
        if any(not 0 <= number < MAX_SIZE for number in numbers):
            raise FormatError("ltree", "an extent is too large", offset=self._entry.line)
        return [
            Extent(length, device, offset)
            for offset, length in zip(numbers[1::2], numbers[2::2], strict=True)
        ]

    def xattrs(self) -> Mapping[str, bytes]:
        return {
            f"user.{name}": value.encode()
            for tag, name in (("ha", "md5"), ("sha", "sha1"))
            if (value := self._entry.value(tag))
        }

    @property
    def md5(self) -> str:
        """The stored digest, empty if there is none."""
        value = self._entry.value("ha").lower()
        return value if len(value) == 32 and set(value) != {"0"} else ""


class _Cut(MappedDevice):
    def __init__(self, device: BlockDevice, size: int) -> None:
        self._device = device
        self.size = size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._device, offset)


class _Fill(BlockDevice):
    """One stored byte, repeated."""

    def __init__(self, size: int, run: Extent) -> None:
        self.size = size
        self._run = run

    def _pread(self, _: int, size: int) -> bytes:
        assert self._run.device is not None
        return self._run.device.read_exactly(self._run.offset, 1, "ltree") * size


class Ltree(Filesystem):
    """The tree. It is one text, which is read when the filesystem is opened."""

    def __init__(self, device: BlockDevice, _: Context) -> None:
        assert isinstance(device, Cataloged)
        self.device = device
        self.lines = (
            device.catalog()
            .decode("utf-16-le", "surrogatepass")
            .lstrip("\ufeff")
            .replace("\r\n", "\n")
            .split("\n")
        )
        if "entry" not in self.lines:
            raise FormatError("ltree", "no category 'entry'")
        self._start = self.lines.index("entry") + 2  # its count comes between
        self.columns = {tag: column for column, tag in enumerate(self._line(self._start).split("\t"))}
        self._root = self._read()

    def _line(self, number: int) -> str:
        if number >= len(self.lines):
            raise FormatError("ltree", "the list ends early", offset=number)
        return self.lines[number]

    def _read(self) -> _Entry:
        """Entries in depth-first order, each a line with the number of its children and a line of values."""
        at = self._start + 1
        root = _Entry(self, at + 1)
        open_entries = [(root, self._children(at))]
        while open_entries:
            entry, left = open_entries.pop()
            if not left:
                continue
            open_entries.append((entry, left - 1))
            at += 2
            child = _Entry(self, at + 1)
            self._line(at + 1)
            entry.children.append(child)
            open_entries.append((child, self._children(at)))
            if len(open_entries) > MAX_DEPTH:
                raise FormatError("ltree", f"more than {MAX_DEPTH} folders inside each other", offset=at)
        return root

    def _children(self, number: int) -> int:
        words = self._line(number).split("\t")
        if len(words) < 2 or not words[1].isdecimal():
            raise FormatError("ltree", f"no count of children but {words[:2]}", offset=number)
        return int(words[1][:10])

    @property
    def root(self) -> LtreeDirectory:
        return LtreeDirectory(self._root)

    def info(self) -> Mapping[str, str]:
        return {"entries": str((len(self.lines) - self._start) // 2)}

    def verify(self) -> Iterator[Finding]:
        """The MD5 of each file that has one."""
        todo: list[tuple[str, Node]] = [("", self.root)]
        while todo:
            path, node = todo.pop()
            if isinstance(node, Directory):
                todo.extend((f"{path}/{name}", child) for name, child in node.entries())
            elif isinstance(node, LtreeFile) and node.md5:
                try:
                    yield Seal.of(f"MD5 of {path}", from_hex(node.md5), node.open(), "md5")
                except ImageError as exc:
                    yield f"{path}: {exc}"


def probe(device: BlockDevice) -> Match:
    """Whether the container has such a list."""
    return Match.CERTAIN if isinstance(device, Cataloged) else Match.NO


FORMAT: Final = FilesystemFormat(
    name="ltree",
    title="Files of logical evidence (L01, Lx01)",
    checks="MD5 of each file",
    open=Ltree,
    probe=probe,
    limits="no sparse extents",
)
