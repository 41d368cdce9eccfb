"""Check an image: what it stores about itself, and that every byte of it can be read.

Stored checksums are compared while the data is read for the first time, and what a disk has given is not read
again for its partitions and files: see ``jobs.reading``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from imgmount.chain.open import Image
from imgmount.chain.volume import Volume
from imgmount.core.checks import Checked, Finding, Note, Seal
from imgmount.core.device import BlockDevice
from imgmount.core.format import own_check
from imgmount.core.holes import allocated
from imgmount.core.node import File, Symlink
from imgmount.core.read_through import expect
from imgmount.core.slices import Slice
from imgmount.errors import ImageError, UnknownFormatError, UnsupportedError
from imgmount.jobs.reading import Reader, Unreadable
from imgmount.vfs.vfs import Vfs


class Found(NamedTuple):
    """What was found in a layer, a volume or a raw view, which ``where`` names, at ``path`` if in a file."""

    where: str
    what: str | Note | Unreadable | Checked
    path: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether anything is wrong: a note and a checksum that agrees are told as well."""
        return not (self.what.agrees if isinstance(self.what, Checked) else isinstance(self.what, Note))

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.path, str(self.what))))


def problems(image: Image, *, second_opinion: bool = False, read: bool = True) -> Iterator[str]:
    """What is wrong with ``image``, one line each: see ``findings``."""
    for found in findings(image, second_opinion=second_opinion, read=read):
        if found.is_problem:
            yield str(found)


def findings(image: Image, *, second_opinion: bool = False, read: bool = True) -> Iterator[Found]:
    """What is wrong with ``image``, and the checksums that were compared.

    Containers come first, then partitions, file systems and files. ``read`` reads every byte of every layer
    and file, which the checksums of content need. ``second_opinion`` compares with other libraries too.
    Raises ``MountError`` where those are not installed.
    """
    reader = Reader() if read else None
    outer = [(layer.name, layer.device) for layer in image.layers[1:-1]]
    apart = [
        (f"{volume.name}.raw", volume.device)
        for volume in image.volumes
        if volume.index and not _is_part(volume.device, image.disk)
    ]
    devices = [*outer, ("disk.raw", image.disk), *apart]
    if reader is not None:
        expect(sum(allocated(device) for _, device in devices))
    for layer in image.layers:
        yield from told(layer.name, layer.check(), reader, keep=True)
    if reader is not None:
        for name, device in devices:
            yield from (Found(name, lost) for lost in reader.unreadable(device, name, keep=True))
    for volume in image.volumes:
        yield from _volume(volume, reader, second_opinion=second_opinion)


def _volume(volume: Volume, reader: Reader | None, *, second_opinion: bool) -> Iterator[Found]:
    fault = volume.partition.fault
    # the filesystem may open although some bytes of the partition cannot be read
    if fault is not None:
        yield Found(volume.name, str(fault))
    elif volume.index:  # the undivided disk is a layer, and was asked
        yield from told(volume.name, own_check(volume.device), reader)
    # a filesystem that is not read is not damaged
    if isinstance(volume.problem, UnknownFormatError | UnsupportedError):
        return
    if volume.problem is not None:
        if volume.problem is not fault:
            yield Found(volume.name, str(volume.problem))
        return
    if volume.passed_over is not None:
        yield Found(volume.name, str(volume.passed_over))
    yield from told(volume.name, volume.check(), reader)
    checked = volume.format is not None and volume.format.checks_content
    try:
        yield from _tree(volume, None if checked else reader)
    except ImageError as exc:
        yield Found(volume.name, str(exc))
    opinion = volume.format.second_opinion if second_opinion and volume.format is not None else None
    if opinion is not None:
        yield from told(f"{volume.name}, second opinion", opinion(volume.filesystem), reader)


def told(
    where: str, findings: Iterable[Finding], reader: Reader | None, *, keep: bool = False
) -> Iterator[Found]:
    """What is told by ``where``; an error ends it and is the last. Seals need a ``reader``."""
    seals: list[Seal] = []  # of the same content
    try:
        for finding in findings:
            if seals and not (isinstance(finding, Seal) and finding.content is seals[0].content):
                yield from _compared(where, seals, reader, keep=keep)
                seals.clear()
            if not isinstance(finding, Seal):
                yield Found(where, finding)
            elif reader is not None:
                seals.append(finding)
    except ImageError as exc:
        yield Found(where, str(exc))
    yield from _compared(where, seals, reader, keep=keep)


def _compared(where: str, seals: list[Seal], reader: Reader | None, *, keep: bool) -> Iterator[Found]:
    if not seals or reader is None:
        return
    sums = [seal.sum() for seal in seals]
    expect(seals[0].content.size)
    try:
        reader.compute(seals[0].content, sums, seals[0].name, keep=keep)
    except ImageError as exc:
        stored = ", ".join(f"{seal.name} {seal.stored.hex()}" for seal in seals)
        yield Found(where, f"the stored {stored} cannot be compared: {exc}")
        return
    for seal, found in zip(seals, sums, strict=True):
        yield Found(where, seal.against(found.digest()))


def _tree(volume: Volume, reader: Reader | None) -> Iterator[Found]:
    damage: list[Found] = []
    vfs = Vfs(volume.filesystem.root, {}, (), volume.device.size)

    def failed(path: str, error: Exception) -> None:
        damage.append(Found(volume.name, str(error), path or "/"))

    for path, node in vfs.walk("", failed):
        yield from damage
        damage.clear()
        try:
            stat = node.stat()
            if isinstance(node, Symlink):
                node.readlink()
            if not isinstance(node, File):
                continue
            content = node.open()
        except ImageError as exc:
            yield Found(volume.name, str(exc), path)
            continue
        with content:
            if content.size != stat.size:
                yield Found(volume.name, f"{content.size} bytes, where {stat.size} are promised", path)
            if reader is not None:
                for lost in reader.unreadable(content, path):
                    yield Found(volume.name, lost, path)
    yield from damage


def _is_part(device: BlockDevice, disk: BlockDevice) -> bool:
    """Whether reading ``disk`` has read ``device`` as well."""
    inside = isinstance(device, Slice) and device.device is disk and device.offset + device.size <= disk.size
    return device is disk or inside
