"""What an AmigaDOS volume says about itself, checked: checksums, hash slots, the bitmap, directory caches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from imgmount.errors import ImageError
from imgmount.filesystems.amigados import blocks, dircache
from imgmount.filesystems.amigados.blocks import DIRC, Header, T, long_at
from imgmount.filesystems.amigados.content import BlockTable, OfsFile

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume

MAX_CHECKED: Final = 1 << 26  # blocks, a byte each, several times


def check(volume: AmigaVolume) -> Iterator[str]:
    """Each problem in one line. The headers of OFS blocks are compared; data is checked when it is read."""
    stored = long_at(volume.boot, 4)
    if stored and blocks.dos_type(volume.boot) is not None and blocks.boot_checksum(volume.boot) != stored:
        yield "bad checksum of the bootblock"  # 0 says that there is nothing to boot
    if not volume.root_place.sound:
        yield f"bad checksum of root block {volume.root_place.key}"
    if volume.root_place.blocks > MAX_CHECKED:
        yield f"{volume.root_place.blocks} blocks are too many to be compared with the bitmap"
        return
    walk = _Walk(volume)
    yield from walk.tree()
    yield from walk.bitmap()


def used_blocks(volume: AmigaVolume) -> bytearray:
    """A 1 for each block that something in the tree has."""
    walk = _Walk(volume)
    deque(walk.tree(), maxlen=0)
    return walk.used


class _Walk:
    """All of the tree, and whose each block is."""

    def __init__(self, volume: AmigaVolume) -> None:
        self.volume = volume
        self.used = bytearray(volume.root_place.blocks)

    def use(self, path: str, *runs: tuple[int, int]) -> Iterator[str]:
        """Note that ``path`` has ``runs`` of (block, count)."""
        beyond, shared = [], []
        for key, count in runs:
            end = min(key + count, len(self.used))
            if end < key + count:
                beyond.append(max(key, len(self.used)))
            taken = self.used.find(1, key, end)
            if taken >= 0:
                shared.append(taken)
            self.used[key:end] = b"\1" * (end - key)
        yield from (f"{path}: block {key} of {len(self.used)}" for key in beyond[:1])
        yield from (f"{path}: block {key} is another's too" for key in shared[:1])

    def tree(self) -> Iterator[str]:
        """Directories and files, by a walk that needs no recursion."""
        volume = self.volume
        yield from self.use("/", (volume.root_header.key, 1))
        pending: list[tuple[str, Header]] = [("", volume.root_header)]
        while pending:
            path, directory = pending.pop()
            headers: dict[int, Header] = {}
            for slot, found in volume.children(directory.key):
                if isinstance(found, ImageError):
                    yield f"{path or '/'}: {found}"
                    continue
                headers[found.key] = found
                below = f"{path}/{volume.text(volume.name(found))}"
                if self.used[found.key]:
                    yield f"{below}: header {found.key} is another's too"
                    continue
                yield from self._entry(below, slot, found, directory.key)
                if found.kind == blocks.ST_USERDIR:
                    pending.append((below, found))
            if volume.dos_type in DIRC:
                yield from self._cache(path, directory, headers)

    def _entry(self, path: str, slot: int, header: Header, parent: int) -> Iterator[str]:
        volume = self.volume
        yield from self.use(path, (header.key, 1))
        if not header.sound:
            yield f"{path}: bad checksum of header {header.key}"
        if header.long(T.parent) != parent:
            said = header.long(T.parent)
            yield f"{path}: header {header.key} says that it belongs to {said}, not to {parent}"
        right = volume.slot(volume.name(header))
        if right != slot:
            yield f"{path}: in slot {slot} of its directory, not {right}: AmigaDOS does not find it"
        if volume.long_names and (comment := header.long(T.long_comment)):
            yield from self._comment(path, comment)
        if header.kind in (blocks.ST_LINKFILE, blocks.ST_LINKDIR):
            yield from self._link(path, header.long(T.real_entry))
        if header.kind == blocks.ST_FILE and header.sound:
            yield from self._file(path, header)

    def _comment(self, path: str, key: int) -> Iterator[str]:
        yield from self.use(path, (key, 1))
        try:
            self.volume.long_comment(key)
        except ImageError as exc:
            yield f"{path}: its comment: {exc}"

    def _link(self, path: str, target: int) -> Iterator[str]:
        try:
            self.volume.header(target)
        except ImageError as exc:
            yield f"{path}: a link to nothing: {exc}"

    def _file(self, path: str, header: Header) -> Iterator[str]:
        table = BlockTable(self.volume, header.key, header.long(T.size))
        yield from self.use(path, *table.runs(), *((block, 1) for block in table.tables[1:]))
        yield from (f"{path}: {doubt}" for doubt in table.doubts)
        if table.damage is not None:
            yield f"{path}: {table.damage}"
        elif not self.volume.dos_type & blocks.FFS:
            content = OfsFile(self.volume, table, header.key, header.long(T.size), strict=False)
            try:
                yield from (f"{path}: {doubt}" for doubt in content.doubts())
            except ImageError as exc:
                yield f"{path}: {exc}"

    def _cache(self, path: str, directory: Header, headers: dict[int, Header]) -> Iterator[str]:
        """Compare a directory's cache with its hash table, which counts."""
        known: dict[int, dircache.Entry] = {}
        try:
            for place, block in dircache.cache_blocks(self.volume, directory):
                yield from self.use(path or "/", (place, 1))
                known.update(dircache.records(block))
        except ImageError as exc:
            yield f"{path or '/'}: {exc}"
            return
        for name, problem in dircache.differences(headers, known):
            yield f"{path}/{self.volume.text(name)}: {problem}"

    def bitmap(self) -> Iterator[str]:
        """Compare the bitmap with the blocks that files use."""
        volume, bitmap = self.volume, self.volume.bitmap
        if not bitmap.valid:
            yield "the bitmap is marked invalid: the disk was not written to the end"
        if bitmap.damage is not None:
            yield f"the bitmap: {bitmap.damage}"
            return
        yield from self.use("the bitmap", *((key, 1) for key in bitmap.pages))
        used, free = (int.from_bytes(marks, "little") for marks in (self.used, bitmap.free_map()))
        reserved, count = volume.root_place.reserved, volume.root_place.blocks
        taken = (used & free).to_bytes(count, "little")
        if found := taken.count(1):
            yield f"{found} blocks are in use but free in the bitmap, the first is {taken.find(1)}"
        lost = (used | free).to_bytes(count, "little")
        if found := lost.count(0, reserved):
            yield f"{found} blocks are marked as used and belong to no file, first {lost.find(0, reserved)}"
