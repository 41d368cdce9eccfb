"""LZFSE and LZVN: what Apple's encoder wrote, sizes that lie, and data that would grow without end."""

from __future__ import annotations

import random
import struct

import pytest

from imgmount.codecs import lzfse
from imgmount.errors import FormatError

library = pytest.importorskip("lzfse")
TEXT = b"the quick brown fox " * 20
SAMPLES = [b"a", TEXT, bytes(70_000), random.Random(1).randbytes(90_000) + TEXT * 900]


@pytest.mark.parametrize("data", SAMPLES, ids=["stored", "lzvn", "zeros", "mixed"])
@pytest.mark.parametrize("hidden", [False, True], ids=["bounded", "module"])
def test_whole_streams_decode_in_both_ways(
    data: bytes, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hidden:
        monkeypatch.setattr(lzfse, "_decoder", lambda: (library, None))
    coded = library.compress(data)
    assert lzfse.decode(coded, len(data)) == data
    for wrong in (len(data) - 1, len(data) + 1):
        with pytest.raises(FormatError, match=r"lzfse: .* expected"):
            lzfse.decode(coded, wrong)
    with pytest.raises(FormatError, match="lzfse: "):
        lzfse.decode(coded[: len(coded) // 2], len(data))


def test_bare_lzvn_is_a_block_without_its_header() -> None:
    coded = library.compress(TEXT)
    magic, raw, length = struct.unpack_from("<4sII", coded)
    assert (magic, raw) == (b"bvxn", len(TEXT))
    bare = coded[12 : 12 + length]
    assert lzfse.decode_lzvn(bare, len(TEXT)) == TEXT
    with pytest.raises(FormatError, match="lzfse: "):
        lzfse.decode_lzvn(bare, len(TEXT) + 1)


def test_data_that_would_grow_without_end_stay_within_the_size_asked_for() -> None:
    coded = bytearray(library.compress(bytes(64 << 20)))
    with pytest.raises(FormatError, match="more than 65536 bytes"):
        lzfse.decode(bytes(coded), 65_536)
    assert lzfse.stated_size(bytes(coded)) == 64 << 20


def test_the_size_of_a_damaged_stream_is_not_known() -> None:
    for data in (b"", b"bvx3" + bytes(60), b"bvx-\1\0\0\0"):
        with pytest.raises(FormatError, match="lzfse: "):
            lzfse.stated_size(data)
