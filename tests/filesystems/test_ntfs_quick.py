"""The quick look at an NTFS file record says what the close one says, or nothing."""

from __future__ import annotations

from struct import pack

import pytest

from filesystems.ntfs_images import load, volume
from imgmount.filesystems.ntfs import records
from imgmount.filesystems.ntfs.quick import QuickLook
from imgmount.filesystems.ntfs.records import parse_record


def attribute(kind: int, content: bytes = b"", *, named: bool = False) -> bytes:
    size = 24 + len(content) + 7 & ~7
    return pack("<IIBBHHHIHH", kind, size, 0, named, 24, 0, 0, len(content), 24, 0) + content.ljust(
        size - 24, b"\0"
    )


def elsewhere(size: int, first_cluster: int = 0, flags: int = 0) -> bytes:
    """A non-resident stream without runs."""
    return pack(
        "<IIBBHHHqqHB5xqqq", records.DATA, 64, 1, 0, 64, flags, 0, first_cluster, 0, 64, 0, size, size, size
    )


def record_of(*attributes: bytes, size: int = 1024, fixups: int = 48) -> bytes:
    """A record in use, with each stride's end as the mark and its fixup as what stood there."""
    count = size // 512 + 1
    first = fixups + 2 * count + 7 & ~7
    body = b"".join(attributes) + END_OF_ATTRIBUTES
    head = pack("<4sHHQHHHHIIQ", b"FILE", fixups, count, 0, 5, 1, first, 1, first + len(body), size, 0)
    data = bytearray((head.ljust(first, b"\0") + body).ljust(size, b"\0"))
    data[fixups : fixups + 2] = b"\x07\x09"
    for nth in range(1, count):
        data[fixups + 2 * nth : fixups + 2 * nth + 2] = data[512 * nth - 2 : 512 * nth]
        data[512 * nth - 2 : 512 * nth] = b"\x07\x09"
    return bytes(data)


END_OF_ATTRIBUTES = b"\xff\xff\xff\xff\0\0\0\0"
TIMES = attribute(records.STANDARD_INFORMATION, pack("<QQQQI28x", 133 << 50, 0, 134 << 50, 135 << 50, 0x20))
NAMED = attribute(records.NAME_ATTRIBUTE, pack("<Q56xBB", 5 << 48 | 5, 8, 1) + "name.txt".encode("utf-16-le"))
SHORT = attribute(records.NAME_ATTRIBUTE, pack("<Q56xBB", 5 << 48 | 5, 4, 2) + "NA~1".encode("utf-16-le"))
LONG = attribute(records.DATA, b"resident" * 60)  # the end of it and what follows lie behind a fixup

ORDINARY = {
    "resident": [TIMES, NAMED, attribute(records.DATA, b"content")],
    "resident and long": [TIMES, NAMED, LONG],
    "named stream behind a long one": [TIMES, NAMED, LONG, attribute(records.DATA, b"x", named=True)],
    "elsewhere": [TIMES, NAMED, elsewhere(1 << 40)],
    "name of DOS": [TIMES, SHORT, NAMED, elsewhere(0)],
    "transaction": [TIMES, NAMED, elsewhere(7), attribute(records.LOGGED_STREAM, b"txf")],
}
UNUSUAL = {
    "two contents": [
        TIMES,
        NAMED,
        attribute(records.DATA, b"content"),
        attribute(records.DATA, b"longer content"),
    ],
    "part of a stream": [TIMES, NAMED, elsewhere(1 << 40, first_cluster=1 << 48)],
    "sparse": [TIMES, NAMED, elsewhere(1 << 20, flags=records.SPARSE)],
    "link": [TIMES, NAMED, attribute(records.REPARSE_POINT, bytes(8))],
    "list": [TIMES, attribute(records.ATTRIBUTE_LIST)],
    "no times": [NAMED, attribute(records.DATA, b"content")],
    "size below 0": [TIMES, NAMED, elsewhere(-1)],
    "no end": [TIMES, NAMED[:4] + b"\xf0\x03" + NAMED[6:]],
}


@pytest.mark.parametrize("variant", ["plain", "features", "clusters", "lists"])
def test_the_quick_look_at_a_record_sees_what_the_close_one_does(variant: str) -> None:
    opened = volume(load(variant))
    look = QuickLook(opened.mft.record_size, 48)
    quick = 0
    for number, raw in opened.mft.scan():
        record = parse_record(raw, number)
        if record.in_use and not record.base and (found := look.facts(raw, 0, number)) is not None:
            assert found == opened.facts(record)
            quick += 1
    assert quick > 10


@pytest.mark.parametrize("fixups", [48, 42])
@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind in ORDINARY for size in (512, 1024, 4096) if size > 512 or "long" not in kind],
)
def test_the_quick_look_is_enough_for_an_ordinary_file(kind: str, size: int, fixups: int) -> None:
    raw = record_of(*ORDINARY[kind], size=size, fixups=fixups)
    opened = volume(load("plain"))
    found = QuickLook(size, fixups).facts(bytes(size) + raw, size, 77)
    assert found is not None
    assert found == opened.facts(parse_record(raw, 77))
    torn = raw[: size - 1] + b"?"
    assert QuickLook(size, fixups).facts(torn, 0, 77) is None


@pytest.mark.parametrize("kind", UNUSUAL)
def test_the_quick_look_leaves_what_is_unusual_to_the_close_one(kind: str) -> None:
    assert QuickLook(1024, 48).facts(record_of(*UNUSUAL[kind]), 0, 77) is None


def test_the_quick_look_reads_a_full_record_and_what_lies_below_its_fixups() -> None:
    """The length of the last attribute lies across the end of the first stride."""
    last = attribute(records.DATA, bytes(488), named=True)
    raw = record_of(TIMES, NAMED, attribute(records.DATA, bytes(224)), last)
    assert raw[504:508] == last[:4]
    assert raw[1016:1020] == END_OF_ATTRIBUTES[:4]
    found = QuickLook(1024, 48).facts(raw, 0, 77)
    assert found == volume(load("plain")).facts(parse_record(raw, 77))
    assert found is not None
    assert found.has_streams
