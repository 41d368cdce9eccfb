"""Files that zisofs compressed, versions 1 (zlib) and 2 (zlib only).

Formats by H. P. Anvin, V. Kivachuk and T. Schmitt.

The ZF or Z2 field says that a file is compressed; a file that merely begins with the magic is what it is.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final, NamedTuple

from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, ChunkedDevice
from imgmount.core.fields import table
from imgmount.errors import FormatError, UnsupportedError
from imgmount.filesystems.iso9660.descriptors import NAME

# algorithm, header size / 4, log2 of the block size, size (and its big-endian twin)
_V1_FIELD: Final = Struct("<2sBBI")
_V2_FIELD: Final = Struct("<2sBBQ")
_V1_HEADER: Final = Struct("<8sIBB2x")  # magic, size, header size / 4, log2 of the block size
# magic, version, header size / 4, algorithm, log2 of the block size, size
_V2_HEADER: Final = Struct("<8sBBBBQ4x")
_V1_MAGIC: Final = b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07"
_V2_MAGIC: Final = b"\xef\x22\x55\xa1\xbc\x1b\x95\xa0"
_V1_ALGORITHM: Final = b"pz"
_V2_ALGORITHM: Final = b"PZ"
_V2_ZLIB: Final = 1
FIELD_SIZE: Final = 16
MIN_BLOCK_LOG2: Final = 15
MAX_BLOCK_LOG2: Final = 20
MAX_BLOCKS: Final = 1 << 24  # a table of 128 MiB; 16 TiB of 1 MiB blocks, 512 GiB of 32 KiB blocks
GROUP: Final = 1 << 16  # bytes decoded at a time, at least


class Compression(NamedTuple):
    """What a ZF field says."""

    algorithm: bytes
    header_size: int
    block_log2: int
    size: int


def compression(data: bytes, position: int) -> Compression:
    """Parse the ZF or Z2 field at ``position``. Raises ``FormatError``."""
    if data[position + 2] < FIELD_SIZE or position + FIELD_SIZE > len(data):
        raise FormatError(NAME, f"the ZF field has {data[position + 2]} bytes, fewer than its contents")
    layout = _V1_FIELD if data[position + 4 : position + 6] == _V1_ALGORITHM else _V2_FIELD
    algorithm, words, block_log2, size = layout.unpack_from(data, position + 4)
    return Compression(algorithm, words * 4, block_log2, size)


def open_compressed(stored: BlockDevice, zf: Compression, cache: ReadCache) -> BlockDevice:
    """The content of the file that is ``stored`` compressed. Raises ``FormatError``, ``UnsupportedError``."""
    if zf.algorithm == _V1_ALGORITHM:
        magic, size, words, block_log2 = _V1_HEADER.unpack(stored.read_exactly(0, _V1_HEADER.size, NAME))
        genuine = magic == _V1_MAGIC
    elif zf.algorithm == _V2_ALGORITHM:
        magic, version, words, method, block_log2, size = _V2_HEADER.unpack(
            stored.read_exactly(0, _V2_HEADER.size, NAME)
        )
        genuine = magic == _V2_MAGIC
        if genuine and (version or method != _V2_ZLIB):
            raise UnsupportedError(
                f"{NAME}: zisofs header version {version}, compression {method} is not version 1, zlib"
            )
    else:
        raise UnsupportedError(
            f"{NAME}: zisofs compression {zf.algorithm.decode('ascii', 'replace')!r} is not zlib (pz, PZ)"
        )
    if not genuine:
        raise FormatError(NAME, "a file marked as zisofs has no zisofs header")
    if (words * 4, block_log2, size) != zf[1:]:
        raise FormatError(
            NAME,
            f"zisofs sizes are {words * 4, block_log2, size} in the header, {tuple(zf[1:])} in the directory",
        )
    if not MIN_BLOCK_LOG2 <= block_log2 <= MAX_BLOCK_LOG2 or size > MAX_BLOCKS << block_log2:
        raise FormatError(
            NAME,
            f"a zisofs file of {size} bytes has blocks of 2**{block_log2}, "
            f"not 2**{MIN_BLOCK_LOG2} to 2**{MAX_BLOCK_LOG2}, or too many of them",
        )
    return _ZisofsDevice(stored, zf, cache)


class _ZisofsDevice(ChunkedDevice):
    """The decoded file; a chunk is one block, or two of the smallest ones."""

    def __init__(self, stored: BlockDevice, zf: Compression, cache: ReadCache) -> None:
        self._block = 1 << zf.block_log2
        self._group = max(1, GROUP >> zf.block_log2)
        super().__init__(zf.size, self._block * self._group, cache)
        self._stored = stored
        width = 4 if zf.algorithm == _V1_ALGORITHM else 8
        count = -(-zf.size // self._block) + 1
        self._pointers = table(
            stored.read_exactly(zf.header_size, count * width, NAME), 4 if width == 4 else 8, "little"
        )

    def _read_chunk(self, index: int) -> bytes:
        first = index * self._group
        last = min(first + self._group, len(self._pointers) - 1)
        return b"".join([self._read_block(block) for block in range(first, last)])

    def _read_block(self, block: int) -> bytes:
        start, end = self._pointers[block], self._pointers[block + 1]
        size = min(self._block, self.size - block * self._block)
        if start == end:
            return bytes(size)
        if not start < end <= self._stored.size or end - start > 2 * self._block:
            raise FormatError(
                NAME,
                f"zisofs block {block}, {start:#x} to {end:#x}, is outside the {self._stored.size:#x} stored",
            )
        decoder = zlib.decompressobj()
        try:
            content = decoder.decompress(self._stored.pread(start, end - start), size + 1)
        except zlib.error as exc:
            raise FormatError(NAME, f"zisofs block {block} is no sound zlib stream", offset=start) from exc
        if len(content) != size:
            raise FormatError(
                NAME, f"zisofs block {block} holds {len(content)} bytes, not {size}", offset=start
            )
        return content
