"""Where on its disc a track begins, by the file system in it.

Some images hold one session, or track, of a disc alone.

The addresses in such a volume count from the start of the disc, while its descriptors lie 16 sectors after
the start of the image. The root directory of ISO 9660 and the anchor of UDF say where they are themselves.
"""

from __future__ import annotations

import struct
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.errors import ImageError
from imgmount.families.optical.sectors import DESCRIPTOR_SECTOR, USER_DATA

MAX_ROOT_SEARCH: Final = 512  # sectors that path tables may take up before a root directory
ANCHOR: Final = 256  # block of UDF's first anchor, from the start of its session
PRIMARY: Final = b"\x01CD001"
_ROOT_RECORD: Final = slice(158, 162)  # LBA of the root, in a primary volume descriptor (ECMA-119, 8.4.18)
_OWN_RECORD: Final = slice(2, 6)  # and in the first record of that directory, which stands for the directory
_OWN_NAME: Final = slice(32, 34)  # length and identifier there
_TAG: Final = struct.Struct("<HHBxHHHI")  # identifier, version, checksum..., location (ECMA-167, 3/7.2)
_ANCHOR_TAG: Final = 2


def start_by_contents(view: BlockDevice, stated: int, space: BlockDevice | None = None) -> int:
    """The LBA at which ``view`` begins, in sectors of 2048 bytes.

    It is ``stated`` where nothing in them says otherwise.

    ``space`` is what addresses apply to if ``stated`` is right: by default ``view`` itself, at 0.
    """
    descriptor = view.pread(DESCRIPTOR_SECTOR * USER_DATA, USER_DATA)
    if not descriptor.startswith(PRIMARY):
        return _by_anchor(view, stated)
    root = descriptor[_ROOT_RECORD]
    if _holds(view if space is None else space, int.from_bytes(root, "little"), root):
        return stated
    for sector in range(DESCRIPTOR_SECTOR + 1, DESCRIPTOR_SECTOR + MAX_ROOT_SEARCH):
        start = int.from_bytes(root, "little") - sector
        if start >= 0 and _holds(view, sector, root):
            return start
    return stated


def _by_anchor(view: BlockDevice, stated: int) -> int:
    tag = view.pread(ANCHOR * USER_DATA, _TAG.size)
    if len(tag) < _TAG.size:
        return stated
    identifier, version, checksum, _, _, _, location = _TAG.unpack(tag)
    right = checksum == (sum(tag) - checksum) & 255 and identifier == _ANCHOR_TAG and version in (2, 3)
    return location - ANCHOR if right and location >= ANCHOR else stated


def _holds(device: BlockDevice, sector: int, root: bytes) -> bool:
    """Whether ``sector`` begins with the record of a directory for itself, at the LBA ``root``."""
    try:
        record = device.pread(sector * USER_DATA, _OWN_NAME.stop)
    except ImageError:
        return False
    return record[_OWN_RECORD] == root and record[_OWN_NAME] == b"\x01\0"
