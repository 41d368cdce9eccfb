"""Checksums in the making: hashlib, zlib and Apple's sum over pieces and holes."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from imgmount.codecs.crc32 import Crc32
from imgmount.core.checks import MAX_DIGESTED_ZEROS, Checked, Digest, Seal, Sum, from_hex, told_of
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.families.apple.sums import DiskCopySum

HOLE = (1 << 20) + 10


@pytest.mark.parametrize("sum_", [Digest("sha1"), Crc32(), DiskCopySum()], ids=["SHA-1", "CRC-32", "DC42"])
def test_a_hole_counts_as_its_zeros(sum_: Sum) -> None:
    plain = type(sum_)("sha1") if isinstance(sum_, Digest) else type(sum_)()
    for piece in (b"some", HOLE, memoryview(b"more!!")):
        if isinstance(piece, int):
            sum_.zeros(piece)
            plain.update(bytes(piece))
        else:
            sum_.update(piece)
            plain.update(bytes(piece))
    assert sum_.digest() == plain.digest()


def test_sums_are_those_of_others() -> None:
    digest, crc = Digest("md5"), Crc32()
    for sum_ in (digest, crc):
        sum_.update(b"abc")
    assert digest.digest() == hashlib.md5(b"abc", usedforsecurity=False).digest()
    assert crc.digest() == zlib.crc32(b"abc").to_bytes(4, "big")


def test_a_digest_of_endless_zeros_is_refused() -> None:
    with pytest.raises(ImageError, match="is not computed"):
        Digest("md5").zeros(MAX_DIGESTED_ZEROS + 1)


def test_stored_beside_computed() -> None:
    seal = Seal.of("MD5", b"\1\2", MemoryDevice(b""), "md5")
    assert str(seal.against(b"\1\2")) == "MD5 0102, stored and computed"
    assert str(seal.against(b"\1\3")) == "MD5 is 0103, stored is 0102"
    assert from_hex("0aFF") == b"\n\xff"
    assert from_hex("no digits") == b""
    told = list(told_of("part 1", ["wrong", Checked("MD5", "00", "00")]))
    assert told == ["part 1: wrong", Checked("part 1: MD5", "00", "00")]
