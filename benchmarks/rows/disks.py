"""Disks: raw, virtual and forensic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.images import DATA, Image, Work, of
from benchmarks.process import quietly
from benchmarks.reading import BY_TWO, START
from benchmarks.row import and_random, disk, qemu, tool, xmount


def _convert(driver: str, options: str = "") -> Callable[[Work, Path], None]:
    return of(DATA, f"qemu-img convert -O {driver} {options} {{source}} {{target}}")


def _ewf(work: Work, target: Path) -> None:
    options = ("-u", "-f", "encase6", "-c", "deflate:fast", "-S", "8GiB", "-t")
    quietly("ewfacquire", *options, target.with_suffix(""), DATA.path(work))


QCOW2 = Image("disk.qcow2", _convert("qcow2"))
ZLIB = Image("zlib.qcow2", _convert("qcow2", "-c -o compression_type=zlib"))
ZSTD = Image("zstd.qcow2", _convert("qcow2", "-c -o compression_type=zstd"))
VHDX = Image("disk.vhdx", _convert("vhdx"))
VMDK = Image("disk.vmdk", _convert("vmdk"))
STREAM = Image("stream.vmdk", _convert("vmdk", "-o subformat=streamOptimized"))
E01 = Image("disk.E01", _ewf)

RAW_PEERS = (qemu("raw"), xmount("raw", DATA))
EWF_PEERS = (tool("ewfmount", "ewf1"), xmount("ewf", E01))
QCOWMOUNT = tool("qcowmount", "qcow1")
VMDKMOUNT = tool("vmdkmount", "vmdk1")

ROWS = (
    *and_random(disk("raw", "raw", DATA, *RAW_PEERS)),
    disk("raw-two", "raw, two readers", DATA, *RAW_PEERS, reading=BY_TWO),
    disk("vhd", "VHD", Image("disk.vhd", _convert("vpc")), qemu("vpc")),
    *and_random(disk("vhdx", "VHDX", VHDX, qemu("vhdx"), tool("vhdimount", "vhdi1"))),
    disk("vdi", "VDI", Image("disk.vdi", _convert("vdi")), qemu("vdi")),
    disk("vmdk", "VMDK", VMDK, qemu("vmdk"), VMDKMOUNT),
    *and_random(disk("vmdk-stream", "streamOptimized", STREAM, qemu("vmdk"), VMDKMOUNT)),
    disk("qcow2", "QCOW2", QCOW2, qemu("qcow2"), QCOWMOUNT),
    *and_random(disk("qcow2-zlib", "QCOW2 zlib", ZLIB, qemu("qcow2"), QCOWMOUNT)),
    *and_random(disk("qcow2-zstd", "QCOW2 zstd", ZSTD, qemu("qcow2"))),
    *and_random(disk("e01", "E01", E01, *EWF_PEERS)),
    disk("start-qcow2", "start, QCOW2", QCOW2, qemu("qcow2"), reading=START),
    disk("start-e01", "start, E01", E01, *EWF_PEERS, reading=START),
)
