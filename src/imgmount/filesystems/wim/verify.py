"""Whether a WIM is what it says.

The integrity table of each part, and the SHA-1 of all content and metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from struct import Struct
from typing import Final

from imgmount.core.checks import Finding, Seal
from imgmount.core.read_through import expect, read_through
from imgmount.errors import FormatError, ImageError
from imgmount.filesystems.wim.blobs import Part
from imgmount.filesystems.wim.volume import WimVolume

_INTEGRITY: Final = Struct("<III")  # size of the table, how many chunks, bytes of each
HEADER: Final = 208
DIGEST: Final = 20
MAX_CHUNKS: Final = 1 << 20


def check(volume: WimVolume) -> Iterator[Finding]:
    """What ``verify`` tells."""
    parts, blobs = volume.parts, volume.blobs
    for number in parts.missing:
        yield f"part {number} is missing"
    for part in parts.found:
        where = f"part {part.header.part}: " if part.header.parts > 1 else ""
        try:
            yield from (f"{where}{problem}" for problem in _integrity(part))
        except ImageError as exc:
            yield f"{where}{exc}"
    expect(sum(blob.size for table in blobs.tables for blob in table.blobs()))
    for table in blobs.tables:
        for blob in table.blobs():
            if not any(blob.digest):
                continue
            try:
                yield Seal.of("SHA-1 of content", blob.digest, blobs.content(blob), "sha1")
            except ImageError as exc:
                yield f"content with the SHA-1 {blob.digest.hex()}: {exc}"


def _integrity(part: Part) -> Iterator[str]:
    """The integrity table covers the file from behind its header to the end of the blob table."""
    where = part.header.integrity
    if not where.size:
        return
    head = part.device.read_exactly(where.offset, _INTEGRITY.size, "wim")
    _, count, chunk = _INTEGRITY.unpack(head)
    covered = part.header.blobs.offset + part.header.blobs.stored - HEADER
    if not chunk or count > MAX_CHUNKS or count != -(-covered // chunk):
        raise FormatError(
            "wim", f"an integrity table of {count} chunks of {chunk} bytes", offset=where.offset
        )
    stored = part.device.read_exactly(where.offset + _INTEGRITY.size, DIGEST * count, "wim")
    for index in range(count):
        start = HEADER + index * chunk
        end = min(start + chunk, HEADER + covered)
        found = hashlib.sha1(usedforsecurity=False)
        for data in read_through(part.device, start, end):
            found.update(data)
        if found.digest() != stored[DIGEST * index : DIGEST * (index + 1)]:
            yield f"bytes {start:#x} to {end:#x} do not match the integrity table"
