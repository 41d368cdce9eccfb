"""A file of the Mac in MacBinary, AppleSingle or BinHex that is no disk image: its two forks, as files.

``data`` and ``rsrc``; type and creator are in ``imgmount info``. An AppleDouble file has ``rsrc`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Match
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Directory, File, Filesystem, Node, Stat
from imgmount.core.slices import Concat, MemoryDevice
from imgmount.errors import FormatError
from imgmount.families.apple.binhex import MARK
from imgmount.families.apple.macbinary import parse
from imgmount.families.apple.wrapped import ForkedMemory, unwrap

NAME: Final = "macforks"


class _Fork(File):
    __slots__ = ("_content",)

    def __init__(self, number: int, content: BlockDevice) -> None:
        self.id = number
        self._content = content

    def stat(self) -> Stat:
        return Stat(FILE_MODE, self._content.size)

    def open(self) -> BlockDevice:
        return Concat.of([self._content])  # which the caller may close


class _Root(Directory):
    __slots__ = ("_forks",)

    def __init__(self, forks: list[tuple[str, BlockDevice]]) -> None:
        self.id = 0
        self._forks = [(name, _Fork(number, fork)) for number, (name, fork) in enumerate(forks, 1)]

    def stat(self) -> Stat:
        return Stat(DIRECTORY_MODE, nlink=2)

    def _scan(self) -> Iterable[tuple[str, Node]]:
        return self._forks


class ForkVolume(Filesystem):
    """Both forks of one file."""

    def __init__(self, device: BlockDevice, _: Context) -> None:
        found = unwrap(device)
        if found is None:
            raise FormatError(NAME, "neither MacBinary, AppleSingle nor BinHex", offset=0)
        self._file = found
        resource = found.forks.resource or MemoryDevice(b"")
        data = [] if found.forks.origin == "AppleDouble" else [("data", found)]
        self._root = _Root([*data, ("rsrc", resource)])

    @property
    def root(self) -> Directory:
        return self._root

    def info(self) -> Mapping[str, str]:
        forks = self._file.forks
        return {"form": forks.origin, "type and creator": forks.codes}

    def verify(self) -> Iterator[str]:
        """The checksums of BinHex; those of MacBinary's header are part of recognising it."""
        if isinstance(self._file, ForkedMemory):
            yield from self._file.faults


def probe(device: BlockDevice) -> Match:
    """LIKELY, for MacBinary too where its header has a checksum; without one, FALLBACK."""
    if device.pread(0, len(MARK)) == MARK:
        return Match.LIKELY  # whatever is wrong with the rest, the user is to be told
    found = unwrap(device)
    if found is None:
        return Match.NO
    header = parse(device)
    return Match.FALLBACK if header is not None and header.version == 1 else Match.LIKELY


FORMAT: Final = FilesystemFormat(
    name=NAME,
    title="Macintosh file with its forks (MacBinary, AppleSingle, BinHex)",
    checks="CRC-16 of BinHex",
    open=ForkVolume,
    probe=probe,
)
