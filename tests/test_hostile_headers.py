"""Headers of disks and evidence that lie: one line, less than a second, less than 200 MB, in real processes.

Every number in the headers of every format is set to what breaks readers, and its checksums are made right
again.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bounded_process import Case, complaint, opened
from helpers import FIXTURES
from imgmount.codecs.crc32c import crc32c

LARGE = {2: (0xFFFF,), 4: (0x7FFFFFFF, 0xFFFFFFFF), 8: (1 << 60, (1 << 64) - 1)}
BLOCK = 64
Seal = Callable[[bytearray], None]


class Target(NamedTuple):
    """A fixture, the (start, end, width) of the numbers in its headers, and what makes its checksums right."""

    fixture: str
    order: str
    fields: tuple[tuple[int, int, int], ...]
    seal: Seal | None = None


def adler(data: bytearray, start: int, size: int) -> None:
    """The Adler-32 of EWF behind what it is of."""
    data[start + size : start + size + 4] = struct.pack("<I", zlib.adler32(bytes(data[start : start + size])))


def seal_vhd(data: bytearray) -> None:
    for start, size, field in ((0, 512, 0x40), (0x200, 1024, 0x24), (len(data) - 512, 512, 0x40)):
        part = data[start : start + size]
        part[field : field + 4] = bytes(4)
        data[start + field : start + field + 4] = struct.pack(">I", ~sum(part) & 0xFFFFFFFF)


def seal_vhdx(data: bytearray) -> None:
    for start, size in ((0x10000, 4096), (0x20000, 4096), (0x30000, 65536), (0x40000, 65536)):
        data[start + 4 : start + 8] = bytes(4)
        data[start + 4 : start + 8] = struct.pack("<I", crc32c(bytes(data[start : start + size])))


def ewf_sections(data: bytes | bytearray) -> dict[str, int]:
    """Where the descriptor of each section is."""
    found, offset = {}, 13
    while (following := struct.unpack_from("<Q", data, offset + 16)[0]) != offset:
        found[data[offset : offset + 16].rstrip(b"\0").decode()] = offset
        offset = following
    return found


def unpacked(name: str) -> bytes:
    path = FIXTURES / ("" if name.startswith(("filesystems/", "partitions/")) else "containers") / name
    return (
        path.read_bytes()
        if path.exists()
        else lzma.decompress(path.with_name(path.name + ".xz").read_bytes())
    )


EWF = unpacked("ewf/encase6/disk.E01")
SECTIONS = ewf_sections(EWF)
L01 = ewf_sections(unpacked("filesystems/ltree/l01/files.L01"))
LVM2_CRC = 0xF597A6CF ^ 0xFFFFFFFF
EX01_END = len(unpacked("ewf/ex01/disk.Ex01"))


def seal_ewf(data: bytearray) -> None:
    for start in SECTIONS.values():
        adler(data, start, 72)
    adler(data, SECTIONS["volume"] + 76, 1048)
    for kind in ("table", "table2"):
        start = SECTIONS[kind] + 76
        adler(data, start, 20)
        adler(data, start + 24, 4 * struct.unpack_from("<I", EWF, start)[0])


def seal_ex01(data: bytearray) -> None:
    adler(data, EX01_END - 64, 60)


def seal_l01(data: bytearray) -> None:
    for start in L01.values():
        adler(data, start, 72)


def seal_label(data: bytearray) -> None:
    data[0x210:0x214] = struct.pack("<I", zlib.crc32(bytes(data[0x214:0x400]), LVM2_CRC) ^ 0xFFFFFFFF)


def seal_metadata(data: bytearray) -> None:
    data[0x1000:0x1004] = struct.pack("<I", zlib.crc32(bytes(data[0x1004:0x1200]), LVM2_CRC) ^ 0xFFFFFFFF)


TARGETS = {
    "qcow2": Target("qcow2/compressed/disk.qcow2", ">", ((0x04, 0x70, 4), (0x08, 0x60, 8))),
    "qcow2 snapshots": Target("qcow2/snapshots/disk.qcow2", ">", ((0x3C, 0x48, 4),)),
    "qcow": Target("qcow/compressed/disk.qcow", ">", ((0x08, 0x30, 4), (0x08, 0x30, 8))),
    "qed": Target("qed/backed/disk.qed", "<", ((0x04, 0x40, 4), (0x10, 0x38, 8))),
    "vdi": Target("vdi/dynamic/disk.vdi", "<", ((0x44, 0x54, 4), (0x154, 0x1C8, 4), (0x170, 0x178, 8))),
    "vhd": Target("vhd/dynamic/disk.vhd", ">", ((0x08, 0x54, 4), (0x208, 0x248, 4), (0x208, 0x248, 8)), seal_vhd),
    "vhd child": Target("vhd/differencing/child.vhd", ">", ((0x228, 0x240, 4), (0x440, 0x480, 4)), seal_vhd),
    "vhdx": Target(
        "vhdx/dynamic/disk.vhdx", "<", ((0x10008, 0x10050, 8), (0x20008, 0x20050, 8), (0x30008, 0x30050, 4)), seal_vhdx
    ),
    "vhdx log": Target("vhdx/log/disk.vhdx", "<", ((0x10040, 0x10050, 4), (0x20040, 0x20050, 4)), seal_vhdx),
    "vmdk sparse": Target("vmdk/extents/piece-s001.vmdk", "<", ((0x04, 0x4C, 4), (0x0C, 0x44, 8))),
    "vmdk stream": Target("vmdk/stream/disk.vmdk", "<", ((0x04, 0x4C, 4), (0x0C, 0x48, 4), (0x0C, 0x44, 8))),
    "vmdk cowd": Target("vmdk/cowd/snapshot-delta.vmdk", "<", ((0x04, 0x20, 4),)),
    "vmdk sesparse": Target("vmdk/sesparse/snapshot-sesparse.vmdk", "<", ((0x08, 0xD0, 8),)),
    "parallels": Target("parallels/expanding/disk.hds", "<", ((0x10, 0x40, 4), (0x24, 0x2C, 8))),
    "bochs": Target("bochs/growing/disk.bochs", "<", ((0x40, 0x60, 4), (0x54, 0x5C, 8), (0x58, 0x60, 8))),
    "cloop": Target("cloop/plain/disk.cloop", ">", ((0x80, 0x88, 4), (0x88, 0xB0, 8))),
    "simg": Target("simg/mixed/disk.simg", "<", ((0x04, 0x48, 4), (0x04, 0x2C, 2))),
    "ova": Target("ova/stream/machine.ova", "<", ((0x7C, 0x88, 4), (0x9C, 0xA0, 4))),
    "ewf": Target("ewf/encase6/disk.E01", "<", tuple(
        (SECTIONS[kind] + start, SECTIONS[kind] + end, width)
        for kind, start, end, width in (
            ("volume", 76, 76 + 48, 4), ("volume", 76 + 16, 76 + 24, 8), ("table", 76, 76 + 32, 4), ("table2", 76, 76 + 24, 4),
            ("header", 16, 32, 8), ("volume", 16, 32, 8), ("sectors", 16, 32, 8), ("table", 16, 32, 8), ("data", 16, 32, 8),
            ("digest", 16, 32, 8),
        )
    ), seal_ewf),
    "ewf file header": Target("ewf/encase6/disk.E01", "<", ((9, 13, 2),)),
    "ex01": Target(
        "ewf/ex01/disk.Ex01", "<", ((0x08, 0x20, 4), (EX01_END - 64, EX01_END - 36, 4), (EX01_END - 56, EX01_END - 40, 8)),
        seal_ex01,
    ),
    "aff": Target("aff/zlib/disk.aff", ">", ((8, 24, 4), (40, 80, 4))),
    "l01": Target(
        "filesystems/ltree/l01/files.L01", "<",
        ((L01["ltree"] + 16, L01["ltree"] + 32, 8), (L01["ltree"] + 92, L01["ltree"] + 124, 8)), seal_l01,
    ),
    "ad1": Target("filesystems/ad1/one/files.ad1", "<", ((0x18, 0x20, 4), (0x210, 0x230, 4), (0x228, 0x260, 8))),
    "lvm2 label": Target("partitions/lvm2/bare/disk.img", "<", ((0x208, 0x220, 4), (0x220, 0x288, 8)), seal_label),
    "lvm2 metadata": Target("partitions/lvm2/bare/disk.img", "<", ((0x1014, 0x1040, 4), (0x1018, 0x1040, 8)), seal_metadata),
    "aff4": Target("aff4/map/disk.aff4", "<", ((4, 30, 4), (-22, 0, 2), (-22, -2, 4))),
}  # fmt: skip


def lies(target: Target, sound: bytes) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """(what is changed, the changes)."""
    for start, end, width in target.fields:
        for offset in range(start, end - width + 1, width):
            at = offset % len(sound)
            for value in (0, *LARGE[width]):
                data = bytearray(sound)
                data[at : at + width] = value.to_bytes(width, "little" if target.order == "<" else "big")
                if target.seal is not None:
                    target.seal(data)
                if data != sound:
                    yield f"{value:#x} at {at:#x}", list(differences(sound, data))


def differences(sound: bytes, data: bytearray) -> Iterator[tuple[int, str]]:
    """Blocks that are not the same."""
    for at in range(0, len(sound), BLOCK):
        if sound[at : at + BLOCK] != data[at : at + BLOCK]:
            yield at, data[at : at + BLOCK].hex()


@pytest.mark.parametrize("name", TARGETS)
def test_no_number_in_a_header_does_harm(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    sound = unpacked(target.fixture)
    path = tmp_path / Path(target.fixture).name
    path.write_bytes(sound)
    changes = list(lies(target, sound))
    refused = 0
    for (what, _), outcome in zip(
        changes, opened([Case(str(path), patches) for _, patches in changes], tmp_path), strict=True
    ):
        assert not complaint(outcome), f"{what}: {complaint(outcome)}, {outcome}"
        refused += outcome.code == 2
    # a tar that is no appliance any more is a raw file, and so is a disk whose table or filesystem cannot be opened
    assert refused or name in ("ova", "ad1", "lvm2 label", "lvm2 metadata")
