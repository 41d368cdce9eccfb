"""Compressed files made of blocks that decode each on its own: what xz, bzip2 and zstd have in common."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from imgmount.core.block_decoder import CodedBlock, CodedBlockDecoder
from imgmount.core.cache import ReadCache
from imgmount.core.sequential import SequentialDevice, group
from imgmount.errors import ImageError

MAX_WHOLE: Final = 64 << 20  # a block up to here is one chunk, if two of them fit into the cache


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

    def verify(self) -> Iterator[str]:
        """Decode everything: each chunk that cannot be is one line."""
        for index in range(self._chunk_count()):
            try:
                self._read_chunk(index)
            except ImageError as exc:
                yield f"chunk {index}: {exc}"
