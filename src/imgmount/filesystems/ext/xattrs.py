"""Extended attributes, in the inode and in a block of their own.

Kernel documentation, ext4/attributes.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from imgmount.errors import FormatError
from imgmount.filesystems.ext.inode import BASE, Inode
from imgmount.filesystems.ext.superblock import NAME

_ENTRY: Final = Struct("<BBHIII")  # name length, name index, value offset, value inode, value size, hash
_MAGIC: Final = b"\x00\x00\x02\xea"
_BLOCK_HEADER: Final = 32
_BLOCK_PLACES: Final = (*range(0x68, 0x6C), 0x76, 0x77)  # in an inode: i_file_acl_lo and i_file_acl_high
MAX_ENTRIES: Final = 4096
MAX_VALUE: Final = 1 << 16
_PREFIXES: Final = {
    1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.",
    7: "system.", 8: "system.richacl",
}  # fmt: skip
_ACL_NAMES: Final = (2, 3)
_SYSTEM: Final = 7
_ACL_ENTRY: Final = Struct("<HH")
_ACL_ID: Final = Struct("<HHI")
_ACL_QUALIFIED: Final = (0x02, 0x08)  # ACL_USER, ACL_GROUP
_ACL_VERSION: Final = (2).to_bytes(4, "little")  # of the attribute; on the disk it is 1
_NO_ID: Final = 0xFFFF_FFFF

Attribute = tuple[int, bytes, bytes]  # (name index, the rest of the name, value)


def inode_attributes(inode: Inode, large_value: Callable[[int, int], bytes]) -> Iterator[Attribute]:
    """The attributes between the fields of an inode and its end. ``large_value`` reads (inode, size)."""
    start = BASE + inode.extra
    area = inode.raw[start:]
    if area[: len(_MAGIC)] == _MAGIC:
        yield from _walk(area[len(_MAGIC) :], 0, large_value)


def in_table(inodes: bytes, inode_size: int) -> bool:
    """Whether one of ``inodes`` may have attributes: it names a block of them, or their magic is in it."""
    return _MAGIC in inodes or any(inodes[at::inode_size].strip(b"\0") for at in _BLOCK_PLACES)


def block_attributes(block: bytes, large_value: Callable[[int, int], bytes]) -> Iterator[Attribute]:
    """The attributes in a block of their own."""
    if block[: len(_MAGIC)] != _MAGIC:
        raise FormatError(NAME, "a block of attributes without their magic")
    yield from _walk(block, _BLOCK_HEADER, large_value)


def _walk(area: bytes, at: int, large_value: Callable[[int, int], bytes]) -> Iterator[Attribute]:
    for _ in range(MAX_ENTRIES):
        if area[at : at + 4] in (bytes(4), b"") or at + _ENTRY.size > len(area):
            return
        length, index, offset, value_inode, size, _ = _ENTRY.unpack_from(area, at)
        name = area[at + _ENTRY.size : at + _ENTRY.size + length]
        if size > MAX_VALUE:
            raise FormatError(NAME, f"an attribute of {size} bytes")
        value = large_value(value_inode, size) if value_inode else area[offset : offset + size]
        if len(value) != size:
            raise FormatError(NAME, f"the value of an attribute at {offset:#x} of {len(area):#x}")
        yield index, name, value
        at += -(-(_ENTRY.size + length) // 4) * 4


def named(attributes: Iterator[Attribute]) -> Iterator[tuple[str, bytes]]:
    """(name, value) as Linux shows them; what it hides is left out."""
    for index, rest, value in attributes:
        if index not in _PREFIXES or (index == _SYSTEM and rest == b"data"):
            continue
        name = _PREFIXES[index] + rest.decode("utf-8", "surrogateescape")
        yield name, _acl(value) if index in _ACL_NAMES else value


def inline_rest(attributes: Iterator[Attribute]) -> bytes:
    """What of a small file or directory did not fit into ``i_block``."""
    return next((value for index, rest, value in attributes if index == _SYSTEM and rest == b"data"), b"")


def _acl(stored: bytes) -> bytes:
    """An access control list as the attribute has it: every entry with an id."""
    entries = [_ACL_VERSION]
    at = len(_ACL_VERSION)
    while at + _ACL_ENTRY.size <= len(stored):
        tag, permissions = _ACL_ENTRY.unpack_from(stored, at)
        qualified = tag in _ACL_QUALIFIED and at + _ACL_ID.size <= len(stored)
        owner = _ACL_ID.unpack_from(stored, at)[2] if qualified else _NO_ID
        at += _ACL_ID.size if qualified else _ACL_ENTRY.size
        entries.append(_ACL_ID.pack(tag, permissions, owner))
    return b"".join(entries)
