"""SquashFS 1.0 to 3.1, in either byte order, which also says from which end bit fields are packed.

Source: the structures of squashfs-tools' ``squashfs_compat.h``, of which this is a description, and how
``unsquashfs`` and 7-Zip read them. Version 1 has no fragments and 48 users; 2 added fragments, 3 wide offsets
and the numbers of inodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.squashfs.directory import Entry, check_kind, ends_early
from imgmount.filesystems.squashfs.inode import DOTS, KINDS, MAX_FILE, NOTHING, Inode
from imgmount.filesystems.squashfs.metadata import Metadata
from imgmount.filesystems.squashfs.superblock import NAME, Order, Superblock

CHECKED: Final = 4  # flag
MAX_BLOCK_LOG: Final = {1: 16, 2: 16, 3: 20}
_FIRST_VERSION: Final = 1
_WIDE: Final = 3
_KINDS_1: Final = 5  # types of version 1 above these are the same again, of the next 16 users
_SAME_AS_USER: Final = {1: 15, 2: 255, 3: 255}  # instead of a group
_LONG_DIRECTORY, _LONG_FILE = 8, 9


class _Layout(NamedTuple):
    names: tuple[str, ...]
    widths: tuple[int, ...]  # bits

    @property
    def size(self) -> int:
        return sum(self.widths) // 8


def _layout(fields: str) -> _Layout:
    pairs = [field.split(":") for field in fields.split()]
    return _Layout(tuple(name for name, _ in pairs), tuple(int(width) for _, width in pairs))


def _bits(layout: _Layout, raw: bytes, order: Order) -> dict[str, int]:
    """The fields of a structure, packed from the low bits if little endian, from the high if big endian."""
    value, at, found = int.from_bytes(raw, order), 0, {}
    for name, width in zip(layout.names, layout.widths, strict=True):
        shift = at if order == "little" else 8 * len(raw) - at - width
        found[name] = value >> shift & (1 << width) - 1
        at += width
    return found


_SUPERBLOCK: Final = _layout(  # names that end in _1 and _2 are of those versions, _2 of the first as well
    "magic:32 inodes:32 bytes_used_2:32 users_at_2:32 groups_at_2:32 inodes_at_2:32 directories_at_2:32 "
    "major:16 minor:16 block_size_1:16 block_log:16 flags:8 users:8 groups:8 made:32 root:64 block_size:32 "
    "fragments:32 fragments_at_2:32 bytes_used:64 users_at:64 groups_at:64 inodes_at:64 directories_at:64 "
    "fragments_at:64 lookup_at:64"
)
_OWNERS: Final = {1: "type:4 mode:12 owner:4 group:4", 2: "type:4 mode:12 owner:8 group:8"}
_OWNERS[3] = f"{_OWNERS[2]} time:32 number:32"
_COMMON: Final = {version: _layout(fields) for version, fields in _OWNERS.items()}
# what follows the common fields, by version and type: directory, file, link, devices, FIFO, socket, long ones
_FIELDS: Final = {
    1: {
        1: "size:19 offset:13 time:32 start:24", 2: "time:32 start:32 size:32", 3: "size:16",
        4: "rdev:16", 5: "rdev:16",
    },
    2: {
        1: "size:19 offset:13 time:32 start:24", 2: "time:32 start:32 fragment:32 offset:32 size:32",
        3: "size:16", 4: "rdev:16", 5: "rdev:16", 6: "", 7: "",
        8: "size:27 offset:13 time:32 start:24 indexes:16",
    },
    3: {
        1: "links:32 size:19 offset:13 start:32 parent:32", 2: "start:64 fragment:32 offset:32 size:32",
        3: "links:32 size:16", 4: "links:32 rdev:16", 5: "links:32 rdev:16", 6: "links:32", 7: "links:32",
        8: "links:32 size:27 offset:13 start:32 indexes:16 parent:32",
        9: "links:32 start:64 fragment:32 offset:32 size:64",
    },
}  # fmt: skip
_LAYOUTS: Final = {
    (version, kind): _layout(f"{_OWNERS[version]} {fields}")
    for version, kinds in _FIELDS.items()
    for kind, fields in kinds.items()
}
_IPC: Final = _layout(f"{_OWNERS[1]} kind:4 users:4")  # of version 1: a FIFO or socket, and which 16 users

_HEADERS: Final = {2: _layout("count:8 start:24"), 3: _layout("count:8 start:32 number:32")}
_ENTRIES: Final = {2: _layout("offset:13 kind:3 size:8"), 3: _layout("offset:13 kind:3 size:8 number:16")}


def read_superblock(device: BlockDevice, order: Order) -> Superblock:
    """The superblock of an old version. Raises ``FormatError``, ``UnsupportedError``."""
    raw = device.read_exactly(0, _SUPERBLOCK.size, NAME)
    field = _bits(_SUPERBLOCK, raw, order)
    major, minor, log, size = field["major"], field["minor"], field["block_log"], field["block_size"]
    if major not in MAX_BLOCK_LOG or (major, minor) > (3, 1):
        raise UnsupportedError(f"{NAME}: version {major}.{minor}")
    if major == _FIRST_VERSION:
        size = field["block_size_1"] or 1 << 16
    if not 9 <= log <= MAX_BLOCK_LOG[major] or size != 1 << log:
        reason = f"block size {size} is not 2**{log}, from 512 to {1 << MAX_BLOCK_LOG[major]}"
        raise FormatError(NAME, reason, offset=0x20)
    suffix = "_2" if major < _WIDE else ""
    tables = ("bytes_used", "users_at", "groups_at", "inodes_at", "directories_at", "fragments_at")
    used, user_table, group_table, inode_table, directory_table, fragment_table = (
        field[name + suffix] for name in tables
    )
    if field["root"] >> 48:
        raise FormatError(NAME, f"root inode {field['root']:#x}", offset=0x2B)
    if not 0x20 <= inode_table < directory_table < min(used, 1 << 62):
        raise FormatError(NAME, f"tables at {inode_table:#x} and {directory_table:#x}", offset=0x14)
    return Superblock(
        inodes=field["inodes"],
        made=field["made"],
        block_size=1 << log,
        fragments=0 if major == _FIRST_VERSION else field["fragments"],
        compressor=0,
        flags=field["flags"],
        ids=field["users"],
        root=field["root"],
        bytes_used=used,
        id_table=user_table,
        xattr_table=0xFFFF_FFFF_FFFF_FFFF,
        inode_table=inode_table,
        directory_table=directory_table,
        fragment_table=fragment_table,
        magic=raw[:4],
        order=order,
        version=(major, minor),
        groups=field["groups"],
        group_table=user_table + 4 * field["users"] if major == _FIRST_VERSION else group_table,
        is_checked=bool(field["flags"] & CHECKED),
    )


def read_inode(metadata: Metadata, super_block: Superblock, reference: int) -> Inode:
    """The inode at ``reference`` (block << 16 | offset). Raises ``FormatError``."""
    place = super_block.inode_table + (reference >> 16), reference & 0xFFFF
    major, order = super_block.version[0], super_block.order
    common = _COMMON[major]
    found = _bits(common, metadata.read(*place, common.size), order)
    kind, users = found["type"], 0
    if major == _FIRST_VERSION and kind:
        users, kind = divmod(kind - 1, _KINDS_1)
        kind += 1
    layout = _IPC if kind == 0 and major == _FIRST_VERSION else _LAYOUTS.get((major, kind))
    if layout is None:
        raise FormatError(NAME, f"an inode of type {kind}", offset=place[0])
    found |= _bits(layout, metadata.read(*place, layout.size), order)
    if layout is _IPC:
        kind, users = 7 if found["kind"] == 7 else 6, found["users"]
    kind -= {_LONG_DIRECTORY: 7, _LONG_FILE: 7}.get(kind, 0)
    size, number = found.get("size", 0), found.get("rdev", 0)
    if kind == 1 and major == _WIDE:
        size = max(0, size - DOTS)
    if size > MAX_FILE:
        raise FormatError(NAME, f"an inode of {size} bytes", offset=place[0])
    owner, group = 16 * users + found["owner"], found["group"]
    return Inode(
        kind=KINDS[kind],
        permissions=found["mode"],
        owner=owner,
        group=owner if group == _SAME_AS_USER[major] else super_block.ids + group,
        time=found.get("time", super_block.made),
        size=size,
        links=max(1, found.get("links", 1)),
        start=found.get("start", 0),
        offset=found.get("offset", 0),
        fragment=found.get("fragment", NOTHING),
        rdev=os.makedev(number >> 8, number & 0xFF),
        attributes=NOTHING,
        holes=0,
        place=(place[0], place[1] + layout.size),
    )


def entries(data: bytes, super_block: Superblock) -> Iterator[Entry]:
    """The entries of a directory. Raises ``FormatError`` where they end too early or make no sense."""
    version, order = max(2, super_block.version[0]), super_block.order
    header, entry = _HEADERS[version], _ENTRIES[version]
    at, size = 0, len(data)
    while at + header.size <= size:
        head = _bits(header, data[at : at + header.size], order)
        at += header.size
        for _ in range(head["count"] + 1):
            if at + entry.size > size:
                raise ends_early(at, size)
            found = _bits(entry, data[at : at + entry.size], order)
            name = data[at + entry.size : at + entry.size + found["size"] + 1]
            if len(name) <= found["size"]:
                raise ends_early(at, size)
            check_kind(found["kind"])
            yield at, head["start"] << 16 | found["offset"], found["kind"], name
            at += entry.size + found["size"] + 1
