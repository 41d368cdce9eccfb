"""How a format describes itself: its name, how sure it is that an image is its own, how it opens one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Protocol, dataclass_transform, runtime_checkable

from imgmount.core.cache import ReadCache
from imgmount.core.checks import Finding
from imgmount.core.device import BlockDevice
from imgmount.core.node import Filesystem, Node
from imgmount.core.option import Option
from imgmount.errors import ImageError, MissingPartError

log = logging.getLogger(__name__)


class Match(IntEnum):
    """How sure a probe is. FALLBACK is for formats without a signature.

    PROVEN outranks CERTAIN: its proof lies in another place than the magics of other formats, which may
    belong to what the image contains.
    """

    NO = 0
    FALLBACK = 1
    LIKELY = 50
    CERTAIN = 100
    PROVEN = 200


class Magic(NamedTuple):
    """``data`` at ``offset``; a negative offset counts from the end of the device."""

    offset: int
    data: bytes


class Siblings(Protocol):
    """The other files that an image may name; see ``sources.siblings``."""

    def open(self, name: str) -> BlockDevice:
        """The file called ``name``, else in another case. Raises ``MissingPartError``."""

    def names(self) -> Sequence[str]:
        """The names of the regular files beside the image, sorted; those of further folders behind them."""

    def beside(self, file: BlockDevice) -> Siblings:
        """The other files that ``file``, which ``open`` gave, may name in its turn."""

    def within(self, folder: str) -> Siblings:
        """The files in a folder beside the image whose name the format fixes, not the image: ``bands``."""


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Options(NamedTuple):
    """What the user asked for. Every field but the spare ones has a command line option of the same name."""

    container: str | None = None  # format names that override detection
    partitions: str | None = None
    fs: str | None = None  # also a namespace of a filesystem: "rockridge", "joliet", "iso"
    encoding: str | None = None  # for names without a declared charset
    # where other files may lie: folders, and "any" for any place that the image names
    refs: Sequence[str] = ()
    password: str | None = None
    # further lines of --password-file: passwords of other volumes and other users
    spare_passwords: tuple[str, ...] = ()
    keys: Mapping[str, bytes] = _NOTHING
    spare_keys: tuple[bytes, ...] = ()  # given without a name: each is tried wherever a key is needed
    # options of single formats: {"member": "disk2.vmdk"}, see core.option
    extra: Mapping[str, str] = _NOTHING


def no_parent(name: str, fmt: str | None) -> BlockDevice:
    """What ``Context.open_parent`` is where no parent can be opened."""
    raise MissingPartError(f"{name!r} ({fmt or 'of no declared format'}) cannot be opened from here")


class Context(NamedTuple):
    """What ``open`` may use besides the device: the image's path, its siblings, the cache, the options.

    ``open_parent(name, format)`` opens the disk that a differencing image is based on: a sibling, in the
    format of that registry name, ``"raw"`` for none, or None if the image declares none (then it is guessed,
    and may not name files itself). Raises ``MissingPartError`` if it is absent, ``ImageError`` for a chain
    that loops. Layers do not close it.

    ``parts`` are those of the table that the device is a part of, itself among them.
    """

    path: Path
    siblings: Siblings
    cache: ReadCache
    options: Options = Options()
    open_parent: Callable[[str, str | None], BlockDevice] = no_parent
    parts: Sequence[BlockDevice] = ()


class Partition(NamedTuple):
    """A numbered part of a device.

    ``kind`` is the table's own code, printable: ``"0x07"``, a GUID, ``"MODE1/2352"``.

    ``device`` is what a filesystem is looked for in. ``files`` is what the raw view shows of the part, (name,
    content), where that is not ``pN.raw`` with the device itself: ``track01.iso`` and ``track01.bin`` of a
    data track. ``session`` counts from 1 on discs. ``fault`` is why this part, or some of it, cannot be read:
    the device raises it there. ``uuid`` is the part's own. ``info`` has facts for ``imgmount info`` that are
    known without opening the part. ``holds_files`` is False where no filesystem is expected: a track of
    sound.
    """

    index: int  # type: ignore[assignment]  # not the method of tuples
    kind: str
    name: str
    device: BlockDevice
    files: tuple[tuple[str, BlockDevice], ...] = ()
    session: int = 0
    fault: ImageError | None = None
    uuid: str = ""
    info: Mapping[str, str] = _NOTHING
    holds_files: bool = True


def begins_on(device: BlockDevice, fmt: str, number: int, start: int) -> bool:
    """Whether partition ``number`` of ``device``, from byte ``start`` on, has any; one without is told."""
    if start < device.size:
        return True
    log.warning("%s: partition %d begins at %#x, past the end of the disk", fmt, number, start)
    return False


@runtime_checkable
class Partitioned(Protocol):
    """A container that divides its disk itself: the tracks of a CUE sheet."""

    def partitions(self) -> Sequence[Partition]:
        """The parts, in order."""

    def main(self, session: int | None) -> BlockDevice | None:
        """The device of a file system of the undivided medium; ``session`` is the user's choice."""


@runtime_checkable
class Cataloged(Protocol):
    """A container of files, not of a disk: their data, and a list of them for a file system format."""

    def catalog(self) -> bytes:
        """The list, in its own form. Raises ``ImageError``."""


@runtime_checkable
class Snapshotted(Protocol):
    """A container that can show a disk as it was.

    ``snapshot`` is the state it was opened in, "" for the newest.
    """

    snapshot: str


@runtime_checkable
class Described(Protocol):
    """A device that has facts for ``imgmount info``."""

    def info(self) -> Mapping[str, str]:
        """Facts in the field's own words."""


@runtime_checkable
class Verifiable(Protocol):
    """A device that stores something about itself that can be checked: checksums, backup tables."""

    def verify(self) -> Iterable[Finding]:
        """Check it: a line for each problem, a ``Seal`` for each checksum of content."""


def certain(_: BlockDevice) -> Match:
    """The probe of a format whose magic alone is proof."""
    return Match.CERTAIN


def own_check(opened: object) -> Iterable[Finding]:
    """What ``verify`` of a device or file system tells; nothing where it has no such method."""
    return opened.verify() if isinstance(opened, Verifiable) else ()


class Later:
    """The function or class ``"module:name"``, imported when it is first called."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def resolve(self) -> Callable[..., Any]:
        """The thing itself."""
        module, _, name = self.reference.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found

    def __call__(self, *args: Any) -> Any:
        return self.resolve()(*args)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Declaration:
    """Keywords become attributes, as in a data class: those take ten times as long to import."""

    def __init__(self, **values: object) -> None:
        vars(self).update(values)


class Format(Declaration):
    """What every format declares. The last statement of its module is ``FORMAT: Final = ...Format(...)``.

    Its magics stand in ``registry.py``. ``probe`` is asked only where a magic matched, or always if the
    format has none; it reads through ``pread`` alone and ``FormatError`` means no. ``open`` may raise any
    ``ImageError``. ``extensions`` are how the names of such files mostly end, for people: nothing is opened
    by them. ``checks`` says what ``verify`` looks at, ``limits`` what is not read. ``needs`` is the optional
    part of the package that the format needs: "crypto". ``options`` are those that it reads.

    ``rescue`` is a second probe for damaged starts: it looks for the other copy (a backup boot sector, a
    later descriptor) and is asked only where no probe of its kind found more than ``FALLBACK``. It reads few
    sectors, as every unknown device is asked, and accepts only what proves itself: a checksum, or fields that
    fit each other and the device. Its format's line in ``registry.py`` says ``rescue=True``.
    """

    kind: ClassVar[str]  # what it gives back
    name: str
    title: str
    probe: Callable[[BlockDevice], Match] = staticmethod(certain)
    rescue: Callable[[BlockDevice], Match] | None = None
    extensions: tuple[str, ...] = ()
    checks: str = ""
    limits: str = ""
    needs: str = ""
    options: tuple[Option, ...] = ()

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` is this format."""
        return name == self.name


class ContainerFormat(Format):
    """How a container is read.

    ``check`` yields what ``verify`` tells of what ``open`` gave: see ``core.checks``. ``guest`` marks the
    disk of a virtual machine: what the machine wrote to it is not opened as a container. ``packs_files``
    marks one that may hold any file, so that it says nothing of whether there is a disk in it.
    """

    kind = "container"
    open: Callable[[BlockDevice, Context], BlockDevice]
    check: Callable[[Any], Iterable[Finding]] = staticmethod(own_check)
    guest: bool = False
    packs_files: bool = False


class PartitionsFormat(Format):
    """How a partition table is read.

    ``about`` gives facts of the whole table for ``imgmount info``, ``check`` one line for each thing that is
    wrong with it. ``beside`` marks partitions that do not divide a disk but lie in it, with a table or
    without: boot images, older sessions. ``of_disc`` marks the table of an optical disc, which is quick to
    read: a partition may hold many discs.
    """

    kind = "partitions"
    open: Callable[[BlockDevice, Context], Sequence[Partition]]
    about: Callable[[BlockDevice], Mapping[str, str]] | None = None
    check: Callable[[BlockDevice], Iterable[str]] | None = None
    beside: bool = False
    of_disc: bool = False


class FilesystemFormat(Format):
    """How a filesystem is read.

    ``check`` yields what ``verify`` tells of what ``open`` gave: see ``core.checks``. ``deleted`` yields
    (path as far as it is known, node) of deleted files; what has been used again fails when it is read.
    ``second_opinion`` compares with what another library reads, one line for each difference; ``MountError``
    where that library is not installed. ``system_area`` marks one that leaves its first sectors to a
    partition table, for the same files: hybrid discs. ``views`` are namespaces that ``--fs`` may name besides
    ``name``: "rockridge", "joliet". ``companion`` is the filesystem that a bridge disc has besides this one,
    for the same files. ``checks_content`` says that ``check`` compares every file with its checksum:
    ``verify`` need not read them again, in an order that may be a slow one.
    """

    kind = "filesystem"
    open: Callable[[BlockDevice, Context], Filesystem]
    check: Callable[[Any], Iterable[Finding]] = staticmethod(own_check)
    deleted: Callable[[Any], Iterator[tuple[str, Node]]] | None = None
    second_opinion: Callable[[Any], Iterator[str]] | None = None
    system_area: bool = False
    views: tuple[str, ...] = ()
    companion: str = ""
    checks_content: bool = False

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` is this format or one of its views."""
        return name == self.name or name in self.views
