from __future__ import annotations

import pytest

from imgmount.codecs import libzstd, zstd
from imgmount.errors import FormatError

DATA = bytes(range(256)) * 300


@pytest.fixture(params=["libzstd", "module"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "module":
        monkeypatch.setattr(libzstd, "load", lambda: None)
    elif libzstd.load() is None:
        pytest.skip("the system has no libzstd")


def frame(*, sized: bool) -> bytes:
    library = zstd.library()
    options = {
        library.CompressionParameter.checksum_flag: 1,
        library.CompressionParameter.content_size_flag: int(sized),
    }
    compressor = library.ZstdCompressor(options=options)
    packed: bytes = compressor.compress(DATA) + compressor.flush()
    return packed


@pytest.mark.parametrize("sized", [False, True])
def test_a_frame(sized: bool) -> None:
    packed = frame(sized=sized)
    assert zstd.decode(packed, len(DATA)) == DATA
    assert zstd.decode_upto(packed, 8 << 20) == DATA
    assert zstd.decode_upto(packed + b"tail", len(DATA)) == DATA


@pytest.mark.parametrize("sized", [False, True])
def test_what_is_kept_is_not_overwritten(sized: bool) -> None:
    first = zstd.decode_upto(frame(sized=sized), len(DATA))
    zstd.decode_upto(zstd.library().compress(bytes(len(DATA))), len(DATA))
    assert first == DATA


@pytest.mark.parametrize("sized", [False, True])
def test_frames_that_are_not_what_they_should_be(sized: bool) -> None:
    packed = frame(sized=sized)
    flipped = packed[:-1] + bytes([packed[-1] ^ 1])  # of the checksum
    for bad, size in (
        (packed, len(DATA) - 1),
        (packed, len(DATA) + 1),
        (packed[:-9], len(DATA)),
        (flipped, len(DATA)),
        (b"", 9),
    ):
        with pytest.raises(FormatError):
            zstd.decode(bad, size)
