"""The padding of GameCube and Wii discs: a lagged Fibonacci generator with 521 words of state.

Source: Dolphin's description of RVZ (docs/WiaAndRvz.md, CC0). The state is kept as one number, its first word
the highest: an XOR with the word so many places before is then a shift of all words at once.
"""

from __future__ import annotations

from typing import Final

WORD_BITS: Final = 32
SEED_WORDS: Final = 17  # j of the generator's x[i] = f(x[i - 17], x[i - 16], x[i - 1]) while it is seeded
SEED_SIZE: Final = SEED_WORDS * 4
STATE_WORDS: Final = 521  # k
STATE_SIZE: Final = STATE_WORDS * 4
LAG: Final = 32  # j of x[i] ^= x[i - 32] afterwards
WARM_UP: Final = 4  # passes before the first byte
SECTOR: Final = 0x8000  # the stream begins anew with each
_SLAB: Final = 16  # words that can be seeded at once: those they depend on are there


def _repeat(word: int, count: int) -> int:
    return sum(word << WORD_BITS * index for index in range(count))


_SLAB_BITS: Final = _SLAB * WORD_BITS
_SLAB_ALL: Final = (1 << _SLAB_BITS) - 1
_HIGH: Final = _repeat(0xFF80_0000, _SLAB)  # what is left of words shifted up by 23
_LOW: Final = _repeat(0x007F_FFFF, _SLAB)  # and down by 9
_LAG_ALL: Final = (1 << LAG * WORD_BITS) - 1
_KEPT: Final = _repeat(0xFF00_FFFF, STATE_WORDS)
_MOVED: Final = _repeat(0x00FF_0000, STATE_WORDS)


def _state(seed: bytes) -> int:
    """The state after the warm-up, as it is put out: bytes x >> 24, x >> 18, x >> 8, x of each word.

    Each later step is an XOR of whole words, so the words may as well be in the order of the output from here
    on.
    """
    words = int.from_bytes(seed, "big")
    count = SEED_WORDS
    while count < STATE_WORDS:
        last = words & _SLAB_ALL  # x[i - 16] for sixteen words
        before = words >> WORD_BITS & _SLAB_ALL  # x[i - 17]
        fresh = (before << 23 & _HIGH) ^ (last >> 9 & _LOW) ^ (words & 0xFFFF_FFFF) << _SLAB_BITS - WORD_BITS
        for places in (1, 2, 4, 8):  # each word is XORed with all before it
            fresh ^= fresh >> places * WORD_BITS
        words = words << _SLAB_BITS | fresh
        count += _SLAB
    words >>= (count - STATE_WORDS) * WORD_BITS
    state = words & _KEPT | words >> 2 & _MOVED
    for _ in range(WARM_UP):
        state = _forward(state)
    return state


def _forward(state: int) -> int:
    """x[i] ^= x[i + 489] for the first 32 words, then x[i] ^= x[i - 32] for the others, in order."""
    state ^= (state & _LAG_ALL) << (STATE_WORDS - LAG) * WORD_BITS
    for lags in (1, 2, 4, 8, 16):
        state ^= state >> lags * LAG * WORD_BITS
    return state


def generate(seed: bytes, skip: int, size: int) -> bytes:
    """``size`` bytes of the stream of a seed of 68 bytes (big-endian words), from byte ``skip`` on."""
    state = _state(seed)
    for _ in range(skip // STATE_SIZE):
        state = _forward(state)
    skip %= STATE_SIZE
    pieces = []
    for _ in range(-(-(skip + size) // STATE_SIZE)):
        pieces.append(state.to_bytes(STATE_SIZE, "big"))
        state = _forward(state)
    return b"".join(pieces)[skip : skip + size]


def seed(game_id: bytes, disc: int, sector: int) -> bytes:
    """The seed of the sector of 32 KiB number ``sector`` of the disc or partition of ``game_id``."""
    a, b, c, d = game_id[:4]
    base = (c << 24 | b << 16 | (d + c & 0xFF) << 8 | a + b & 0xFF) ^ disc
    state = base * 0x260BCD5 ^ sector * 0x1EF29123
    words = []
    for _ in range(SEED_WORDS):
        word = 0
        for _ in range(WORD_BITS):
            state = state * 0x5D588B65 + 1 & 0xFFFF_FFFF
            word = word >> 1 | state & 0x8000_0000
        words.append(word)
    words[16] ^= words[0] >> 9 ^ words[16] << 23 & 0xFFFF_FFFF
    return b"".join(word.to_bytes(4, "big") for word in words)


def stream(game_id: bytes, disc: int, offset: int, size: int) -> bytes:
    """``size`` bytes of the padding of a disc, or of a Wii partition's data, from ``offset`` of it."""
    pieces = []
    end = offset + size
    while offset < end:
        sector, skip = divmod(offset, SECTOR)
        length = min(SECTOR - skip, end - offset)
        pieces.append(generate(seed(game_id, disc, sector), skip, length))
        offset += length
    return b"".join(pieces)
