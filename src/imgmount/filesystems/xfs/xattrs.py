"""Extended attributes: in the inode, or leaves of hashes and names.

XFS Algorithms and Data Structures, "Extended Attributes".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812  it is a class
from typing import Final, NamedTuple

from imgmount.errors import FormatError
from imgmount.filesystems.xfs.superblock import NAME

_LOCAL_ENTRY: Final = Struct(">BBB")  # lengths of name and value, flags
_INFO: Final = Struct(">IIH")  # next block, block before, magic
_ENTRY: Final = Struct(">4xHBx")  # place of the name, flags
_VALUE: Final = Struct(">HB")  # lengths of the value behind the name, and of the name
_ELSEWHERE: Final = Struct(">IIB")  # block of the value, its length, length of the name
_NODES: Final = (0xFEBE, 0x3EBE)
_LEAVES: Final = {0xFBEE: (12, 32), 0x3BEE: (56, 80)}  # where the count is, and the entries
_NODE_ENTRIES: Final = {0xFEBE: 16, 0x3EBE: 64}
_PREFIXES: Final = {0: "user.", 2: "trusted.", 4: "security."}
_NAMESPACES: Final = 0x0E  # flags; 8 is the name of a parent
_IN_LEAF: Final = 0x01
_INCOMPLETE: Final = 0x80
MAX_DEPTH: Final = 8
MAX_LEAVES: Final = 4096
MAX_VALUE: Final = 1 << 16
_ACLS: Final = {b"SGI_ACL_FILE": "system.posix_acl_access", b"SGI_ACL_DEFAULT": "system.posix_acl_default"}
_ACL_ENTRY: Final = Struct(">IIH2x")  # tag, id, permissions
_LINUX_ACL_ENTRY: Final = Struct("<HHI")  # tag, permissions, id
_LINUX_ACL_VERSION: Final = (2).to_bytes(4, "little")
_QUALIFIED: Final = (0x02, 0x08)  # a user, a group
_NO_ID: Final = 0xFFFF_FFFF


class Attribute(NamedTuple):
    """An attribute as it is stored; a value that is elsewhere has a block, which is not 0."""

    flags: int
    name: bytes
    value: bytes
    block: int = 0
    size: int = 0


def local_attributes(raw: bytes) -> Iterator[Attribute]:
    """The attributes in the second fork of an inode. Raises ``FormatError``."""
    at, count = 4, raw[2] if len(raw) >= 4 else 0
    for _ in range(count):
        if at + _LOCAL_ENTRY.size > len(raw):
            raise FormatError(NAME, f"{count} attributes in {len(raw)} bytes of an inode")
        length, size, flags = _LOCAL_ENTRY.unpack_from(raw, at)
        at += _LOCAL_ENTRY.size
        value = raw[at + length : at + length + size]
        if len(value) != size:
            raise FormatError(NAME, f"{count} attributes in {len(raw)} bytes of an inode")
        yield Attribute(flags, raw[at : at + length], value)
        at += length + size


def tree_attributes(read: Callable[[int], bytes]) -> Iterator[Attribute]:
    """The attributes in blocks, which ``read`` gives by number. Raises ``FormatError``."""
    number, data = 0, read(0)
    for _ in range(MAX_DEPTH):
        magic = _INFO.unpack_from(data)[2]
        if magic not in _NODES:
            break
        number = int.from_bytes(data[_NODE_ENTRIES[magic] + 4 : _NODE_ENTRIES[magic] + 8], "big")
        data = read(number)
    for _ in range(MAX_LEAVES):
        following, _, magic = _INFO.unpack_from(data)
        if magic not in _LEAVES:
            raise FormatError(NAME, f"a block of attributes with the magic {magic:#x}")
        yield from _leaf(data, *_LEAVES[magic])
        if not following:
            return
        data = read(following)
    raise FormatError(NAME, "the blocks of attributes do not end")


def _leaf(data: bytes, count_at: int, entries: int) -> Iterator[Attribute]:
    count = int.from_bytes(data[count_at : count_at + 2], "big")
    for index in range(count):
        try:
            place, flags = _ENTRY.unpack_from(data, entries + index * _ENTRY.size)
            kind = _VALUE if flags & _IN_LEAF else _ELSEWHERE
            *where, size, length = kind.unpack_from(data, place)
        except StructError as exc:
            raise FormatError(NAME, f"attribute {index} of {count} lies outside its block") from exc
        at = place + kind.size
        name, value = data[at : at + length], b""
        if flags & _IN_LEAF:
            value = data[at + length : at + length + size]
        if len(name) != length or len(value) != (size if flags & _IN_LEAF else 0):
            raise FormatError(NAME, f"attribute {index} of {count} lies outside its block")
        yield Attribute(flags, name, value, where[0] if where else 0, size)


def named(attribute: Attribute, elsewhere: Callable[[int, int], bytes]) -> tuple[str, bytes] | None:
    """(name, value) as Linux shows them; None for what it hides. ``elsewhere`` reads (block, size)."""
    space = attribute.flags & _NAMESPACES
    if attribute.flags & _INCOMPLETE or space not in _PREFIXES:
        return None
    if attribute.size > MAX_VALUE:
        raise FormatError(NAME, f"an attribute of {attribute.size} bytes")
    value = elsewhere(attribute.block, attribute.size) if attribute.block else attribute.value
    if space == 2 and attribute.name in _ACLS:
        return _ACLS[attribute.name], _acl(value)
    return _PREFIXES[space] + attribute.name.decode("utf-8", "surrogateescape"), value


def _acl(stored: bytes) -> bytes:
    """An access control list as Linux' attribute has it."""
    entries = [_LINUX_ACL_VERSION]
    for at in range(4, len(stored) - _ACL_ENTRY.size + 1, _ACL_ENTRY.size):
        tag, owner, permissions = _ACL_ENTRY.unpack_from(stored, at)
        entries.append(
            _LINUX_ACL_ENTRY.pack(tag & 0xFFFF, permissions, owner if tag in _QUALIFIED else _NO_ID)
        )
    return b"".join(entries)
