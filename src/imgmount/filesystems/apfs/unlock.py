"""From a password or a recovery key to the key of a volume (FileVault). Reference, "Encryption".

The password gives a key through PBKDF2, which unwraps a key-encryption key: one for each user and each
recovery key. That unwraps the key of the volume, with which AES-XTS encrypts its files and the tree of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import pbkdf2_hmac, sha256
from typing import Final

from imgmount.errors import ImageError, PasswordRequiredError, UnsupportedError, WrongPasswordError
from imgmount.filesystems.apfs import keybag
from imgmount.filesystems.apfs.container import SOFTWARE_KEYS
from imgmount.filesystems.apfs.objects import CONTAINER_KEYBAG, NAME, VOLUME_KEYBAG
from imgmount.filesystems.apfs.superblock import ONE_KEY, VolumeSuperblock
from imgmount.filesystems.apfs.volume import Container

# rounds of PBKDF2 for one volume and all passwords, which take seconds; macOS uses 10**5 for a record
MAX_ROUNDS: Final = 10_000_000
SHORT_KEY: Final = 16
SHORT_WRAPPED: Final = 24
_RECOVERY: Final = re.compile(r"[A-Z0-9]{24}")  # written in six groups of four


def volume_key(container: Container, superblock: VolumeSuperblock, passwords: Iterable[str]) -> bytes:
    """The 32 bytes that decrypt a volume.

    Raises ``KeyRequiredError``, ``UnsupportedError``, ``FormatError``.
    """
    about = f"{NAME}: volume {superblock.name!r} is encrypted"
    if not superblock.flags & ONE_KEY:
        raise UnsupportedError(f"{about} with a key for each file, which only the hardware that wrote it has")
    main = container.super
    if not main.flags & SOFTWARE_KEYS or not main.keybag[0]:
        raise UnsupportedError(f"{about} with a key that only the hardware that wrote it has")
    bag = keybag.read_bag(container.blocks, main.keybag, main.uuid, CONTAINER_KEYBAG)
    owner = superblock.uuid.bytes
    wrapped, where = keybag.find(bag, owner, keybag.VOLUME_KEY), keybag.find(bag, owner, keybag.VOLUME_BAG)
    if wrapped is None or where is None:
        raise UnsupportedError(f"{about} and the keybag has no key of it: hardware may have")
    records = keybag.read_bag(container.blocks, keybag.extent(where), owner, VOLUME_KEYBAG)
    hint = keybag.find(records, owner, keybag.HINT) or b""
    hint = hint.split(b"\0", 1)[0]
    hinted = f" (hint: {hint.decode('utf-8', 'replace')!r})" if hint else ""
    tried = [variant for password in passwords for variant in _variants(password)]
    if not tried:
        raise PasswordRequiredError(f"{about}: its password or recovery key is needed{hinted}")
    key = _unlocked(
        keybag.parse_blob(wrapped), [e.data for e in records if e.tag == keybag.UNLOCK_RECORD], tried
    )
    if key is None:
        raise WrongPasswordError(f"{about}: the password is wrong{hinted}")
    return key


def _variants(password: str) -> list[bytes]:
    """A password, and a recovery key with any characters between its groups, in its proper form."""
    plain = re.sub(r"[\s-]", "", password).upper()
    variants = [password.encode("utf-8", "surrogateescape")]
    if _RECOVERY.fullmatch(plain):
        grouped = "-".join(plain[at : at + 4] for at in range(0, len(plain), 4)).encode()
        variants += [grouped] if grouped not in variants else []
    return variants


def _unlocked(wrapped: keybag.Blob, records: list[bytes], passwords: list[bytes]) -> bytes | None:
    """The volume's key, from whichever record and password fit; None if none do."""
    left, refused = MAX_ROUNDS, 0
    for record in records:
        try:
            blob = keybag.parse_blob(record)
        except ImageError:  # of another kind, or damaged: another record may do
            continue
        for password in passwords:
            if not 0 < blob.rounds <= left:
                refused = refused or blob.rounds
                continue
            left -= blob.rounds
            between = _unwrap(pbkdf2_hmac("sha256", password, blob.salt, blob.rounds, 32), blob)
            key = _unwrap(between, wrapped) if between is not None else None
            if key is not None:
                return key + sha256(key + wrapped.uuid).digest()[:SHORT_KEY] if wrapped.short else key
    if refused:
        raise UnsupportedError(
            f"{NAME}: a password that takes {refused} rounds of PBKDF2: {MAX_ROUNDS} are done for a volume"
        )
    return None


def _unwrap(key: bytes, blob: keybag.Blob) -> bytes | None:
    """RFC 3394; None where the key does not fit."""
    try:
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
    except ImportError as exc:
        raise UnsupportedError(f"{NAME}: an encrypted volume: pip install imgmount[crypto]") from exc
    wrapped = blob.wrapped
    if blob.short:
        key, wrapped = key[:SHORT_KEY], wrapped[:SHORT_WRAPPED]
    try:
        clear: bytes = aes_key_unwrap(key, wrapped)
    except (InvalidUnwrap, ValueError):
        return None
    return clear if len(clear) == (SHORT_KEY if blob.short else 32) else None
