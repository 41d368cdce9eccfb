"""The small virtual disk formats: Parallels, QCOW 1, QED, bochs, cloop, simg, OVA.

Headers that lie, damage, attacks.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from conformance import check_device
from fixture import unpack
from helpers import FIXTURES, tool, wrong
from imgmount.chain.open import open_image
from imgmount.containers.vdisk.parallels.folder import BundleDevice
from imgmount.containers.vdisk.simg import SimgDevice
from imgmount.core.checks import Checked
from imgmount.core.device import BlockDevice
from imgmount.core.format import Options
from imgmount.errors import FormatError, ImageError, MissingPartError, UnsupportedError
from imgmount.jobs.reading import Reader
from imgmount.jobs.verify import told
from vdisk import check, create, raw_of, run, scribble

MIB = 1 << 20
SIZE = 3 * MIB
FIRST = "{11111111-1111-1111-1111-111111111111}"
SECRET = b"the secret of another folder" * 40


def fixture(tmp_path: Path, variant: str) -> Path:
    """The fixture's image, unpacked with its neighbours."""
    folder = FIXTURES / "containers" / variant
    for packed in folder.glob("*.xz"):
        unpack(packed, tmp_path / packed.stem)
    names = {"parallels/bundle": "DiskDescriptor.xml", "qed/backed": "disk.qed", "ova/stream": "machine.ova"}
    return tmp_path / names.get(variant, next(folder.glob("*.xz")).stem)


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


LIES = [
    ("parallels/expanding", 0x10, u32(3)),
    ("parallels/expanding", 0x1C, u32(0)),
    ("parallels/expanding", 0x1C, u32(0xFFFFFFFF)),
    ("parallels/expanding", 0x20, u32(0)),
    ("parallels/expanding", 0x20, u32(0xFFFFFFFF) + struct.pack("<Q", 1 << 40)),
    ("parallels/expanding", 0x24, struct.pack("<Q", 1 << 63)),
    ("qcow/compressed", 0x08, struct.pack(">QI", 64, 0x7FFFFFFF)),
    ("qcow/compressed", 0x08, struct.pack(">QI", 1 << 60, 8)),
    ("qcow/compressed", 0x18, struct.pack(">Q", 1 << 63)),
    ("qcow/compressed", 0x20, b"\x3f"),
    ("qcow/compressed", 0x20, b"\x08"),
    ("qcow/compressed", 0x21, b"\x3f"),
    ("qcow/compressed", 0x24, struct.pack(">I", 1)),
    ("qcow/compressed", 0x28, struct.pack(">Q", 1 << 60)),
    ("qed/backed", 0x04, u32(0)),
    ("qed/backed", 0x04, u32(0x80000000)),
    ("qed/backed", 0x08, u32(0)),
    ("qed/backed", 0x08, u32(32)),
    ("qed/backed", 0x10, struct.pack("<Q", 8)),
    ("qed/backed", 0x28, struct.pack("<Q", 1 << 60)),
    ("qed/backed", 0x30, struct.pack("<Q", 1 << 63)),
    ("qed/backed", 0x38, u32(0x7FFFFFFF)),
    ("qed/backed", 0x3C, u32(0x7FFFFFFF)),
    ("bochs/growing", 0x30, b"Undoable\0"),
    ("bochs/growing", 0x40, u32(0x30000)),
    ("bochs/growing", 0x44, u32(0xFFFFFFFF)),
    ("bochs/growing", 0x48, u32(1)),
    ("bochs/growing", 0x4C, u32(0)),
    ("bochs/growing", 0x4C, u32(0xFFFFFFFF)),
    ("bochs/growing", 0x50, u32(0)),
    ("bochs/growing", 0x50, u32(0x80000000)),
    ("bochs/growing", 0x58, struct.pack("<Q", 1 << 63)),
    ("cloop/plain", 0x80, b"\0\0\0\0"),
    ("cloop/plain", 0x80, b"\xff\xff\xfe\0"),
    ("cloop/plain", 0x84, b"\x7f\xff\xff\xff"),
    ("cloop/plain", 0x84, b"\0\x3f\xff\xff"),
    ("simg/mixed", 0x04, b"\2\0"),
    ("simg/mixed", 0x08, b"\0\0"),
    ("simg/mixed", 0x0A, b"\1\0"),
    ("simg/mixed", 0x0C, u32(0)),
    ("simg/mixed", 0x0C, u32(0xFFFFFFFC)),
    ("simg/mixed", 0x10, u32(0xFFFFFFFF)),
    ("simg/mixed", 0x14, u32(0xFFFFFFFF)),
    ("simg/mixed", 0x14, u32(1)),
    ("simg/mixed", 0x1C, u32(0)),
    ("simg/mixed", 0x20, u32(0xFFFFFFFF)),
    ("ova/stream", 124, b"777777777777"),
    ("ova/stream", 124, b"99999999999\0"),
]


@pytest.mark.parametrize(("variant", "offset", "data"), LIES)
def test_a_header_that_lies_is_refused(tmp_path: Path, variant: str, offset: int, data: bytes) -> None:
    path = fixture(tmp_path, variant)
    patch(path, offset, data)
    with pytest.raises(ImageError) as caught:
        open_image(path, Options(container=variant.partition("/")[0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variant", "offset", "data", "unit"),
    [
        ("parallels/expanding", 64 + 4, u32(0x7FFFFFFF), 1 << 16),
        ("qed/backed", None, struct.pack("<Q", 1 << 50), 4096),
        ("qed/backed", None, struct.pack("<Q", 4100), 4096),
        ("qcow/compressed", None, struct.pack(">Q", 1 << 50), 4096),
        ("qcow/compressed", None, struct.pack(">Q", 1 << 63 | 1 << 51 | 5), 4096),
        ("bochs/growing", 512 + 4, u32(0x00FFFFFF), 16384),
        ("cloop/plain", 136 + 8, struct.pack(">Q", 1 << 50), 65536),
    ],
)
def test_a_block_outside_the_file_is_an_error_for_that_block_alone(
    tmp_path: Path, variant: str, offset: int | None, data: bytes, unit: int
) -> None:
    path = fixture(tmp_path, variant)
    with open_image(path) as opened:
        expected = opened.disk.pread(0, opened.disk.size)
        if offset is None:
            offset = opened.disk._l1[0] + 8  # type: ignore[attr-defined]
    patch(path, offset, data)
    first = (
        0 if variant.startswith("cloop") else 1
    )  # the offset table's second entry ends block 0 and begins block 1
    with open_image(path) as opened:
        assert opened.disk.pread(0, first * unit) == expected[: first * unit]
        assert opened.disk.pread(2 * unit, len(expected)) == expected[2 * unit :]
        with pytest.raises(ImageError):
            opened.disk.pread(unit, 1)


def test_encryption_of_qcow_is_refused_by_name(tmp_path: Path) -> None:
    path = fixture(tmp_path, "qcow/compressed")
    patch(path, 0x24, struct.pack(">I", 1))
    with pytest.raises(UnsupportedError, match="AES"):
        open_image(path)


@pytest.mark.parametrize("fmt", ["qcow", "qed"])
@pytest.mark.parametrize("base_format", ["raw", "qcow2", "vdi"])
@pytest.mark.parametrize("base_size", [2 * MIB + 512, 5 * MIB])
def test_a_base_of_another_size(tmp_path: Path, fmt: str, base_format: str, base_size: int) -> None:
    base = scribble(create(tmp_path / "base.img", base_format, base_size), base_format, base_size, writes=20)
    image = create(tmp_path / "disk.img", fmt, SIZE, "", "-b", base.name, "-F", base_format)
    scribble(image, fmt, SIZE, seed=2, writes=10)
    check(image, raw_of(image, fmt), fmt)


def test_a_compressed_qcow(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"".join(b"%7d\n" % line for line in range(SIZE // 8)))
    with contextlib.suppress(
        subprocess.CalledProcessError
    ):  # qemu-img 7.2 exits with 1 after a whole conversion
        run(tool("qemu-img"), "convert", "-c", "-O", "qcow", source, tmp_path / "disk.qcow")
    check(tmp_path / "disk.qcow", source.read_bytes(), "qcow")


def test_parallels_version_1(tmp_path: Path) -> None:
    path = create(tmp_path / "disk.hds", "parallels", SIZE, "cluster_size=64k")
    scribble(path, "parallels", SIZE)
    content = bytearray(path.read_bytes())
    count = struct.unpack_from("<I", content, 0x20)[0]
    content[:16] = b"WithoutFreeSpace"
    table = struct.unpack_from(f"<{count}I", content, 64)
    struct.pack_into(f"<{count}I", content, 64, *(entry * 128 for entry in table))
    path.write_bytes(content)
    check(path, raw_of(path, "parallels"), "parallels")


def test_a_bundle_lists_what_it_is_made_of_and_names_what_is_missing(tmp_path: Path) -> None:
    path = fixture(tmp_path, "parallels/bundle")
    with open_image(path) as opened:
        assert isinstance(opened.disk, BundleDevice)
        assert opened.disk.info() == {"parts": "2", f"snapshot {FIRST}": "the first"}
        newest = opened.disk.pread(0, opened.disk.size)
    for name in (FIRST, FIRST.strip("{}")):
        older = raw_of(tmp_path / "disk.hdd.0.hds", "parallels") + (tmp_path / "plain.hds").read_bytes()
        check(path, older, "parallels", extra={"snapshot": name})
        assert older != newest
    with pytest.raises(ImageError, match=f"no snapshot is called 'x'; there are: .*{FIRST}"):
        open_image(path, Options(extra={"snapshot": "x"}))
    (tmp_path / "disk.hdd.0.hds").unlink()
    with pytest.raises(MissingPartError, match=r"disk\.hdd\.0\.hds"):
        open_image(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Start>0<", "<Start>1<"),
        ("<Start>0<", "<Start>-1<"),
        ("<End>4096<", "<End>x<"),
        ("<File>plain.hds<", "<File>../secret<"),
        ("<File>plain.hds<", "<File><"),
        ("Type>Plain<", "Type>Magic<"),
        ("{00000000-0000-0000-0000-000000000000}", "{22222222-2222-2222-2222-222222222222}"),
        ("<Parallels_disk_image", "<!DOCTYPE x [<!ENTITY a 'b'>]><Parallels_disk_image"),
        ("</Parallels_disk_image>", ""),
        ("StorageData", "Nothing"),
    ],
)
def test_a_descriptor_that_lies_is_refused(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "inside").mkdir()
    path = fixture(tmp_path / "inside", "parallels/bundle")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ImageError):
        open_image(path)


def test_simg_checksums(tmp_path: Path) -> None:
    path = fixture(tmp_path, "simg/mixed")
    with open_image(path) as opened:
        assert isinstance(opened.disk, SimgDevice)
        assert wrong(opened.disk.verify()) == []
    patch(path, 100, b"X")
    with open_image(path) as opened:
        assert isinstance(opened.disk, SimgDevice)
        (problem,) = wrong(opened.disk.verify())  # that of what follows is right for what stands before it
        assert problem.startswith("CRC-32 of bytes 0x0 to ")


def test_simg_of_a_whole_image(tmp_path: Path) -> None:
    raw = scribble(create(tmp_path / "raw", "raw", SIZE), "raw", SIZE)
    run(tool("img2simg"), raw, tmp_path / "disk.simg", 4096)
    check(tmp_path / "disk.simg", raw.read_bytes(), "simg")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, bytes]]:
    """(disk, the parts that AOSP's own tool cuts its sparse image into)."""
    folder = tmp_path_factory.mktemp("split")
    raw = scribble(create(folder / "raw", "raw", SIZE), "raw", SIZE)
    run(tool("img2simg"), raw, folder / "whole.simg", 4096)
    run(tool("simg2simg"), folder / "whole.simg", folder / "system.img_sparsechunk", 400_000)
    parts = {path.name: path.read_bytes() for path in sorted(folder.glob("*_sparsechunk.*"))}
    assert len(parts) > 3
    return raw.read_bytes(), parts


def written(folder: Path, parts: dict[str, bytes], *, without: tuple[int, ...] = ()) -> list[Path]:
    for number, (name, content) in enumerate(parts.items()):
        if number not in without:
            (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def test_parts_of_a_sparse_image_belong_together(
    split: tuple[bytes, dict[str, bytes]], tmp_path: Path
) -> None:
    disk, parts = split
    for path in written(tmp_path, parts):
        check(path, disk, "simg")
    with open_image(path) as opened:
        assert opened.disk.info()["parts"] == ", ".join(parts)  # type: ignore[attr-defined]
        assert wrong(opened.disk.verify()) == []  # type: ignore[attr-defined]
    joined = tmp_path / "joined"
    joined.write_bytes(b"".join(parts.values()))
    check(joined, disk, "simg")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_part_that_is_missing_is_no_zeros(
    split: tuple[bytes, dict[str, bytes]], tmp_path: Path, lost: int
) -> None:
    disk, parts = split
    path = written(tmp_path, parts, without=(lost,))[-1]
    with open_image(path) as opened:
        wrong = 0
        for offset in range(0, len(disk), 4096):
            try:
                assert opened.disk.pread(offset, 4096) == disk[offset : offset + 4096]
            except MissingPartError:
                wrong += 4096
        assert 200_000 < wrong < 1_200_000
        assert "are missing" in next(iter(opened.disk.verify()))  # type: ignore[attr-defined]


def test_a_part_alone_shows_nothing_of_the_others(
    split: tuple[bytes, dict[str, bytes]], tmp_path: Path
) -> None:
    disk, parts = split
    (path,) = written(tmp_path, parts, without=(0, *range(2, len(parts))))
    with open_image(path) as opened:
        for offset in (0, len(disk) - 512):
            with pytest.raises(MissingPartError, match="belong beside it"):
                opened.disk.pread(offset, 512)
        assert wrong(opened.disk.verify())  # type: ignore[attr-defined]


def test_images_of_one_size_are_not_parts_of_each_other(tmp_path: Path) -> None:
    for number in (1, 2):
        raw = tmp_path / f"raw{number}"
        raw.write_bytes(bytes([number]) * MIB)
        run(tool("img2simg"), raw, tmp_path / f"user{number}.img", 4096)
    check(tmp_path / "user2.img", b"\2" * MIB, "simg")


OVF = """<?xml version="1.0"?><Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>
<File ovf:href="{name}" ovf:id="f1" ovf:size="{size}"{more}/><File ovf:href="x.iso" ovf:id="f2"/></References>
<DiskSection><Disk ovf:capacity="1" ovf:diskId="d1" ovf:fileRef="f1"/></DiskSection></Envelope>"""


def test_a_description_may_stand_anywhere(tmp_path: Path) -> None:
    disk = b"disk" * 3000
    ovf = OVF.format(name="strange &amp; name", size=len(disk), more="").encode()
    path = appliance(tmp_path / "x.ova", ("strange & name", disk), ("x.iso", b"iso"), ("x.ovf", ovf))
    check(path, disk, "ova")


def test_a_size_that_the_description_contradicts_is_told(tmp_path: Path) -> None:
    ovf = OVF.format(name="disk.img", size=1000, more="").encode()
    with open_image(appliance(tmp_path / "x.ova", ("disk.img", bytes(999)), ("x.ovf", ovf))) as opened:
        (problem,) = opened.disk.verify()  # type: ignore[attr-defined]
        assert problem == "'disk.img' has 999 bytes, the description says 1000"


def test_the_manifest_of_an_ova_is_compared(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"some disk" * 99)
    (tmp_path / "x.ovf").write_bytes(b"<xml/>")
    lines = [
        subprocess.run(
            [tool("openssl"), "dgst", "-sha1", name], cwd=tmp_path, check=True, capture_output=True
        ).stdout
        for name in ("disk.img", "x.ovf")
    ]
    files = [(name, (tmp_path / name).read_bytes()) for name in ("x.ovf", "disk.img")]
    with open_image(appliance(tmp_path / "x.ova", *files, ("x.mf", b"".join(lines)))) as opened:
        found = list(told("", opened.layers[1].check(), Reader()))
        assert [type(one.what) for one in found] == [Checked, Checked]
        assert not any(one.is_problem for one in found)
    files[1] = ("disk.img", b"same disk" * 99)
    with open_image(appliance(tmp_path / "x.ova", *files, ("x.mf", b"".join(lines)))) as opened:
        (problem,) = wrong(opened.layers[1].check())
        assert problem.startswith("SHA1 of 'disk.img' is ")
    with open_image(appliance(tmp_path / "x.ova", files[0], ("a.img", b"a"), ("x.mf", lines[0]))) as opened:
        assert wrong(opened.layers[1].check()) == ["'disk.img' is missing: 'x.mf' has its SHA1"]


@pytest.mark.parametrize("lost", [None, 0, 1, 2])
def test_a_disk_in_pieces(tmp_path: Path, lost: int | None) -> None:
    disk = random.Random(1).randbytes(2_500_000)
    ovf = OVF.format(name="disk.img", size=len(disk), more=' ovf:chunkSize="1000000"').encode()
    pieces = [(f"disk.img.{n:09}", disk[n * 1_000_000 : (n + 1) * 1_000_000]) for n in (2, 0, 1)]
    kept = [piece for piece in pieces if piece[0] != f"disk.img.{lost:09}"] if lost is not None else pieces
    path = appliance(tmp_path / "x.ova", *kept[:2], ("x.ovf", ovf), *kept[2:])
    if lost is None:
        check(path, disk, "ova")
        return
    with open_image(path) as opened:
        assert opened.disk.size == len(disk)
        for number in range(3):
            offset = number * 1_000_000 + 5
            if number == lost:
                with pytest.raises(MissingPartError, match=f"{lost:09}"):
                    opened.disk.pread(offset, 10)
            else:
                assert opened.disk.pread(offset, 10) == disk[offset : offset + 10]


def appliance(path: Path, *files: tuple[str, bytes], tar_format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_appliance_of_two_disks(tmp_path: Path, tar_format: int, caplog: pytest.LogCaptureFixture) -> None:
    first, second = bytes(5000) + b"first" * 100, b"second" * 1000
    name = "folder/" + "n" * 90 + ".img"
    path = appliance(
        tmp_path / "x.ova",
        ("x.ovf", b"<xml/>"),
        (name, first),
        ("x.mf", b""),
        ("disk2.img", second),
        tar_format=tar_format,
    )
    check(path, first, "ova")
    assert "of 2 disks: -X member=NAME chooses" in caplog.text
    check(path, second, "ova", extra={"member": "disk2.img"})
    with pytest.raises(ImageError, match=r"disk2\.img"):
        open_image(path, Options(extra={"member": "disk3.img"}))


def test_a_packed_disk_in_an_appliance(tmp_path: Path) -> None:
    disk = scribble(create(tmp_path / "disk.vmdk", "vmdk", MIB), "vmdk", MIB, writes=5)
    path = appliance(
        tmp_path / "x.ova", ("x.ovf", b"<xml/>"), ("disk.vmdk.gz", gzip.compress(disk.read_bytes()))
    )
    check(path, raw_of(disk, "vmdk"), "ova > gzip > vmdk")


def test_a_cut_appliance_is_refused(tmp_path: Path) -> None:
    path = fixture(tmp_path, "ova/stream")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(FormatError, match="cut"):
        open_image(path)


def test_a_tar_that_is_no_appliance_is_left_alone(tmp_path: Path) -> None:
    path = appliance(tmp_path / "x.tar", ("readme", b"text"), ("disk.img", b"x"))
    with open_image(path) as opened:
        assert str(opened) == "file > archive"


@pytest.mark.parametrize("variant", ["qed/backed", "parallels/expanding", "simg/mixed", "bochs/growing"])
def test_what_is_stored_plainly_is_read_from_the_file_itself(tmp_path: Path, variant: str) -> None:
    with open_image(fixture(tmp_path, variant)) as opened:
        below = {run.device for run in opened.disk.extents(0, opened.disk.size)}
        assert opened.layers[0].device in below
        assert all(device is None or isinstance(device, BlockDevice) for device in below)


@pytest.mark.parametrize(("fmt", "limit"), [("parallels", 100), ("qed", 100), ("qcow", 100)])
def test_an_empty_disk_is_few_holes(tmp_path: Path, fmt: str, limit: int) -> None:
    with open_image(create(tmp_path / "disk", fmt, 100 << 30)) as opened:
        runs = list(opened.disk.extents(0, opened.disk.size))
        assert {run.device for run in runs} == {None}
        assert len(runs) < limit


def test_a_hole_and_a_word_of_a_sparse_image(tmp_path: Path) -> None:
    chunks = [struct.pack("<HHIII", 0xCAC2, 0, 700, 16, 0x64636261), struct.pack("<HHII", 0xCAC3, 0, 5, 12)]
    head = struct.pack("<IHHHHIIII", 0xED26FF3A, 1, 0, 28, 12, 4, 705, 2, 0)
    (tmp_path / "disk.simg").write_bytes(head + b"".join(chunks))
    with open_image(tmp_path / "disk.simg") as opened:
        check_device(opened.disk, b"abcd" * 700 + bytes(20))
