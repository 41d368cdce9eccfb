"""BinHex 4: both forks of a file as text, six bits a character, run lengths, three CRC-16.

Source: RFC 1741, appendix A. Big endian.
"""

from __future__ import annotations

import binascii
import re
import struct
from typing import Final, NamedTuple

from imgmount.codecs.crc16 import crc16
from imgmount.errors import ChecksumError, FormatError

MARK: Final = b"(This file must be converted with BinHex"
ALPHABET: Final = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TRANSLATE: Final = bytes.maketrans(ALPHABET, _BASE64)
_START: Final = re.compile(rb"[\r\n][ \t]*:")
REPEAT: Final = 0x90
MAX_TEXT: Final = 64 << 20
MAX_DECODED: Final = 128 << 20
_HEADER = struct.Struct(">4s4sH2I")  # type, creator, flags, bytes of each fork


class BinHex(NamedTuple):
    """A decoded file. ``faults`` are the parts whose CRC is wrong."""

    name: bytes
    type: bytes
    creator: bytes
    data: bytes
    resource: bytes
    faults: tuple[str, ...]


def decode(text: bytes) -> BinHex:
    """The file in ``text``. Raises ``FormatError``."""
    start = _START.search(text, text.find(MARK) + len(MARK))
    if start is None:
        raise FormatError("binhex", "no colon where the data should begin")
    end = text.find(b":", start.end())
    digits = text[start.end() : end if end >= 0 else len(text)].translate(_TRANSLATE, b" \t\r\n")
    if not set(digits) <= set(_BASE64):
        raise FormatError("binhex", "characters that BinHex does not use", offset=start.end())
    whole = len(digits) // 4 * 4
    rest = digits[whole:]
    packed = binascii.a2b_base64(digits[:whole])
    if len(rest) > 1:
        packed += binascii.a2b_base64(rest.ljust(4, b"="))
    return _parse(_unpack(packed))


def _unpack(packed: bytes) -> bytes:
    """Undo the run-length code: a byte, 0x90 and how often it stands; 0x90 and 0 is that byte itself."""
    out = bytearray()
    at = 0
    while (mark := packed.find(REPEAT, at)) >= 0:
        out += packed[at:mark]
        count = packed[mark + 1] if mark + 1 < len(packed) else 0
        if count == 0:
            out.append(REPEAT)
        elif out:
            out += out[-1:] * (count - 1)
        at = mark + 2
        if len(out) > MAX_DECODED:
            raise FormatError("binhex", f"more than {MAX_DECODED} bytes")
    out += packed[at:]
    return bytes(out)


def _parse(data: bytes) -> BinHex:
    """Name, header and forks, each part with its CRC behind it."""
    size = data[0] if data else 0
    at = 1 + size + 1
    if not 0 < size <= 63 or len(data) < at + _HEADER.size + 2:
        raise FormatError("binhex", f"a name of {size} bytes, in a file of {len(data)}")
    kind, creator, _, *lengths = _HEADER.unpack_from(data, at)
    head = at + _HEADER.size
    if int.from_bytes(data[head : head + 2], "big") != crc16(data[:head], 0):
        raise ChecksumError("binhex", "the header's checksum is wrong")
    forks, faults, at = [], [], head + 2
    for what, length in zip(("data fork", "resource fork"), lengths, strict=True):
        fork = data[at : at + length]
        if len(fork) < length:
            raise FormatError("binhex", f"the {what} has {len(fork)} bytes of {length}: the text is cut")
        if int.from_bytes(data[at + length : at + length + 2], "big") != crc16(fork, 0):
            faults.append(f"the checksum of the {what} is wrong")
        forks.append(fork)
        at += length + 2
    return BinHex(data[1 : 1 + size], kind, creator, forks[0], forks[1], tuple(faults))
