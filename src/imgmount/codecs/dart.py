"""DART's compression of floppy disks, 40 sectors and their tags at a time: run lengths of words, and LZHUF.

Source: the ClassicMac project's ``codecs/dart-rle.md`` and ``codecs/lzhuf.md``, from Disk Copy 6.3.3.
"""

from __future__ import annotations

import struct
from typing import Final

from imgmount.codecs.bits import BitReader
from imgmount.codecs.lzhuf import D_CODE, D_LEN, AdaptiveTree
from imgmount.codecs.match import copy
from imgmount.errors import FormatError

WINDOW: Final = 4096
BYTES: Final = 256  # symbols that stand for themselves; the others are lengths, from
SHORTEST: Final = 3
_WORD: Final = struct.Struct(">h")


def decode_rle(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of a run-length coded block. Raises ``FormatError``.

    A word n that is not negative is followed by n words, a negative one by a word that stands -n times.
    """
    out = bytearray()
    at = 0
    while len(out) < size:
        if at + 2 > len(data):
            raise FormatError("dart", f"the data ends after {len(out)} bytes of {size}")
        (count,) = _WORD.unpack_from(data, at)
        at += 2
        piece = data[at : at + 2 * count] if count >= 0 else data[at : at + 2]
        at += len(piece)
        if len(piece) != (2 * count if count >= 0 else 2):
            raise FormatError("dart", f"a run is cut after {len(out)} bytes")
        out += piece if count >= 0 else piece * -count
    if len(out) != size:
        raise FormatError("dart", f"{len(out)} bytes, {size} expected")
    return bytes(out)


def decode_lzh(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of an LZHUF block. Raises ``FormatError``.

    DART itself may leave out the last byte of a block, which is that of a tag: a zero stands for it. The
    window begins with zeros.
    """
    bits, tree = BitReader(data), AdaptiveTree()
    out = bytearray(WINDOW)
    end = WINDOW + size
    while len(out) < end:
        symbol = tree.decode(bits)
        if symbol >= BYTES:
            first = bits.take(8)
            more = D_LEN[first] - 2
            distance = (D_CODE[first] << 6 | (first << more | bits.take(more)) & 0x3F) + 1
            length = symbol - BYTES + SHORTEST
        if bits.beyond > 0:
            break
        if symbol < BYTES:
            out.append(symbol)
        else:
            copy(out, distance, length, "dart")
    if len(out) < end - 1:
        raise FormatError("dart", f"the data ends after {len(out) - WINDOW} bytes of {size}")
    return bytes(out[WINDOW:end]).ljust(size, b"\0")
