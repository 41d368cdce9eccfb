"""PSP and PS2 discs in LZ4 blocks (ZISO, "ZSO"): laid out as CSO version 1.

Source: README_ZSO.md of maxcso.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.optical.cso import IndexedBlocks
from imgmount.core.format import ContainerFormat


class ZsoDevice(IndexedBlocks):
    """The disc in a ZSO file."""

    fmt = "zso"
    versions = {0: "LZ4", 1: "LZ4"}  # noqa: RUF012  the base class says that it is a Mapping

    def _is_deflated(self, _: int, /) -> bool:
        return False


FORMAT: Final = ContainerFormat(
    name="zso", title="PSP or PS2 disc image, LZ4", extensions=(".zso",), open=ZsoDevice
)
