"""What encrypts Apple's disk images: ``encrcdsa`` headers (version 2), ``cdsaencr`` trailers (version 1).

A password becomes a key of Triple DES by PBKDF2, which unwraps the two keys of the data: AES-CBC for the
blocks, HMAC-SHA-1 for the IV of each from its number. Source: VileFault (23C3); the headers as John the
Ripper's dmg2john and libmodi's documentation have them; RFC 3217 for the wrapping of version 1.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import product
from typing import Final, NamedTuple

from imgmount.codecs import aes, des3
from imgmount.core.cache import ReadCache
from imgmount.core.device import BlockDevice, GroupedDevice
from imgmount.core.format import Options
from imgmount.core.header import within
from imgmount.errors import PasswordRequiredError, UnsupportedError, WrongPasswordError

V2_MAGIC: Final = b"encrcdsa"
V1_MAGIC: Final = b"cdsaencr"
NAME: Final = "encrypted"
V2_HEADER: Final = struct.Struct(">8s7I16sI2QI")
V2_POINTER: Final = struct.Struct(">I2Q")  # kind of key, where, how long
V2_KEY: Final = struct.Struct(">4I32sI32s5I")
V1_SIZE: Final = 0x4FC  # of the trailer
V1_IV: Final = bytes.fromhex("4adda22c79e82105")  # RFC 3217, 3.1
PASSPHRASE: Final = 1  # kinds of keys; others belong to certificates and keychains
PBKDF2: Final = 103
TRIPLE_DES: Final = 17
MAX_KEYS: Final = 64
MAX_ITERATIONS: Final = 5_000_000  # some seconds; macOS takes 200,000 to 500,000
MAX_BLOB: Final = 1024
BLOCK_SIZES: Final = (512, 1 << 16)  # the smallest and the largest
MARK: Final = b"CKIE\0"
HMAC_KEY: Final = 20
AES_KEYS: Final = (16, 24, 32)


class WrappedKey(NamedTuple):
    """A key of the data that a password opens. ``blobs`` are one (version 2) or two (version 1)."""

    iterations: int
    salt: bytes
    iv: bytes
    blobs: tuple[bytes, ...]


class Header(NamedTuple):
    """Where the encrypted bytes are, and what opens them."""

    version: int
    block_size: int
    key_bits: int
    offset: int
    size: int
    keys: tuple[WrappedKey, ...]
    identifier: bytes

    @property
    def cipher(self) -> str:
        """AES with the length of its key."""
        return f"AES-{self.key_bits}"


class Keys(NamedTuple):
    """The keys of the data."""

    aes: bytes
    hmac: bytes


def is_encrypted(file: BlockDevice) -> bool:
    """Whether ``file`` has one of the two headers."""
    return file.pread(0, 8) == V2_MAGIC or (file.size >= V1_SIZE and file.pread(file.size - 8, 8) == V1_MAGIC)


def read_header(file: BlockDevice) -> Header:
    """The header at the start or at the end of ``file``. Raises ``FormatError``, ``UnsupportedError``."""
    return _version2(file) if file.pread(0, 8) == V2_MAGIC else _version1(file)


def _version2(file: BlockDevice) -> Header:
    fields = V2_HEADER.unpack(file.read_exactly(0, V2_HEADER.size, NAME))
    _, version, _, _, _, key_bits, _, _, identifier, block_size, size, offset, count = fields
    if version != 2:
        raise UnsupportedError(f"{NAME}: version {version}")
    within(NAME, "block size", block_size, *BLOCK_SIZES, power_of_two=True, offset=0x34)
    if key_bits // 8 not in AES_KEYS:
        raise UnsupportedError(f"{NAME}: keys of {key_bits} bits")
    within(NAME, "size of the data", size, 0, 1 << 60, offset=0x38)
    within(NAME, "place of the data", offset, 0, 1 << 60, offset=0x40)
    within(NAME, "number of keys", count, 0, MAX_KEYS, offset=0x48)
    keys = tuple(_version2_keys(file, count))
    if not keys:
        raise UnsupportedError(
            f"{NAME}: no key for a password: only certificates or keychains open this image"
        )
    return Header(2, block_size, key_bits, offset, size, keys, identifier)


def _version2_keys(file: BlockDevice, count: int) -> Iterator[WrappedKey]:
    data = file.read_exactly(V2_HEADER.size, count * V2_POINTER.size, NAME)
    for kind, offset, _ in V2_POINTER.iter_unpack(data):
        if kind != PASSPHRASE:
            continue
        raw = V2_KEY.unpack(file.read_exactly(offset, V2_KEY.size, NAME))
        derivation, _, iterations, salt_size, salt, iv_size, iv, bits, cipher, _, _, length = raw
        if derivation != PBKDF2 or cipher != TRIPLE_DES or bits != 192:
            what = f"{NAME}: a key made by {derivation} and wrapped by {cipher} with {bits} bits"
            raise UnsupportedError(what)
        within(NAME, "size of the salt", salt_size, 0, 32, offset=offset + 0x0C)
        within(NAME, "size of the IV", iv_size, des3.BLOCK, 32, offset=offset + 0x30)
        within(
            NAME, "size of a wrapped key", length, 8, MAX_BLOB, multiple_of=des3.BLOCK, offset=offset + 0x64
        )
        blob = file.read_exactly(offset + V2_KEY.size, length, NAME)
        yield WrappedKey(iterations, salt[:salt_size], iv[: des3.BLOCK], (blob,))


def _version1(file: BlockDevice) -> Header:
    start = file.size - V1_SIZE
    raw = file.read_exactly(start, V1_SIZE, NAME)

    def number(at: int) -> int:
        return int.from_bytes(raw[at : at + 4], "big")

    block_size, size = number(0x10), int.from_bytes(raw[0x4E8:0x4F0], "big")
    within(NAME, "block size", block_size, *BLOCK_SIZES, power_of_two=True, offset=start + 0x10)
    blobs = []
    for at in (0x88, 0x1B4):
        length = number(at)
        within(NAME, "size of a wrapped key", length, 8, 0x128, multiple_of=des3.BLOCK, offset=start + at)
        blobs.append(raw[at + 4 : at + 4 + length])
    within(NAME, "size of the salt", number(0x34), 0, 32, offset=start + 0x34)
    key = WrappedKey(number(0x30), raw[0x38 : 0x38 + number(0x34)], V1_IV, tuple(blobs))
    return Header(1, block_size, 128, 0, size, (key,), raw[:16])


def unlock(header: Header, options: Options) -> Keys:
    """The keys of the data. Raises ``KeyRequiredError`` where there is no password, or none that fits."""
    if options.password is None:
        raise PasswordRequiredError(f"{NAME}: the image needs a password ({header.cipher})")
    rounds = sum(key.iterations for key in header.keys)
    if rounds > MAX_ITERATIONS or not all(key.iterations for key in header.keys):
        wanted = f"{NAME}: keys derived in {rounds} rounds"
        raise UnsupportedError(f"{wanted}: 1 to {MAX_ITERATIONS} are tried")
    passwords = [options.password, *options.spare_passwords][: MAX_ITERATIONS // rounds]
    for password, key in product(passwords, header.keys):
        secret = password.encode("utf-8", "surrogateescape")
        derived = hashlib.pbkdf2_hmac("sha1", secret, key.salt, key.iterations, 24)
        keys = _unwrap2(key, derived, header) if header.version == 2 else _unwrap1(key, derived)
        if keys is not None:
            return keys
    raise WrongPasswordError(f"{NAME}: the password is wrong: no key of the image opens with it")


def _unwrap2(key: WrappedKey, derived: bytes, header: Header) -> Keys | None:
    """Version 2: both keys in one blob, with a mark behind them; None after the wrong password."""
    clear = des3.unpad(des3.decrypt_cbc(derived, key.blobs[0], key.iv))
    size = header.key_bits // 8
    if clear is None or clear[size + HMAC_KEY :] not in (MARK, MARK[:4]):
        return None
    return Keys(clear[:size], clear[size : size + HMAC_KEY])


def _unwrap1(key: WrappedKey, derived: bytes) -> Keys | None:
    """Version 1: each key wrapped twice, in reverse the second time; None after the wrong password."""
    found = []
    for blob in key.blobs:
        once = des3.unpad(des3.decrypt_cbc(derived, blob, key.iv))
        if once is None or len(once) <= des3.BLOCK or len(once) % des3.BLOCK:
            return None
        turned = once[::-1]
        twice = des3.unpad(des3.decrypt_cbc(derived, turned[des3.BLOCK :], turned[: des3.BLOCK]))
        if twice is None:
            return None
        found.append(twice[4:])
    cipher, hmac = found
    return Keys(cipher, hmac) if len(cipher) in AES_KEYS and len(hmac) == HMAC_KEY else None


class DecryptedDevice(GroupedDevice):
    """``size`` bytes of ``stored``, decrypted. The last block may be cut, but is stored whole."""

    def __init__(self, stored: BlockDevice, size: int, header: Header, keys: Keys, cache: ReadCache) -> None:
        self._stored = stored
        self._offset = header.offset
        self._aes = keys.aes
        key = keys.hmac.ljust(64, b"\0")
        self._inner = hashlib.sha1(bytes(byte ^ 0x36 for byte in key), usedforsecurity=False)
        self._outer = hashlib.sha1(bytes(byte ^ 0x5C for byte in key), usedforsecurity=False)
        super().__init__(size, header.block_size, cache)

    def _iv(self, block: int) -> bytes:
        """HMAC-SHA-1 of the block's number. The keyed states are prepared: twice as fast as ``hmac``."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update((block & 0xFFFF_FFFF).to_bytes(4, "big"))
        outer.update(inner.digest())
        return outer.digest()[: aes.BLOCK]

    def _read_units(self, first: int, count: int) -> bytes:
        start, unit = first * self.unit, self.unit
        wanted = min(count * unit, self.size - start)
        whole = -(-wanted // aes.BLOCK) * aes.BLOCK
        stored = self._stored.read_exactly(self._offset + start, whole, NAME)
        parts = (
            (at, min(at + unit, whole), self._iv(first + number))
            for number, at in enumerate(range(0, whole, unit))
        )
        return aes.decrypt_parts(self._aes, stored, parts)[:wanted]
