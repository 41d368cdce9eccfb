"""AES-XTS (IEEE 1619) over many small units: by the system's OpenSSL, else by PyPI ``cryptography``.

Disks are encrypted in units of 512 bytes with a tweak each. A Python object for each unit takes longer than
its decryption does, so OpenSSL is called directly where it can be loaded, which gives it a new tweak and
nothing else: three times as fast.
"""

from __future__ import annotations

import ctypes
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from imgmount.core.system_library import first_loadable
from imgmount.errors import UnsupportedError

UNIT: Final = 512
KEY_SIZES: Final = (32, 64)  # of AES-128 and AES-256: one half encrypts the data, the other the tweak
_NAMES: Final = ("libcrypto.so.3", "libcrypto.so.1.1")
_Decrypt = Callable[[bytes, bytes, "array[int]", int], bytes]


def decrypt_units(key: bytes, data: bytes, numbers: Sequence[int], unit: int = UNIT) -> bytes:
    """``data``, whole units of ``unit`` bytes, decrypted; unit i has the tweak ``numbers[i]`` below 2**64.

    Raises ``UnsupportedError`` where there is no cipher, ``ValueError`` for a key of another size than XTS
    has.
    """
    if len(key) not in KEY_SIZES or len(data) != len(numbers) * unit:
        raise ValueError(f"{len(data)} bytes for {len(numbers)} units, a key of {len(key)} bytes")
    tweaks = array("Q", bytes(16 * len(numbers)))
    tweaks[::2] = array("Q", numbers)
    if sys.byteorder == "big":
        tweaks.byteswap()
    decrypt: _Decrypt = _system() or _with_package
    return decrypt(key, data, tweaks, unit) if data else b""


def _with_package(key: bytes, data: bytes, tweaks: array[int], unit: int) -> bytes:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as exc:
        raise UnsupportedError("aes-xts: no cipher here: pip install imgmount[crypto]") from exc
    cipher, values, parts = algorithms.AES(key), tweaks.tobytes(), []
    for at in range(0, len(values), 16):
        start = at // 16 * unit
        one = Cipher(cipher, modes.XTS(values[at : at + 16])).decryptor()
        parts.append(one.update(data[start : start + unit]))
    return b"".join(parts)


@cache
def _system() -> _Decrypt | None:
    """The system's OpenSSL, called without letting go of the interpreter: a call takes a microsecond."""
    name = first_loadable(_NAMES)
    if name is None:
        return None
    library = ctypes.PyDLL(name)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.EVP_CIPHER_CTX_new.restype = pointer
    library.EVP_CIPHER_CTX_free.argtypes = [pointer]
    ciphers = {}
    for size, bits in zip(KEY_SIZES, (128, 256), strict=True):
        cipher = getattr(library, f"EVP_aes_{bits}_xts")
        cipher.restype = pointer
        ciphers[size] = cipher()
    start = library.EVP_DecryptInit_ex
    start.argtypes = [pointer, pointer, pointer, pointer, pointer]
    update = library.EVP_DecryptUpdate
    update.argtypes = [pointer, pointer, pointer, pointer, number]
    return _Library(library, ciphers, start, update)


class _Library:
    """OpenSSL's EVP interface, as far as it is needed."""

    def __init__(self, library: Any, ciphers: dict[int, int], start: Any, update: Any) -> None:
        self._library = library
        self._ciphers = ciphers
        self._start = start
        self._update = update

    def __call__(self, key: bytes, data: bytes, tweaks: array[int], unit: int) -> bytes:
        context = self._library.EVP_CIPHER_CTX_new()
        if not context:
            raise MemoryError
        try:
            tweak = tweaks.buffer_info()[0]
            if not self._start(context, self._ciphers[len(key)], None, key, tweak):
                raise UnsupportedError("aes-xts: OpenSSL refuses the key")
            clear = bytearray(len(data))
            target = ctypes.addressof((ctypes.c_char * len(data)).from_buffer(clear))
            source = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
            self._units(context, tweak, (target, source), len(data), unit)
        finally:
            self._library.EVP_CIPHER_CTX_free(context)
        return bytes(clear)

    def _units(self, context: int, tweak: int, places: tuple[int, int], size: int, unit: int) -> None:
        """Decrypt from the second of ``places`` in memory to the first."""
        start, update, (target, source) = self._start, self._update, places
        length = ctypes.c_int(0)
        written = ctypes.addressof(length)
        for at in range(0, size, unit):
            done = start(context, None, None, None, tweak) and update(
                context, target + at, written, source + at, unit
            )
            if not done or length.value != unit:
                raise UnsupportedError("aes-xts: OpenSSL does not decrypt a unit")
            tweak += 16
