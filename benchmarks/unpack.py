"""Decodes an image on one thread and throws the bytes away: ``python unpack.py cso|udif|encrcdsa FILE``."""

import bz2
import hashlib
import hmac
import itertools
import lzma
import plistlib
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def cso(image: BinaryIO) -> None:
    _, _, size, block, _, _ = struct.unpack("<4sIQIBB2x", image.read(24))
    count = size // block
    table = struct.unpack(f"<{count + 1}I", image.read(4 * count + 4))
    for entry, end in itertools.pairwise(table):
        data = image.read((end & 0x7FFFFFFF) - (entry & 0x7FFFFFFF))
        if not entry >> 31:
            data = zlib.decompress(data, wbits=-15, bufsize=block)


def _lzfse(data: bytes) -> bytes:
    import lzfse  # not everyone has it

    unpacked: bytes = lzfse.decompress(data)
    return unpacked


def udif(image: BinaryIO) -> None:
    """One with one table."""
    decode: dict[int, Callable[[bytes], object]] = {
        0x80000006: bz2.decompress,
        0x80000007: _lzfse,
        0x80000008: lzma.decompress,
    }
    image.seek(-512, 2)
    start, length = struct.unpack_from(">2Q", image.read(512), 0xD8)
    image.seek(start)
    table: Any = plistlib.loads(image.read(length))["resource-fork"]["blkx"][0]["Data"]
    for kind, _, _, _, offset, size in struct.iter_unpack(">2I4Q", table[0xCC:]):
        if kind in decode:
            image.seek(offset)
            decode[kind](image.read(size))


def encrcdsa(image: BinaryIO) -> None:
    """The calls that the format asks for, an HMAC and AES in CBC mode for each sector, with any key."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = hashlib.md5(b"a key").digest()
    image.seek(0x1000)
    for number, data in enumerate(iter(lambda: image.read(512), b"")):
        iv = hmac.digest(key, number.to_bytes(4, "big"), "sha1")[:16]
        Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(data)


if __name__ == "__main__":
    with Path(sys.argv[2]).open("rb") as file:
        {"cso": cso, "udif": udif, "encrcdsa": encrcdsa}[sys.argv[1]](file)
