"""Every variant of every virtual disk that qemu can write, compared with what qemu reads from it."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from pathlib import Path

import pytest

from helpers import tool
from imgmount.chain.open import open_image
from imgmount.containers.vdisk.qcow2.device import COMPRESSED as COMPRESSED_FLAG
from imgmount.containers.vdisk.qcow2.device import Qcow2Device
from imgmount.core.format import Options
from imgmount.errors import ImageError, UnsupportedError
from vdisk import check, create, raw_of, run, scribble

MIB = 1 << 20
PLAIN = [  # qemu's name, ours, creation options, size
    ("vpc", "vhd", "subformat=dynamic", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=dynamic,force_size=on", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=fixed,force_size=on", 3 * MIB + 512),
    ("vdi", "vdi", "", 9 * MIB + 512 * 7),
    ("vpc", "vhd", "subformat=fixed", 3 * MIB),
    ("vpc", "vhd", "subformat=fixed,force_size=on,preallocation=full", 3 * MIB + 512),
    ("vdi", "vdi", "static=on", 5 * MIB),
    ("vdi", "vdi", "preallocation=full", 5 * MIB + 512),
    ("vmdk", "vmdk", "subformat=monolithicSparse", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=monolithicSparse,zeroed_grain=on", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=monolithicFlat", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", 9 * MIB + 512 * 7),
    ("vmdk", "vmdk", "subformat=twoGbMaxExtentFlat", 9 * MIB + 512 * 7),
    (
        "vmdk",
        "vmdk",
        "subformat=twoGbMaxExtentSparse,zeroed_grain=on,hwversion=13,toolsversion=2147483647",
        5 * MIB + 512,
    ),
    ("vmdk", "vmdk", "subformat=monolithicSparse,adapter_type=ide,hwversion=7", 5 * MIB + 512),
    ("vmdk", "vmdk", "subformat=monolithicSparse,adapter_type=lsilogic,compat6=on", 5 * MIB + 512),
    ("vmdk", "vmdk", "subformat=monolithicFlat,adapter_type=buslogic,preallocation=full", 5 * MIB + 512),
    ("vmdk", "vmdk", "subformat=twoGbMaxExtentFlat,adapter_type=legacyESX", 5 * MIB + 512),
    ("vhdx", "vhdx", "block_size=1M", 11 * MIB + 4096),
    ("vhdx", "vhdx", "block_size=2M,block_state_zero=off", 9 * MIB + 512),
    ("vhdx", "vhdx", "subformat=fixed,block_size=1M", 9 * MIB + 512 * 7),
    ("vhdx", "vhdx", "", 9 * MIB + 512),
    ("vhdx", "vhdx", "block_size=1M,log_size=3M,block_state_zero=on", 9 * MIB + 512),
    ("vhdx", "vhdx", "block_size=8M,log_size=16M", 20 * MIB + 512),
    ("vhdx", "vhdx", "subformat=fixed,block_size=256M,preallocation=falloc", 5 * MIB + 512),
    ("parallels", "parallels", "", 9 * MIB + 512 * 7),
    ("parallels", "parallels", "cluster_size=4k", 3 * MIB + 512 * 7),
    ("parallels", "parallels", "cluster_size=512", 1 * MIB + 512 * 7),
    ("parallels", "parallels", "cluster_size=2M,preallocation=falloc", 11 * MIB + 512 * 7),
    ("qed", "qed", "", 9 * MIB + 512 * 7),
    ("qed", "qed", "cluster_size=4k", 3 * MIB + 512 * 7),
    ("qed", "qed", "cluster_size=4k,table_size=2", 5 * MIB + 512 * 7),
    ("qed", "qed", "cluster_size=64k,table_size=16", 9 * MIB + 512 * 7),
    ("qed", "qed", "cluster_size=2M,table_size=2,preallocation=falloc", 11 * MIB + 512 * 7),
    ("qcow", "qcow", "", 3 * MIB + 512 * 7),
    ("qcow", "qcow", "preallocation=falloc", 3 * MIB + 512 * 7),
    ("qcow2", "qcow2", "compat=0.10", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "compat=1.1", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "cluster_size=512", 3 * MIB + 512),
    ("qcow2", "qcow2", "cluster_size=2M", 11 * MIB + 512),
    ("qcow2", "qcow2", "extended_l2=on", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "extended_l2=on,cluster_size=16k", 9 * MIB + 512 * 7),
    ("qcow2", "qcow2", "preallocation=metadata", 5 * MIB + 512),
    ("qcow2", "qcow2", "lazy_refcounts=on,refcount_bits=1", 5 * MIB + 512),
    ("qcow2", "qcow2", "compat=0.10,cluster_size=512", 3 * MIB + 512),
    ("qcow2", "qcow2", "compat=0.10,cluster_size=2M", 11 * MIB + 512),
    ("qcow2", "qcow2", "preallocation=falloc,cluster_size=4k", 5 * MIB + 512),
    ("qcow2", "qcow2", "preallocation=full", 5 * MIB + 512),
    ("qcow2", "qcow2", "preallocation=metadata,extended_l2=on", 5 * MIB + 512),
    ("qcow2", "qcow2", "extended_l2=on,cluster_size=2M", 11 * MIB + 512),
    *(("qcow2", "qcow2", f"refcount_bits={1 << power}", 3 * MIB + 512) for power in range(1, 7)),
]


@pytest.mark.parametrize(
    ("fmt", "name", "options", "size"), PLAIN, ids=lambda value: str(value).replace(",", "-")
)
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
    source.write_bytes(words(size))
    image = tmp_path / "disk.qcow2"
    run(tool("qemu-img"), "convert", "-c", "-O", "qcow2", "-o", options, "-f", "raw", source, image)
    check(image, source.read_bytes(), "qcow2")
    with open_image(image) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        offsets = {
            opened.disk.compressed_at(entry)[0] % 2
            for entry in opened.disk.l2(0)[0]
            if entry & COMPRESSED_FLAG
        }
        assert offsets == {0, 1} or "2M" in options  # three clusters may all be even
    scribble(image, "qcow2", size, writes=12)
    check(image, raw_of(image, "qcow2"), "qcow2")


def words(size: int) -> bytes:
    """Text that compresses, with holes in it."""
    rng = random.Random(size)
    vocabulary = [rng.randbytes(rng.randrange(3, 40)) for _ in range(200)]
    pieces = []
    for _ in range(size // MIB + 1):
        count = rng.randrange(50_000)
        pieces.append(b"".join(rng.choice(vocabulary) for _ in range(count)).ljust(MIB, b"\0")[:MIB])
    return b"".join(pieces)[:size]


@pytest.mark.parametrize("more", ["", ",zeroed_grain=on", ",hwversion=7,adapter_type=lsilogic"])
@pytest.mark.parametrize("size", [9 * MIB + 512 * 7, 5 * MIB + 512])
def test_a_stream_optimized_vmdk(tmp_path: Path, more: str, size: int) -> None:
    source, image = tmp_path / "source", tmp_path / "disk.vmdk"
    source.write_bytes(words(size))
    run(
        tool("qemu-img"),
        "convert",
        "-O",
        "vmdk",
        "-o",
        f"subformat=streamOptimized{more}",
        "-f",
        "raw",
        source,
        image,
    )
    check(image, words(size), "vmdk")
    assert raw_of(image, "vmdk") == words(size)


def test_a_compressed_qcow_written_over(tmp_path: Path) -> None:
    size = 5 * MIB + 512 * 3
    (tmp_path / "source").write_bytes(words(size))
    image = tmp_path / "disk.qcow"
    with contextlib.suppress(
        subprocess.CalledProcessError
    ):  # qemu-img 7.2 exits with 1 after a whole conversion
        run(tool("qemu-img"), "convert", "-c", "-O", "qcow", tmp_path / "source", image)
    scribble(image, "qcow", size, writes=12)
    check(image, raw_of(image, "qcow"), "qcow")


@pytest.mark.parametrize("base_format", ["qcow", "qed", "vdi", "vhdx", "parallels"])
def test_qcow2_over_every_other_format(tmp_path: Path, base_format: str) -> None:
    size = 5 * MIB + 512 * 3
    base = scribble(create(tmp_path / "base.img", base_format, size), base_format, size)
    top = create(tmp_path / "top.img", "qcow2", size, "cluster_size=4k", "-b", base.name, "-F", base_format)
    scribble(top, "qcow2", size, seed=2, writes=20)
    check(top, raw_of(top, "qcow2"), "qcow2")


@pytest.mark.parametrize("more", ["subformat=monolithicSparse", "subformat=monolithicSparse,zeroed_grain=on"])
def test_a_chain_of_vmdk_deltas(tmp_path: Path, more: str) -> None:
    size = 5 * MIB + 512 * 3
    below = scribble(create(tmp_path / "base.vmdk", "vmdk", size, more), "vmdk", size)
    for number in range(1, 4):
        name = tmp_path / f"delta{number}.vmdk"
        run(tool("qemu-img"), "create", "-q", "-f", "vmdk", "-o", more, "-b", below.name, "-F", "vmdk", name)
        below = scribble(name, "vmdk", size, seed=number + 1, writes=10)
    check(below, raw_of(below, "vmdk"), "vmdk")


@pytest.mark.parametrize(
    ("fmt", "options", "told"),
    [
        ("qcow2", "encrypt.format=luks,encrypt.iter-time=10", "qcow2: LUKS encryption"),
        ("qcow2", "encrypt.format=aes", "qcow2: legacy AES encryption"),
        ("qcow", "encrypt.format=aes", "qcow: AES encryption"),
    ],
)
def test_what_qemu_encrypts_is_refused_by_name(tmp_path: Path, fmt: str, options: str, told: str) -> None:
    secret = "secret,id=key,data=0123456789"
    image = tmp_path / "disk"
    options += ",encrypt.key-secret=key"
    command = [
        tool("qemu-img"),
        "create",
        "-q",
        "--object",
        secret,
        "-f",
        fmt,
        "-o",
        options,
        str(image),
        "1M",
    ]
    for _ in range(
        20
    ):  # LUKS is measured against the machine, and "Unable to get accurate CPU usage" is common on busy ones
        if not subprocess.run(command, check=False, capture_output=True).returncode:
            break
    with pytest.raises(UnsupportedError, match=f"^{told}$"):
        open_image(image)


def test_an_image_that_qemu_left_dirty(tmp_path: Path) -> None:
    """A qemu that is killed leaves the dirty bit, and reference counts that are wrong."""
    size = 5 * MIB
    image = create(tmp_path / "disk", "qcow2", size, "lazy_refcounts=on")
    kill = ("-c", "write -P 7 3M 700k", "-c", f"sigraise {signal.SIGKILL.value}")
    subprocess.run([tool("qemu-io"), "-f", "qcow2", *kill, image], check=False, capture_output=True)
    with open_image(image) as opened:
        assert isinstance(opened.disk, Qcow2Device)
        assert opened.disk.info()["warning"] == "not closed properly"
        found = opened.disk.pread(0, size)
    assert found == bytes(3 * MIB) + b"\7" * (700 << 10) + bytes(size - 3 * MIB - (700 << 10))
    check(image, raw_of(image, "qcow2"), "qcow2")


@pytest.mark.parametrize("extended", ["", ",extended_l2=on"])
@pytest.mark.parametrize("base_size", [3 * MIB + 512 * 5, 9 * MIB])
@pytest.mark.parametrize("base_format", ["raw", "qcow2", "vpc", "vmdk"])
def test_qcow2_over_a_smaller_or_larger_base(
    tmp_path: Path, base_format: str, base_size: int, extended: str
) -> None:
    size = 5 * MIB + 512 * 3
    options = "force_size=on" if base_format == "vpc" else ""
    base = scribble(create(tmp_path / "base.img", base_format, base_size, options), base_format, base_size)
    middle = create(
        tmp_path / "middle.img",
        "qcow2",
        size,
        f"cluster_size=16k{extended}",
        "-b",
        base.name,
        "-F",
        base_format,
    )
    scribble(middle, "qcow2", size, seed=2, writes=10)
    top = create(
        tmp_path / "top.img", "qcow2", size + MIB, f"compat=1.1{extended}", "-b", middle, "-F", "qcow2"
    )
    scribble(top, "qcow2", size + MIB, seed=3, writes=10)
    check(top, raw_of(top, "qcow2"), "qcow2")


@pytest.mark.parametrize("more", ["", ",data_file_raw=on", ",extended_l2=on"])
def test_qcow2_with_its_data_in_another_file(
    tmp_path: Path, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert list(opened.layers[-1].check()) == []
        assert "snapshot 3" in opened.disk.info()
