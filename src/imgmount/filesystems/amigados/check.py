"""What an AmigaDOS volume says about itself, checked: checksums, hash slots, the bitmap, directory caches."""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import TYPE_CHECKING, Final

from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.amigados import blocks
from imgmount.filesystems.amigados.bitmap import MAX_BLOCKS
from imgmount.filesystems.amigados.blocks import DIRC, HEAD, T_DIRC, TAIL, T, long_at
from imgmount.filesystems.amigados.content import BlockTable

if TYPE_CHECKING:
    from imgmount.filesystems.amigados.volume import AmigaVolume, Header

_CACHED: Final = ">IIIHHHHHb"  # of a directory cache: header, size, protection, uid, gid, date, secondary type
_CACHED_SIZE: Final = 23


def check(volume: AmigaVolume) -> Iterator[str]:
    """Each problem, in one line."""
    stored = long_at(volume.boot, 4)
    if stored and blocks.dos_type(volume.boot) is not None and blocks.boot_checksum(volume.boot) != stored:
        yield "bad checksum of the bootblock"  # 0 says that there is nothing to boot
    if not volume.root_place.sound:
        yield f"bad checksum of root block {volume.root_place.key}"
    if volume.root_place.blocks > MAX_BLOCKS:
        yield f"{volume.root_place.blocks} blocks are too many to be compared with the bitmap"
        return
    walk = _Walk(volume)
    yield from walk.tree()
    yield from walk.bitmap()


class _Walk:
    """All of the tree, and whose each block is."""

    def __init__(self, volume: AmigaVolume) -> None:
        self.volume = volume
        self.used = bytearray(volume.root_place.blocks)

    def use(self, key: int, path: str) -> Iterator[str]:
        """Note that ``path`` has block ``key``."""
        if not 0 <= key < len(self.used):
            yield f"{path}: block {key} of {len(self.used)}"
        elif self.used[key]:
            yield f"{path}: block {key} is another's too"
        else:
            self.used[key] = 1

    def tree(self) -> Iterator[str]:
        """Directories and files, by a walk that needs no recursion."""
        volume = self.volume
        root = volume.root_place.key
        yield from self.use(root, "/")
        pending: list[tuple[str, int, bytes]] = [("", root, volume.root_block[-TAIL:])]
        while pending:
            path, directory, tail = pending.pop()
            cached: dict[int, bytes] = {}
            for slot, found in volume.children(directory):
                if isinstance(found, ImageError):
                    yield f"{path or '/'}: {found}"
                    continue
                key, entry, _ = found
                name = blocks.names(entry, long=volume.long_names)[0]
                cached[key] = name
                below = f"{path}/{volume.text(name)}"
                if self.used[key]:
                    yield f"{below}: header {key} is another's too"
                    continue
                yield from self._entry(below, slot, found)
                if blocks.secondary(entry) == blocks.ST_USERDIR:
                    pending.append((below, key, entry))
            if volume.dos_type in DIRC:
                yield from self._cache(path or "/", directory, tail, cached)

    def _entry(self, path: str, slot: int, header: Header) -> Iterator[str]:
        volume = self.volume
        key, tail, sound = header
        yield from self.use(key, path)
        if not sound:
            yield f"{path}: bad checksum of header {key}"
        name = blocks.names(tail, long=volume.long_names)[0]
        right = blocks.name_hash(name, volume.root_place.hash_size, intl=volume.intl)
        if right != slot:
            yield f"{path}: in slot {slot} of its directory, not {right}: AmigaDOS does not find it"
        if volume.long_names and (comment := long_at(tail, T.long_comment)):
            yield from self.use(comment, path)
        kind = blocks.secondary(tail)
        if kind in (blocks.ST_LINKFILE, blocks.ST_LINKDIR):
            yield from self._link(path, long_at(tail, T.real_entry))
        if kind == blocks.ST_FILE and sound:
            yield from self._file(path, key, long_at(tail, T.size))

    def _link(self, path: str, target: int) -> Iterator[str]:
        try:
            self.volume.header(target)
        except ImageError as exc:
            yield f"{path}: a link to nothing: {exc}"

    def _file(self, path: str, key: int, size: int) -> Iterator[str]:
        table = BlockTable(self.volume, key, size)
        for block in table.keys:
            yield from self.use(block, path)
        for block in table.tables[1:]:
            yield from self.use(block, path)
        if table.damage is not None:
            yield f"{path}: {table.damage}"

    def _cache(self, path: str, directory: int, tail: bytes, names: dict[int, bytes]) -> Iterator[str]:
        """Compare a directory's cache with its hash table, which is the one to believe."""
        known: dict[int, bytes] = {}
        place, seen = long_at(tail, T.extension), set[int]()
        try:
            while place:
                if place in seen:
                    raise FormatError("amigados", "the directory cache loops", offset=place * self.volume.root_place.block_size)
                seen.add(place)
                block = self.volume.checked(place)
                if long_at(block, 0) != T_DIRC or long_at(block, 8) != directory:
                    raise FormatError("amigados", f"block {place} is not its directory cache", offset=place * len(block))
                yield from self.use(place, path)
                known.update(cache_records(block))
                place = long_at(block, 16)
        except ImageError as exc:
            yield f"{path}: {exc}"
            return
        for key in names.keys() ^ known.keys():
            name = self.volume.text(names.get(key) or known[key])
            yield f"{path}: {name!r} is in the {'hash table' if key in names else 'directory cache'} alone"
        for key in names.keys() & known.keys():
            if names[key] != known[key]:
                yield f"{path}: {self.volume.text(names[key])!r} is {self.volume.text(known[key])!r} in the directory cache"

    def bitmap(self) -> Iterator[str]:
        """What is in use and who uses it must agree."""
        volume, bitmap = self.volume, self.volume.bitmap
        if not bitmap.valid:
            yield "the bitmap is marked invalid: the disk was not written to the end"
        if bitmap.damage is not None:
            yield str(bitmap.damage)
            return
        for key in bitmap.pages:
            yield from self.use(key, "the bitmap")
        taken: list[int] = []
        lost: list[int] = []
        for key in range(volume.root_place.reserved, volume.root_place.blocks):
            if bitmap.is_free(key) == bool(self.used[key]):
                (taken if self.used[key] else lost).append(key)
        if taken:
            yield f"{len(taken)} blocks are in use but free in the bitmap, the first is {taken[0]}"
        if lost:
            yield f"{len(lost)} blocks are in use by nobody, the first is {lost[0]}"


def cache_records(block: bytes) -> Iterator[tuple[int, bytes]]:
    """(header, name) of the records of a directory cache block. Raises ``FormatError``."""
    at = HEAD
    for _ in range(long_at(block, 12)):
        if at + _CACHED_SIZE + 2 > len(block):
            raise FormatError("amigados", "a directory cache with more records than it holds")
        key = unpack_from(_CACHED, block, at)[0]
        name = blocks.bcpl(block, at + _CACHED_SIZE, 255)
        at += _CACHED_SIZE + 1 + len(name)
        yield key, name
        at += 1 + block[at] if at < len(block) else 1
        at += at & 1
