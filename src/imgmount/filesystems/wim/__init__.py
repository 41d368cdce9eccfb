"""Windows Imaging (WIM), ESD, and split WIMs (SWM): files, not a disk. Encrypted ESDs are refused.

Source: Microsoft, "Windows Imaging File Format (WIM)", and what wimlib documents beyond it: solid resources, pipable
WIMs, the integrity table, tagged items.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.format import Format, Kind
from imgmount.filesystems.wim.volume import WimVolume

FORMAT: Final = Format(
    name="wim",
    title="Windows Imaging (WIM, ESD, SWM)",
    kind=Kind.FILESYSTEM,
    open=WimVolume,
    limits="no encrypted ESD, no EFS; LZMS needs libwim",
)
