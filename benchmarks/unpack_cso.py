"""Decodes a CSO with zlib on one thread and throws the bytes away: ``python unpack_cso.py FILE``."""

import itertools
import struct
import sys
import zlib
from pathlib import Path

with Path(sys.argv[1]).open("rb") as image:
    _, _, size, block, _, _ = struct.unpack("<4sIQIBB2x", image.read(24))
    count = size // block
    table = struct.unpack(f"<{count + 1}I", image.read(4 * count + 4))
    for entry, end in itertools.pairwise(table):
        data = image.read((end & 0x7FFFFFFF) - (entry & 0x7FFFFFFF))
        if not entry >> 31:
            data = zlib.decompress(data, wbits=-15, bufsize=block)
