"""Sparse bundles of Mac OS X (``.sparsebundle``, ``.backupbundle``): a folder whose ``bands/`` hold the disk.

A band that is missing, or ends early, reads as zeros from there on. Encrypted bundles keep their keys in
``token``; numbers of encrypted blocks go on from band to band. Source: hdiutil(1); libmodi's documentation.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

from imgmount.core.device import BlockDevice, Extent, MappedDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.header import within
from imgmount.core.slices import Concat
from imgmount.errors import FormatError, MissingPartError, UnsupportedError
from imgmount.families.apple import plist
from imgmount.families.apple.encryption import DecryptedDevice, is_encrypted, read_header, unlock

NAME: Final = "sparsebundle"
MAX_PLIST: Final = 1 << 20
TYPE_KEY: Final = "diskimage-bundle-type"
TYPES: Final = ("com.apple.diskimage.sparsebundle",)
VERSIONS: Final = (1, 2)
SECTOR: Final = 512
MAX_BAND: Final = 1 << 40
MAX_SIZE: Final = 1 << 60
_BAND: Final = re.compile("0|[1-9a-f][0-9a-f]{0,14}")


class Bands(MappedDevice):
    """The bytes of the bands, encrypted or not, each file opened when it is needed."""

    def __init__(self, context: Context, size: int, band: int) -> None:
        self._files = context.siblings.within("bands")
        present = sorted(int(name, 16) for name in self._files.names() if _BAND.fullmatch(name))
        self.present = array("Q", present)
        self._open: dict[int, BlockDevice] = {}
        self.size = size
        self.block_size = band

    def file(self, index: int) -> BlockDevice:
        """Band ``index``, which is present. Raises ``MissingPartError`` where it has gone since."""
        if index not in self._open:
            self._open[index] = self._files.open(f"{index:x}")
        return self._open[index]

    def _map(self, offset: int) -> Extent:
        index, skip = divmod(offset, self.block_size)
        at = bisect_left(self.present, index)
        if at == len(self.present):
            return Extent(self.size - offset)
        if self.present[at] != index:
            return Extent(self.present[at] * self.block_size - offset)
        file = self.file(index)
        stored = min(file.size, self.block_size) - skip
        return Extent(stored, file, skip) if stored > 0 else Extent(self.block_size - skip)


class SparseBundleDevice(MappedDevice):
    """The disk in a bundle, of which ``file`` is the Info.plist."""

    def __init__(self, file: BlockDevice, context: Context) -> None:
        root = _properties(file)
        version = plist.integer(root, "bundle-backingstore-version", NAME)
        if version not in VERSIONS:
            raise UnsupportedError(f"{NAME}: version {version} of the bundle")
        band, self.size = plist.integer(root, "band-size", NAME), plist.integer(root, "size", NAME)
        within(NAME, "band-size", band, SECTOR, MAX_BAND, multiple_of=SECTOR)
        within(NAME, "size", self.size, 0, MAX_SIZE)
        self.block_size = band
        self._version = version
        self._bands = Bands(context, self.size, band)
        if not len(self._bands.present) and self.size:
            raise MissingPartError(
                f"{NAME}: no band is there: they belong into the folder 'bands' beside Info.plist"
            )
        self._clear = self._unlocked(context)

    def _unlocked(self, context: Context) -> BlockDevice | None:
        """The clear bytes of an encrypted bundle; None if it is not. Raises ``KeyRequiredError``."""
        self._cipher = ""
        try:
            token = context.siblings.open("token")
        except MissingPartError:
            return None
        if not is_encrypted(token):
            return None
        header = read_header(token)._replace(offset=0)  # of the token: bands have no header
        self._cipher = f"{header.cipher}, version {header.version}, {header.keys[0].iterations} rounds"
        keys = unlock(header, context.options)
        # a cipher's last block is whole even where the disk ends in it
        stored = Concat([Extent(self.size, self._bands), Extent(SECTOR)])
        return DecryptedDevice(stored, self.size, header, keys, context.cache)

    def _map(self, offset: int) -> Extent:
        """Holes stay holes also where the rest is encrypted: they were never written."""
        stored = next(iter(self._bands.extents(offset, self.size - offset)))
        if self._clear is None:
            return stored
        if stored.device is None:
            return Extent(stored.length)
        return Extent(stored.length, self._clear, offset)

    def info(self) -> Mapping[str, str]:
        count = -(-self.size // self.block_size)
        facts = {"bands": f"{count} of {self.block_size} bytes, {len(self._bands.present)} stored"}
        if self._version > 1:
            facts["version"] = str(self._version)
        return facts | ({"cipher": self._cipher} if self._cipher else {})

    def verify(self) -> Iterator[str]:
        """Bands that the disk has no place for, or that are too long."""
        count = -(-self.size // self.block_size)
        for index in self._bands.present:
            if index >= count:
                yield f"band {index:x} lies past the end of the disk, which has {count}"
            elif self._bands.file(index).size > self.block_size:
                yield f"band {index:x} is longer than {self.block_size} bytes"


def _properties(file: BlockDevice) -> dict[str, object]:
    if file.size > MAX_PLIST:
        raise FormatError(NAME, f"an Info.plist of {file.size} bytes")
    return plist.parse(file.pread(0, file.size), NAME)


def probe(file: BlockDevice) -> Match:
    """CERTAIN for an Info.plist that says it is a bundle's."""
    head = file.pread(0, MAX_PLIST)
    if TYPE_KEY.encode() not in head:
        return Match.NO
    return Match.CERTAIN if _properties(file).get(TYPE_KEY) in TYPES else Match.NO


FORMAT: Final = ContainerFormat(
    name=NAME,
    title="Apple sparse bundle",
    extensions=(".sparsebundle",),
    checks="places and sizes of bands",
    open=SparseBundleDevice,
    probe=probe,
    guest=True,
    needs="crypto",
    limits="up to 14,295 bands in use at a time; the folder mapped/ of version 2 is not looked at",
)
