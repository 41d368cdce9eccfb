"""MacBinary I to III around a disk image: its data fork is the next layer, with the other fork at hand.

A file that is no disk image is shown as its two forks instead: see ``filesystems.macforks``.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.families.apple.macbinary import parse
from imgmount.families.apple.wrapped import holds_disk, open_macbinary


def probe(file: BlockDevice) -> Match:
    """CERTAIN where the header's own checksum says so, else LIKELY: and only if a disk image is inside."""
    header = parse(file)
    if header is None or not holds_disk(open_macbinary(file)):
        return Match.NO
    return Match.CERTAIN if header.version > 1 else Match.LIKELY


def open_wrapped(file: BlockDevice, _: Context) -> BlockDevice:
    """The data fork. Raises ``FormatError``."""
    return open_macbinary(file)


FORMAT: Final = ContainerFormat(
    name="macbinary", title="MacBinary file", extensions=(".bin", ".macbin"), open=open_wrapped, probe=probe
)
