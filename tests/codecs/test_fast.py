"""What libraries do where they are installed, and what stands in for them: the same, for any bytes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from imgmount.codecs import cdrom, lzo
from imgmount.codecs.crc32c import crc32c, crc32c_alone
from imgmount.errors import FormatError

RNG = random.Random(5)
PIECES = [RNG.randbytes(size) for size in (0, 1, 7, 8, 9, 64, 2064, 4096, 100_003)]
TEXT = b"".join(b"%d " % (number * number) for number in range(20_000))


def test_crc32c() -> None:
    assert crc32c(b"123456789") == crc32c_alone(b"123456789") == 0xE306_9283  # RFC 3720, B.4
    for first, second in pairwise(PIECES):
        begun = crc32c_alone(first)
        assert crc32c(first) == begun
        assert crc32c(second, begun) == crc32c_alone(second, begun) == crc32c_alone(first + second)


def test_edc() -> None:
    assert cdrom.edc(b"123456789") == cdrom.edc_alone(b"123456789") == 0x6EC2_EDC4  # "CRC-32/CD-ROM-EDC"
    for first, second in pairwise(PIECES):
        begun = cdrom.edc_alone(first)
        assert cdrom.edc(first) == begun
        assert cdrom.edc(second, begun) == cdrom.edc_alone(second, begun) == cdrom.edc_alone(first + second)


@pytest.mark.parametrize("data", [TEXT, bytes(100_000), RNG.randbytes(5000), b"x", TEXT[:40] * 900])
def test_lzo(data: bytes) -> None:
    library = pytest.importorskip("lzallright", reason="lzallright is not installed")
    coded = library.LZOCompressor().compress(data)
    for decode in (lzo.decode_upto, lzo.decode_alone):
        assert decode(coded, len(data)) == data
        assert decode(coded + b"tail", len(data) + 1000) == data
        with pytest.raises(FormatError, match="more than"):
            decode(coded, len(data) - 1)
    for _ in range(60):
        damaged = bytearray(coded)
        damaged[RNG.randrange(len(coded))] ^= 1 << RNG.randrange(8)
        assert outcome(lzo.decode_upto, bytes(damaged), len(data)) == outcome(
            lzo.decode_alone, bytes(damaged), len(data)
        )


def outcome(decode: object, data: bytes, limit: int) -> bytes | None:
    try:
        return decode(data, limit)  # type: ignore[operator, no-any-return]
    except FormatError:
        return None
