"""Raw disks that only their type code identifies: ShrinkWrap's self-mounting images, DiskDup+.

The data fork is the disk as it is; a self-mounting floppy keeps its checksum in resource ``CKSM`` 1. Source:
the ClassicMac project's ``disk-images/raw-images.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.core.checks import Finding, Seal
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.slices import Slice
from imgmount.errors import FormatError
from imgmount.families.apple.forkfiles import Forks, forks_of

NAME: Final = "shrinkwrap"
SECTOR: Final = 512


class RawDisk(Slice):
    """The sectors."""

    def __init__(self, file: BlockDevice, _: Context) -> None:
        self._forks = _raw_forks(file)
        super().__init__(file, 0, file.size)

    def info(self) -> Mapping[str, str]:
        return {"type and creator": self._forks.codes, "resource fork": self._forks.origin}

    def verify(self) -> Iterator[Finding]:
        """The checksum of the data, where there is one."""
        from imgmount.families.apple.sums import DiskCopySum

        if (stored := self._forks.read(b"CKSM", 1)) is not None:
            yield Seal("checksum of the data", stored[:4], self, DiskCopySum)


def _raw_forks(file: BlockDevice) -> Forks:
    """The forks of a file whose type says that it is a raw disk. Raises ``FormatError``."""
    from imgmount.families.apple.types import ImageKind

    forks = forks_of(file)
    if forks is None or forks.kind is not ImageKind.RAW or not file.size or file.size % SECTOR:
        raise FormatError(NAME, "no type code of a raw disk, or not whole sectors")
    return forks


def probe(file: BlockDevice) -> Match:
    """LIKELY by the type code alone: any format that is sure of its bytes comes first."""
    forks = forks_of(file)
    return Match.NO if forks is None or not _raw_forks(file) else Match.LIKELY


FORMAT: Final = ContainerFormat(
    name=NAME,
    title="Raw Macintosh disk (ShrinkWrap, DiskDup+)",
    extensions=(".img", ".image", ".smi"),
    checks="the sum of the disk, where it has one",
    open=RawDisk,
    probe=probe,
    guest=True,
)
