"""Apple's archives and other images that are recognised and not read: refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NoReturn

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.errors import UnsupportedError

AEA: Final = b"AEA1"
MAX_AUTH: Final = 1 << 20
PROFILES: Final = {
    0: "signed, not encrypted",
    1: "a symmetric key",
    2: "a symmetric key, signed",
    3: "a public key",
    4: "a public key, signed",
    5: "a password",
}
KEY_URL: Final = "com.apple.wkms.fcs-key-url"
ARCHIVES: Final = (b"AA01", b"YAA1", b"pbze", b"pbzx", b"pbz4", b"pbzb")
GHOST: Final = b"\xfe\xef\x01"


def probe(file: BlockDevice) -> Match:
    """CERTAIN for Apple's four letters, LIKELY for Ghost's three bytes."""
    head = file.pread(0, 4)
    if head == AEA or head in ARCHIVES:
        return Match.CERTAIN
    return Match.LIKELY if head[:3] == GHOST else Match.NO


def refuse(file: BlockDevice, _: Context) -> NoReturn:
    """Raise ``UnsupportedError`` with the format's name."""
    head = file.pread(0, 12)
    if head[:4] == AEA:
        raise UnsupportedError(_aea(file, head))
    if head[:3] == GHOST:
        raise UnsupportedError("ghost: Norton Ghost images are not supported")
    kind = head[:4].decode("latin-1")
    raise UnsupportedError(
        f"aa: Apple Archive ({kind}) is an archive of files, no disk image: extract it with aa or yaa"
    )


def _aea(file: BlockDevice, head: bytes) -> str:
    """What is known of an encrypted archive: its profile and where its key is."""
    profile = int.from_bytes(head[4:7], "little")
    size = int.from_bytes(head[8:12], "little")
    fields = dict(_auth_data(file.pread(12, min(size, MAX_AUTH))))
    key = f", key at {fields[KEY_URL]}" if KEY_URL in fields else ""
    opened = PROFILES.get(profile, "unknown")
    return f"aea: Apple Encrypted Archive of profile {profile} (opened by {opened}{key}) is not supported"


def _auth_data(data: bytes) -> Iterator[tuple[str, str]]:
    """The fields of the data that are not encrypted: each a length, a key, a NUL and a value."""
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        if length < 5:
            return
        key, _, value = data[at + 4 : at + length].partition(b"\0")
        yield key.decode("utf-8", "replace"), value[:200].decode("utf-8", "replace")
        at += length


FORMAT: Final = ContainerFormat(
    name="apple_unread",
    title="Apple Encrypted Archive, Apple Archive; Norton Ghost",
    extensions=(".aea", ".aar", ".gho"),
    open=refuse,
    probe=probe,
    limits="recognised only, and refused by name",
)
