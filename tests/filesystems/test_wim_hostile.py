"""WIMs that lie: each number at its extremes, loops, names, XML. All is bounded, refused in a line or EIO."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable

import pytest

from conformance import survive, tree
from filesystems.wim_writer import Entry, Wim, metadata, record, resource, sha1
from helpers import FIXTURES, context, wrong
from imgmount.core.device import BlockDevice
from imgmount.core.node import Directory, File, Filesystem, Symlink
from imgmount.core.slices import Concat, MemoryDevice, ZeroDevice
from imgmount.errors import ChecksumError, FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.filesystems.wim import FORMAT

HELLO = b"hello\n"
FILE = Entry("file", digest=sha1(HELLO))
ROOT = 8  # where the root is without security descriptors,
ENTRIES = 0x78  # and its entries
LARGE = ((1 << 31) - 1, (1 << 32) - 1, 1 << 40, (1 << 56) - 1, 1 << 60, (1 << 64) - 1)


def opened(data: bytes | BlockDevice) -> Filesystem:
    return FORMAT.open(MemoryDevice(data) if isinstance(data, bytes) else data, context())


def survives(data: bytes) -> int:
    """Visit all of it, within 64 MiB; see ``survive``."""
    tracemalloc.start()
    try:
        return survive(lambda: opened(data)) + survive(lambda: checked(data))
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 64 << 20


def checked(data: bytes) -> Filesystem:
    filesystem = opened(data)
    wrong(FORMAT.check(filesystem))
    return filesystem


def test_the_writer_itself_is_understood() -> None:
    folder = Entry("dir", children=[Entry("inner", digest=sha1(HELLO)), Entry("empty")])
    filesystem = opened(Wim([metadata([FILE, folder])], [HELLO]).pack())
    assert [path for path, _ in tree(filesystem.root)] == ["file", "dir", "dir/inner", "dir/empty"]
    assert wrong(FORMAT.check(filesystem)) == []
    node = filesystem.root.lookup("file")
    assert isinstance(node, File)
    assert node.open().pread(0, 100) == HELLO


@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("field", [0x30, 0x38, 0x40, 0x48, 0x50, 0x58, 0x7C, 0x84, 0x8C])
def test_resources_of_the_header(field: int, value: int) -> None:
    data = bytearray(Wim([metadata([FILE])], [HELLO]).pack())
    struct.pack_into("<Q", data, field, value)
    survives(bytes(data))


@pytest.mark.parametrize(
    "value", [0, 1, 4095, 4096, 32769, *(1 << shift for shift in range(12, 32, 3)), 0xFFFFFFFF]
)
@pytest.mark.parametrize("flags", [0x20002, 0x40002, 0x80002, 0x200002, 2, 0xFFFFFFFF])
def test_sizes_of_chunks(flags: int, value: int) -> None:
    rows = [record(5, 4, 0, size, sha1(HELLO)) for size in (6, 1 << 20, *LARGE)]
    for row in rows:
        survives(Wim([metadata([FILE])], records=[row], flags=flags, chunk=value).pack())


@pytest.mark.parametrize("flags", [0x20002, 0x40002, 0x80002])
@pytest.mark.parametrize("magic", [b"MSWIM\0\0\0", b"WLPWM\0\0\0"])
def test_tables_of_chunks(flags: int, magic: bytes) -> None:
    rng = random.Random(flags)
    for size in (1, 4096, 4097, 100_000, 1 << 31, 1 << 33, 1 << 61):
        for stored in (1, 8, 200, 10_000, 1 << 31, 1 << 55):
            row = record(stored, 4, 208, size, sha1(HELLO))
            noise = rng.randbytes(4000)
            data = Wim([metadata([FILE])], [noise], records=[row], flags=flags, chunk=32768).pack()
            survives(data if magic[:1] == b"M" else magic + data[8:] + magic + data[8:208])


def test_solid_resources_that_lie() -> None:
    rng = random.Random(1)
    for size in (0, 6, 100_000, 1 << 33, (1 << 64) - 1):
        for chunk in (0, 4096, 1 << 15, 1 << 26, 1 << 30, (1 << 32) - 1):
            for kind in (0, 1, 2, 3, 4, 0xFFFFFFFF):
                blob = struct.pack("<QII", size, chunk, kind) + rng.randbytes(400)
                run = record(len(blob), 0x10, 208, 1 << 32, bytes(20))
                inside = record(6, 0x10, rng.choice((0, 5, 1 << 50)), 0, sha1(HELLO))
                lies = Wim([metadata([FILE])], records=[run, run, inside], version=0xE00).pack()
                survives(lies[:208] + blob + lies[208 + len(blob) :])
    survives(Wim([metadata([FILE])], records=[record(6, 0x10, 0, 0, sha1(HELLO))]).pack())  # in no run


@pytest.mark.parametrize(
    "root",
    [
        [Entry("a", below=ENTRIES), Entry("b", below=ROOT)],
        [Entry("a", below=(1 << 64) - 1)],
        [Entry("a", below=3), Entry("b", below=5)],
        [Entry("a", length=101)],
        [Entry("a", length=1 << 63)],
        [Entry("a", length=(1 << 64) - 1)],
        [Entry("a", count=65535)],
        [Entry("a", count=1)],
        [Entry("a", security=5)],
        [Entry("a", security=-2)],
        [Entry("a", items=b"\xff" * 64)],
        [Entry("a", items=struct.pack("<II", 2, 60) + b"\xff" * 60)],
        [Entry("a", items=struct.pack("<II", 0x337DD874, 60) + b"\xff" * 60)],
        [Entry("a", items=struct.pack("<II", 0x337DD873, 4) + b"\xff" * 4)],
        [Entry("a", items=struct.pack("<II", 0x337DD873, 16) + b"\xff" * 16)],
        [Entry("a", times=((1 << 64) - 1,) * 3)],
        [Entry("a", attributes=0xFFFFFFEF, digest=sha1(HELLO))],
        [Entry("a", attributes=0x400, digest=sha1(HELLO), group=0xA000000C)],
        [Entry("a", attributes=0x400, group=0xA000000C)],
        [Entry("a", attributes=0x410, group=0xA0000003)],
        [Entry("a", group=(1 << 64) - 1), Entry("b", group=(1 << 64) - 1), Entry("c", group=1)],
        [Entry("a", streams=[("x" * 30000, sha1(HELLO)), ("", sha1(HELLO)), ("\ud800", sha1(HELLO))])],
    ],
    ids=range(22),
)
def test_metadata_that_lies(root: list[Entry]) -> None:
    assert survives(Wim([metadata([*root, FILE])], [HELLO]).pack()) >= 2


def test_directories_that_loop_are_entered_once() -> None:
    image = metadata([Entry("up", below=ENTRIES), Entry("deep", children=[Entry("again", below=ENTRIES)])])
    root = opened(Wim([image]).pack()).root
    paths: list[str] = []
    with pytest.raises(FormatError, match="a directory whose entries are those of another"):
        paths.extend(path for path, _ in tree(root))
    assert survives(Wim([image]).pack()) < 20


def test_directories_that_share_entries_are_refused() -> None:
    """Else a few kilobytes would have files without end."""
    files = [Entry(f"{number:03}") for number in range(100)]
    size = len(files[0].packed())
    count = 40
    image = bytearray(metadata([Entry("d", below=1) for _ in range(count)] + [Entry("all", children=files)]))
    start = len(image) - 8 - 100 * size
    for number in range(count):
        struct.pack_into("<Q", image, ENTRIES + number * len(Entry("d").packed()) + 16, start + number * size)
    assert survives(Wim([bytes(image)]).pack()) < 2 * (200 + 2 * count)


@pytest.mark.parametrize(
    "head",
    [struct.pack("<II", 8, 1), struct.pack("<II", 0xFFFFFFFF, 0), struct.pack("<II", 24, 0xFFFFFFFF)]
    + [struct.pack("<IIQ", 16, 1, size) for size in LARGE],
)
def test_security_descriptors(head: bytes) -> None:
    survives(Wim([metadata([Entry("a", security=0)], head=head)], [HELLO]).pack())


def test_a_security_descriptor_larger_than_an_attribute_is_left_out() -> None:
    entries = [Entry(name, security=number) for number, name in enumerate(("fits", "huge"))]
    filesystem = opened(Wim([metadata(entries, [bytes(1 << 16), bytes((1 << 16) + 1)])], [HELLO]).pack())
    sizes = [
        len(filesystem.root.lookup(name).xattrs().get("user.wim.security_descriptor", b""))
        for name in ("fits", "huge")
    ]
    assert sizes == [1 << 16, 0]


def test_names_that_no_path_can_have_are_shown_and_told() -> None:
    names = [
        "..",
        ".",
        "a/b",
        "a\0b",
        "a\\b",
        "\ud800",
        "",
        "same",
        "same",
        "SAME",
        "x" * 300,
        "\u4e2d" * 200,
    ]
    filesystem = opened(Wim([metadata([Entry(name) for name in names])]).pack())
    nodes = dict(filesystem.root.entries())
    assert list(nodes)[:6] == ["\\x2e\\x2e", "\\x2e", "a\\x2fb", "a\\x00b", "a\\x5cb", "\\ud800"]
    assert list(nodes)[6:10] == ["_", "same", "same (1)", "SAME"]
    assert all(len(name.encode()) <= 255 for name in nodes)
    assert len(nodes) == len(names)
    for (shown, node), name in zip(nodes.items(), names, strict=True):
        told = node.xattrs().get("user.wim.name", shown.encode()).decode("utf-8", "surrogatepass")
        assert told == name or shown in ("_", "same (1)")


def test_streams_of_a_reparse_point_are_kept_apart() -> None:
    """The first unnamed stream is the point, the second the data.

    The entry's own SHA-1 may stand for either.
    """
    target = "file".encode("utf-16-le")
    point = struct.pack("<HHHHI", 0, len(target), 0, 0, 1) + target
    other = b"what an app stores"
    root = [
        Entry("link", 0x400, group=0xA000000C, streams=[("", sha1(point)), ("", bytes(20))]),
        Entry("own", 0x400, digest=sha1(point), group=0xA000000C),
        Entry(
            "both",
            0x420,
            group=0x8000001B,
            streams=[("", sha1(other)), ("", sha1(HELLO)), ("s", sha1(HELLO))],
        ),
        Entry("cloud", 0x420, group=0x9000001A, streams=[("", sha1(other)), ("", sha1(HELLO))]),
        Entry("away", 0x1420, group=0x9000001A, streams=[("", sha1(other)), ("", sha1(HELLO))]),
        Entry("secret", 0x4020, streams=[("", sha1(HELLO))]),
        Entry("not rebased", 0x400, digest=sha1(point), group=0x1_0000_A000_000C << 16 >> 16 | 1 << 48),
    ]
    nodes = dict(opened(Wim([metadata(root)], [HELLO, point, other]).pack()).root.entries())
    for name in ("link", "own"):
        node = nodes[name]
        assert isinstance(node, Symlink)
        assert node.readlink() == "file"
    for name in ("both", "cloud"):
        node = nodes[name]
        assert isinstance(node, File)
        assert node.stat().size == len(HELLO)
        assert node.open().pread(0, 99) == HELLO
        assert node.xattrs()["user.wim.reparse"][8:] == other
    assert nodes["both"].xattrs()["user.ads.s"] == HELLO
    for name, reason in (("away", "a cloud file"), ("secret", "encrypted with EFS")):
        node = nodes[name]
        assert isinstance(node, File)
        with pytest.raises(UnsupportedError, match=reason):
            node.open()


def test_content_that_is_missing_is_told() -> None:
    node = opened(Wim([metadata([FILE])]).pack()).root.lookup("file")
    assert isinstance(node, File)
    assert node.stat().size == 0
    with pytest.raises(MissingPartError, match="is in no part that is here"):
        node.open()


def test_metadata_is_checked_and_costs_its_image_alone() -> None:
    good, bad = metadata([FILE]), metadata([Entry("other")])
    data = Wim([bad, good], [HELLO]).pack().replace("other".encode("utf-16-le"), "OTHER".encode("utf-16-le"))
    root = opened(data).root
    first, second = root.lookup("1"), root.lookup("2")
    assert isinstance(first, Directory)
    assert isinstance(second, Directory)
    for _ in range(2):
        with pytest.raises(ImageError, match="metadata that does not match its SHA-1"):
            list(first.entries())
    assert [name for name, _ in second.entries()] == ["file"]
    with pytest.raises(ChecksumError):
        list(opened(Wim([good], digest=bytes(20)).pack()).root.entries())


@pytest.mark.parametrize(
    ("xml", "note"),
    [
        ("<WIM>", "damaged: it is not well-formed XML in line 1"),
        ("", "damaged"),
        ("<WIM>" + "<a>" * 100_000, "damaged: elements more than 64 deep"),
        (
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><WIM>&b;</WIM>',
            "damaged: it declares entities",
        ),
        ('<WIM><IMAGE INDEX="99999999999999999999"><NAME>x</NAME></IMAGE></WIM>', ""),
        ('<WIM><IMAGE INDEX="-1"/><IMAGE INDEX="x"/><IMAGE/></WIM>', ""),
        ('<WIM><IMAGE INDEX="1"><CREATIONTIME><HIGHPART>0xzz</HIGHPART></CREATIONTIME></IMAGE></WIM>', ""),
        ('<WIM><IMAGE INDEX="1"><NAME>' + "n" * 100_000 + "</NAME></IMAGE></WIM>", ""),
    ],
)
def test_xml_that_lies(xml: str, note: str) -> None:
    data = Wim([metadata([FILE]), metadata([])], [HELLO], xml=f"\ufeff{xml}".encode("utf-16-le")).pack()
    survives(data)
    assert opened(data).info().get("XML", "").startswith(note)


@pytest.mark.parametrize("encoding", ["foo", "hex", "shift_jis", "idna", "punycode"])
def test_xml_in_an_encoding_that_expat_cannot_read(encoding: str) -> None:
    xml = f'<?xml version="1.0" encoding="{encoding}"?><WIM>\xe4</WIM>'.encode("latin-1")
    data = Wim([metadata([FILE]), metadata([])], [HELLO], xml=xml).pack()
    survives(data)
    assert opened(data).info()["XML"].startswith("damaged: its encoding")


def test_xml_of_100_mb_is_not_read() -> None:
    data = bytearray(Wim([metadata([FILE])], [HELLO]).pack())
    struct.pack_into("<24s", data, 0x48, resource(100 << 20, 2, len(data), 100 << 20))
    device = Concat.of([MemoryDevice(bytes(data)), ZeroDevice(100 << 20)])
    tracemalloc.start()
    filesystem = opened(device)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20
    assert filesystem.info()["XML"] == "104857600 bytes, more than 16 MiB: not read"


def test_an_encrypted_esd_is_named() -> None:
    xml = "\ufeff<WIM><ESD><ENCRYPTED>True</ENCRYPTED></ESD></WIM>".encode("utf-16-le")
    with pytest.raises(UnsupportedError, match="an encrypted ESD"):
        opened(Wim([metadata([FILE])], xml=xml).pack())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": 0x10E00}, "version 0x10e00"),
        ({"part": (0, 1)}, "part 0 is not 1, at 0x28"),
        ({"part": (3, 2)}, "part 3 is not from 1 to 2"),
        ({"count": 5000}, "number of images 5000 is not from 0 to 4095"),
        ({"count": 0}, "no image"),
        ({"part": (2, 65535)}, "part 1 of 65535"),
        ({"flags": 2}, "its flags 0x2"),
        (
            {"flags": 0x20002, "chunk": 5000},
            "XPRESS chunk size 5000 is not a power of two from 4 KiB to 64 KiB",
        ),
        ({"flags": 0x80002, "chunk": 1 << 30}, "LZMS chunks of 1 GiB, more than 64 MiB"),
    ],
)
def test_headers_that_are_refused(change: dict[str, int], error: str) -> None:
    with pytest.raises(ImageError, match=error):
        opened(Wim([metadata([FILE])], **change).pack())  # type: ignore[arg-type]


def test_more_images_than_metadata() -> None:
    root = opened(Wim([metadata([FILE])], [HELLO], count=3).pack()).root
    third = root.lookup("3")
    assert isinstance(third, Directory)
    with pytest.raises(FormatError, match="no metadata of image 3"):
        list(third.entries())
    assert [name for name, _ in root.entries()] == ["1", "2", "3"]


def test_random_damage() -> None:
    rng = random.Random(14)
    folder = Entry(
        "dir", children=[Entry("inner", digest=sha1(HELLO)), Entry("e", streams=[("s", sha1(HELLO))])]
    )
    image = metadata([FILE, folder, Entry("x", 0x400, sha1(HELLO), group=0xA000000C)], [b"\1" * 40])
    whole = Wim([image], [HELLO]).pack()
    lies: list[Callable[[bytearray], None]] = [
        lambda data: struct.pack_into("<B", data, rng.randrange(len(data)), rng.randrange(256)),
        lambda data: struct.pack_into("<I", data, rng.randrange(len(data) - 4), rng.choice((0, 0xFFFFFFFF))),
        lambda data: struct.pack_into("<Q", data, rng.randrange(len(data) - 8), rng.choice(LARGE)),
    ]
    for _ in range(600):
        data = bytearray(whole)
        rng.choice(lies)(data)
        start, size = 208, len(image)
        record_at = len(whole) - len(Wim([]).xml) - 100
        data[record_at + 30 : record_at + 50] = sha1(
            bytes(data[start : start + size])
        )  # or all would end there
        survive(lambda data=bytes(data): checked(data))  # type: ignore[misc]
    for cut in range(0, len(whole), 7):
        survive(lambda cut=cut: checked(whole[:cut]))  # type: ignore[misc]


@pytest.mark.parametrize("variant", ["lzx", "esd", "pipable", "xpress4k"])
def test_random_damage_of_compressed_ones(variant: str) -> None:
    import lzma

    whole = lzma.decompress((FIXTURES / f"filesystems/wim/{variant}/disk.wim.xz").read_bytes())
    rng = random.Random(variant)
    for _ in range(12):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 40))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        survive(lambda data=bytes(data): opened(data))  # type: ignore[misc]
