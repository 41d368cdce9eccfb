"""Images of disks and evidence that are easily written and would be long to read: one line or a disk, in a second and 200 MB."""

from __future__ import annotations

import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bounded_process import Case, complaint, opened
from partitions.test_lvm2 import area, group, label, volume
from partitions.test_lvm2 import run as segment
from test_hostile_headers import seal_vhdx, unpacked

MIB = 1 << 20
RING = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"


def sparse(path: Path, head: bytes | bytearray, size: int) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def written(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def changed(data: bytes, *patches: tuple[int, bytes]) -> bytearray:
    content = bytearray(data)
    for at, new in patches:
        content[at : at + len(new)] = new
    return content


def qcow2(*patches: tuple[int, bytes]) -> Callable[[Path], None]:
    return written(bytes(changed(unpacked("qcow2/compressed/disk.qcow2"), *patches)))


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


REFUSED: dict[str, Callable[[Path], None]] = {  # vmdisk.md, 2.1
    "qcow2 L1 of 2 billion": qcow2((0x24, u32(0x7FFFFFFF))),
    "qcow2 of 8 EiB": qcow2((0x18, u64(1 << 63))),
    "qcow2 clusters of 8 EiB": qcow2((0x14, u32(63))),
    "qcow2 clusters of 256": qcow2((0x14, u32(8))),
    "qcow2 with 2 billion snapshots": qcow2((0x3C, u32(0x7FFFFFFF))),
    "qcow2 header of 4 GiB": qcow2((0x64, u32(0xFFFFFFF8))),
    "qcow2 L1 far away": qcow2((0x28, u64(1 << 60))),
    "qcow2 unknown feature": qcow2((0x48, u64(1 << 40))),
    "qcow2 of 60 bytes": written(unpacked("qcow2/compressed/disk.qcow2")[:60]),
}


def snapshots(path: Path) -> None:
    count, names = 60_000, b"i" * 60 + b"n" * 1000
    one = struct.pack(">QIHHIIQII", 0, 0, 60, 1000, 0, 0, 0, 0, 0) + names
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, MIB, 0, 1, 0x10000, 0, 0, count, 0x20000)
    head += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    path.write_bytes(head.ljust(0x20000, b"\0") + one.ljust(-(-len(one) // 8) * 8, b"\0") * count)


def cluster_bomb(path: Path) -> None:
    """A compressed cluster of 64 KiB that unpacks to 10 MiB."""
    packed = zlib.compress(bytes(10 * MIB), 9)[2:-4]
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, MIB, 0, 1, 0x10000, 0, 0, 0, 0)
    entry = 1 << 62 | (len(packed) // 512 + 1) << 54 | 0x30000
    clusters = (head, u64(0x20000), u64(entry) * 16, packed)
    path.write_bytes(b"".join(cluster.ljust(0x10000, b"\0") for cluster in clusters))


def vdi_map(path: Path) -> None:
    head = changed(unpacked("vdi/dynamic/disk.vdi")[:0x400], (0x154, struct.pack("<I", 0x1000)))
    struct.pack_into("<QIII", head, 0x170, 1 << 44, 1 << 20, 0, 1 << 24)
    sparse(path, head, 0x1000 + (4 << 24))


def vhdx_log(path: Path) -> None:
    """16 MiB of log in which an entry of 1 MiB begins in each sector, and none is right."""
    data = bytearray(unpacked("vhdx/dynamic/disk.vhdx")[: 1 * MIB])
    for start in (0x10000, 0x20000):
        data[start + 0x30 : start + 0x50] = b"L" * 16 + struct.pack("<HHIQ", 0, 1, 16 * MIB, 32 * MIB)
    seal_vhdx(data)
    entry = struct.pack("<4sIIIQII16sQQ", b"loge", 0, MIB, 0, 1, 0, 0, b"L" * 16, 0, 0).ljust(4096, b"\0")
    path.write_bytes(bytes(data).ljust(32 * MIB, b"\0") + entry * 4096)


def vhdx_metadata(path: Path) -> None:
    """2047 times the same item of a megabyte."""
    data = bytearray(unpacked("vhdx/dynamic/disk.vhdx"))
    start = data.index(b"metadata")
    item = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le + struct.pack(
        "<IIII", 0x10000, MIB, 6, 0
    )
    data[start + 10 : start + 12] = struct.pack("<H", 2047)
    data[start + 32 : start + 32 + 2047 * 32] = item * 2047
    path.write_bytes(data + bytes(MIB))


def vmdk(text: str) -> Callable[[Path], None]:
    return written(f"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n{text}".encode())


def vmdk_tables(path: Path) -> None:
    """16,000 extents with tables of 16 MiB each."""
    count = 1 << 22
    fields = (b"KDMV", 1, 3, count * 512 * 8, 8, 0, 0, 512, 0, 1, 128, 0, b"\n \r\n", 0)
    sparse(
        path.with_name("ext.vmdk"),
        struct.pack("<4sIIQQQQIQQQB4sH", *fields).ljust(512, b"\0"),
        1024 + 4 * count,
    )
    vmdk('createType="twoGbMaxExtentSparse"\n' + 'RW 8 SPARSE "ext.vmdk"\n' * 16_000)(path)


def vmdk_flat(path: Path) -> None:
    path.with_name("flat.bin").write_bytes(bytes(4096))
    vmdk('createType="twoGbMaxExtentFlat"\n' + 'RW 8 FLAT "flat.bin" 0\n' * 16_384)(path)


def parallels(body: str) -> Callable[[Path], None]:
    return written(f"<Parallels_disk_image>{body}</Parallels_disk_image>".encode())


def parallels_tables(path: Path) -> None:
    """5000 parts with tables of 32 MiB each."""
    count = 1 << 23
    head = struct.pack("<16sIIIIIQIII", b"WithouFreSpacExt", 2, 1, 1, 8, count, count * 8, 0, 0, 0)
    sparse(path.with_name("big.hds"), head.ljust(64, b"\0"), 64 + 4 * count)
    image = f"<Image><GUID>{RING}</GUID><Type>Compressed</Type><File>big.hds</File></Image>"
    parts = "".join(f"<Storage><Start>{n}</Start><End>{n + 1}</End>{image}</Storage>" for n in range(5000))
    parallels(f"<StorageData>{parts}</StorageData>")(path)


def simg(chunk: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        count = 1 << 17
        head = struct.pack("<IHHHHIIII", 0xED26FF3A, 1, 0, 28, 12, 4096, count, count, 0)
        path.write_bytes(head + chunk * count)

    return make


def tar_header(name: bytes, size: bytes, kind: bytes) -> bytes:
    return bytes(changed(bytes(512), (0, name), (124, size), (156, kind), (257, b"ustar\0")))


def ova_records(path: Path) -> None:
    record = (b"5 a=\n" * 13_000).ljust(-(-65_000 // 512) * 512, b"\0")
    path.write_bytes(
        tar_header(b"x.ovf", b"0", b"0") + (tar_header(b"p", b"%011o" % 65_000, b"x") + record) * 1000
    )


def ova_backwards(path: Path) -> None:
    path.write_bytes(
        tar_header(b"x.ovf", b"0", b"0") + tar_header(b"a.img", b"-0000000777", b"0") + bytes(1024)
    )


def ova_digits(path: Path) -> None:
    size = b"size=" + b"9" * 5000 + b"\n"
    record = b"%d %s" % (len(size) + 5, size)
    head = tar_header(b"p", b"%011o" % len(record), b"x") + record.ljust(-(-len(record) // 512) * 512, b"\0")
    path.write_bytes(tar_header(b"x.ovf", b"0", b"0") + head + tar_header(b"a.img", b"0", b"0") + bytes(1024))


def ewf_section(kind: bytes, following: int, size: int) -> bytes:
    raw = struct.pack("<16sQQ40x", kind, following, size)
    return raw + struct.pack("<I", zlib.adler32(raw))


def ewf_sections(path: Path) -> None:
    count, start = 60_000, 13
    sections = [ewf_section(b"x", start + 76 * (n + 1), 76) for n in range(count)]
    end = start + 76 * count
    path.write_bytes(b"EVF\x09\r\n\xff\0\1\1\0\0\0" + b"".join(sections) + ewf_section(b"done", end, 0))


def aff_segments(path: Path) -> None:
    def one(name: bytes, data: bytes, flag: int) -> bytes:
        size = 16 + len(name) + len(data) + 8
        return (
            struct.pack(">4sIII", b"AFF\0", len(name), len(data), flag)
            + name
            + data
            + struct.pack(">4sI", b"ATT\0", size)
        )

    count = 130_000
    head = one(b"pagesize", b"", 512) + one(b"imagesize", struct.pack(">II", 512 * count, 0), 0)
    path.write_bytes(
        b"AFF10\r\n\0" + head + b"".join(one(b"page%d" % number, b"", 0x31) for number in range(count))
    )


def aff4(turtle: str, runs: bytes | None = None) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("container.description", "aff4://c")
            archive.writestr("information.turtle", "@prefix aff4: <http://aff4.org/Schema#> .\n" + turtle)
            if runs is not None:
                archive.writestr("aff4%3A%2F%2Fm/map", runs)
                archive.writestr("aff4%3A%2F%2Fm/idx", "http://aff4.org/Schema#Zero\n")

    return make


def aff4_map(order: int) -> Callable[[Path], None]:
    """Half a million runs of a byte each."""
    count = 1 << 19
    runs = b"".join(struct.pack("<QQQI", number, 1, number, 0) for number in range(count)[::order])
    return aff4(f'<aff4://m> a aff4:Map ; aff4:size "{count}" .\n', runs)


def lvm2(text: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        data = bytearray(4096 + len(text) + 8192)
        data[512:1024] = label((4096, len(text) + 1024))
        data[4096 : 4096 + len(text) + 1024] = area(4096, text, size=len(text) + 1024)
        path.write_bytes(data)

    return make


BOMBS: dict[str, Callable[[Path], None]] = {
    "qcow2 snapshots": snapshots,
    "qcow2 cluster": cluster_bomb,
    "vdi map": vdi_map,
    "vhdx log": vhdx_log,
    "vhdx metadata": vhdx_metadata,
    "vmdk blanks": vmdk("a=" + " " * (MIB // 2) + '"x"y'),
    "vmdk newlines": vmdk("\n" * (MIB - 100)),
    "vmdk digits": vmdk("RW " + "1" * 100_000 + ' FLAT "x" 0'),
    "vmdk escapes": vmdk('encoding="unicode_escape"\nRW 1 FLAT "\\ud800" 0'),
    "vmdk no text": vmdk('encoding="rot13"\nRW 1 FLAT "x" 0'),
    "vmdk tables": vmdk_tables,
    "vmdk flat": vmdk_flat,
    "parallels tables": parallels_tables,
    "parallels depth": parallels("<a>" * 140_000 + "</a>" * 140_000),
    "parallels entities": written(b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Parallels_disk_image/>'),
    "simg holes": simg(struct.pack("<HHII", 0xCAC3, 0, 1, 12)),
    "simg words": simg(struct.pack("<HHIII", 0xCAC2, 0, 1, 16, 5)),
    "ova records": ova_records,
    "ova backwards": ova_backwards,
    "ova digits": ova_digits,
    "ewf sections": ewf_sections,
    "aff segments": aff_segments,
    "aff4 statements": aff4("<a> <b> " + "<c> , " * 170_000 + "<d> .\n"),
    "aff4 text": aff4("# " + "a" * (2 * MIB)),
    "aff4 map": aff4_map(1),
    "aff4 map backwards": aff4_map(-1),
    "lvm2 values": lvm2(b"vg { " + b"".join(b"a%d=1 " % number for number in range(49_000)) + b"} "),
    "lvm2 volumes": lvm2(
        group(*(volume(f"l{number}", segment(0, 1, ("pv0", number))) for number in range(3000)))
    ),
    "lvm2 stripes": lvm2(
        group(
            *(
                volume(f"l{n}", segment(0, 128, *[("pv0", number) for number in range(128)], size=8))
                for n in range(150)
            )
        )
    ),
    "lvm2 escapes": lvm2(b'vg { a = "' + b"\\\\" * (MIB // 2 - 100) + b'" }'),
    "lvm2 blanks": lvm2(b"vg {" + b" " * (MIB - 100) + b"}"),
}
NAMES = {"parallels": "DiskDescriptor.xml", "ewf": "disk.E01", "aff4": "disk.aff4"}


@pytest.mark.parametrize("bombs", [REFUSED, BOMBS], ids=["refused", "bombs"])
def test_small_images_cost_little(bombs: dict[str, Callable[[Path], None]], tmp_path: Path) -> None:
    cases = []
    for number, (name, make) in enumerate(bombs.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / NAMES.get(name.partition(" ")[0], "disk")
        make(path)
        cases.append(Case(str(path)))
    for name, outcome in zip(bombs, opened(cases, tmp_path), strict=True):
        assert not complaint(outcome), f"{name}: {complaint(outcome)}, {outcome}"
        assert outcome.code == 2 or bombs is BOMBS, name
