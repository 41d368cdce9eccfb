"""ISO 9660 (ECMA-119) and High Sierra, with Joliet, Rock Ridge and zisofs.

Not UDF, which shares discs with it.

``volume`` reads the descriptors and finds the roots, ``tree`` turns directory records into ``nodes``;
``records`` and ``susp`` know the bytes.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, FilesystemFormat, Later, Match
from imgmount.families.optical.disc import address_space
from imgmount.families.optical.options import XA
from imgmount.filesystems.iso9660.descriptors import NAME, is_gamecube_disc, is_udf_bridge
from imgmount.filesystems.iso9660.lost_descriptor import has_root, is_lost
from imgmount.filesystems.iso9660.volume import VIEWS, Iso9660


def probe(device: BlockDevice) -> Match:
    """CERTAIN, but LIKELY where another filesystem counts: UDF on bridge discs, a GameCube disc's own."""
    return Match.LIKELY if is_udf_bridge(device) or is_gamecube_disc(device) else Match.CERTAIN


def rescue(device: BlockDevice) -> Match:
    """The descriptors behind a primary one that is lost, and a root directory."""
    disc, start = address_space(device)
    return Match.CERTAIN if is_lost(disc, start) and has_root(disc, start) else Match.NO


def open_volume(device: BlockDevice, context: Context) -> Iso9660:
    """The volume whose session begins where ``device`` does; its addresses are those of the whole disc."""
    disc, start = address_space(device)
    return Iso9660(disc, context, session_start=start)


FORMAT: Final = FilesystemFormat(
    name=NAME,
    title="ISO 9660, Joliet, Rock Ridge",
    extensions=(".iso", ".cdr"),
    checks="descriptors, path tables and folders of all views",
    system_area=True,
    open=open_volume,
    probe=probe,
    rescue=rescue,
    limits="no Rock Ridge sparse files",
    views=VIEWS,
    check=Later("imgmount.filesystems.iso9660.check:problems"),
    second_opinion=Later("imgmount.filesystems.iso9660.second_opinion:compare"),
    options=(XA,),
)
