"""Property lists inside images: XML of bounded size that declares no entities.

Source: plist(5); the DTD PropertyList-1.0.
"""

from __future__ import annotations

import plistlib
import re
from typing import Any, Final
from xml.parsers.expat import ExpatError

from imgmount.errors import FormatError

_UNREADABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # no XML 1.0 characters
_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_ERRORS: Final = (
    ExpatError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def parse(data: bytes, fmt: str, *, offset: int | None = None) -> dict[str, Any]:
    """The dictionary at the top of a plist. Raises ``FormatError`` in the name of ``fmt``.

    Text in old encodings is no reason to fail: what is no UTF-8 becomes U+FFFD.
    """
    text = _UNREADABLE.sub("\ufffd", data.rstrip(b"\0").decode("utf-8-sig", "replace"))
    if "<!ENTITY" in text:
        raise FormatError(fmt, "the plist declares entities: none is needed", offset=offset)
    try:
        root = plistlib.loads(_DECLARATION.sub("", text).encode(), fmt=plistlib.FMT_XML)
    except _ERRORS as exc:
        raise FormatError(fmt, "the plist is damaged", offset=offset) from exc
    if not isinstance(root, dict):
        raise FormatError(fmt, "the plist has no dictionary at its top", offset=offset)
    return root


def integer(root: dict[str, Any], key: str, fmt: str) -> int:
    """A number that is not negative. Raises ``FormatError`` where there is none."""
    value = root.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(fmt, f"{key} is {value!r}: a number was expected")
    return value
