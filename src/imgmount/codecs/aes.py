"""AES in CBC mode, through PyPI ``cryptography``."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from imgmount.errors import UnsupportedError

BLOCK: Final = 16
ZERO_IV: Final = bytes(BLOCK)
MAX_SCRATCH: Final = 4 << 20
_SCRATCH: Final = threading.local()


def _cipher(key: bytes, iv: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as exc:
        raise UnsupportedError("aes: no cipher here: pip install imgmount[crypto]") from exc
    return Cipher(algorithms.AES(key), modes.CBC(iv))


def decrypt_cbc(key: bytes, data: bytes, iv: bytes = ZERO_IV) -> bytes:
    """``data`` (whole blocks of 16 bytes) decrypted. Raises ``UnsupportedError`` where there is no cipher."""
    return bytes(_clear(key, data, iv))


def _clear(key: bytes, data: bytes, iv: bytes) -> memoryview:
    """``data`` decrypted, in a buffer that the next call of this thread uses again.

    A new buffer each time would take longer than the cipher, as its pages are freed and fetched again.
    """
    size = len(data) + BLOCK
    buffer: bytearray = getattr(_SCRATCH, "buffer", bytearray())
    if len(buffer) < size:
        buffer = bytearray(size)
        if size <= MAX_SCRATCH:
            _SCRATCH.buffer = buffer
    length = _cipher(key, iv).decryptor().update_into(data, buffer)
    return memoryview(buffer)[:length]


def encrypt_cbc(key: bytes, data: bytes, iv: bytes = ZERO_IV) -> bytes:
    """``data`` (whole blocks of 16 bytes) encrypted. Raises ``UnsupportedError`` where there is no cipher."""
    coded: bytes = _cipher(key, iv).encryptor().update(data)
    return coded


def decrypt_parts(key: bytes, data: bytes, parts: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Parts of ``data``, each (start, end, its own IV), decrypted and joined.

    They begin and end with whole blocks.

    One pass decrypts all of ``data``: CBC adds the ciphertext block before to each block, so only the first
    block of a part comes out wrong, by a known value. That takes a third of the time of a decryptor for each
    32 KiB.
    """
    parts = list(parts)  # making the parts may use this decryption as well
    clear = _clear(key, data, ZERO_IV)
    pieces: list[bytes | memoryview] = []
    for start, end, iv in parts:
        before = data[start - BLOCK : start] if start else ZERO_IV
        pieces += [xor(clear[start : start + BLOCK], before, iv), clear[start + BLOCK : end]]
    return b"".join(pieces)


def xor(*blocks: bytes | memoryview) -> bytes:
    """Blocks of 16 bytes, XORed."""
    total = 0
    for block in blocks:
        total ^= int.from_bytes(block, "little")
    return total.to_bytes(BLOCK, "little")


class ChainedEncryptor:
    """Encrypts parts with an IV of their own in one stream.

    A block whose ciphertext is the IV is put in between.

    That block is known where its decryption is: always for an IV of zeros, and for any ciphertext block of
    this stream.
    """

    def __init__(self, key: bytes) -> None:
        self._update = _cipher(key, ZERO_IV).encryptor().update
        self._zero = decrypt_cbc(key, ZERO_IV)
        self._last = ZERO_IV

    def after_zero(self, data: bytes | bytearray) -> bytes:
        """``data`` with an IV of zeros."""
        return self._after(self._zero, data)

    def after(self, block: bytes, before: bytes, data: bytes | memoryview) -> bytes:
        """``data`` with an IV of this stream.

        ``block`` was its clear text, ``before`` the ciphertext before it.
        """
        return self._after(xor(block, before), data)

    def _after(self, decrypted: bytes, data: bytes | bytearray | memoryview) -> bytes:
        self._update(xor(decrypted, self._last))
        coded: bytes = self._update(data)
        self._last = coded[-BLOCK:]
        return coded
