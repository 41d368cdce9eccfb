"""Hyper-V disks (VHDX): fixed, dynamic, and differencing with the parent beside the image.

A disk that was not closed properly is read as it would be after its log is replayed; the file is never written. Spec: [MS-VHDX].
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.vhdx.device import VhdxDevice
from imgmount.core.format import Format, Kind

FORMAT: Final = Format(name="vhdx", title="Hyper-V disk (VHDX)", kind=Kind.CONTAINER, open=VhdxDevice, guest=True)
