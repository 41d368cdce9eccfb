"""AES in CBC mode, through PyPI ``cryptography``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imgmount.errors import UnsupportedError

BLOCK: Final = 16
ZERO_IV: Final = bytes(BLOCK)


def _cipher(key: bytes, iv: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as exc:
        raise UnsupportedError("aes: no cipher here: pip install imgmount[crypto]") from exc
    return Cipher(algorithms.AES(key), modes.CBC(iv))


def decrypt_cbc(key: bytes, data: bytes, iv: bytes = ZERO_IV) -> bytes:
    """``data`` (whole blocks of 16 bytes) decrypted. Raises ``UnsupportedError`` where there is no cipher."""
    clear: bytes = _cipher(key, iv).decryptor().update(data)
    return clear


def encrypt_cbc(key: bytes, data: bytes, iv: bytes = ZERO_IV) -> bytes:
    """``data`` (whole blocks of 16 bytes) encrypted. Raises ``UnsupportedError`` where there is no cipher."""
    coded: bytes = _cipher(key, iv).encryptor().update(data)
    return coded


def decrypt_units(key: bytes, units: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Units of equal size, each given as (its IV, its data) and decrypted on its own, joined.

    One decryptor does them all: CBC decrypts with the ciphertext block before, so an IV fed as a block of data has the effect of
    an IV. That halves the time of 32 KiB units.
    """
    if not units:
        return b""
    clear = decrypt_cbc(key, b"".join([part for unit in units for part in unit]))
    stride = BLOCK + len(units[0][1])
    return b"".join([clear[at + BLOCK : at + stride] for at in range(0, len(clear), stride)])
