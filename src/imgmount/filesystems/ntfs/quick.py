"""The facts of ordinary files in a quarter of the time of ``facts``: one record, nothing unusual.

Whatever is not quite so is left to ``facts``, which says what is wrong with it too. Sources: as there.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from imgmount.core.fields import build
from imgmount.core.node import DIRECTORY_MODE, FILE_MODE, Stat
from imgmount.families.windows.times import FILETIME_EPOCH as EPOCH
from imgmount.filesystems.ntfs.boot import STRIDE
from imgmount.filesystems.ntfs.facts import Facts
from imgmount.filesystems.ntfs.records import (
    BITMAP,
    DATA,
    DIRECTORY,
    DOS,
    END,
    IN_USE,
    INDEX_ALLOCATION,
    INDEX_ROOT,
    LOGGED_STREAM,
    NAME_ATTRIBUTE,
    NAME_SIZE,
    OBJECT_ID,
    SECURITY_DESCRIPTOR,
    STANDARD_INFORMATION,
    unfixed,
)

_HEADER: Final = "8s8xHHHHI4xQ"
# magic and fixups, sequence, links, first attribute, flags, bytes used, base record
_STANDARD: Final = "IIB11xH2xQQQQI"
# type, length, non-resident, offset of content; times, attributes
_ATTRIBUTE: Final = Struct("<IIBB2xH2xIHH")
# type, length, non-resident, name length, flags, size and offset of content or first cluster
_NAME: Final = Struct("<24xQ57xB")  # parent, namespace
_SIZE: Final = Struct("<48xq")  # of a non-resident attribute
OFFSETS: Final = (48, 42)  # of fixups: since NTFS 3.1, and before it
_MARK: Final = 2
_TIMES_END: Final = 60  # in the standard information
_CONTENT: Final = 24  # where a resident attribute without a name has it
_NAMED: Final = _CONTENT + NAME_SIZE  # bytes of an attribute with a name at least
UNFIXED: Final = STRIDE - _MARK  # bytes of a record that need no fixup
PLAIN: Final = frozenset(
    (OBJECT_ID, SECURITY_DESCRIPTOR, INDEX_ROOT, INDEX_ALLOCATION, BITMAP, LOGGED_STREAM)
)


class QuickLook:
    """Reads records of ``size`` bytes that have their fixups where the others of the volume have them."""

    def __init__(self, size: int, fixups: int) -> None:
        strides = size // STRIDE
        self._fixups = fixups if fixups in OFFSETS else OFFSETS[0]
        self._size = size
        self._first = self._fixups + _MARK * (strides + 1) + 7 & ~7  # behind the mark and the fixups
        self._magic = b"FILE" + self._fixups.to_bytes(2, "little") + (strides + 1).to_bytes(2, "little")
        head = f"<{_HEADER}{self._fixups - 40}xH{self._first - self._fixups - _MARK}x{_STANDARD}"
        ends = f"{UNFIXED - Struct(head).size}xH" + f"{UNFIXED}xH" * (strides - 1)
        self._unpack = Struct(head + ends).unpack_from
        self._unfixed = UNFIXED if strides > 1 else 0

    def facts(self, data: bytes, at: int, number: int) -> Facts | None:
        """The facts of the file whose record is in ``data`` from ``at`` on.

        None if the record must be parsed in full.
        """
        # fmt: off
        (magic, sequence, links, first, flags, used, base, mark, kind, length, elsewhere, start,
         created, modified, changed, accessed, attributes, *ends) = self._unpack(data, at)
        # fmt: on
        if magic != self._magic or first != self._first or base or used > self._size or not flags & IN_USE:
            return None
        if kind != STANDARD_INFORMATION or elsewhere or start != _CONTENT or length < _TIMES_END:
            return None
        if ends.count(mark) != len(ends):
            return None
        if used > self._unfixed:
            data, at = unfixed(data[at : at + self._size], b"FILE", "record", number) + bytes(_NAMED), 0
        found = _rest(data, at + first + length, at + used - 8)
        if found is None:
            return None
        size, parent, dos, streams = found
        mode = FILE_MODE
        links = links - dos if links > dos else 1
        directory = flags & DIRECTORY == DIRECTORY
        if directory:
            mode, size, links = DIRECTORY_MODE, 0, 1
        stat = (
            mode,
            size,
            (modified - EPOCH) * 100 if modified else 0,
            (accessed - EPOCH) * 100 if accessed else 0,
            (changed - EPOCH) * 100 if changed else 0,
            None,
            None,
            links,
            0,
            None,
            (created - EPOCH) * 100 or None if created else None,
        )
        return build(
            Facts,
            (number, sequence, directory, attributes, created, parent, 0, streams, build(Stat, stat)),
        )


def _rest(data: bytes, at: int, last: int) -> tuple[int, int, int, bool] | None:
    """(size, folder, names of DOS, whether there are named streams) of the attributes from ``at`` on.

    ``last`` is the last place where one can begin.
    """
    unpack = _ATTRIBUTE.unpack_from
    size = -1
    parent = dos = 0
    streams = False
    while at <= last:
        kind, length, elsewhere, named, flags, content, start, rest = unpack(data, at)
        if kind == END:
            return max(size, 0), parent, dos, streams
        if length < _CONTENT or at + length > last:
            break
        if kind == NAME_ATTRIBUTE and start == _CONTENT and length >= _NAMED and not elsewhere:
            parent, space = _NAME.unpack_from(data, at)
            dos += space == DOS
        elif kind == DATA and named:
            streams = True
        elif kind == DATA and size < 0:
            if (
                flags or content or start or rest or length < _SIZE.size
                if elsewhere
                else start + content > length
            ):
                break
            size = _SIZE.unpack_from(data, at)[0] if elsewhere else content
            if size < 0:
                break
        elif kind not in PLAIN:
            break
        at += length
    return None
