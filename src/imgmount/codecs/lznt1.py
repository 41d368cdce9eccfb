"""LZNT1: chunks of 4 KiB, each a run of literals and matches, or stored as they are.

libfwnt decodes it; without it Python does, some twenty times slower.

Source: [MS-XCA] 2.5.
"""

from __future__ import annotations

from typing import Final

from imgmount.codecs import libfwnt
from imgmount.core.cache import Content
from imgmount.errors import FormatError

CHUNK: Final = 4096
_COMPRESSED: Final = 0x8000  # flag of a chunk's header
_SIZE: Final = 0x0FFF  # the rest of it: the chunk's size with its header, less 3


def _split(position: int) -> int:
    """How far a token is shifted for its distance, ``position`` bytes into a chunk."""
    return 16 - max(4, (position - 1).bit_length())


_SHIFTS: Final = tuple(_split(position) for position in range(CHUNK + 1))


def _plan(flags: int) -> tuple[tuple[int, ...], int]:
    """(literals before each match, literals behind the last) of the tokens that a byte of flags announces."""
    before, count = [], 0
    for bit in range(8):
        if flags >> bit & 1:
            before.append(count)
            count = 0
        else:
            count += 1
    return tuple(before), count


_PLANS: Final = tuple(_plan(flags) for flags in range(256))


def decode(data: bytes, size: int) -> Content:
    """The ``size`` bytes that ``data`` holds. Raises ``FormatError``.

    Behind a chunk that is short, and behind the last one, there are zeros.
    """
    out = libfwnt.lznt1(data, -(-size // CHUNK) * CHUNK)
    if out is None or len(out) < size:  # what is wrong, if anything is, shows here
        return decode_slowly(data, size)
    del out[size:]
    return out


def decode_slowly(data: bytes, size: int) -> bytes:
    """The same in Python. Raises ``FormatError``."""
    out = bytearray()
    at = 0
    while len(out) < size and at + 2 <= len(data):
        header = data[at] | data[at + 1] << 8
        if header == 0:
            break
        end = at + (header & _SIZE) + 3
        if end > len(data):
            raise FormatError("lznt1", f"a chunk that ends at {end:#x} of {len(data):#x} bytes")
        chunk = _chunk(data[at + 2 : end]) if header & _COMPRESSED else data[at + 2 : end]
        out += chunk
        out += bytes(CHUNK - len(chunk))
        at = end
    del out[size:]
    return bytes(out) if len(out) == size else bytes(out) + bytes(size - len(out))


def _chunk(data: bytes) -> bytearray:
    """One compressed chunk. Raises ``FormatError``."""
    out = bytearray()
    at, end = 0, len(data)
    shifts, plans = _SHIFTS, _PLANS
    try:
        while at < end:
            before, behind = plans[data[at]]
            at += 1
            for literals in before:
                if literals:
                    out += data[at : at + literals]
                    at += literals
                if at >= end:
                    break
                here = len(out)
                shift = shifts[here]
                token = data[at] | data[at + 1] << 8
                at += 2
                start = here - (token >> shift) - 1
                length = (token & (1 << shift) - 1) + 3
                stop = start + length
                if start < 0:
                    raise FormatError("lznt1", f"a match that begins {-start} bytes before its chunk")
                if stop <= here:
                    out += out[start:stop]
                else:
                    out += (out[start:] * (length // (here - start) + 1))[:length]
            else:
                if behind:
                    out += data[at : at + behind]
                    at += behind
    except IndexError:
        raise FormatError("lznt1", f"a chunk of more than {CHUNK} bytes, or a match that is cut") from None
    if len(out) > CHUNK:
        raise FormatError("lznt1", f"a chunk of {len(out)} bytes, {CHUNK} at most are right")
    return out
