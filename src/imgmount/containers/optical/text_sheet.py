"""Disc descriptions that are text.

They have no magic, may be in any encoding, and name the files that hold the tracks.
"""

from __future__ import annotations

from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.errors import FormatError, MissingPartError

MAX_SIZE: Final = 1 << 20  # 99 tracks of 99 indexes with titles are a tenth of that
FIRST_READ: Final = 1024
PROBED: Final = 64 << 10  # of a text whose tracks come late: CD-TEXT and remarks go first
PACKED: Final = (".ecm", ".gz", ".xz", ".bz2", ".zst")  # suffixes of data files that are unpacked on the way
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_BINARY: Final = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a"))  # DOS editors ended a text with 0x1A
_NO_BINARY: Final = bytes.maketrans(_BINARY, b"\0" * len(_BINARY))


def head_lines(device: BlockDevice) -> list[str]:
    """The first lines of what may be a text, blank ones left out; none if it is not a text.

    Of anything else, no more than the first kilobyte is read.
    """
    if not 0 < device.size <= MAX_SIZE:
        return []
    head = device.pread(0, FIRST_READ)
    if not _is_text(head):
        return []
    if device.size > FIRST_READ:
        head = device.pread(0, PROBED)
    return (
        [line.strip() for line in _decode(head, None).splitlines() if line.strip()] if _is_text(head) else []
    )


def _is_text(head: bytes) -> bool:
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" not in head.translate(_NO_BINARY)


def read_text(device: BlockDevice, fmt: str, encoding: str | None) -> str:
    """The whole text: by its byte order mark, else UTF-8, else ``encoding``, else Windows-1252."""
    if device.size > MAX_SIZE:
        raise FormatError(fmt, f"a description of {device.size} bytes")
    return _decode(device.pread(0, device.size), encoding)


def _decode(data: bytes, encoding: str | None) -> str:
    for bom, name in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(name, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(encoding or "cp1252", "surrogateescape" if encoding else "replace")


def unquoted(text: str) -> str:
    """``text`` without the quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text.strip('"')


def frames(text: str, fmt: str) -> int:
    """Sectors of a time written MM:SS:FF. Minutes may exceed 99: DVDs have such sheets."""
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        raise FormatError(fmt, f"{text!r} is not a time")
    minutes, seconds, rest = map(int, parts)
    if seconds >= 60 or rest >= 75:
        raise FormatError(fmt, f"{text!r} is not a time")
    return (minutes * 60 + seconds) * 75 + rest


def open_beside(name: str, context: Context) -> BlockDevice:
    """The file ``name`` beside the description, or else packed as ``name.ecm``, ``name.gz``...

    Raises ``MissingPartError``.

    What is in a packed file is told by its bytes, but only of files that are called so: sound may begin like
    anything.
    """
    if name.casefold().endswith(PACKED):
        return context.open_parent(name, None)
    try:
        return context.siblings.open(name)
    except MissingPartError:
        present = {one.casefold() for one in context.siblings.names()}
        packed = next((suffix for suffix in PACKED if f"{name}{suffix}".casefold() in present), None)
        if packed is None:
            raise
    return context.open_parent(name + packed, None)


def open_data(name: str, context: Context, fmt: str, *, alone: bool) -> BlockDevice:
    """The data file ``name`` of a description. Raises ``MissingPartError``.

    The ``alone`` data file of a description that was renamed with it is found under the description's own
    name.
    """
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    if base.casefold() == context.path.name.casefold():
        raise FormatError(fmt, "the description names itself as its data")
    try:
        return open_beside(name, context)
    except MissingPartError as exc:
        absent = exc
        suffix = "." + base.rpartition(".")[2]
        renamed = context.path.stem + suffix
        if not alone or renamed.casefold() in (base.casefold(), context.path.name.casefold()):
            raise
    try:
        return open_beside(renamed, context)
    except MissingPartError:
        raise absent from None
