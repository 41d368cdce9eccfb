"""What ``imgmount info`` shows about an HFS+ volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from imgmount.core.fields import NS, utc_text
from imgmount.families.apple.times import hfs_time_ns
from imgmount.filesystems.hfsplus.header import INCONSISTENT, PLACE, UNMOUNTED

if TYPE_CHECKING:
    from imgmount.filesystems.hfsplus.volume import HfsPlusVolume


def facts(volume: HfsPlusVolume) -> Mapping[str, str]:
    """The facts that are known."""
    header = volume.header
    names = "case counts in names" if volume.is_case_sensitive else "case does not count in names"
    kind = "HFSX" if header.signature == b"HX" else "HFS+"
    clean = header.attributes & UNMOUNTED and not header.attributes & INCONSISTENT
    found = {
        "type": f"{kind}, {names}",
        "label": volume.label,
        "UUID": volume.uuid,
        "blocks": f"{header.blocks} of {header.block_size} bytes, {header.free_blocks} free",
        "files": f"{header.files}, folders: {header.folders}",
        "created": _moment(header.created, ""),  # in local time, unlike the others
        "modified": _moment(header.modified, " UTC"),
        "checked": _moment(header.checked, " UTC"),
        "last mounted by": header.mounted_by.decode("mac_roman").strip("\0 "),
        "state": "clean" if clean else "not unmounted",
        "journal": volume.replay.state,
    }
    if volume.is_wrapped:
        found["wrapper"] = "an HFS volume, for systems before Mac OS 8.1; 'wrapper' shows it"
    if header.place != PLACE:
        found["header"] = f"damaged, read from the copy at {header.place:#x}"
    return {key: value for key, value in found.items() if value}


def _moment(seconds: int, zone: str) -> str:
    if not seconds:
        return ""
    return utc_text(hfs_time_ns(seconds) // NS).replace(" UTC", zone)
