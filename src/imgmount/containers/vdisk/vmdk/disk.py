"""The disk of a VMware image: its extents in a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from imgmount.containers.vdisk.vmdk.descriptor import (
    HEAD,
    MAX_DESCRIPTOR,
    NO_PARENT,
    Descriptor,
    ExtentLine,
    is_descriptor,
)
from imgmount.containers.vdisk.vmdk.extents import (
    COMPRESSED,
    MAX_TABLES,
    SECTOR,
    Beneath,
    CowdExtent,
    HostedExtent,
    SeSparseExtent,
    SparseExtent,
)
from imgmount.containers.vdisk.vmdk.stream import StreamExtent
from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import Context
from imgmount.core.slices import Concat
from imgmount.errors import FormatError, MissingPartError, UnsupportedError

KDMV: Final = b"KDMV"
COWD: Final = b"COWD"
SESPARSE: Final = b"\xbe\xba\xfe\xca\0\0\0\0"
MAGICS: Final = (KDMV, COWD, SESPARSE)
PHYSICAL: Final = ("fulldevice", "partitioneddevice", "vmfsrdm", "vmfsrdmp", "vmfsraw", "vmfsrawdevicemap")
PHYSICAL_EXTENTS: Final = ("VMFSRDM", "VMFSRAW")
MAX_DESCRIPTOR_CANDIDATES: Final = 64  # files beside a lone extent that may be its descriptor


class VmdkDevice(MappedDevice):
    """The disk that a descriptor, or a file with one inside, describes."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._context = context
        self._problems: list[str] = []
        self._tables = 0
        self._files: dict[str, BlockDevice] = {}  # by name: thousands of extents may lie in one
        header = HostedExtent.header(file) if file.pread(0, 4) == KDMV else None
        self.descriptor = _descriptor(file, header)
        self.parent = self._open_parent()
        if header is not None and header.capacity:
            self.block_size = header.grain * SECTOR
            self._disk: BlockDevice = self._sparse(file, 0)
        elif self.descriptor is not None:
            self._disk = self._open_extents(self.descriptor)
        else:
            self._disk = self._sparse(file, 0)
        if self.descriptor is None:
            self._refuse_part(file)
        self.size = self._disk.size

    def _open_parent(self) -> BlockDevice | None:
        """The disk below a delta.

        The name of a delta's parent may be a path on the machine that made it.
        """
        descriptor = self.descriptor
        if descriptor is None or descriptor.parent_cid == NO_PARENT:
            return None
        if not descriptor.parent:
            raise FormatError("vmdk", f"a parent of content {descriptor.parent_cid:08x}, but no name for it")
        parent = self._context.open_parent(descriptor.parent, "vmdk")
        if (
            isinstance(parent, VmdkDevice)
            and parent.descriptor
            and parent.descriptor.cid != descriptor.parent_cid
        ):
            self._problems.append("the parent was written to after this image was made")
        return parent

    def _open_extents(self, descriptor: Descriptor) -> BlockDevice:
        if descriptor.type.lower() in PHYSICAL:
            raise UnsupportedError(f"vmdk: physical disks ({descriptor.type!r})")
        if not descriptor.extents:
            raise FormatError("vmdk", "the descriptor names no extents")
        runs: list[Extent] = []
        start = 0
        for line in descriptor.extents:
            runs.append(self._open_extent(line, start))
            start += runs[-1].length
        return Concat(runs)

    def _open_extent(self, line: ExtentLine, start: int) -> Extent:
        """The extent of ``line``, which begins at byte ``start`` of the disk."""
        length = line.sectors * SECTOR
        if line.kind.startswith(PHYSICAL_EXTENTS):
            raise UnsupportedError(f"vmdk: physical disks ({line.kind})")
        if line.access == "NOACCESS":
            raise UnsupportedError(f"vmdk: an extent without access ({line.name!r})")
        if line.kind == "ZERO":
            return Extent(length)
        if line.kind not in ("FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE"):
            raise UnsupportedError(f"vmdk: extents of type {line.kind}")
        try:
            file = self._files[line.name] = self._files.get(line.name) or self._context.siblings.open(
                line.name
            )
        except MissingPartError as exc:
            if self.parent is None or self.descriptor is None:
                raise
            state = f"; the disk without these changes is {self.descriptor.parent!r}"
            raise MissingPartError(f"vmdk: {exc}{state}") from None
        if line.kind in ("FLAT", "VMFS"):
            return Extent(length, file, line.start * SECTOR)
        extent = self._sparse(file, start)
        if extent.size < length:
            raise FormatError(
                "vmdk", f"{line.name!r} holds {extent.size // SECTOR} sectors, {line.sectors} expected"
            )
        return Extent(length, extent)

    def _sparse(self, file: BlockDevice, start: int) -> SparseExtent:
        extent = self._open_sparse(file, Beneath(self.parent, start))
        self._tables += extent.count
        if self._tables > MAX_TABLES:
            raise FormatError("vmdk", f"extents with more than {MAX_TABLES} grain tables together")
        return extent

    def _open_sparse(self, file: BlockDevice, below: Beneath) -> SparseExtent:
        magic = file.pread(0, len(SESPARSE))
        if magic == SESPARSE:
            return SeSparseExtent(file, below)
        if magic.startswith(COWD):
            return CowdExtent(file, below)
        header = HostedExtent.header(file)
        if not header.flags & COMPRESSED:
            return HostedExtent(file, header, below)
        extent = StreamExtent(file, header, below, self._context.cache)
        if extent.problem:
            self._problems.append(extent.problem)
        return extent

    def _refuse_part(self, file: BlockDevice) -> None:
        """An extent alone may be a delta, whose holes are not zeros.

        Its descriptor, if it is there, is what to open.
        """
        name = self._context.path.name
        self._problems.append("a part of a disk: its descriptor is missing")
        beside = [
            other
            for other in self._context.siblings.names()
            if other != name and other.lower().endswith(".vmdk")
        ]
        for other in beside[:MAX_DESCRIPTOR_CANDIDATES]:
            text = self._context.siblings.open(other).pread(0, MAX_DESCRIPTOR)
            if is_descriptor(text) and f'"{name}"'.encode("utf-8", "surrogateescape") in text:
                raise UnsupportedError(
                    f"vmdk: {name!r} is a part of the disk that {other!r} describes: open that"
                )
        if not file.pread(0, 4) == KDMV:
            raise UnsupportedError("vmdk: an extent of a snapshot whose descriptor is not beside it")

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._disk, offset)

    def info(self) -> Mapping[str, str]:
        facts = {}
        if self.descriptor is not None:
            facts["type"] = self.descriptor.type
            for key, title in (
                ("ddb.adaptertype", "adapter"),
                ("ddb.toolsversion", "tools"),
                ("ddb.uuid", "id"),
            ):
                if value := self.descriptor.settings.get(key):
                    facts[title] = value
            facts["extents"] = ", ".join(
                f"{line.kind} {line.name}".strip() for line in self.descriptor.extents[:8]
            )
            if len(self.descriptor.extents) > 8:
                facts["extents"] += f" and {len(self.descriptor.extents) - 8} more"
            if self.parent is not None:
                facts["parent"] = f"{self.descriptor.parent} (content {self.descriptor.parent_cid:08x})"
        if self._problems:
            facts["warning"] = "; ".join(self._problems)
        return facts

    def verify(self) -> Iterator[str]:
        """The format stores no checksums: what was found wrong at opening."""
        return iter(self._problems)


def _descriptor(file: BlockDevice, header: Any) -> Descriptor | None:
    """The descriptor that ``file`` is, or has inside if it has a ``header``."""
    if header is None:
        if not is_descriptor(file.pread(0, HEAD)):
            return None
        if file.size > MAX_DESCRIPTOR:
            raise FormatError("vmdk", f"a descriptor of {file.size} bytes: at most {MAX_DESCRIPTOR} are read")
        return Descriptor.parse(file.pread(0, file.size))
    if not header.descriptor_offset:
        return None
    size = header.descriptor_size * SECTOR
    if size > MAX_DESCRIPTOR:
        raise FormatError(
            "vmdk", f"a descriptor of {size} bytes: at most {MAX_DESCRIPTOR} are read", offset=0x24
        )
    return Descriptor.parse(file.read_exactly(header.descriptor_offset * SECTOR, size, "vmdk"))
