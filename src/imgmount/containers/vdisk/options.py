"""Options of disks of virtual machines."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import SNAPSHOT, Option

MEMBER: Final = Option(
    "member", "which disk of an appliance (OVA) or zip: the name of the file in it", metavar="NAME"
)
OPTIONS: Final = (SNAPSHOT, MEMBER)
