"""The superblock of a volume: what it is called, what it is for, where its trees are.

Reference, "Volumes".
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple
from uuid import UUID

from imgmount.core.fields import text
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.apfs.objects import HEADER, NAME, header

MAGIC: Final = b"APSB"
# index, features, read-only features, incompatible features, unmounted, reserved, quota, allocated, state of
# the metadata's key
_FEATURES: Final = Struct("<IQQQQQQQ20s")
_FEATURES_AT: Final = 0x24
# types of the trees of files, extents and snapshots; object map, those trees, what to revert to, next id;
# files, directories, links, others, snapshots; blocks ever allocated and freed; UUID, last modified, flags,
# by whom formatted
_TREES: Final = Struct("<IIIQQQQQQQQQQQQQQ16sQQ32sQQ")
_TREES_AT: Final = 0x74
# name, next document, role, snapshot to start from, four about encryption and clones, UUID of the group,
# integrity, file extents
_NAME: Final = Struct("<256sIHHQQQQQ16sQQI")
_NAME_AT: Final = 0x2C0
SIZE: Final = _NAME_AT + _NAME.size

CASE_INSENSITIVE, NORMALIZATION_INSENSITIVE, SEALED = 1, 8, 0x20  # incompatible features
KNOWN: Final = 0x7F  # with dataless snapshots, rolled keys, unfinished restores, and one without a name
UNENCRYPTED, ONE_KEY = 1, 8  # flags
PHYSICAL: Final = 0x40000000  # of the type of a tree: its children are named by block

ROLES: Final = {
    0x0001: "System", 0x0002: "User", 0x0004: "Recovery", 0x0008: "VM", 0x0010: "Preboot",
    0x0020: "Installer", 0x0040: "Data", 0x0080: "Baseband", 0x00C0: "Update", 0x0100: "xART",
    0x0140: "Hardware", 0x0180: "Backup", 0x01C0: "Sidecar", 0x0240: "Enterprise", 0x02C0: "Prelogin",
}  # fmt: skip


class VolumeSuperblock(NamedTuple):
    """A volume superblock, checked."""

    xid: int
    incompat: int
    object_map: int
    root_tree: int
    root_tree_type: int
    references: int
    references_type: int
    snapshot_tree: int
    revert_to: int
    files: int
    directories: int
    links: int
    others: int
    snapshots: int
    uuid: UUID
    modified: int
    flags: int
    formatted_by: str
    name: str
    role: int
    group: UUID
    integrity: int
    extent_tree: int
    extent_tree_type: int

    @property
    def encrypted(self) -> bool:
        """Whether its files are, and the tree of them."""
        return not self.flags & UNENCRYPTED

    @property
    def sealed(self) -> bool:
        """Whether the tree is one of hashes."""
        return bool(self.incompat & SEALED)

    @property
    def hashed_names(self) -> bool:
        """Whether the names of a directory have hashes before them."""
        return bool(self.incompat & (CASE_INSENSITIVE | NORMALIZATION_INSENSITIVE))

    @property
    def role_name(self) -> str:
        """What it is for; empty for a volume like any other."""
        return ROLES.get(self.role, f"role {self.role:#x}") if self.role else ""


def parse_volume(data: bytes) -> VolumeSuperblock:
    """The superblock in ``data``. Raises ``FormatError``, ``UnsupportedError``."""
    if len(data) < SIZE or data[HEADER.size : HEADER.size + 4] != MAGIC:
        raise FormatError(NAME, "no volume superblock: it begins with APSB after 32 bytes")
    _, _, _, incompat, *_ = _FEATURES.unpack_from(data, _FEATURES_AT)
    (
        root_type, references_type, _, object_map, root, references, snapshot_tree, revert, _, _,
        files, directories, links, others, snapshots, _, _, uuid, modified, flags, formatted_by, _, _,
    ) = _TREES.unpack_from(data, _TREES_AT)  # fmt: skip
    name, _, role, _, _, rolling, _, _, _, group, integrity, extents, extents_type = _NAME.unpack_from(
        data, _NAME_AT
    )
    if unknown := incompat & ~KNOWN:
        raise UnsupportedError(f"{NAME}: volumes with the features {unknown:#x}")
    if rolling:
        raise UnsupportedError(f"{NAME}: volume {text(name, 'utf-8')!r} is being encrypted or decrypted")
    return VolumeSuperblock(
        xid=header(data).xid, incompat=incompat, object_map=object_map,
        root_tree=root, root_tree_type=root_type, references=references, references_type=references_type,
        snapshot_tree=snapshot_tree, revert_to=revert,
        files=files, directories=directories, links=links, others=others, snapshots=snapshots,
        uuid=UUID(bytes=uuid), modified=modified, flags=flags, formatted_by=text(formatted_by, "utf-8"),
        name=text(name, "utf-8"), role=role, group=UUID(bytes=group),
        integrity=integrity, extent_tree=extents, extent_tree_type=extents_type,
    )  # fmt: skip
