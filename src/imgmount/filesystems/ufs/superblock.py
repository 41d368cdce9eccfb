"""The superblock, its places and its backups. FreeBSD, ``sys/ufs/ffs/fs.h``; illumos, ``sys/fs/ufs_fs.h``."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from enum import Enum
from typing import Final, Literal, NamedTuple

from imgmount.core.device import BlockDevice
from imgmount.core.fields import text
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

NAME: Final = "ufs"
SIZE: Final = 1376
MAGIC_AT: Final = 0x55C
UFS1: Final = 0x0001_1954
UFS2: Final = 0x1954_0119
UFS2_EA: Final = 0x1901_2038  # NetBSD's, with extended attributes
MTB: Final = 0x00DE_CADE  # Solaris, more than a terabyte
MAGICS: Final = (UFS1, UFS2, UFS2_EA, MTB)

PRIMARY: Final = (65536, 8192, 0, 262144)
# the backups of group 0, by version and block size
FIRST_BACKUPS: Final = (16384, 32768, 65536, 73728, 81920, 98304, 131072)
RECOVERY_AT: Final = 65536 - 20  # FreeBSD's newfs says there how to find the other backups
# magic, shift of a fragment to sectors, superblock in its group, fragments a group, groups
_RECOVERY: Final = "5I"
MAX_RECOVERED: Final = 4  # backups tried

BLOCK_SIZES: Final = range(4096, 65537)
MIN_FRAGMENT: Final = 512
MAX_FRAGMENTS: Final = 8
INODE_SIZES: Final = {UFS1: 128, MTB: 128, UFS2: 256, UFS2_EA: 256}
NEW_INODES: Final = 2  # fs_old_inodefmt of 4.4BSD

_FIELDS: Final = {  # offset, code
    "rolled": (4, "I"), "sblkno": (8, "I"), "cblkno": (12, "I"), "iblkno": (16, "I"), "cgoffset": (24, "i"),
    "cgmask": (28, "i"), "old_time": (32, "i"), "old_size": (36, "I"), "ncg": (44, "I"), "bsize": (48, "I"),
    "fsize": (52, "I"), "frag": (56, "I"), "id_high": (144, "I"), "id_low": (148, "I"), "ipg": (184, "I"),
    "fpg": (188, "I"), "old_bfree": (196, "I"), "old_ifree": (200, "I"), "old_ffree": (204, "I"),
    "clean": (209, "B"), "sblockloc": (1000, "q"), "bfree": (1016, "Q"), "ifree": (1024, "Q"),
    "ffree": (1032, "Q"), "time": (1072, "q"), "size": (1080, "Q"), "maxsymlinklen": (1320, "i"),
    "inodefmt": (1324, "i"), "bsd_qbmask": (1336, "Q"), "sun_qbmask": (1340, "Q"), "magic": (MAGIC_AT, "I"),
}  # fmt: skip
_MOUNTED_AT: Final = 212
_LABEL: Final = slice(680, 712)


class Family(Enum):
    """Whose layout of inodes and directories it is."""

    OLD = "4.3BSD"  # owners of 16 bits, no file types in directories
    BSD = "4.4BSD"
    SUN = "Solaris"


class Superblock(NamedTuple):
    """The fields a reader needs, checked.

    Sizes are bytes, places and counts fragments; ``offset`` is where this copy stands.
    """

    offset: int
    is_backup: bool
    order: Literal["little", "big"]
    magic: int
    family: Family
    old_owners: bool
    typed_entries: bool
    block_size: int
    fragment_size: int
    size: int
    groups: int
    group_size: int
    inodes_per_group: int
    superblock_at: int  # in a group
    header_at: int
    inodes_at: int
    rotation: tuple[int, int]  # groups of UFS1 begin a little later each: (step, mask)
    inline_link: int  # symbolic links shorter than this are in their inodes
    free_blocks: int
    free_fragments: int
    free_inodes: int
    written: int
    clean: int
    log_pending: bool
    serial: str
    label: str
    mounted: str

    @property
    def inode_size(self) -> int:
        """Bytes of an inode."""
        return INODE_SIZES[self.magic]

    @property
    def is_ufs2(self) -> bool:
        """Whether pointers are wide and inodes long."""
        return self.inode_size == INODE_SIZES[UFS2]

    @property
    def inodes(self) -> int:
        """The number of inodes; they count from 0."""
        return self.groups * self.inodes_per_group

    @property
    def is_at_home(self) -> bool:
        """Whether a backup of this superblock belongs where it stands."""
        place = self.offset // self.fragment_size
        return (self.group(place // self.group_size) + self.superblock_at) * self.fragment_size == self.offset

    def group(self, number: int) -> int:
        """Where group ``number`` begins, in fragments."""
        step, mask = self.rotation
        return number * self.group_size + step * (number & ~mask)


def read_superblock(device: BlockDevice) -> Superblock:
    """The superblock, or a backup of it with a warning. Raises ``FormatError`` for the former."""
    damage: FormatError | None = None
    for offset in PRIMARY:
        try:
            found = parse_superblock(device, offset)
        except FormatError as exc:
            damage = damage if damage and damage.reason != _ABSENT else exc
            continue
        if not found.is_backup:
            return found
    for offset in (*FIRST_BACKUPS, *_recovered(device)):
        try:
            found = parse_superblock(device, offset)
        except FormatError:
            continue
        if found.is_at_home:
            log.warning("%s; using the backup at %#x", damage, offset)
            return found
    raise damage or FormatError(NAME, _ABSENT, offset=PRIMARY[1])


def _recovered(device: BlockDevice) -> Iterator[int]:
    """Where FreeBSD says that backups are."""
    raw = device.pread(RECOVERY_AT, 20)
    for prefix in "<>" if len(raw) == 20 else "":
        magic, shift, place, size, count = struct.unpack(prefix + _RECOVERY, raw)
        if magic == UFS2 and shift < 8:
            yield from (
                (number * size + place) * 512 << shift for number in range(1, min(count, MAX_RECOVERED + 1))
            )


_ABSENT: Final = "no superblock"


def parse_superblock(device: BlockDevice, offset: int) -> Superblock:
    """The copy at ``offset``. Raises ``FormatError``."""
    raw = device.read_exactly(offset, SIZE, NAME)
    order, magic = _order(raw, offset)
    prefix = "<" if order == "little" else ">"
    field = {name: struct.unpack_from(prefix + code, raw, at)[0] for name, (at, code) in _FIELDS.items()}
    _check(field, offset)
    is_ufs2 = magic in (UFS2, UFS2_EA)
    family = _family(field, is_ufs2=is_ufs2)
    bsd = family is Family.BSD
    rotation = (0, -1) if is_ufs2 else (field["cgoffset"], field["cgmask"])
    # UFS1 does not record where a superblock belongs
    home = field["sblockloc"] if is_ufs2 else None
    is_backup = offset not in PRIMARY or home not in (None, offset) or (not is_ufs2 and offset == PRIMARY[0])
    return Superblock(
        offset=offset,
        is_backup=is_backup,
        order=order,
        magic=magic,
        family=family,
        old_owners=family is Family.OLD or (bsd and not is_ufs2 and field["inodefmt"] < NEW_INODES),
        typed_entries=is_ufs2 or (bsd and field["maxsymlinklen"] > 0),
        block_size=field["bsize"],
        fragment_size=field["fsize"],
        size=field["size"] if is_ufs2 else field["old_size"],
        groups=field["ncg"],
        group_size=field["fpg"],
        inodes_per_group=field["ipg"],
        superblock_at=field["sblkno"],
        header_at=field["cblkno"],
        inodes_at=field["iblkno"],
        rotation=rotation,
        inline_link=max(0, field["maxsymlinklen"]) if bsd else 0,
        free_blocks=field["bfree" if is_ufs2 else "old_bfree"],
        free_fragments=field["ffree" if is_ufs2 else "old_ffree"],
        free_inodes=field["ifree" if is_ufs2 else "old_ifree"],
        written=field["time" if is_ufs2 else "old_time"],
        clean=field["clean"],
        log_pending=family is Family.SUN and field["rolled"] == 2 and field["clean"] == 0xFD,
        serial=f"{field['id_high']:08x}{field['id_low']:08x}" if field["id_high"] or field["id_low"] else "",
        label=text(raw[_LABEL], "utf-8") if bsd else "",
        mounted=text(raw[_MOUNTED_AT : _LABEL.start], "utf-8"),
    )


def _order(raw: bytes, offset: int) -> tuple[Literal["little", "big"], int]:
    for order in ("little", "big"):
        magic = int.from_bytes(raw[MAGIC_AT : MAGIC_AT + 4], order)
        if magic in MAGICS:
            return order, magic
    raise FormatError(NAME, _ABSENT, offset=offset + MAGIC_AT)


def _family(field: dict[str, int], *, is_ufs2: bool) -> Family:
    """A mask that both families have, and its ancestors have not, stands at different places."""
    if is_ufs2 or field["bsd_qbmask"] == field["bsize"] - 1:
        return Family.BSD
    return Family.SUN if field["sun_qbmask"] == field["bsize"] - 1 else Family.OLD


def _check(field: dict[str, int], offset: int) -> None:
    """Raise ``FormatError`` where the numbers cannot be a filesystem's."""
    magic, bsize, fsize, fpg, ncg = (field[name] for name in ("magic", "bsize", "fsize", "fpg", "ncg"))
    is_ufs2 = magic in (UFS2, UFS2_EA)
    size = field["size"] if is_ufs2 else field["old_size"]
    wrong = ""
    if bsize not in BLOCK_SIZES or bsize & (bsize - 1):
        wrong = f"blocks of {bsize} bytes"
    elif not MIN_FRAGMENT <= fsize <= bsize or fsize & (fsize - 1) or field["frag"] * fsize != bsize:
        wrong = f"{field['frag']} fragments of {fsize} bytes"
    elif field["frag"] > MAX_FRAGMENTS:
        wrong = f"{field['frag']} fragments a block"
    elif not fpg or not ncg or not (ncg - 1) * fpg < size <= ncg * fpg:
        wrong = f"{size} fragments in {ncg} groups of {fpg}"
    elif not field["ipg"] or field["iblkno"] * fsize + field["ipg"] * INODE_SIZES[magic] > fpg * fsize:
        wrong = f"{field['ipg']} inodes in groups of {fpg} fragments"
    elif max(field["sblkno"], field["cblkno"]) >= fpg:
        wrong = f"a group header at {field['cblkno']} of {fpg} fragments"
    elif not is_ufs2 and not 0 <= field["cgoffset"] <= fpg:
        wrong = f"groups that rotate by {field['cgoffset']} fragments"
    if wrong:
        raise FormatError(NAME, wrong, offset=offset)
