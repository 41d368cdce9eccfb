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


def test_units_are_decrypted_each_with_its_own_iv_as_openssl_does() -> None:
    openssl = tool("openssl")
    rng = random.Random(1)
    units = [(rng.randbytes(16), rng.randbytes(0x7C00)) for _ in range(3)]
    expected = b"".join(
        subprocess.run(
            [openssl, "enc", "-d", "-aes-128-cbc", "-nopad", "-K", KEY.hex(), "-iv", iv.hex()],
            input=data, capture_output=True, check=True,
        ).stdout
        for iv, data in units
    )  # fmt: skip
    assert aes.decrypt_units(KEY, units) == expected
    assert aes.decrypt_units(KEY, []) == b""


def test_without_the_library_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(UnsupportedError, match=r"pip install imgmount\[crypto\]"):
        aes.decrypt_cbc(KEY, CODED, IV)
