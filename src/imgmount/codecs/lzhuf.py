"""What LZHUF (H. Yoshizaki, 1988) brought: an adaptive Huffman tree of symbols, and a code of distances.

DMS and DART use both, with windows of their own.
"""

from __future__ import annotations

from typing import Final, Protocol

# the code of the upper six bits of a distance: how long each is, by the byte that it begins
_LENGTHS: Final = [3] + [4] * 3 + [5] * 8 + [6] * 12 + [7] * 24 + [8] * 16
D_CODE: Final = [code for code, length in enumerate(_LENGTHS) for _ in range(1 << (8 - length))]
D_LEN: Final = [length for length in _LENGTHS for _ in range(1 << (8 - length))]


class Bits(Protocol):
    """Bits, most significant first."""

    def peek(self, count: int) -> int:
        """The next ``count`` bits, 16 or fewer."""

    def drop(self, count: int) -> None:
        """Go on by ``count`` bits that were looked at."""


class AdaptiveTree:
    """LZHUF's adaptive Huffman tree: nodes in order of frequency, sons in pairs."""

    SYMBOLS: Final = 314
    NODES: Final = 2 * SYMBOLS - 1
    ROOT: Final = NODES - 1
    MOST: Final = 0x8000

    def __init__(self) -> None:
        leaves, nodes = self.SYMBOLS, self.NODES
        self.freq = [1] * leaves + [0] * (nodes - leaves) + [0xFFFF]
        self.son = [symbol + nodes for symbol in range(leaves)] + [0] * (nodes - leaves)
        self.parent = [0] * nodes + list(range(leaves))
        for place, node in enumerate(range(leaves, nodes)):
            low = 2 * place
            self.freq[node] = self.freq[low] + self.freq[low + 1]
            self.son[node] = low
            self.parent[low] = self.parent[low + 1] = node
        self.parent[self.ROOT] = 0

    def decode(self, bits: Bits) -> int:
        """The next symbol; its frequency grows."""
        son, nodes = self.son, self.NODES
        node = son[self.ROOT]
        while node < nodes:
            pattern, unread = bits.peek(16), 16
            while unread and node < nodes:
                unread -= 1
                node = son[node + (pattern >> unread & 1)]
            bits.drop(16 - unread)
        self._count(node)
        return node - nodes

    def _count(self, leaf: int) -> None:
        freq, son, parent, nodes = self.freq, self.son, self.parent, self.NODES
        if freq[self.ROOT] == self.MOST:
            self._halve()
        node = parent[leaf]
        while True:
            count = freq[node] = freq[node] + 1
            other = node + 1
            if count > freq[other]:
                while count > freq[other + 1]:
                    other += 1
                freq[node], freq[other] = freq[other], count
                mine, its = son[node], son[other]
                parent[mine] = other
                if mine < nodes:
                    parent[mine + 1] = other
                parent[its] = node
                if its < nodes:
                    parent[its + 1] = node
                son[node], son[other] = its, mine
                node = other
            node = parent[node]
            if node == 0:
                return

    def _halve(self) -> None:
        freq, son, nodes, leaves = self.freq, self.son, self.NODES, self.SYMBOLS
        old = [((freq[node] + 1) // 2, son[node]) for node in range(nodes) if son[node] >= nodes]
        counts, sons = [count for count, _ in old], [leaf for _, leaf in old]
        for place in range(nodes - leaves):
            low = 2 * place
            count = counts[low] + counts[low + 1]
            at = len(counts)
            while count < counts[at - 1]:
                at -= 1
            counts.insert(at, count)
            sons.insert(at, low)
        self.freq[:nodes], self.son[:] = counts, sons
        for node, child in enumerate(sons):
            self.parent[child] = node
            if child < nodes:
                self.parent[child + 1] = node
