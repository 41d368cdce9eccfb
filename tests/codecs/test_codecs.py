from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmount.codecs import bzip2, deflate, libzstd, zstd
from imgmount.codecs import lzma as lzma_codec
from imgmount.core.cache import Content
from imgmount.errors import FormatError, UnsupportedError

DATA = b"".join(b"%06d " % number for number in range(3000))
PROPERTIES = bytes([0x5D]) + (1 << 16).to_bytes(4, "little")
LZMA1 = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
LZMA2 = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return coder.compress(data) + coder.flush()


def zstd_encode(data: bytes) -> bytes:
    coded: bytes = zstd.library().compress(data)
    return coded


CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, int], Content]]] = {
    "raw": (raw_deflate, deflate.inflate),
    "zlib": (zlib.compress, lambda data, size: deflate.inflate(data, size, wrapper="zlib")),
    "gzip": (gzip.compress, lambda data, size: deflate.inflate(data, size, wrapper="gzip")),
    "bzip2": (bz2.compress, bzip2.decode),
    "xz": (lzma.compress, lzma_codec.decode_xz),
    "zstd": (zstd_encode, zstd.decode),
    "lzma1": (
        lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA1),
        lambda data, size: lzma_codec.decode_raw(data, size, lzma_codec.lzma1_filter(PROPERTIES)),
    ),
    "lzma2": (
        lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA2),
        lambda data, size: lzma_codec.decode_raw(data, size, lzma_codec.lzma2_filter(8)),
    ),
}


@pytest.fixture(params=["libdeflate", "system", "zlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    deflate._libdeflate.cache_clear()
    if request.param != "libdeflate":
        monkeypatch.setattr(deflate, "_LIBDEFLATE", {})
        if request.param == "zlib":
            monkeypatch.setattr(deflate, "SYSTEM", ())
        elif deflate._libdeflate() is None:
            pytest.skip("the system has no libdeflate")
    elif not deflate._LIBDEFLATE:
        pytest.skip("deflate is not installed")
    yield
    deflate._libdeflate.cache_clear()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", CODECS)
def test_whole_data(name: str) -> None:
    encode, decode = CODECS[name]
    for data in (DATA, b"", b"x", bytes(1 << 20)):
        found = decode(encode(data), len(data))
        assert found == data
        assert isinstance(found, Content)
        assert decode(encode(data) + b"padding", len(data)) == data


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", CODECS)
def test_another_size_is_an_error(name: str) -> None:
    encode, decode = CODECS[name]
    coded = encode(DATA)
    sizes = [len(DATA) + 1] if name.startswith("lzma") else [0, 1, len(DATA) - 1, len(DATA) + 1]
    for size in sizes:
        with pytest.raises(FormatError):
            decode(coded, size)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", CODECS)
def test_data_cut_short_is_an_error(name: str) -> None:
    encode, decode = CODECS[name]
    coded = encode(DATA)
    for size in (0, 1, 5, len(coded) // 2, len(coded) * 9 // 10):
        with pytest.raises(FormatError):
            decode(coded[:size], len(DATA))


@pytest.mark.parametrize("name", ["zlib", "gzip", "bzip2", "xz"])
@given(st.data())
def test_a_flipped_bit_is_an_error_or_changes_nothing(name: str, data: st.DataObject) -> None:
    encode, decode = CODECS[name]
    coded = bytearray(encode(DATA))
    coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(FormatError):
        assert decode(bytes(coded), len(DATA)) == DATA


@pytest.mark.parametrize(
    ("prop", "size"), [(0, 4096), (1, 6144), (8, 1 << 16), (39, 3 << 30), (40, 0xFFFF_FFFF)]
)
def test_lzma2_dictionaries(prop: int, size: int) -> None:
    assert lzma_codec.lzma2_filter(prop)["dict_size"] == size
    coded = lzma.compress(DATA, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}])
    assert lzma_codec.decode_raw(coded, len(DATA), lzma_codec.lzma2_filter(prop)) == DATA


def test_lzma_properties_that_are_none() -> None:
    with pytest.raises(FormatError):
        lzma_codec.lzma2_filter(41)
    for properties in (b"", b"\x5d\0\0\0", b"\xe1\0\0\0\0"):
        with pytest.raises(FormatError):
            lzma_codec.lzma1_filter(properties)
    with pytest.raises(UnsupportedError, match="lc 8 with lp 4"):
        lzma_codec.lzma1_filter(bytes([44, 0, 0, 1, 0]))


def test_a_filter_before_lzma2() -> None:
    delta = {"id": lzma.FILTER_DELTA, "dist": 4}
    coded = lzma.compress(DATA, lzma.FORMAT_RAW, filters=[delta, *LZMA2])
    assert lzma_codec.decode_raw(coded, len(DATA), delta, lzma_codec.lzma2_filter(8)) == DATA


@pytest.mark.parametrize("system", [True, False])
def test_zstd_with_and_without_the_systems_library(monkeypatch: pytest.MonkeyPatch, system: bool) -> None:
    if not system:
        monkeypatch.setattr(libzstd, "load", lambda: None)
    elif libzstd.load() is None:
        pytest.skip("no libzstd here")
    library = zstd.library()
    options = {
        library.CompressionParameter.checksum_flag: 1,
        library.CompressionParameter.content_size_flag: 0,
    }
    for size in (0, 1, 1 << 17, 5 << 20):
        data = (DATA * (size // len(DATA) + 1))[:size]
        coded = library.compress(data, options=options)
        assert zstd.decode(coded, size) == data
        assert zstd.decode_upto(coded + b"what follows", size + 9) == data
        damaged = coded[:-1] + bytes([coded[-1] ^ 1])
        for bad, limit in (
            (coded, max(0, size - 1)),
            (coded[:-1], size),
            (damaged, size),
            (b"x" + coded, size),
        ):
            if size or bad != coded:
                with pytest.raises(FormatError):
                    zstd.decode_upto(bad, limit)
    with pytest.raises(FormatError):
        zstd.decode(library.compress(DATA), len(DATA) + 1)


def test_a_library_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libzstd, "load", lambda: None)
    for name in ("backports.zstd", "compression.zstd", "backports", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedError, match=r"pip install imgmount\[zstd\]"):
        zstd.decode(b"", 0)
