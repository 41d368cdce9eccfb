"""AES-XTS: the standard's vectors, and both ways to decrypt against another implementation."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from imgmount.codecs import xts

VECTORS = [  # IEEE 1619-2007, annex B: key 1 and 2, unit, plaintext, beginning of the ciphertext
    ("11" * 16 + "22" * 16, 0x3333333333, "44" * 32,
     "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0"),
    (
        "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0" + "22" * 16, 0x3333333333, "44" * 32,
        "af85336b597afc1a900b2eb21ec949d292df4c047e0b21532186a5971a227a89",
    ),
    ("00" * 32, 0, "00" * 32, "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"),
]  # fmt: skip


@pytest.fixture(params=["system", "package"])
def decrypt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    if request.param == "package":
        monkeypatch.setattr(xts, "_system", lambda: None)
    elif xts._system() is None:
        pytest.skip("no OpenSSL to load")
    return xts.decrypt_units


@pytest.mark.parametrize(("key", "number", "clear", "coded"), VECTORS)
def test_the_vectors_of_the_standard(
    decrypt: Callable[..., bytes], key: str, number: int, clear: str, coded: str
) -> None:
    assert decrypt(bytes.fromhex(key), bytes.fromhex(coded), [number], 32) == bytes.fromhex(clear)


@pytest.mark.parametrize("size", xts.KEY_SIZES)
def test_units_with_tweaks_of_their_own(decrypt: Callable[..., bytes], size: int) -> None:
    rng = random.Random(size)
    key, clear = rng.randbytes(size), rng.randbytes(40 * 512)
    numbers = [rng.randrange(1 << 64) for _ in range(40)]
    coded = b""
    for index, number in enumerate(numbers):
        mode = modes.XTS(number.to_bytes(16, "little"))
        one = Cipher(algorithms.AES(key), mode).encryptor()
        coded += one.update(clear[index * 512 :][:512])
    assert decrypt(key, coded, numbers) == clear
    assert decrypt(key, coded, array("Q", numbers)) == clear
    assert decrypt(key, b"", []) == b""


def test_a_key_of_equal_halves(decrypt: Callable[..., bytes]) -> None:
    key = bytes(range(16)) * 2  # OpenSSL refuses to encrypt with it, and keybags of APFS are
    assert len(decrypt(key, bytes(1024), [1, 2])) == 1024


@pytest.mark.parametrize(("key", "size", "count"), [(16, 512, 1), (48, 512, 1), (32, 511, 1), (32, 512, 2)])
def test_what_does_not_fit_is_refused(decrypt: Callable[..., bytes], key: int, size: int, count: int) -> None:
    with pytest.raises(ValueError, match="units"):
        decrypt(bytes(key), bytes(size), range(count))
