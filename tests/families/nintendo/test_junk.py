from __future__ import annotations

import pytest

from imgmount.families.nintendo import junk


def reference(seed: bytes, size: int) -> bytes:
    """The generator word by word, as its description has it."""
    words = [int.from_bytes(seed[at : at + 4], "big") for at in range(0, junk.SEED_SIZE, 4)]
    for i in range(17, 521):
        words.append(((words[i - 17] << 23) ^ (words[i - 16] >> 9) ^ words[i - 1]) & 0xFFFF_FFFF)
    out = b""
    passes = 0
    while len(out) < size:
        if passes >= 4:
            out += b"".join(bytes((x >> 24, x >> 18 & 255, x >> 8 & 255, x & 255)) for x in words)
        for i in range(521):
            words[i] ^= words[i + 489] if i < 32 else words[i - 32]
        passes += 1
    return out[:size]


@pytest.mark.parametrize(
    ("skip", "size"), [(0, 0x8000), (0, 1), (2083, 2), (2084, 2084), (5000, 12345), (0x7FFF, 1)]
)
def test_the_stream_is_the_described_one(skip: int, size: int) -> None:
    seed = junk.seed(b"GIMP", 1, 77)
    assert junk.generate(seed, skip, size) == reference(seed, skip + size)[skip:]
