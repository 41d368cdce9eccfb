"""Compressed files made of blocks that decode each on its own: what xz, bzip2 and zstd have in common."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Sequence
from typing import Final

from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder
from imgmount.core.cache import ReadCache
from imgmount.core.sequential import SequentialDevice, group

MAX_WHOLE: Final = 64 << 20  # a block up to here is one chunk, if two of them fit into the cache
DECODER: Final = 4 << 20  # bytes that a decompressor takes, if nothing else is known: bzip2's


class CodedBlocksDevice(SequentialDevice):
    """The blocks' data in order; block n begins at ``starts[n]``.

    Small ones are decoded together, large ones bit by bit.
    """

    fmt: str
    error: type[Exception]  # of the decompressor

    def __init__(self, size: int, starts: Sequence[int], cache: ReadCache) -> None:
        chosen = group(starts) if starts else []
        self._groups = array("Q", [*chosen, len(starts)])
        whole = min(MAX_WHOLE, cache.capacity // 2)
        super().__init__(size, array("Q", [starts[first] for first in chosen]), cache, whole=whole)

    @abstractmethod
    def _block(self, index: int) -> CodedBlock:
        """Block ``index``, ready to be decoded. Raises ``ImageError``."""

    def _decoder(self, span: int) -> CodedBlockDecoder:
        return CodedBlockDecoder(
            self.fmt, map(self._block, range(self._groups[span], self._groups[span + 1])), self.error
        )

    def _memory_of(self, index: int) -> int:
        """Bytes that the decompressor of block ``index`` takes. Raises ``ImageError``."""
        del index
        return DECODER

    def _decoder_memory(self, span: int) -> int:
        return max(map(self._memory_of, range(self._groups[span], self._groups[span + 1])), default=0)
