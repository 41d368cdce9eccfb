"""Every variant of every virtual disk that qemu can write, compared with what qemu reads from it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from helpers import tool
from imgmount.chain import open_image
from imgmount.containers.qcow2.device import COMPRESSED as COMPRESSED_FLAG
from imgmount.containers.qcow2.device import Qcow2Device
from imgmount.core.format import Options
from imgmount.errors import ImageError
from vdisk import check, create, raw_of, run, scribble

MIB = 1 << 20
PLAIN = [  # qemu's name, ours, creation options, size
    ("vpc", "vhd", "subformat=dynamic", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=dynamic,force_size=on", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=fixed,force_size=on", 3 * MIB + 512),
    ("vdi", "vdi", "", 9 * MIB + 512 * 7),
    ("vdi", "vdi", "static=on", 5 * MIB),
    ("vmdk", "vmdk", "subformat=monolithicSparse", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=monolithicSparse,zeroed_grain=on", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=monolithicFlat", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=twoGbMaxExtentFlat", 9 * MIB + 512 * 7),
    ("vhdx", "vhdx", "block_size=1M", 11 * MIB + 4096),
    ("vhdx", "vhdx", "block_size=2M,block_state_zero=off", 9 * MIB + 512),
    ("vhdx", "vhdx", "subformat=fixed,block_size=1M", 9 * MIB + 512 * 7),
    ("parallels", "parallels", "", 9 * MIB + 512 * 7),
    ("parallels", "parallels", "cluster_size=4k", 3 * MIB + 512 * 7),
    ("qed", "qed", "", 9 * MIB + 512 * 7),
    ("qed", "qed", "cluster_size=4k", 3 * MIB + 512 * 7),
    ("qcow", "qcow", "", 3 * MIB + 512 * 7),
    ("qcow2", "qcow2", "compat=0.10", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "compat=1.1", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "cluster_size=512", 3 * MIB + 512),
    ("qcow2", "qcow2", "cluster_size=2M", 11 * MIB + 512),
    ("qcow2", "qcow2", "extended_l2=on", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "extended_l2=on,cluster_size=16k", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "preallocation=metadata", 5 * MIB + 512),
    ("qcow2", "qcow2", "lazy_refcounts=on,refcount_bits=1", 5 * MIB + 512),
]


@pytest.mark.parametrize(("fmt", "name", "options", "size"), PLAIN, ids=lambda value: str(value).replace(",", "-"))
def test_a_scribbled_image(tmp_path: Path, fmt: str, name: str, options: str, size: int) -> None:
    image = scribble(create(tmp_path / "disk.img", fmt, size, options), fmt, size, seed=size)
    check(image, raw_of(image, fmt), name)


COMPRESSED = [
    "compression_type=zlib",
    "compression_type=zstd",
    "compression_type=zlib,cluster_size=4k",
    "compression_type=zstd,cluster_size=2M",
    "compression_type=zlib,cluster_size=2M",
    "compression_type=zlib,extended_l2=on",
    "compat=0.10",
]


@pytest.mark.parametrize("options", COMPRESSED)
def test_a_compressed_qcow2_partly_overwritten(tmp_path: Path, options: str) -> None:
    size = 5 * MIB + 512 * 3
    source = tmp_path / "source"
    rng = random.Random(size)
    words = [rng.randbytes(rng.randrange(3, 40)) for _ in range(200)]
    source.write_bytes(b"".join(rng.choice(words) for _ in range(size))[:size])
    image = tmp_path / "disk.qcow2"
    run(tool("qemu-img"), "convert", "-c", "-O", "qcow2", "-o", options, "-f", "raw", source, image)
    check(image, source.read_bytes(), "qcow2")
    with open_image(image) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        offsets = {opened.disk.compressed_at(entry)[0] % 2 for entry in opened.disk.l2(0)[0] if entry & COMPRESSED_FLAG}
        assert offsets == {0, 1} or "2M" in options  # three clusters may all be even
    scribble(image, "qcow2", size, writes=12)
    check(image, raw_of(image, "qcow2"), "qcow2")


@pytest.mark.parametrize("extended", ["", ",extended_l2=on"])
@pytest.mark.parametrize("base_size", [3 * MIB + 512 * 5, 9 * MIB])
@pytest.mark.parametrize("base_format", ["raw", "qcow2", "vpc", "vmdk"])
def test_qcow2_over_a_smaller_or_larger_base(tmp_path: Path, base_format: str, base_size: int, extended: str) -> None:
    size = 5 * MIB + 512 * 3
    options = "force_size=on" if base_format == "vpc" else ""
    base = scribble(create(tmp_path / "base.img", base_format, base_size, options), base_format, base_size)
    middle = create(tmp_path / "middle.img", "qcow2", size, f"cluster_size=16k{extended}", "-b", base.name, "-F", base_format)
    scribble(middle, "qcow2", size, seed=2, writes=10)
    top = create(tmp_path / "top.img", "qcow2", size + MIB, f"compat=1.1{extended}", "-b", middle, "-F", "qcow2")
    scribble(top, "qcow2", size + MIB, seed=3, writes=10)
    check(top, raw_of(top, "qcow2"), "qcow2")


@pytest.mark.parametrize("more", ["", ",data_file_raw=on", ",extended_l2=on"])
def test_qcow2_with_its_data_in_another_file(tmp_path: Path, more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    size = 5 * MIB + 512 * 3
    image = scribble(create(tmp_path / "disk.img", "qcow2", size, f"data_file=outside{more}"), "qcow2", size)
    check(image, raw_of(image, "qcow2"), "qcow2")


def test_the_internal_snapshots_of_a_qcow2(tmp_path: Path) -> None:
    size = 5 * MIB
    image = scribble(create(tmp_path / "disk.img", "qcow2", size), "qcow2", size)
    states = {}
    for number, name in enumerate(["one", "two", "two"], 1):
        run(tool("qemu-img"), "snapshot", "-c", name, image)
        states[str(number)] = raw_of(image, "qcow2")
        size += MIB
        run(tool("qemu-img"), "resize", "-q", "-f", "qcow2", image, size)
        scribble(image, "qcow2", size, seed=number, writes=10)
    check(image, raw_of(image, "qcow2"), "qcow2")
    for identifier, expected in states.items():
        check(image, expected, "qcow2", extra={"snapshot": identifier})
    check(image, states["1"], "qcow2", extra={"snapshot": "one"})
    for wanted in ("two", "three"):
        with pytest.raises(ImageError, match=r"1 \(one\), 2 \(two\), 3 \(two\)"):
            open_image(image, Options(extra={"snapshot": wanted}))
    with open_image(image) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        assert list(opened.disk.verify()) == []
        assert "snapshot 3" in opened.disk.info()
