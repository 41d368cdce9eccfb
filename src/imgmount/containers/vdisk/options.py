"""Options of disks of virtual machines."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import Option

SNAPSHOT: Final = Option(
    "snapshot",
    "the state of a QCOW2 or Parallels disk to show: an identifier or name that info lists",
    metavar="ID",
    flag=True,
)
MEMBER: Final = Option(
    "member", "which disk of an appliance (OVA): the name of the file in it", metavar="NAME"
)
OPTIONS: Final = (SNAPSHOT, MEMBER)
