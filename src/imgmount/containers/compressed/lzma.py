""".lzma files ("LZMA alone") as disk images: a 13-byte header and one LZMA1 stream.

Source: lzma-file-format.txt of XZ Utils.
"""

from __future__ import annotations

import logging
import lzma
from array import array
from collections.abc import Sequence
from functools import partial
from typing import Final

from imgmount.codecs.lzma import MEMORY_LIMIT, lzma1_filter
from imgmount.containers.compressed.coded_blocks import CodedBlocksDevice
from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder, feed, measure
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import FormatError

log = logging.getLogger(__name__)

HEADER_SIZE: Final = 13  # properties, dictionary size (4), uncompressed size (8)
UNKNOWN: Final = 0xFFFF_FFFF_FFFF_FFFF  # the stream ends with a marker
MAX_SIZE: Final = 1 << 38  # XZ Utils takes a file with a larger size for another format


class LzmaDevice(CodedBlocksDevice):
    """What an .lzma file holds. Where the header does not say how much, it is decoded once at open."""

    fmt = "lzma"
    error = lzma.LZMAError

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._file = file
        self._problem = ""
        size = _stated_size(file)
        if size == UNKNOWN:
            size, error = measure(CodedBlockDecoder(self.fmt, [self._block(0)], self.error))
            if error:
                self._problem = f"{error}: {size} bytes decode"
                log.warning("%s", self._problem)
        super().__init__(size, array("Q", [0]), context.cache)

    def _block(self, index: int) -> CodedBlock:
        decompressor = partial(lzma.LZMADecompressor, lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)
        return CodedBlock(decompressor, feed(self._file, index, self._file.size), damaged=bool(self._problem))

    def verify(self) -> Sequence[str]:
        return [self._problem] if self._problem else []


def _stated_size(file: BlockDevice) -> int:
    header = file.read_exactly(0, HEADER_SIZE, "lzma")
    size = int.from_bytes(header[5:], "little")
    if size != UNKNOWN and size >= MAX_SIZE:
        raise FormatError("lzma", f"a size of {size} bytes: at most {MAX_SIZE - 1} is possible", offset=5)
    return size


def probe(file: BlockDevice) -> Match:
    """There is no magic: the header must be one that encoders write, and the first bytes must decode."""
    dictionary = lzma1_filter(file.read_exactly(0, HEADER_SIZE, "lzma"))["dict_size"]
    lowest = dictionary & -dictionary
    if dictionary not in (lowest, 3 * lowest) or not _stated_size(file):
        return Match.NO
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)
    try:
        return Match.LIKELY if decoder.decompress(file.pread(0, 4096), 512) else Match.NO
    except lzma.LZMAError:
        return Match.NO


FORMAT: Final = ContainerFormat(
    name="lzma",
    title="LZMA-compressed image (.lzma)",
    extensions=(".lzma",),
    checks="the end mark",
    open=LzmaDevice,
    probe=probe,
    packs_files=True,
    limits="decoded from its start for each step backwards",
)
