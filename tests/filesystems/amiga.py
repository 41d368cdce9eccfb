"""AmigaDOS volumes for tests: fixtures unpacked, and blocks changed with their checksums made right."""

from __future__ import annotations

import lzma
from functools import cache
from struct import pack_into, unpack_from

from helpers import FIXTURES, context
from imgmount.core.slices import MemoryDevice
from imgmount.filesystems.amigados import FORMAT
from imgmount.filesystems.amigados.volume import AmigaVolume

BLOCK = 512
ROOT = 880
NEXT_LINK, REAL_ENTRY, HASH_CHAIN, PARENT, EXTENSION, SECONDARY = 472, 468, 496, 500, 504, 508
FIRST_DATA, PROTECTION, SIZE, COMMENT, DATE, NAME = 308, 320, 324, 328, 420, 432
SLOT_59 = 24 + 4 * 59  # of the root of the fixtures: seven names


@cache
def fixture(variant: str) -> bytes:
    """The image of a fixture."""
    folder = FIXTURES / "filesystems/amigados" / variant
    return lzma.decompress(next(folder.glob("*.xz")).read_bytes())


class Disk:
    """An image of 512-byte blocks that can be changed."""

    def __init__(self, variant: str) -> None:
        self.data = bytearray(fixture(variant))
        self._taken: set[int] = set()

    def long(self, block: int, offset: int) -> int:
        value: int = unpack_from(">I", self.data, block * BLOCK + offset)[0]
        return value

    def put(self, block: int, offset: int, *longs: int) -> None:
        """Change longs of a block, and its checksum with them."""
        pack_into(
            f">{len(longs)}I", self.data, block * BLOCK + offset, *[value & 0xFFFF_FFFF for value in longs]
        )
        self.seal(block)

    def write(self, block: int, offset: int, content: bytes) -> None:
        self.data[block * BLOCK + offset : block * BLOCK + offset + len(content)] = content
        self.seal(block)

    def seal(self, block: int) -> None:
        pack_into(">I", self.data, block * BLOCK + 20, 0)
        total = sum(unpack_from(">128I", self.data, block * BLOCK))
        pack_into(">I", self.data, block * BLOCK + 20, -total & 0xFFFF_FFFF)

    def open(self, **options: str) -> AmigaVolume:
        volume = FORMAT.open(MemoryDevice(bytes(self.data)), context(**options))  # type: ignore[arg-type]
        assert isinstance(volume, AmigaVolume)
        return volume

    def key(self, path: str) -> int:
        """The header of a file or directory."""
        node = self.open().root
        for name in path.split("/"):
            node = node.lookup(name)  # type: ignore[assignment]
        return node.id

    def free_block(self) -> int:
        """A block that nobody uses, another one each time."""
        known = self.open().bitmap.free_map()
        free = (key for key in range(len(known) - 1, 0, -1) if known[key])
        found = next(key for key in free if key not in self._taken)
        self._taken.add(found)
        return found

    def unlink(self, name: str) -> int:
        """Take an entry out of the root directory, and leave its blocks in use: where it is."""
        found = self.key(name)
        for slot in range(72):
            block, offset = ROOT, 24 + 4 * slot
            while following := self.long(block, offset):
                if following == found:
                    self.put(block, offset, self.long(found, HASH_CHAIN))
                    return found
                block, offset = following, HASH_CHAIN
        raise AssertionError(name)

    def link(self, name: bytes, slot: int, target: int, secondary: int) -> int:
        """A link in the root directory, at the head of a chain: where it is."""
        key = self.free_block()
        block = bytearray(BLOCK)
        pack_into(">II", block, 0, 2, key)
        pack_into(">I", block, REAL_ENTRY, target)
        block[NAME] = len(name)
        block[NAME + 1 : NAME + 1 + len(name)] = name
        pack_into(">I", block, HASH_CHAIN, self.long(ROOT, 24 + 4 * slot))
        pack_into(">Ii", block, PARENT, ROOT, 0)
        pack_into(">i", block, SECONDARY, secondary)
        self.data[key * BLOCK : (key + 1) * BLOCK] = block
        self.seal(key)
        self.put(ROOT, 24 + 4 * slot, key)
        return key
