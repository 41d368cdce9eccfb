"""The header of a WIM and of each resource in it.

Source: Microsoft, "Windows Imaging File Format (WIM)", and what wimlib documents beyond it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from imgmount.codecs import lzx, xpress
from imgmount.codecs.libwim import Kind
from imgmount.core.device import BlockDevice
from imgmount.core.header import short, within
from imgmount.errors import FormatError, UnsupportedError

MAGIC: Final = b"MSWIM\0\0\0"
# the kind of wimlib that can be written to a pipe: its header is repeated at the end
PIPABLE_MAGIC: Final = b"WLPWM\0\0\0"
VERSIONS: Final = {0x10D00: "1.13", 0xE00: "0.14"}
_HEADER: Final = Struct("<8s4I16sHHI24s24s24sI24s60x")
_RESOURCE: Final = Struct("<QQQ")  # stored size with flags in the highest byte, offset, size

COMPRESSED_WIM: Final = 0x2  # flag of a WIM
KINDS: Final = {0x20000: Kind.XPRESS, 0x40000: Kind.LZX, 0x80000: Kind.LZMS, 0x200000: Kind.XPRESS}
CHUNKS: Final = {Kind.XPRESS: (1 << 12, 1 << 16), Kind.LZX: (1 << 15, 1 << 21), Kind.LZMS: (1 << 15, 1 << 26)}
MAX_CHUNK: Final = 1 << 30  # a larger one is wrong, not only too large to be read
DEFAULT_CHUNK: Final = 1 << 15
assert CHUNKS[Kind.XPRESS][1] == xpress.MAX_SIZE
assert CHUNKS[Kind.LZX] == (lzx.MIN_WINDOW, lzx.MAX_WINDOW)

METADATA: Final = 0x2  # flags of a resource
COMPRESSED: Final = 0x4
SOLID: Final = 0x10
MAX_IMAGES: Final = (1 << 12) - 1
MAX_PARTS: Final = (1 << 16) - 1


class Resource(NamedTuple):
    """Where a resource lies in its part; in a solid one ``offset`` and ``stored`` are what ``blobs`` says."""

    stored: int
    flags: int
    offset: int
    size: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The resource that 24 bytes describe."""
        word, offset, size = _RESOURCE.unpack(raw)
        return cls(word & (1 << 56) - 1, word >> 56, offset, size)


class Compression(NamedTuple):
    """How chunks are compressed; ``kind`` is None where nothing is."""

    kind: Kind | None
    chunk: int

    @classmethod
    def checked(cls, kind: Kind, chunk: int, offset: int) -> Self:
        """A kind with a size of chunks that it has. Raises ``FormatError``, ``UnsupportedError``."""
        least, most = CHUNKS[kind]
        if most < chunk <= MAX_CHUNK and not chunk & chunk - 1:
            raise UnsupportedError(f"wim: {kind.name} chunks of {short(chunk)}, more than {short(most)}")
        within("wim", f"{kind.name} chunk size", chunk, least, most, power_of_two=True, offset=offset)
        return cls(kind, chunk)


class Header(NamedTuple):
    """What the header says, checked."""

    pipable: bool
    version: int
    flags: int
    compression: Compression
    guid: bytes
    part: int
    parts: int
    images: int
    blobs: Resource
    xml: Resource
    boot: int
    integrity: Resource

    @classmethod
    def read(cls, device: BlockDevice) -> Self:
        """The header of the WIM on ``device``. Raises ``FormatError``, ``UnsupportedError``."""
        offset = 0
        if pipable := device.pread(0, len(PIPABLE_MAGIC)) == PIPABLE_MAGIC:
            offset = max(0, device.size - _HEADER.size)
        fields = _HEADER.unpack(device.read_exactly(offset, _HEADER.size, "wim"))
        magic, size, version, flags, chunk, guid, part, parts, images = fields[:9]
        if magic != (PIPABLE_MAGIC if pipable else MAGIC):
            raise FormatError(
                "wim", "the header that belongs at the end is not there: the file is cut", offset=offset
            )
        if version not in VERSIONS or size != _HEADER.size:
            raise UnsupportedError(f"wim: version {version:#x} with a header of {size} bytes")
        within("wim", "number of parts", parts, 1, MAX_PARTS, offset=offset + 0x2A)
        within("wim", "part", part, 1, parts, offset=offset + 0x28)
        within("wim", "number of images", images, 0, MAX_IMAGES, offset=offset + 0x2C)
        blobs, xml, _ = (Resource.parse(raw) for raw in fields[9:12])
        compression = _compression(flags, chunk, offset)
        integrity = Resource.parse(fields[13])
        return cls(
            pipable, version, flags, compression, guid, part, parts, images, blobs, xml, fields[12], integrity
        )


def _compression(flags: int, chunk: int, offset: int) -> Compression:
    if not flags & COMPRESSED_WIM:
        return Compression(None, DEFAULT_CHUNK)
    for flag, kind in KINDS.items():
        if flags & flag:
            return Compression.checked(kind, chunk, offset + 0x14)
    raise UnsupportedError(f"wim: compressed in a way that its flags {flags:#x} do not name")
