"""Toy formats with the mistakes that ``damage.py`` must catch: proof that it can fail."""

from __future__ import annotations

import struct
import sys
from types import ModuleType

from imgmount import registry
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Magic
from imgmount.core.slices import MemoryDevice, Slice
from imgmount.errors import FormatError

MAGIC = b"TOYTOY"
_HEADER = struct.Struct("<6sHII")  # magic, version, size of a table, first link
IMAGE = _HEADER.pack(MAGIC, 1, 16, 0) + bytes(range(256))


def right(device: BlockDevice, _: Context) -> BlockDevice:
    """The toy as it should be."""
    _, version, size, link = _HEADER.unpack(device.read_exactly(0, _HEADER.size, "toy"))
    if version != 1 or size > 1 << 16 or link > 1 << 16:
        raise FormatError("toy", "a field is out of its bounds")
    return Slice(device, _HEADER.size, device.size - _HEADER.size)


def no_check(device: BlockDevice, context: Context) -> BlockDevice:
    """A header that may be cut goes to ``struct`` as it is."""
    _HEADER.unpack(device.pread(0, _HEADER.size))
    return right(device, context)


def no_limit(device: BlockDevice, _: Context) -> BlockDevice:
    """A size from the image is believed."""
    size = _HEADER.unpack(device.read_exactly(0, _HEADER.size, "toy"))[2]
    return MemoryDevice(bytes(size))


def no_guard(device: BlockDevice, _: Context) -> BlockDevice:
    """Links are followed as far as they lead."""
    link = _HEADER.unpack(device.read_exactly(0, _HEADER.size, "toy"))[3]
    while link:
        link = 8 + int.from_bytes(device.pread(link % device.size, 1), "little") % 8
    return right(device, _)


TOYS = {"right": right, "struct": no_check, "limit": no_limit, "loop": no_guard}


def register(name: str) -> None:
    """Have the toy called ``name`` recognised in this process."""
    package, module = ModuleType("toy_containers"), ModuleType("toy_containers.toy")
    vars(module)["FORMAT"] = ContainerFormat(name="toy", title="a toy", open=TOYS[name])
    sys.modules[package.__name__], sys.modules[module.__name__] = package, module
    entry = registry.Entry("toy", (Magic(0, MAGIC[:4]),))
    registry.TABLES[ContainerFormat] = ("toy_containers", (entry,))
