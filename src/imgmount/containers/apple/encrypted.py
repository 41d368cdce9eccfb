"""Encrypted disk images of Mac OS X, versions 1 (10.3, 10.4) and 2.

What they decrypt to is an image in turn, or a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.families.apple.encryption import DecryptedDevice, is_encrypted, read_header, unlock


class EncryptedDevice(MappedDevice):
    """The clear bytes of an encrypted image."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        self._header = header = read_header(file)
        keys = unlock(header, context.options)
        self._clear = DecryptedDevice(file, header.size, header, keys, context.cache)
        self._file = file
        self.size = header.size
        self.block_size = header.block_size

    def _map(self, offset: int) -> Extent:
        return Extent(self.size - offset, self._clear, offset)

    def info(self) -> Mapping[str, str]:
        header = self._header
        return {
            "version": str(header.version),
            "cipher": f"{header.cipher} in CBC mode, blocks of {header.block_size} bytes",
            "key": f"PBKDF2, {header.keys[0].iterations} rounds",
            "identifier": str(UUID(bytes=header.identifier)),
        }

    def verify(self) -> Iterator[str]:
        """Whether the file has all stated bytes: these images have no checksums."""
        end = self._header.offset + self.size
        if end > self._file.size:
            yield f"{self.size} bytes are promised, the file ends {end - self._file.size} too early"


def probe(file: BlockDevice) -> Match:
    """CERTAIN for the header, PROVEN for the trailer: encrypted bytes may begin with any magic."""
    if not is_encrypted(file):
        return Match.NO
    return Match.CERTAIN if read_header(file).version == 2 else Match.PROVEN


FORMAT: Final = ContainerFormat(
    name="encrypted",
    title="Encrypted Apple disk image",
    extensions=(".dmg",),
    checks="that the file has all bytes",
    open=EncryptedDevice,
    probe=probe,
    needs="crypto",
    limits="opened by passwords; not by certificates or keychains",
)
