"""One disc in a file of the Wii backup file system, without its unused sectors. Files with several: see ``partitions.wbfs``.

Files are cut into ``.wbfs``, ``.wbf1``, ``.wbf2``... Source: libwbfs; see ``codecs.wbfs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from imgmount.codecs.wbfs import Wbfs, WbfsDisc
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context, Format, Kind, Match


class WbfsDevice(WbfsDisc):
    """The disc in the file, the first if it has several."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        wbfs = Wbfs.read(file)
        self._name, index = wbfs.disc(file, wbfs.slots[0])
        super().__init__(file, wbfs.sector, index)

    def info(self) -> Mapping[str, str]:
        stored = sum(1 for entry in self._index if entry)
        return {"disc": self._name, "sectors": f"{len(self._index)} of {self.block_size} bytes, {stored} stored"}


def probe(file: BlockDevice) -> Match:
    """CERTAIN for a file with one disc: several divide it."""
    return Match.CERTAIN if len(Wbfs.read(file).slots) == 1 else Match.NO


FORMAT: Final = Format(name="wbfs", title="Wii backup file", kind=Kind.CONTAINER, probe=probe, open=WbfsDevice)
