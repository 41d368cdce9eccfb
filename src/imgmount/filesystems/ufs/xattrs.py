"""Extended attributes of UFS2, in blocks of their own. FreeBSD, ``sys/ufs/ufs/extattr.h``, struct extattr."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, Literal

from imgmount.errors import FormatError
from imgmount.filesystems.ufs.superblock import NAME

# length, namespace, padding of the value, length of the name
_ENTRY: Final = {"little": Struct("<IBBB"), "big": Struct(">IBBB")}
_SIZE: Final = 7
_NAMESPACES: Final = {1: "user.", 2: "system."}
_ALIGNMENT: Final = 8


def attributes(area: bytes, order: Literal["little", "big"]) -> Iterator[tuple[str, bytes]]:
    """(name, value) of each attribute in ``area``. Raises ``FormatError``."""
    at = 0
    while at + _SIZE <= len(area):
        length, namespace, padding, name_length = _ENTRY[order].unpack_from(area, at)
        if length == 0:
            return
        start = -(-(_SIZE + name_length) // _ALIGNMENT) * _ALIGNMENT
        if length % _ALIGNMENT or start + padding > length or at + length > len(area):
            raise FormatError(NAME, f"an extended attribute of {length} bytes at {at:#x} of {len(area):#x}")
        name = area[at + _SIZE : at + _SIZE + name_length].decode("utf-8", "surrogateescape")
        if namespace in _NAMESPACES and name:
            yield _NAMESPACES[namespace] + name, area[at + start : at + length - padding]
        at += length
