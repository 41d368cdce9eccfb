"""UDF: volumes of many makers, compared with what udfinfo, 7-Zip and pycdlib say.

Fixtures are checked by test_fixtures.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from conformance import check_tree, manifest, tree
from fixture import unpack
from helpers import context, image, tool
from imgmount.core.device import gather
from imgmount.core.format import Match
from imgmount.core.node import Directory, File
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.filesystems.udf import probe
from imgmount.filesystems.udf.check import check
from imgmount.filesystems.udf.volume import open_udf
from imgmount.sources.file import FileDevice
from udf_discs import (
    BLOCK,
    MAKER,
    START,
    Counting,
    fixture_bytes,
    in_memory,
    large_disc,
    opened,
    retag,
    small_disc,
    udfclient,
)

UTIL_LINUX = {  # what udfinfo says of each: label, revision, block size
    "udf-cd-mkudfiso-20100208": ("Volume Label", "1.02", "2048"),
    "udf-hdd-mkudffs-1.0.0-1": ("LinuxUDF", "2.01", "512"),
    "udf-hdd-mkudffs-1.3-1": ("Label", "2.01", "512"),
    "udf-hdd-mkudffs-1.3-7": ("Label4096", "2.01", "4096"),  # over an older volume of 512-byte blocks
    "udf-hdd-mkudffs-2.2": ("😀", "2.01", "512"),
    "udf-hdd-udfclient-0.7.7": ("discname", "2.01", "512"),
    "udf-multi-0-320-640-mkudffs": ("third session", "2.01", "2048"),
    "udf-multi-0-417-834-genisoimage": ("third session", "1.02", "2048"),
    "udf": ("test-udf", "1.02", "2048"),
}
LIBCDIO = {
    "test-udf1": {
        "COPYING": (35147, "8ceb4b9ee5adedde47b31e975c1d90c73ad27b6b165a1dcd80c7c545eb65b903"),
        "README": (3843, "6be0f98c340898ee02618dce3d0fd212d4933aee49d35a4edaae28ebce0bf6f7"),
    },
    "udf102": {"FéжΘvrier": (10, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882")},
}
REVISIONS = ("1.02", "1.50", "2.00", "2.01", "2.50", "2.60")
MEDIA = {  # which of the revisions mkudffs allows
    "hd": REVISIONS[:4],
    "dvd": REVISIONS[:4],
    "dvdram": REVISIONS[:4],
    "dvdrw": REVISIONS[1:4],
    "dvdr": REVISIONS[1:],
    "cdrw": REVISIONS[1:4],
    "cdr": REVISIONS[1:],
    "bdr": REVISIONS[4:],
}
MKUDFFS = [(media, revision, 2048, "") for media, revisions in MEDIA.items() for revision in revisions]
MKUDFFS += [("hd", "2.01", size, "") for size in (512, 1024, 4096, 8192, 16384, 32768)]
MKUDFFS += [
    ("hd", "1.50", 2048, option)
    for option in ("--strategy=4096", "--ad=short", "--ad=long", "--space=freedtable")
]
MKUDFFS += [
    ("cdr", "2.01", 2048, "--closed"),
    ("hd", "2.01", 4096, "--noefe"),
    ("hd", "2.01", 512, "--spartable=4"),
]


@pytest.mark.parametrize("name", UTIL_LINUX)
def test_volumes_of_many_makers(name: str, tmp_path: Path) -> None:
    unpack(image(f"udf/util-linux__util-linux__{name}.img.xz"), tmp_path / "image")
    volume = opened(tmp_path / "image")
    facts = volume.info()
    assert (volume.label, facts["revision"], facts["block size"]) == UTIL_LINUX[name]
    assert set(manifest(volume.root)) <= {"lost+found"}


@pytest.mark.parametrize("name", LIBCDIO)
def test_trees_of_libcdio(name: str) -> None:
    check_tree(opened(image(f"udf/libcdio__libcdio__{name}.iso")).root, dict(LIBCDIO[name]))


@pytest.mark.parametrize("maker", ["320-640-mkudffs", "417-834-genisoimage"])
@pytest.mark.parametrize(
    ("session", "label"), [(1, "first session"), (2, "second session"), (3, "third session")]
)
def test_each_session_is_there(maker: str, session: int, label: str, tmp_path: Path) -> None:
    unpack(image(f"udf/util-linux__util-linux__udf-multi-0-{maker}.img.xz"), tmp_path / "image")
    assert opened(tmp_path / "image", extra={"session": str(session)}).label == label
    base = int(("0", *maker.split("-"))[session - 1])
    with FileDevice(tmp_path / "image") as device:
        assert not base or open_udf(device, context(), base).label == label


def test_a_session_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    unpack(image("udf/util-linux__util-linux__udf-multi-0-320-640-mkudffs.img.xz"), tmp_path / "image")
    for session in (0, 4):
        with pytest.raises(ImageError, match=f"no session {session}, only 1 to 3"):
            opened(tmp_path / "image", extra={"session": str(session)})


def test_the_only_session_is_the_first(tmp_path: Path) -> None:
    for variant in ("vat150", "blocks4096", "bridge"):
        data = fixture_bytes(variant, tmp_path)
        assert in_memory(data, extra={"session": "1"}).label == in_memory(data).label
        with pytest.raises(ImageError, match="no session 2, only 1"):
            in_memory(data, extra={"session": "2"})


def test_an_older_session_is_not_taken_silently(tmp_path: Path) -> None:
    unpack(image("udf/util-linux__util-linux__udf-multi-0-417-834-genisoimage.img.xz"), tmp_path / "image")
    data = bytearray((tmp_path / "image").read_bytes())
    for block in (32, 48):
        data[(834 + block + 3) * BLOCK + 100] ^= 1  # the last session's logical volume descriptors
    volume = in_memory(data)
    assert volume.label == "first session"
    assert "has a logical volume descriptor" in volume.info()["passed over"]
    assert any("not taken" in line for line in check(volume))


@pytest.mark.parametrize(("media", "revision", "block_size", "option"), MKUDFFS)
def test_mkudffs_volumes_are_what_udfinfo_says(
    media: str, revision: str, block_size: int, option: str, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    command = [
        tool("mkudffs"),
        "--utf8",
        "--new-file",
        f"--media-type={media}",
        f"--udfrev={revision}",
        "--label=Größe ж",
    ]
    subprocess.run(
        [*command, f"--blocksize={block_size}", *option.split(), path, "12000"],
        check=True,
        capture_output=True,
    )
    report = subprocess.run(
        [tool("udfinfo"), "--utf8", path], check=True, capture_output=True, text=True
    ).stdout
    said = dict(line.split("=", 1) for line in report.splitlines() if not line.startswith("start="))
    spaces = re.findall(r"start=(\d+), blocks=(\d+), type=PSPACE", report)
    with FileDevice(path) as device:
        assert probe(device) is Match.CERTAIN
        volume = open_udf(device, context())
        facts = volume.info()
        assert volume.label == said["label"] == "Größe ж"
        assert facts["revision"] in (said["udfrev"], said["udfwriterev"])
        assert facts["block size"] == said["blocksize"] == str(block_size)
        places = {
            tuple(re.findall(r"\d+", fact))[::-1]
            for key, fact in facts.items()
            if key.startswith("partition")
        }
        assert places == set(spaces)
        assert facts["integrity"] == said["integrity"] == "closed"
        found = manifest(volume.root)
        assert set(found) <= {"lost+found", "Non-Allocatable Space"}
        found.pop("Non-Allocatable Space", None)  # a file in the root, in 1.50
        assert int(said["numdirs"]) == 1 + len(found)
        assert list(check(volume)) == []


def test_a_random_tree_by_genisoimage(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for number in range(300):
        path = top / f"folder {number % 7}" / f"sub {number % 11}" / f"файл {number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 37 % 5000))
    disc, out = tmp_path / "disc", tmp_path / "out"
    options = ["-quiet", "-udf", "-r", "-J", "-input-charset", "utf-8"]
    subprocess.run([tool("genisoimage"), *options, "-o", disc, top], check=True, capture_output=True)
    subprocess.run([tool("7z"), "x", "-tUDF", f"-o{out}", disc], check=True, capture_output=True)
    found = manifest(opened(disc).root)
    names = {str(path.relative_to(out)) for path in out.rglob("*")}
    assert set(found) == names
    for name, fact in found.items():
        assert (out / name).is_dir() if fact == "/" else (out / name).stat().st_size == fact[0]
    volume = opened(disc)
    for name, node in tree(volume.root):
        if isinstance(node, File):
            assert node.open().pread(0, 10_000) == (out / name).read_bytes() == (top / name).read_bytes()
    assert list(check(volume)) == []


@pytest.mark.parametrize(
    ("media", "revision", "block_size"),
    [("hd", "1.02", 512), ("dvdrw", "1.50", 2048), ("cdrw", "2.00", 2048)],  # the latter sparable
)
def test_a_tree_by_udfclient(media: str, revision: str, block_size: int, tmp_path: Path) -> None:
    top, path = tmp_path / "top", tmp_path / "image"
    (top / "sub" / "deep").mkdir(parents=True)
    for name, size in (
        ("a.bin", 9000),
        ("empty", 0),
        ("sub/b.bin", 70001),
        ("sub/deep/c", block_size),
        ("tiny", 5),
    ):
        (top / name).write_bytes(os.urandom(size))
    for number in range(20):
        (top / f"one of many {number:02}").write_bytes(os.urandom(number * 41))
    command = [
        tool("mkudffs"),
        "--new-file",
        f"--media-type={media}",
        f"--udfrev={revision}",
        "--label=POPULATED",
    ]
    subprocess.run(
        [*command, f"--blocksize={block_size}", str(path), "600000"], check=True, capture_output=True
    )

    printed = udfclient(path, "ls", block_size=block_size)
    found = next(
        line.split()[-1] for line in printed.splitlines() if line.startswith("d") and "POPULATED" in line
    )
    udfclient(path, f'cd "/{found}"\nput top\nsync', "-W", block_size=block_size)
    volume = opened(path)
    files = {
        name: node.open().pread(0, 1 << 20) for name, node in tree(volume.root) if isinstance(node, File)
    }
    files.pop("Non-Allocatable Space", None)
    assert files == {
        f"top/{file.relative_to(top)}": file.read_bytes() for file in top.rglob("*") if file.is_file()
    }
    assert list(check(volume)) == []


def test_a_tree_by_pycdlib() -> None:
    pycdlib = pytest.importorskip("pycdlib")
    iso = pycdlib.PyCdlib()
    iso.new(udf="2.60")
    iso.add_directory("/DIR1", udf_path="/dir1")
    contents = {"dir1/one.txt": b"one", "two": b"2" * 5000}
    for number, (path, data) in enumerate(contents.items()):
        iso.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", udf_path="/" + path)
    iso.add_symlink(udf_symlink_path="/link", udf_target="dir1/one.txt")
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    volume = in_memory(out.getvalue())
    files = {path: node.open().pread(0, 9999) for path, node in tree(volume.root) if isinstance(node, File)}
    assert files == contents
    assert manifest(volume.root)["link"] == "-> dir1/one.txt"


@pytest.mark.parametrize("variant", ["metadata", "pieces", "sparable", "vat150", "vat200"])
def test_udfclient_reads_the_hand_made_discs_alike(variant: str, tmp_path: Path) -> None:
    data = fixture_bytes(variant, tmp_path)
    if variant == "sparable":
        data[90 * BLOCK : 91 * BLOCK] = data[
            100 * BLOCK : 101 * BLOCK
        ]  # udfclient takes the first table, newer ones or not
        struct.pack_into("<I", data, 90 * BLOCK + 12, 90)
        retag(data, 90 * BLOCK)
    disc, out = tmp_path / "disc", tmp_path / "out"
    disc.write_bytes(data)
    command = [tool("udfclient"), "-b", str(BLOCK), str(disc)]
    sets = subprocess.run(
        command, input="ls\nquit\n", check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout
    name = next(
        line.split()[-1]
        for line in sets.splitlines()
        if line.endswith("FIXTURE") and "SUPERSEDED" not in line
    )
    subprocess.run(
        command, input=f'get "/{name}" out\nquit\n', check=True, capture_output=True, text=True, cwd=tmp_path
    )
    found = {path: node.open() for path, node in tree(in_memory(data).root) if isinstance(node, File)}
    theirs = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    compared = {
        path: content for path, content in found.items() if path.isascii()
    }  # it has names of its own for the rest
    assert {path: content.pread(0, content.size) for path, content in compared.items()} == {
        path: content for path, content in theirs.items() if path in compared
    }
    assert len(theirs) == len(found) >= 2


def test_what_stands_in_a_file_entry(tmp_path: Path) -> None:
    root = in_memory(fixture_bytes("features", tmp_path)).root
    facts = {path: node.stat() for path, node in tree(root)}
    plain = facts["empty"]
    assert (plain.mode, plain.uid, plain.gid, plain.nlink) == (stat.S_IFREG | 0o644, 1000, 100, 1)
    assert (
        plain.mtime_ns == plain.atime_ns == plain.ctime_ns == 1078053255_123456000
    )  # 2004-02-29 11:14:15 UTC
    linked = facts["linked"]
    assert (linked.mode, linked.uid, linked.gid, linked.nlink) == (
        stat.S_IFREG | stat.S_ISUID | 0o600,
        None,
        None,
        2,
    )
    assert root.lookup("linked").id == dict(tree(root))["folder/linked too"].id
    assert (facts["sparse"].size, facts["sparse"].allocated) == (17 * BLOCK + 100, 2 * BLOCK)
    assert facts["link"].size == len("./../linked/Ωmega".encode())
    assert stat.S_ISBLK(facts["sda1"].mode)
    assert facts["sda1"].rdev == os.makedev(8, 17)
    assert stat.S_ISCHR(facts["null"].mode)
    assert facts["null"].rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO(facts["fifo"].mode)
    assert stat.S_ISSOCK(facts["socket"].mode)


def test_named_streams_are_extended_attributes(tmp_path: Path) -> None:
    root = in_memory(fixture_bytes("features", tmp_path)).root
    streams = root.lookup("with streams").xattrs()
    assert streams["user.udf.stream.short"] == b"in entry."
    assert len(streams["user.udf.stream.Longer é"]) == 3000
    assert root.lookup("linked").xattrs() == {}


def test_content_is_runs_of_the_image(tmp_path: Path) -> None:
    data = fixture_bytes("features", tmp_path)
    file = in_memory(data).root.lookup("pieces.short")
    assert isinstance(file, File)
    content = file.open()
    runs = list(content.extents(0, content.size))
    assert [(run.offset // BLOCK - START, run.length) for run in runs] == [
        (140, BLOCK),
        (120, 3 * BLOCK),
        (100, BLOCK + 77),
    ]
    assert gather(runs) == content.pread(0, content.size)


def test_a_file_of_more_than_a_gibibyte(tmp_path: Path) -> None:
    most, first = (1 << 30) - BLOCK, 1000
    disc = small_disc([("large", 10)])
    second, third = first + most // BLOCK, first + 2 * most // BLOCK
    ads = [MAKER.short_ad(most, first), MAKER.short_ad(most, second), MAKER.short_ad(12345, third)]
    size = 2 * most + 12345
    disc.entry(10, 5, size, b"".join(ads))
    disc.end = START + first + size // BLOCK + 1
    disc.volume()
    path = tmp_path / "disc"
    path.write_bytes(disc.data)
    base = (START + first) * BLOCK
    marks = {0: b"begin", most - 3: b"across", 2 * most - 1: b"second", size - 3: b"end"}
    with path.open("r+b") as out:
        for offset, mark in marks.items():
            out.seek(base + offset)
            out.write(mark)
        out.truncate(base + -(-size // BLOCK) * BLOCK)
    file = opened(path).root.lookup("large")
    assert isinstance(file, File)
    content = file.open()
    assert content.size == file.stat().size == size
    for offset, mark in marks.items():
        assert content.pread(offset, len(mark)) == mark
        assert content.pread(offset + len(mark), 10) == bytes(min(10, max(0, size - offset - len(mark))))


def test_an_older_virtual_table_is_not_read(tmp_path: Path) -> None:
    data = fixture_bytes("vat150", tmp_path)
    names = set(manifest(in_memory(data).root))
    assert in_memory(data).space.device(1).size == 7 * BLOCK
    padded = data + bytes(500 * BLOCK)  # as drives pad
    assert set(manifest(in_memory(padded).root)) == names
    older = data[: -BLOCK * 60]  # the disc as it was before it was closed again: the first table is the last
    assert set(manifest(in_memory(older).root)) == {"replaced", "kept", "removed"}


def test_the_newest_file_set_descriptor_prevails() -> None:
    """On write-once media: one more in the same extent, then one that the last of them leads to."""
    disc = MAKER.Disc(700, end=700)
    sets = [(0, 0, 11, 0), (1, 1, 12, 40), (40, 2, 13, 0), (41, 1, 12, 0)]
    for icb in (11, 12, 13):
        root = disc.names([(f"root {icb}", icb + 10)], icb)
        disc.entry(icb, 4, len(root), root, MAKER.EMBEDDED)
        disc.entry(icb + 10, 5, 0)
    for block, number, root, following in sets:
        disc.file_set(block, root)
        offset = (START + block) * BLOCK
        struct.pack_into("<I", disc.data, offset + 44, number)
        struct.pack_into("<II", disc.data, offset + 448, 2 * BLOCK if following else 0, following)
        retag(disc.data, offset)
    disc.volume()
    for block in (33, 49):
        struct.pack_into("<I", disc.data, block * BLOCK + 248, 2 * BLOCK)
        retag(disc.data, block * BLOCK)
    assert set(manifest(in_memory(disc.data).root)) == {"root 13"}


def test_a_first_listing_of_a_large_disc_reads_little() -> None:
    folders, files = 250, 200
    disc = large_disc(folders, files)
    counting = Counting(MemoryDevice(bytes(disc.data)))
    volume = open_udf(counting, context())
    assert len([node.stat() for _, node in volume.root.entries()]) == folders
    assert counting.bytes <= 1 << 18
    assert counting.requests <= folders + 60  # the entries of these folders lie far apart
    counting.bytes = counting.requests = 0
    assert len([node.stat() for _, node in tree(volume.root)]) == folders * (files + 1)
    assert counting.requests <= folders * 5


def test_names_alone_take_no_file_entries() -> None:
    counting = Counting(MemoryDevice(bytes(large_disc(2, 200).data)))
    root = open_udf(counting, context()).root
    folder = root.lookup("0001")
    assert isinstance(folder, Directory)
    counting.bytes = 0
    assert len(list(folder.names())) == 200
    assert counting.bytes < 16_000  # 52 bytes a name; an entry takes 512
    assert len(list(folder.entries())) == 200
    assert counting.bytes > 200 * 512
