"""Containers for tests of APFS, from the writer that the fixtures come from."""

from __future__ import annotations

import importlib.util
import struct
import sys
from functools import cache
from typing import Any

from helpers import FIXTURES, context, wrong
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Node
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.apfs import FORMAT
from imgmount.filesystems.apfs.filesystem import ApfsFilesystem

BLOCK = 4096
COMPRESSED = 0x20
DATALESS = 0x4000_0000
FIRMLINK = 0x0080_0000


@cache
def writer() -> Any:
    """The module ``fixtures/filesystems/apfs/writer.py``."""
    spec = importlib.util.spec_from_file_location("apfs_writer", FIXTURES / "filesystems/apfs/writer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def container(*volumes: Any, **facts: Any) -> Any:
    """A container of ``volumes``, not yet built."""
    made = writer().Container(**facts)
    made.limit = 100
    for volume in volumes:
        made.add(volume)
    return made


def image(*items: Any, **facts: Any) -> bytearray:
    """A container of one volume."""
    built: bytearray = container(writer().Volume("Volume", list(items), **facts)).build()
    return built


def item(path: str, data: bytes | None = None, **facts: Any) -> Any:
    return writer().Item(path, data, **facts)


def folder(path: str, **facts: Any) -> Any:
    return writer().Item(path, mode=0o40755, **facts)


def many(count: int) -> list[Any]:
    return [item(f"many{number:04}") for number in range(count)]


def opened(
    data: bytes | bytearray | BlockDevice, passwords: tuple[str, ...] = (), **extra: str
) -> ApfsFilesystem:
    device = data if isinstance(data, BlockDevice) else MemoryDevice(bytes(data))
    first, others = (passwords[0], passwords[1:]) if passwords else (None, ())
    found = FORMAT.open(device, context(password=first, spare_passwords=others, extra=extra))
    assert isinstance(found, ApfsFilesystem)
    return found


def find(filesystem: ApfsFilesystem, path: str) -> Node:
    node: Node = filesystem.root
    for name in path.split("/"):
        assert isinstance(node, Directory)
        node = node.lookup(name)
    return node


def read(filesystem: ApfsFilesystem, path: str) -> bytes:
    node = find(filesystem, path)
    assert isinstance(node, File)
    with node.open() as content:
        return content.pread(0, content.size)


def problems(filesystem: ApfsFilesystem) -> list[str]:
    return wrong(FORMAT.check(filesystem))


def sealed(data: bytearray, block: int) -> None:
    """Give the object in ``block`` the checksum that it needs after a change."""
    start = block * BLOCK
    value = writer().fletcher(bytes(data[start : start + BLOCK]))
    data[start : start + 8] = value.to_bytes(8, "little")


def blocks_of(data: bytes | bytearray, kind: int, subtype: int | None = None) -> list[int]:
    """The blocks that hold objects of a type, as their headers have it."""
    found = []
    for block in range(len(data) // BLOCK):
        at = block * BLOCK
        checksum, _, _, told, below = struct.unpack_from("<QQQII", data, at)
        if checksum and told & 0xFFFF == kind and subtype in (None, below):
            found.append(block)
    return found
