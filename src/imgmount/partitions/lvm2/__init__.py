"""LVM2: logical volumes, linear or striped, whose extents lie in one or more partitions of a disk."""

from __future__ import annotations

import logging
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Match, Partition, PartitionsFormat
from imgmount.errors import ImageError
from imgmount.partitions.lvm2.group import Group, Member
from imgmount.partitions.lvm2.label import SECTOR, Label, read_group, read_label

log = logging.getLogger(__name__)

MAX_VOLUMES: Final = 512
MAX_MEMBERS: Final = 64  # partitions looked at for other physical volumes of the group
PARTITION_TABLE: Final = 446
MBR_SIGNATURE: Final = b"\x55\xaa"


def _is_partitioned(device: BlockDevice) -> bool:
    """Whether sector 0 is a partition table: LVM refuses such a device, even with an old label in it."""
    sector = device.pread(0, SECTOR)
    entries = [sector[at : at + 16] for at in range(PARTITION_TABLE, SECTOR - 2, 16)]
    return (
        sector[SECTOR - 2 :] == MBR_SIGNATURE
        and all(not entry[0] & 0x7F for entry in entries)
        and any(any(entry[12:]) for entry in entries)
    )


def probe(device: BlockDevice) -> Match:
    """CERTAIN: a magic and a checksum."""
    read_label(device)
    return Match.NO if _is_partitioned(device) else Match.CERTAIN


def _members(device: BlockDevice, own: Label, context: Context) -> dict[str, Member]:
    """The physical volumes of the disk by UUID: ``device``, and the other parts of its partition table."""
    members = {own.uuid: Member(device, bool(own.metadata))}
    for other in context.parts[:MAX_MEMBERS]:
        if other is device:
            continue
        try:
            label = read_label(other)
        except ImageError:
            continue
        members.setdefault(label.uuid, Member(other, bool(label.metadata)))
    return members


def open_lvm2(device: BlockDevice, context: Context) -> list[Partition]:
    """The visible logical volumes that begin here, numbered by their place in the metadata.

    Raises ``ImageError``.

    One that lies on several partitions of the disk is shown in the first of them only.
    """
    label = read_label(device)
    vg, section = read_group(device, label)
    group = Group(_members(device, label, context), section)
    parts: list[Partition] = []
    number = 0
    for name, volume in group.logical.items():
        if "VISIBLE" not in volume.items_of("status") or volume.section("segment1").get("type") == "snapshot":
            continue
        number += 1
        if group.home(name) not in (label.uuid, ""):
            continue
        if len(parts) == MAX_VOLUMES:
            log.warning("lvm2: %s has more than %d logical volumes: the others are left out", vg, MAX_VOLUMES)
            break
        kind, content, fault = group.volume(name)
        if fault is not None:
            log.warning("%s-%s: %s", vg, name, fault)
        uuid = volume.get("id")
        parts.append(
            Partition(
                number, kind, f"{vg}-{name}", content, fault=fault, uuid=uuid if isinstance(uuid, str) else ""
            )
        )
    return parts


FORMAT: Final = PartitionsFormat(
    name="lvm2",
    title="LVM2 physical volume",
    checks="CRC-32 of label and metadata",
    probe=probe,
    open=open_lvm2,
    limits="linear and striped volumes within one disk; thin, cache, RAID, mirror, snapshot and VDO volumes "
    "are named",
)
