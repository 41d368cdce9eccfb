"""Windows Imaging (WIM), ESD, and split WIMs (SWM): files, not a disk. Encrypted ESDs are refused.

Source: Microsoft, "Windows Imaging File Format (WIM)", and what wimlib documents beyond it: solid resources,
pipable WIMs, the integrity table, tagged items.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.format import FilesystemFormat, Later
from imgmount.core.option import IMAGE
from imgmount.families.windows.options import STREAMS

FORMAT: Final = FilesystemFormat(
    name="wim",
    title="Windows Imaging (WIM, ESD, SWM)",
    extensions=(".wim", ".esd", ".swm"),
    checks="SHA-1 of files and metadata, the integrity table",
    open=Later("imgmount.filesystems.wim.volume:WimVolume"),
    check=Later("imgmount.filesystems.wim.verify:check"),
    checks_content=True,
    limits="no encrypted ESD, no files encrypted with EFS; LZMS needs libwim",
    options=(IMAGE, STREAMS),
)
