"""GameCube discs and data of Wii partitions: ``sys/`` is what the console starts, ``files/`` the files.

Sources: Yet Another GameCube Documentation, "Disc format"; WiiBrew, "Wii disc". Wii offsets are stored
divided by four.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import FilesystemFormat, Match
from imgmount.filesystems.gcfst.boot import Boot
from imgmount.filesystems.gcfst.volume import GcVolume


def probe(device: BlockDevice) -> Match:
    """CERTAIN where the disc header leads to a table that begins with a root.

    That of a whole Wii disc leads nowhere.
    """
    return Match.CERTAIN if Boot.read(device).has_root(device) else Match.NO


FORMAT: Final = FilesystemFormat(
    name="gcfst",
    title="GameCube disc or Wii partition",
    extensions=(".gcm", ".iso"),
    checks="SHA-1 of a disc that NKit made",
    probe=probe,
    open=GcVolume,
    limits="discs made smaller by NKit 1 are shown as they are",
)
