from __future__ import annotations

import pytest

from helpers import FIXTURES
from imgmount.errors import FormatError
from imgmount.families.nintendo.wiiu_title import Tmd, meta_facts

TMD = (FIXTURES / "filesystems/nus/title/title.tmd").read_bytes()


def meta(**fields: str) -> bytes:
    return "".join(
        f'<{name} type="string" length="4">{value}</{name}>' for name, value in fields.items()
    ).encode()


def test_the_facts_of_a_title() -> None:
    data = meta(
        longname_en="A &lt;title&gt;\nof two lines", region="00000012", product_code="WUP-N-ABCD", other="x"
    )
    assert meta_facts(data) == {
        "title": "A <title> of two lines",
        "product code": "WUP-N-ABCD",
        "region": "USA, China",
    }
    assert meta_facts(meta(longname_en=" ", longname_fr="Titre", region="FFFFFFFF")) == {
        "title": "Titre",
        "region": "all",
    }
    assert meta_facts(meta(region="?")) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<",
        b"<longname_en>",
        b"\xff\xfe" * 99,
        b"<a>" * 30000,
        b"<" * 65536,
        b"<longname_en " + b"x" * 70000,
    ],
    ids=["empty", "start", "open", "utf-16", "deep", "brackets", "long"],
)
def test_no_facts_in_what_is_no_document(data: bytes) -> None:
    assert meta_facts(data) == {}


def test_entities_are_not_expanded() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + meta(longname_en="&b;")
    assert meta_facts(bomb) == {"title": "&b;"}


def test_the_metadata_proves_itself() -> None:
    tmd = Tmd.parse(TMD + b"certificates", "nus")
    assert list(tmd.verify()) == []
    assert [(content.id, content.hashed, content.encrypted) for content in tmd.contents.values()] == [
        (0x10, False, True), (0x11, False, True), (0x12, True, True),
    ]  # fmt: skip
    record = bytearray(TMD)
    record[0xB04 + 0x10] ^= 1
    assert list(Tmd.parse(bytes(record), "nus").verify()) == [
        "the TMD's records of contents 0 to 3 do not match their SHA-256"
    ]
    info = bytearray(TMD)
    info[0xB00] ^= 1
    assert next(Tmd.parse(bytes(info), "nus").verify()) == "the TMD does not match its own SHA-256"


@pytest.mark.parametrize("size", [0, 0x180, 0xB03, 0xB04, len(TMD) - 1])
def test_metadata_cut_short(size: int) -> None:
    with pytest.raises(FormatError):
        Tmd.parse(TMD[:size], "nus")
