"""What describes a title of the Wii U: its metadata (TMD) with hashes of its contents, and ``meta.xml``.

Source: WiiUBrew, "Title metadata", "meta.xml". The TMD is big endian.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import unescape
from struct import Struct
from typing import Final, NamedTuple, Self

from imgmount.errors import FormatError

ISSUER: Final = slice(0x140, 0x147)
ISSUER_ROOT: Final = b"Root-CA"
VERSION: Final = 0x180  # 1 on the Wii U, 0 on the Wii
TITLE_ID: Final = 0x18C
TITLE_VERSION: Final = 0x1DC
COUNT: Final = 0x1DE
INFO_HASH: Final = 0x1E4  # SHA-256 of the records that follow
INFOS: Final = 0x204
_INFO: Final = Struct(">HH32s")  # first content, contents, SHA-256 of their records
CONTENTS: Final = 0xB04
_CONTENT: Final = Struct(">IHHQ20s12x")  # id, index, type, size, SHA-1
MAX_TMD: Final = 1 << 20
MAX_META: Final = 1 << 16
META: Final = (b"meta", b"meta.xml")
_FIELD = re.compile(rb"<(\w+)(?:\s[^<>]*)?>([^<]*)</")
_FACTS: Final = {
    "longname_en": "title", "publisher_en": "publisher", "product_code": "product code",
    "company_code": "maker", "region": "region", "title_version": "title version",
}  # fmt: skip
REGIONS: Final = {
    0x01: "Japan",
    0x02: "USA",
    0x04: "Europe",
    0x08: "Australia",
    0x10: "China",
    0x20: "Korea",
    0x40: "Taiwan",
}
ALL_REGIONS: Final = 0xFFFF_FFFF


class Content(NamedTuple):
    """Content ``number`` of a title; ``digest`` covers its data, or its H3 table where it has hashes."""

    id: int
    number: int
    kind: int
    size: int
    digest: bytes

    @property
    def encrypted(self) -> bool:
        return bool(self.kind & 1)

    @property
    def hashed(self) -> bool:
        return bool(self.kind & 2)


class Tmd(NamedTuple):
    """The metadata of a title."""

    raw: bytes
    title_id: bytes
    version: int
    contents: Mapping[int, Content]

    @classmethod
    def parse(cls, raw: bytes, fmt: str) -> Self:
        """The TMD in ``raw``, which may go on behind it. Raises ``FormatError`` in the name of ``fmt``."""
        if len(raw) < CONTENTS or raw[ISSUER] != ISSUER_ROOT or raw[VERSION] != 1:
            raise FormatError(fmt, "no metadata of a title of the Wii U", offset=0)
        count = int.from_bytes(raw[COUNT : COUNT + 2], "big")
        end = CONTENTS + count * _CONTENT.size
        if end > len(raw):
            raise FormatError(fmt, f"{count} contents in a TMD of {len(raw)} bytes", offset=COUNT)
        contents = [Content(*fields) for fields in _CONTENT.iter_unpack(raw[CONTENTS:end])]
        version = int.from_bytes(raw[TITLE_VERSION : TITLE_VERSION + 2], "big")
        return cls(
            raw[:end],
            raw[TITLE_ID : TITLE_ID + 8],
            version,
            {content.number: content for content in contents},
        )

    def verify(self) -> Iterator[str]:
        """The hashes of the TMD over its own records."""
        if sha256(self.raw[INFOS:CONTENTS]).digest() != self.raw[INFO_HASH : INFO_HASH + 32]:
            yield "the TMD does not match its own SHA-256"
        for first, count, digest in _INFO.iter_unpack(self.raw[INFOS:CONTENTS]):
            start = CONTENTS + first * _CONTENT.size
            if count and sha256(self.raw[start : start + count * _CONTENT.size]).digest() != digest:
                yield f"the TMD's records of contents {first} to {first + count} do not match their SHA-256"


def meta_facts(data: bytes) -> dict[str, str]:
    """Facts in ``meta.xml``.

    It is searched field by field: entities that a hostile document declares are not expanded.
    """
    found = {
        name.decode(): unescape(value.decode("utf-8", "replace"))
        for name, value in _FIELD.findall(data[:MAX_META])
    }
    if not found.get("longname_en", "").strip():
        others = (value for name, value in found.items() if name.startswith("longname_") and value.strip())
        found["longname_en"] = next(others, "")
    facts = {fact: " ".join(found.get(field, "").split()) for field, fact in _FACTS.items()}
    facts["region"] = _regions(facts["region"])
    return {name: value for name, value in facts.items() if value}


def _regions(digits: str) -> str:
    try:
        bits = int(digits, 16)
    except ValueError:
        return ""
    return "all" if bits == ALL_REGIONS else ", ".join(name for bit, name in REGIONS.items() if bits & bit)
