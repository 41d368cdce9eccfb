"""Check an image: what it stores about itself, and that every byte of it can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from imgmount.chain.open import Image
from imgmount.chain.volume import Volume
from imgmount.core.device import BlockDevice
from imgmount.core.holes import stretches
from imgmount.core.node import File, Symlink
from imgmount.core.read_through import advance, expect
from imgmount.core.slices import Slice
from imgmount.errors import ImageError, UnknownFormatError, UnsupportedError
from imgmount.vfs.vfs import Vfs

READ_SIZE: Final = 1 << 20
GRAIN: Final = 1 << 16  # bytes: the precision of an unreadable range
MAX_UNREADABLE: Final = 16 << 20


def problems(image: Image, *, second_opinion: bool = False, read: bool = True) -> Iterator[str]:
    """What is wrong with ``image``, one line each: containers first, then partitions, file systems and files.

    ``read`` reads every byte of every disk and file. ``second_opinion`` compares with other libraries too.
    Raises ``MountError`` where those are not installed.
    """
    for layer in image.layers:
        yield from _told(layer.name, layer.check())
    if read:
        yield from _unreadable("disk.raw", image.disk)
        for volume in image.volumes:
            if volume.index and not _is_part(volume.device, image.disk):
                yield from _unreadable(f"{volume.name}.raw", volume.device)
    for volume in image.volumes:
        yield from _volume(volume, second_opinion=second_opinion, read=read)


def _volume(volume: Volume, *, second_opinion: bool, read: bool) -> Iterator[str]:
    fault = volume.partition.fault
    # the filesystem may open although some bytes of the partition cannot be read
    if fault is not None:
        yield f"{volume.name}: {fault}"
    # a filesystem that is not read is not damaged
    if isinstance(volume.problem, UnknownFormatError | UnsupportedError):
        return
    if volume.problem is not None:
        if volume.problem is not fault:
            yield f"{volume.name}: {volume.problem}"
        return
    if volume.passed_over is not None:
        yield f"{volume.name}: {volume.passed_over}"
    yield from _told(volume.name, volume.check())
    checked = volume.format is not None and volume.format.checks_content
    yield from _told(volume.name, _tree(volume, read=read and not checked))
    opinion = volume.format.second_opinion if second_opinion and volume.format is not None else None
    if opinion is not None:
        yield from _told(f"{volume.name}, second opinion", opinion(volume.filesystem))


def _told(who: str, found: Iterable[str]) -> Iterator[str]:
    """The problems ``found`` by ``who``, with that name in front; an error ends them and is the last."""
    try:
        for problem in found:
            yield f"{who}: {problem}"
    except ImageError as exc:
        yield f"{who}: {exc}"


def _tree(volume: Volume, *, read: bool) -> Iterator[str]:

    damage: list[str] = []
    vfs = Vfs(volume.filesystem.root, {}, (), volume.device.size)
    for path, node in vfs.walk("", lambda path, error: damage.append(f"{path or '/'}: {error}")):
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
            yield f"{path}: {exc}"
            continue
        with content:
            if content.size != stat.size:
                yield f"{path}: {content.size} bytes, where {stat.size} are promised"
            if read:
                yield from _unreadable(path, content)
    yield from damage


def _is_part(device: BlockDevice, disk: BlockDevice) -> bool:
    """Whether reading ``disk`` has read ``device`` as well."""
    inside = isinstance(device, Slice) and device.device is disk and device.offset + device.size <= disk.size
    return device is disk or inside


def _unreadable(name: str, device: BlockDevice) -> Iterator[str]:
    """One line for each range of ``device`` that cannot be read.

    A very long range ends the search: the stated size must be wrong then.
    """
    start, end, reason = 0, 0, ""
    for offset, size, error in _failures(device, name):
        if reason and offset == end:  # only the first reason is given: the others differ in an offset alone
            end = offset + size
            if end - start >= MAX_UNREADABLE:
                yield f"{name}: unreadable {start:#x} to {end:#x}, the rest was not tried: {reason}"
                return
            continue
        if reason:
            yield f"{name}: unreadable {start:#x} to {end:#x}: {reason}"
        start, end, reason = offset, offset + size, error
    if reason:
        yield f"{name}: unreadable {start:#x} to {end:#x}: {reason}"


def _failures(device: BlockDevice, name: str) -> Iterator[tuple[int, int, str]]:
    """(offset, size, why) of pieces that cannot be read. Where a large step fails, small ones are tried."""
    expect(device.size)
    for offset, size in stretches(device, READ_SIZE):
        advance(size, name)
        try:
            device.pread(offset, size)
        except ImageError:
            for at in range(offset, offset + size, GRAIN):
                part = min(GRAIN, offset + size - at)
                try:
                    device.pread(at, part)
                except ImageError as exc:
                    yield at, part, str(exc)
