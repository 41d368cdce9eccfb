"""``imgmount verify``: check an image against what it stores about itself, and read all of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from imgmount.cli.options import add_image_arguments, open_from
from imgmount.cli.text import for_stdout

if TYPE_CHECKING:
    from imgmount.chain.open import Image
    from imgmount.chain.volumes import Volume
    from imgmount.core.device import BlockDevice

SUMMARY: Final = "Check an image: its own checksums and structures, and that every byte of it can be read."
READ_SIZE: Final = 1 << 20
GRAIN: Final = 1 << 16  # how exactly an unreadable range is told
MAX_UNREADABLE: Final = 16 << 20
EXIT_DAMAGED: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """IMAGE and how thoroughly."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also compare with other people's libraries, where there are any",
    )
    parser.add_argument(
        "--read",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read every file and every disk to the end (default)",
    )
    add_image_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print ``ok``, or one line a problem."""
    with open_from(args) as image:
        image.context.cache.start()
        found = 0
        for problem in problems(image, strict=args.strict, read=args.read):
            print(for_stdout(problem), flush=True)
            found += 1
    if not found:
        print("ok")
    return EXIT_DAMAGED if found else 0


def problems(image: Image, *, strict: bool, read: bool) -> Iterator[str]:
    """What is wrong with ``image``, from the outside in."""
    for layer in image.layers:
        yield from _told(layer.name, layer.check())
    if read:
        yield from _unreadable("disk.raw", image.disk)
        for volume in image.volumes:
            if volume.index and not _is_part(volume.device, image.disk):
                yield from _unreadable(f"{volume.name}.raw", volume.device)
    for volume in image.volumes:
        yield from _volume(volume, strict=strict, read=read)


def _volume(volume: Volume, *, strict: bool, read: bool) -> Iterator[str]:
    from imgmount.errors import UnknownFormatError, UnsupportedError

    fault = volume.partition.fault
    if (
        fault is not None
    ):  # its bytes cannot all be read, perhaps in a place that the filesystem can be opened without
        yield f"{volume.name}: {fault}"
    if isinstance(
        volume.problem, UnknownFormatError | UnsupportedError
    ):  # a filesystem that is not read is not damaged
        return
    if volume.problem is not None:
        if volume.problem is not fault:
            yield f"{volume.name}: {volume.problem}"
        return
    if volume.passed_over is not None:
        yield f"{volume.name}: {volume.passed_over}"
    yield from _told(volume.name, volume.check())
    yield from _told(volume.name, _tree(volume, read=read))
    opinion = volume.format.second_opinion if strict and volume.format is not None else None
    if opinion is not None:
        yield from _told(f"{volume.name}, second opinion", opinion(volume.filesystem))


def _told(who: str, found: Iterable[str]) -> Iterator[str]:
    """``found`` in the name of ``who``; an error ends it and is the last problem."""
    from imgmount.errors import ImageError

    try:
        for problem in found:
            yield f"{who}: {problem}"
    except ImageError as exc:
        yield f"{who}: {exc}"


def _tree(volume: Volume, *, read: bool) -> Iterator[str]:
    from imgmount.core.node import File, Symlink
    from imgmount.errors import ImageError
    from imgmount.vfs.vfs import Vfs

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
    from imgmount.core.slices import Slice

    inside = isinstance(device, Slice) and device.device is disk and device.offset + device.size <= disk.size
    return device is disk or inside


def _unreadable(name: str, device: BlockDevice) -> Iterator[str]:
    """One line for each range of ``device`` that cannot be read.

    A very long one ends the search: the size is a lie then.
    """
    start, end, reason = 0, 0, ""
    for offset, size, error in _failures(device):
        if reason and offset == end:  # the first reason stands for all: they differ in nothing but an offset
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


def _failures(device: BlockDevice) -> Iterator[tuple[int, int, str]]:
    """(offset, size, why) of pieces that cannot be read, first in large steps, where that fails in small ones. Holes can be."""
    from imgmount.core.holes import stretches
    from imgmount.errors import ImageError

    for offset, size in stretches(device, READ_SIZE):
        try:
            device.pread(offset, size)
        except ImageError:
            for at in range(offset, offset + size, GRAIN):
                part = min(GRAIN, offset + size - at)
                try:
                    device.pread(at, part)
                except ImageError as exc:
                    yield at, part, str(exc)
