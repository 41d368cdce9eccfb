from __future__ import annotations

import random
import subprocess
import sys

import pytest

from helpers import tool
from imgmount.codecs import aes
from imgmount.errors import UnsupportedError

KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")  # NIST SP 800-38A, F.2.1
IV = bytes(range(16))
CLEAR = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
CODED = bytes.fromhex("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")


def test_the_vectors_of_the_standard() -> None:
    assert aes.decrypt_cbc(KEY, CODED, IV) == CLEAR
    assert aes.encrypt_cbc(KEY, CLEAR, IV) == CODED


def openssl(data: bytes, iv: bytes, *mode: str) -> bytes:
    command = [tool("openssl"), "enc", *mode, "-aes-128-cbc", "-nopad", "-K", KEY.hex(), "-iv", iv.hex()]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def test_parts_are_decrypted_each_with_its_own_iv_as_openssl_does() -> None:
    rng = random.Random(1)
    data = rng.randbytes(0x18000)
    places = [(0, 16), (16, 0x400), (0x400, 0x8000), (0x8400, 0x10000), (0x10000, 0x17FF0)]
    parts = [(start, end, rng.randbytes(16)) for start, end in places]
    expected = b"".join(openssl(data[start:end], iv, "-d") for start, end, iv in parts)
    assert aes.decrypt_parts(KEY, data, parts) == expected
    assert aes.decrypt_parts(KEY, b"", []) == b""


def test_parts_are_encrypted_in_one_stream_as_openssl_does_one_by_one() -> None:
    rng = random.Random(2)
    chain = aes.ChainedEncryptor(KEY)
    for _ in range(3):
        head, body = rng.randbytes(0x400), rng.randbytes(0x7C00)
        coded = chain.after_zero(head)
        assert coded == openssl(head, bytes(16))
        assert chain.after(head[0x3D0:0x3E0], coded[0x3C0:0x3D0], body) == openssl(body, coded[0x3D0:0x3E0])


def test_without_the_library_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(UnsupportedError, match=r"pip install imgmount\[crypto\]"):
        aes.decrypt_cbc(KEY, CODED, IV)
