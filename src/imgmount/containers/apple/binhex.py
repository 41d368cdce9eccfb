"""BinHex 4 around a disk image: its data fork, decoded, is the next layer, with the other fork at hand.

A file that is no disk image is shown as its two forks instead: see ``filesystems.macforks``.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.families.apple.wrapped import holds_disk, open_binhex


def probe(file: BlockDevice) -> Match:
    """CERTAIN if a disk image is inside."""
    return Match.CERTAIN if holds_disk(open_binhex(file)) else Match.NO


def open_wrapped(file: BlockDevice, _: Context) -> BlockDevice:
    """The data fork. Raises ``FormatError``."""
    return open_binhex(file)


FORMAT: Final = ContainerFormat(
    name="binhex", title="BinHex 4 file", extensions=(".hqx",), open=open_wrapped, probe=probe
)
