"""GameCube and Wii discs in WIA and RVZ: compressed, junk as its seed, Wii partitions decrypted.

The raw view has every byte of the disc: hashes are computed and clusters encrypted again with the title key
that the file holds, so no other key is needed. Sources: Dolphin's ``docs/WiaAndRvz.md`` (CC0), Wiimms ISO
Tools.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.nintendo.wia.device import WiaDevice
from imgmount.core.format import ContainerFormat

FORMAT: Final = ContainerFormat(
    name="wia",
    title="GameCube or Wii disc image, WIA or RVZ",
    extensions=(".wia", ".rvz"),
    checks="SHA-1 of headers, tables and purged data",
    open=WiaDevice,
)
