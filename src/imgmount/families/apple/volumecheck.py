"""Counts that HFS and HFS+ keep about themselves: files, folders, what each folder holds, free blocks."""

from __future__ import annotations

from collections.abc import Iterator

from imgmount.core.device import BlockDevice
from imgmount.core.read_through import read_through

MAX_PROBLEMS = 50  # of one kind


class Tally:
    """Files and folders as the catalog has them, to compare with what is told of them."""

    def __init__(self) -> None:
        self.files = 0
        self.folders = 0
        self._missing: dict[int, int] = {}  # folder -> entries told minus entries found

    def add(self, parent: int, folder: int | None, valence: int) -> None:
        """A record below ``parent``; a folder's number and how many entries it tells of."""
        self._count(parent, -1)
        if folder is None:
            self.files += 1
        else:
            self.folders += 1
            self._count(folder, valence)

    def _count(self, folder: int, number: int) -> None:
        left = self._missing.get(folder, 0) + number
        if left:
            self._missing[folder] = left
        else:
            self._missing.pop(folder, None)

    def problems(self, files: int, folders: int) -> Iterator[str]:
        """``files`` and ``folders`` are what the header tells, the root not counted."""
        if self.files != files:
            yield f"{self.files} files in the catalog, the header counts {files}"
        if self.folders != folders + 1:
            yield f"{self.folders - 1} folders in the catalog, the header counts {folders}"
        wrong = [(folder, left) for folder, left in sorted(self._missing.items()) if folder != 1]
        for folder, left in wrong[:MAX_PROBLEMS]:
            more = "more" if left > 0 else "fewer"
            yield f"folder {folder} tells of {abs(left)} entries {more} than it has"


def used_blocks(bitmap: BlockDevice, blocks: int) -> int:
    """How many of ``blocks`` are taken in a bitmap, whose high bits come first. Raises ``ImageError``."""
    whole, rest = divmod(blocks, 8)
    count = sum(int.from_bytes(data, "big").bit_count() for data in read_through(bitmap, 0, whole))
    if rest:
        count += (bitmap.read_exactly(whole, 1, "bitmap")[0] >> (8 - rest)).bit_count()
    return count
