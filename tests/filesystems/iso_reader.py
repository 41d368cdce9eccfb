"""What tests of the ISO 9660 reader do with a tree."""

from __future__ import annotations

import lzma
from pathlib import Path

from conformance import tree
from helpers import FIXTURES
from imgmount.core.device import gather
from imgmount.core.node import Directory, File, Symlink
from imgmount.errors import ImageError

HERE = FIXTURES / "filesystems" / "iso9660"


def stored(variant: str, name: str) -> bytes:
    return lzma.decompress((HERE / variant / f"{name}.iso.xz").read_bytes())


def content(root: Directory, path: str) -> bytes:
    node = dict(tree(root))[path]
    assert isinstance(node, File)
    with node.open() as device:
        assert device.size == node.stat().size
        assert gather(device.extents(0, device.size)) == device.pread(0, device.size) if device.size else True
        return device.pread(0, device.size)


def readlink(root: Directory, name: str) -> str:
    node = root.lookup(name)
    assert isinstance(node, Symlink)
    return node.readlink()


def exhaust(root: Directory) -> dict[str, bytes | ImageError]:
    """Everything that can be had of a damaged tree; only ``ImageError`` may be raised, and walking ends."""
    found: dict[str, bytes | ImageError] = {}
    todo: list[tuple[str, Directory]] = [("", root)]
    while todo:
        prefix, folder = todo.pop()
        listing = folder.listing()
        if listing.damage:
            found[prefix] = listing.damage
        for name, node in listing.nodes.items():
            path = prefix + name
            try:
                node.stat()
                if isinstance(node, Directory):
                    todo.append((f"{path}/", node))
                elif isinstance(node, File):
                    with node.open() as device:
                        found[path] = device.pread(0, device.size)
                elif isinstance(node, Symlink):
                    found[path] = node.readlink().encode("utf-8", "surrogateescape")
            except ImageError as exc:
                found[path] = exc
    return found


def facts_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
