"""What every device and every tree must be.

Each format calls these on each of its fixtures; none writes its own read tests.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from imgmount.core.device import BlockDevice, gather
from imgmount.core.format import own_check
from imgmount.core.node import Directory, File, Filesystem, Node, Symlink
from imgmount.errors import ImageError

SPANS = 300
THREADS = 8


def check_device(device: BlockDevice, expected: bytes) -> None:
    """``device`` holds exactly ``expected``, however it is read."""
    assert device.size == len(expected)
    assert hashlib.sha256(device.pread(0, device.size)).digest() == hashlib.sha256(expected).digest()
    assert device.pread(device.size, 1) == b""
    assert device.pread(device.size + 4096, 4096) == b""
    assert device.pread(0, device.size + 1) == expected
    with ThreadPoolExecutor(THREADS) as pool:
        for (offset, size), data, mapped, joined in pool.map(
            lambda span: _read(device, span), list(_spans(device))
        ):
            assert data == expected[offset : offset + size], f"{size} bytes at {offset:#x}"
            assert mapped == data, f"extents of {size} bytes at {offset:#x}"
            assert joined == data, f"pieces of {size} bytes at {offset:#x}"


def _read(device: BlockDevice, span: tuple[int, int]) -> tuple[tuple[int, int], bytes, bytes, bytes]:
    mapped = gather(device.extents(*span)) if device.size > span[0] else b""
    return span, device.pread(*span), mapped, b"".join(device.buffers(*span))


def _spans(device: BlockDevice) -> Iterator[tuple[int, int]]:
    rng = random.Random(device.size)
    for _ in range(SPANS):
        offset = rng.randrange(device.size + 1) if device.size else 0
        yield offset, rng.choice((1, 511, 4096, 65537, device.block_size + 1, 3 * device.block_size))
    step = max(device.block_size, device.size // SPANS // device.block_size * device.block_size)
    for edge in range(device.block_size, device.size, step):
        yield edge - 1, 2
        yield edge, 1


def tree(root: Directory, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """(path, node) of everything below ``root``, parents first."""
    for name, node in root.entries():
        yield prefix + name, node
        if isinstance(node, Directory):
            yield from tree(node, f"{prefix}{name}/")


def sha256(device: BlockDevice) -> str:
    digest = hashlib.sha256()
    for offset in range(0, device.size, 1 << 20):
        digest.update(device.pread(offset, 1 << 20))
    return digest.hexdigest()


def manifest(root: Directory) -> dict[str, tuple[int, str] | str]:
    """path -> (size, SHA-256) of a file, target of a symlink (prefixed ``-> ``), "/" for a directory, "special"."""
    facts: dict[str, tuple[int, str] | str] = {}
    for path, node in tree(root):
        if isinstance(node, File):
            with node.open() as content:
                facts[path] = (content.size, sha256(content))
        elif isinstance(node, Symlink):
            facts[path] = f"-> {node.readlink()}"
        else:
            facts[path] = "/" if isinstance(node, Directory) else "special"
    return facts


def check_tree(root: Directory, expected: dict[str, tuple[int, str] | str]) -> None:
    """``root`` holds exactly ``expected`` (see ``manifest``); listing, lookup and walk agree; names are fit for a path."""
    seen: set[int] = set()
    for path, node in tree(root):
        name = path.rpartition("/")[2]
        assert name not in ("", ".", ".."), path
        assert "/" not in name, path
        assert "\0" not in name, path
        assert 0 <= node.id < 1 << 48, path
        assert node.stat() == node.stat(), path
        assert all(attribute.startswith(root.xattr_prefixes) for attribute in node.xattrs()), path
        if isinstance(node, File):
            with node.open() as content:
                assert content.size == node.stat().size, path
                assert content.pread(content.size, 1) == b"", path
        if node.stat().nlink == 1 or isinstance(node, Directory):
            assert node.id not in seen, f"{path} shares its id"
            seen.add(node.id)
    _check_lookups(root, "")
    found = manifest(root)
    assert found == expected


def _check_lookups(directory: Directory, path: str) -> None:
    listed = list(directory.entries())
    assert len({name for name, _ in listed}) == len(listed), f"duplicate names in {path!r}"
    assert list(directory.names()) == [name for name, _ in listed], (
        f"other names alone than with nodes in {path!r}"
    )
    for name, node in listed:
        found = directory.lookup(name)
        assert (type(found), found.id, found.stat()) == (type(node), node.id, node.stat()), f"{path}{name}"
        if isinstance(node, Directory):
            _check_lookups(node, f"{path}{name}/")


def survive(open_filesystem: Callable[[], Filesystem], limit: int = 100_000) -> int:
    """Visit all of a filesystem that may be damaged: that may show as ``ImageError`` alone. Counts the nodes.

    Of files the first and the last bytes are read.
    """
    try:
        opened = open_filesystem()
        opened.info()
        pending: list[Node] = [opened.root]
    except ImageError:
        return 0
    nodes = 0
    while pending:
        node = pending.pop()
        nodes += 1
        assert nodes < limit, "more nodes than an image of this size can have"
        for question in (node.stat, node.xattrs, partial(_visit, node)):
            with suppress(ImageError):
                question()
        if isinstance(node, Directory):
            pending += node.listing().nodes.values()
    assert all("\n" not in problem for problem in own_check(opened))
    return nodes


def _visit(node: Node) -> None:
    if isinstance(node, File):
        content = node.open()
        content.pread(0, 1 << 18)
        content.pread(max(0, content.size - 5000), 5000)
        node.streams()
    elif isinstance(node, Symlink):
        node.readlink()
