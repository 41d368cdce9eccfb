"""APFS: volumes, snapshots, clones, compressed and sealed files, FileVault by password or recovery key.

The newest checkpoint whose checksum is right is shown. Source: Apple File System Reference (2020-06-22), and
what files that macOS wrote say where it is silent.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Later, Match
from imgmount.core.option import SNAPSHOT
from imgmount.errors import UnsupportedError
from imgmount.families.apple import options
from imgmount.filesystems.apfs.container import find_copy, read_first


def probe(device: BlockDevice) -> Match:
    """CERTAIN where block 0 makes sense, whatever its checksum is."""
    with suppress(UnsupportedError):  # it is APFS all the same
        read_first(device)
    return Match.CERTAIN


def rescue(device: BlockDevice) -> Match:
    """LIKELY where block 0 is lost and a checkpoint behind it is sound."""
    find_copy(device)
    return Match.LIKELY


FORMAT: Final = FilesystemFormat(
    name="apfs",
    title="APFS",
    checks="Fletcher-64 of each object, hashes of sealed volumes",
    probe=probe,
    rescue=rescue,
    open=Later("imgmount.filesystems.apfs.filesystem:ApfsFilesystem"),
    check=Later("imgmount.filesystems.apfs.verify:problems"),
    deleted=Later("imgmount.filesystems.apfs.filesystem:deleted"),
    limits="Fusion drives, keys that hardware keeps, files whose content is in iCloud",
    needs="apple",
    options=(*options.SHARED, SNAPSHOT),
)
