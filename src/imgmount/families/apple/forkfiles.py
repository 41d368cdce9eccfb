"""The resource fork of a file that was copied from a Mac to another system: where it may be.

In the file itself (MacBinary, AppleSingle, BinHex: containers whose devices are ``Forked``), or beside
it: ``._name`` and ``__MACOSX/._name`` (AppleDouble), ``.AppleDouble/name`` (netatalk), ``name.rsrc`` and
``.rsrc/name`` with ``.finf/name`` (Basilisk II), an extended attribute.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from imgmount.core.device import BlockDevice
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import ImageError, ImgMountError
from imgmount.families.apple.appledouble import DOUBLE, FINDER_INFO, RESOURCE, SINGLE, entries
from imgmount.sources.file import FileDevice

if TYPE_CHECKING:
    from imgmount.families.apple.types import ImageKind

MAX_FORK: Final = 17 << 20  # offsets in a fork have 24 bits
FORK_ATTRIBUTES: Final = (
    "user.com.apple.ResourceFork",
    "user.org.netatalk.ResourceFork",
    "com.apple.ResourceFork",
)
INFO_ATTRIBUTES: Final = ("user.com.apple.FinderInfo", "com.apple.FinderInfo")


class Forks(NamedTuple):
    """The resource fork and the codes of a file. ``origin`` is where they were found, for the user."""

    type: bytes
    creator: bytes
    resource: BlockDevice | None
    origin: str

    @property
    def kind(self) -> ImageKind | None:
        """The form of disk image that the codes name."""
        from imgmount.families.apple.types import kind_of  # every file is asked for forks, few have any

        return kind_of(self.type, self.creator)

    @property
    def codes(self) -> str:
        """Type and creator for people: ``dImg/dCpy``."""
        return f"{self.type.decode('mac_roman')}/{self.creator.decode('mac_roman')}"

    def read(self, kind: bytes, identifier: int) -> bytes | None:
        """The data of one resource; None where it is not there, or the fork is damaged."""
        if self.resource is None:
            return None
        from imgmount.families.apple.resources import ResourceFork

        try:
            fork = ResourceFork(self.resource, "resource fork")
            found = fork.find(kind, identifier)
            return fork.read(found) if found is not None else None
        except ImageError:
            return None


@runtime_checkable
class Forked(Protocol):
    """A device that is the data fork of a file whose other fork is known."""

    forks: Forks


def forks_of(file: BlockDevice) -> Forks | None:
    """What ``file`` has besides its data, if anything is found."""
    if isinstance(file, Forked):
        return file.forks
    return _beside(file) if isinstance(file, FileDevice) else None


@lru_cache(4)  # several formats ask
def _beside(file: FileDevice) -> Forks | None:
    for read in (_companions, _attributes):
        for forks in read(file.path):
            return forks
    return None


def _companions(path: Path) -> Iterator[Forks]:
    """Forks in files beside ``path``, the likeliest first."""
    folder, name = path.parent, path.name
    doubles = [f"._{name}", f"__MACOSX/._{name}", f".AppleDouble/{name}", f"%{name}"]
    for place in [*doubles, f"{name}.rsrc", f".rsrc/{name}"]:
        data = _content(folder / place)
        if data is None:
            continue
        if data[:4] in (SINGLE, DOUBLE):
            try:
                double = MemoryDevice(data)
                yield forks_in(double, entries(double, "appledouble"), place)
            except ImgMountError:
                continue
        elif place not in doubles:
            info = (_content(folder / ".finf" / name) or b"")[:8].ljust(8, b"\0")
            yield Forks(info[:4], info[4:], MemoryDevice(data), place)


def forks_in(file: BlockDevice, found: Mapping[int, tuple[int, int]], origin: str) -> Forks:
    """The forks in an AppleDouble or AppleSingle file, of which ``found`` are the entries."""
    info = file.pread(*found[FINDER_INFO])[:8] if FINDER_INFO in found else b""
    info = info.ljust(8, b"\0")
    resource = Slice(file, *found[RESOURCE]) if found.get(RESOURCE, (0, 0))[1] else None
    return Forks(info[:4], info[4:], resource, origin)


def _content(path: Path) -> bytes | None:
    """A regular file of sane size, in folders that are no links; None for anything else."""
    try:
        if path.parent.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
            return None
        with FileDevice(path, named=True) as file:
            return file.pread(0, file.size) if file.size <= MAX_FORK else None
    except (OSError, ImgMountError):
        return None


def _attributes(path: Path) -> Iterator[Forks]:
    """Forks in extended attributes of the file."""
    info = _attribute(path, INFO_ATTRIBUTES)[:8].ljust(8, b"\0")
    resource = _attribute(path, FORK_ATTRIBUTES)
    if resource or any(info):
        yield Forks(info[:4], info[4:], MemoryDevice(resource) if resource else None, "an extended attribute")


def _attribute(path: Path, names: tuple[str, ...]) -> bytes:
    for name in names:
        try:
            return os.getxattr(path, name)
        except OSError:
            continue
    return b""
