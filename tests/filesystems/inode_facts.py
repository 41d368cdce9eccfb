"""What the tests of filesystems of inodes share: the facts that Linux told of a fixture, and asking a node for everything."""

from __future__ import annotations

import os
from pathlib import Path

from conformance import tree
from imgmount.core.node import Directory, File, Node, Symlink

Facts = dict[str, tuple[int | None, ...]]  # path -> mode, size, owner, group, links, seconds, device number


def linux_facts(path: Path) -> Facts:
    """The lines of ``stat -c '%n %f %s %u %g %h %Y %t %T'``."""
    facts: Facts = {}
    for line in path.read_text().splitlines():
        name, mode, *numbers, major, minor = line.rsplit(" ", 8)
        rdev = os.makedev(int(major, 16), int(minor, 16)) if int(mode, 16) & 0xF000 in (0x2000, 0x6000) else 0
        facts[name.removeprefix("./")] = (int(mode, 16), *map(int, numbers), rdev)
    return facts


def facts_of(root: Directory) -> Facts:
    """The same, of ours."""
    found: Facts = {}
    for name, node in tree(root):
        facts = node.stat()
        found[name] = (
            facts.mode,
            facts.size,
            facts.uid,
            facts.gid,
            facts.nlink,
            facts.mtime_ns // 10**9,
            facts.rdev,
        )
    return found


def visit(node: Node) -> None:
    """Ask a node for everything; a file for its ends."""
    node.stat()
    node.xattrs()
    if isinstance(node, File):
        content = node.open()
        content.pread(0, 1 << 16)
        content.pread(max(0, content.size - 5000), 5000)
    elif isinstance(node, Directory):
        node.listing()
    elif isinstance(node, Symlink):
        node.readlink()


def listed(root: Directory) -> list[Node]:
    """All nodes below ``root`` that damage leaves to be found."""
    found: list[Node] = []
    pending = [root]
    while pending:
        nodes = pending.pop().listing().nodes.values()
        found += nodes
        pending += [node for node in nodes if isinstance(node, Directory)]
    return found
