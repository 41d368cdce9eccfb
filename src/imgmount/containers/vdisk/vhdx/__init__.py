"""Hyper-V disks (VHDX): fixed, dynamic, and differencing with the parent beside the image.

A disk that was not closed properly is read as it would be after its log is replayed; the file is never
written. Spec: [MS-VHDX].
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.vdisk.vhdx.device import VhdxDevice
from imgmount.core.format import ContainerFormat

FORMAT: Final = ContainerFormat(
    name="vhdx",
    title="Hyper-V disk (VHDX)",
    extensions=(".vhdx", ".avhdx"),
    checks="CRC-32C of headers, region tables and log, in both copies",
    open=VhdxDevice,
    guest=True,
)
