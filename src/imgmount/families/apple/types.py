"""What a file's type and creator codes say of the disk image in it: they decide before its content does.

Source: the documentation of ClassicMac (inexin), ``disk-images/raw-images.md`` and ``ndif.md``.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class ImageKind(Enum):
    """The form of a disk image."""

    RAW = "raw sectors"
    DC42 = "Disk Copy 4.2"
    DART = "DART"
    NDIF = "NDIF"
    UDIF = "UDIF"


ANY: Final = b"*"
_BY_CREATOR: Final[dict[tuple[bytes, bytes], ImageKind]] = {
    (b"dImg", b"dCpy"): ImageKind.DC42,
    (b"dImg", b"Wrap"): ImageKind.DC42,
    **{(b"DMd%c" % digit, b"DART"): ImageKind.DART for digit in b"1234567f"},
    (b"APPL", b"oneb"): ImageKind.NDIF,
    (b"APPL", b"sImg"): ImageKind.RAW,
    (b"APPL", b"iImg"): ImageKind.RAW,
    (b"GImg", b"CDr3"): ImageKind.RAW,
}
_BY_TYPE: Final[dict[bytes, ImageKind]] = {
    **dict.fromkeys((b"dimg", b"rohd", b"hdro", b"hdc ", b"hdcm", b"dseg"), ImageKind.NDIF),
    **dict.fromkeys((b"hdrv", b"DDim", b"devr"), ImageKind.RAW),
    **dict.fromkeys((b"devi", b"devs"), ImageKind.UDIF),
}


def kind_of(kind: bytes, creator: bytes) -> ImageKind | None:
    """The form of image that a file of type ``kind`` by ``creator`` is; None where they do not tell."""
    return _BY_CREATOR.get((kind, creator)) or _BY_TYPE.get(kind)
