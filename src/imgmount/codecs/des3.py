"""Triple DES in CBC mode, through PyPI ``cryptography``: old images wrap their keys in it."""

from __future__ import annotations

from typing import Any, Final

from imgmount.errors import UnsupportedError

BLOCK: Final = 8


def decrypt_cbc(key: bytes, data: bytes, iv: bytes) -> bytes:
    """``data`` (whole blocks of 8 bytes) under a key of 24. Raises ``UnsupportedError`` without a cipher."""
    clear: bytes = _cipher(key, iv).decryptor().update(data)
    return clear


def unpad(data: bytes) -> bytes | None:
    """``data`` without the padding of PKCS #7; None where there is none, as after the wrong key."""
    count = data[-1] if data else 0
    return data[:-count] if 0 < count <= BLOCK and data.endswith(bytes([count]) * count) else None


def _cipher(key: bytes, iv: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes
    except ImportError as exc:
        raise UnsupportedError("des3: no cipher here: pip install imgmount[crypto]") from exc
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    except ImportError:  # before 43
        from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES
    return Cipher(TripleDES(key), modes.CBC(iv))
