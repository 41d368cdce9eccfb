"""The container: which of its checkpoints is the newest sound one, and the objects that it names.

Reference, "Container".
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.header import within
from imgmount.errors import ChecksumError, FormatError, ImageError, UnsupportedError
from imgmount.filesystems.apfs.objects import (
    HEADER,
    MAX_BLOCK,
    MIN_BLOCK,
    NAME,
    SUPERBLOCK,
    Blocks,
    header,
    is_sound,
)

MAGIC: Final = b"NXSB"
MAGIC_AT: Final = HEADER.size
MAX_VOLUMES: Final = 100
MAX_DESCRIPTORS: Final = 1 << 16  # blocks of the checkpoint descriptor area: disks of 1 TB have a few hundred

# block size, blocks, features, read-only features, incompatible features, UUID, next object and transaction;
# blocks of the two checkpoint areas, where they begin, what is written next, where the newest checkpoint is
# and how many blocks it has in each
_MAIN: Final = Struct("<IQQQQ16sQQIIQQIIIIII")
_MAIN_AT: Final = 0x24
# space manager, object map, reaper, test type, how many volumes, the first of them
_TREES: Final = Struct("<QQQIIQ")
_TREES_AT: Final = 0x98
_VOLUMES: Final = Struct(f"<{MAX_VOLUMES}Q")
_VOLUMES_AT: Final = 0xB8
_FLAGS: Final = Struct("<QQ16sQQ")  # flags, EFI, Fusion UUID, blocks of the keybag: first, count
_FLAGS_AT: Final = 0x4F0
_SIZE: Final = 0x520

PRE_RELEASE, VERSION_2, FUSION = 1, 2, 0x100
KNOWN: Final = VERSION_2 | FUSION
SOFTWARE_KEYS: Final = 4  # flag: keys are not kept by hardware
COPIES: Final = 17  # blocks in which to look for a superblock where block 0 has none
TREE_AREA: Final = 1 << 31  # of a number of blocks: the area is in pieces that a B-tree lists


class Superblock(NamedTuple):
    """A container superblock, checked."""

    xid: int
    block_size: int
    blocks: int
    incompat: int
    uuid: bytes
    descriptor_blocks: int
    data_blocks: int
    descriptor_base: int
    data_base: int
    descriptor_index: int
    descriptor_count: int
    object_map: int
    volumes: tuple[int, ...]
    flags: int
    fusion: bytes
    keybag: tuple[int, int]


def parse_superblock(data: bytes, offset: int) -> Superblock:
    """The superblock in ``data``, which is at byte ``offset``.

    Raises ``FormatError``, ``UnsupportedError``.
    """
    if len(data) < _SIZE or data[MAGIC_AT : MAGIC_AT + 4] != MAGIC:
        raise FormatError(NAME, "no container superblock: it begins with NXSB after 32 bytes", offset=offset)
    size, blocks, _, _, incompat, uuid, _, _, descriptors, dat, base, data_base, _, _, index, count, *_ = (
        _MAIN.unpack_from(data, _MAIN_AT)
    )
    _, object_map, _, _, most, _ = _TREES.unpack_from(data, _TREES_AT)
    flags, _, fusion, keybag, keybag_blocks = _FLAGS.unpack_from(data, _FLAGS_AT)
    within(NAME, "block size", size, MIN_BLOCK, MAX_BLOCK, power_of_two=True, offset=offset + 0x24)
    if incompat & PRE_RELEASE or not incompat & VERSION_2:
        raise UnsupportedError(f"{NAME}: a container of a version before macOS 10.13")
    if unknown := incompat & ~KNOWN:
        raise UnsupportedError(f"{NAME}: containers with the features {unknown:#x}")
    within(NAME, "number of volumes", most, 0, MAX_VOLUMES, offset=offset + 0xB4)
    return Superblock(
        xid=header(data).xid, block_size=size, blocks=blocks, incompat=incompat, uuid=uuid,
        descriptor_blocks=descriptors, data_blocks=dat, descriptor_base=base, data_base=data_base,
        descriptor_index=index, descriptor_count=count, object_map=object_map,
        volumes=_VOLUMES.unpack_from(data, _VOLUMES_AT)[:most], flags=flags, fusion=fusion,
        keybag=(keybag, keybag_blocks),
    )  # fmt: skip


def read_first(device: BlockDevice) -> tuple[Superblock, bool]:
    """The superblock in block 0, which may be an older one, and whether its checksum is right."""
    data = device.read_exactly(0, MIN_BLOCK, NAME)
    first = parse_superblock(data, 0)
    if first.block_size > MIN_BLOCK:
        data = device.read_exactly(0, first.block_size, NAME)
    return first, is_sound(data)


def find_copy(device: BlockDevice) -> Superblock:
    """A sound superblock behind block 0, where the checkpoints mostly begin. Raises ``FormatError``."""
    for place in range(MIN_BLOCK, COPIES * MIN_BLOCK, MIN_BLOCK):
        if device.pread(place + MAGIC_AT, len(MAGIC)) == MAGIC:
            found = parse_superblock(device.read_exactly(place, MIN_BLOCK, NAME), place)
            if place % found.block_size == 0 and is_sound(device.pread(place, found.block_size)):
                return found
    raise FormatError(NAME, "no container superblock: it begins with NXSB after 32 bytes", offset=0)


def checkpoints(blocks: Blocks, first: Superblock) -> Iterator[Superblock]:
    """The sound superblocks of the descriptor area, the newest first.

    Of each block only the header is read, until one is needed.
    """
    if first.descriptor_blocks & TREE_AREA:
        raise UnsupportedError(f"{NAME}: a checkpoint area in several pieces")
    within(NAME, "number of checkpoint blocks", first.descriptor_blocks, 0, MAX_DESCRIPTORS, offset=0x68)
    found = []
    for block in range(first.descriptor_base, first.descriptor_base + first.descriptor_blocks):
        head = blocks.device.pread(block * blocks.size, MAGIC_AT + 4)
        if head[MAGIC_AT:] == MAGIC and header(head).kind == SUPERBLOCK:
            found.append((header(head).xid, block))
    for _, block in sorted(found, reverse=True):
        try:
            candidate = parse_superblock(
                blocks.object(block, (SUPERBLOCK,), "a checkpoint"), block * blocks.size
            )
        except ChecksumError:
            continue
        if candidate.block_size == first.block_size and candidate.uuid == first.uuid:
            yield candidate


def _start(device: BlockDevice) -> tuple[Superblock | None, Superblock, bool]:
    """(the superblock in block 0, the one that tells where checkpoints are, whether the former is sound)."""
    first, sound = None, False
    try:
        first, sound = read_first(device)
        return first, first if sound else find_copy(device), sound
    except FormatError:
        return first, find_copy(device) if first is None else first, sound


def newest(device: BlockDevice) -> tuple[Blocks, Superblock, Superblock | None]:
    """(blocks, the newest sound superblock, the one in block 0 if there is any). Raises ``ImageError``."""
    first, start, sound = _start(device)
    blocks = Blocks(device, start.block_size)
    damage: ImageError | None = None
    try:
        for candidate in checkpoints(blocks, start):
            return blocks, candidate, first
    except FormatError as exc:
        damage = exc
    if sound:
        return blocks, start, first
    if damage is not None:
        raise damage
    raise ChecksumError(
        NAME, "neither a checkpoint nor the superblock in block 0 has a right checksum", offset=0
    )
