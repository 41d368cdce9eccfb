"""Coded images beside the programs that people read them with today: same data, same run, turn by turn, ratios of medians.

    python benchmarks/coded.py [NAME ...]

Needs chdman, qemu-img, qemu-storage-daemon, ewfacquire, ewfmount, mksquashfs, squashfuse and genisoimage. The
data are the libraries of this machine, so they compress as programs do. A ratio above 1 means that imgmount
is faster.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from run import (
    IMGMOUNT,
    MIB,
    compare,
    compare_mounted,
    main,
    mounted,
    qemu_export,
    read_whole,
)

SIZE = 192 * MIB
SECTOR = 2048
SMALL_FILES = 10_000
HUNK = 16 << 10
LARGE = 64 << 10  # blocks that cost zlib least


def programs(size: int) -> bytes:
    """The first ``size`` bytes of the libraries of this machine, different from place to place."""
    data = bytearray()
    for path in sorted(Path("/usr/lib").rglob("*.so.*"), key=lambda path: path.name):
        if path.is_file() and not path.is_symlink():
            data += path.read_bytes()
        if len(data) >= size:
            break
    return bytes(data[:size])


def quietly(*command: str | Path) -> None:
    subprocess.run(
        [str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@contextmanager
def raw_view(image: Path, target: Path) -> Iterator[Path]:
    with mounted([*IMGMOUNT, "--raw", str(image)], target, Path("disk.raw")) as folder:
        yield folder / "disk.raw"


def single_zlib(data: bytes, block: int) -> Callable[[], None]:
    """One thread of the standard library, decoding all of ``data``, coded in blocks of ``block`` bytes."""
    chunks = [zlib.compress(data[at : at + block]) for at in range(0, len(data), block)]

    def decode() -> None:
        for chunk in chunks:
            zlib.decompress(chunk, bufsize=block)

    return decode


def make_chd(raw: Path, scratch: Path) -> Path:
    quietly(
        "chdman",
        "createraw",
        "-i",
        raw,
        "-o",
        scratch / "disk.chd",
        "-hs",
        str(HUNK),
        "-us",
        "512",
        "-c",
        "zlib",
    )
    return scratch / "disk.chd"


def make_cso(raw: Path, scratch: Path) -> Path:
    """CISO 1 in blocks of 2 KiB."""
    blocks = []
    with raw.open("rb") as file:
        while block := file.read(SECTOR):
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = packer.compress(block) + packer.flush()
            blocks.append(packed if len(packed) < len(block) else block)
    table, offset = [], 24 + 4 * (len(blocks) + 1)
    for block in blocks:
        table.append(offset | (len(block) == SECTOR) << 31)
        offset += len(block)
    header = struct.pack("<4sIQIBB2x", b"CISO", 24, raw.stat().st_size, SECTOR, 1, 0)
    index = struct.pack(f"<{len(table) + 1}I", *table, offset)
    (scratch / "disc.cso").write_bytes(header + index + b"".join(blocks))
    return scratch / "disc.cso"


def bench_zlib(make: Callable[[Path, Path], Path], title: str, block: int) -> Callable[[Path, Path], None]:
    """Beside one thread of zlib that decodes the same blocks, and one that has the same data in larger blocks."""

    def bench(raw: Path, scratch: Path) -> None:
        data = raw.read_bytes()
        with raw_view(make(raw, scratch), scratch / "ours") as ours:
            compare(
                title,
                {
                    "imgmount": lambda: read_whole(ours),
                    "one thread of zlib": single_zlib(data, block),
                    "in 64 KiB": single_zlib(data, LARGE),
                },
            )

    return bench


def bench_sectors(raw: Path, scratch: Path) -> None:
    """An ISO as it is, and the same in sectors of 2352 bytes."""
    plain, sectors = scratch / "plain.iso", scratch / "sectors.bin"
    (scratch / "tree").mkdir()
    (scratch / "tree" / "big.bin").write_bytes(raw.read_bytes())
    quietly("genisoimage", "-quiet", "-R", "-o", plain, scratch / "tree")
    data = plain.read_bytes()
    sync = b"\0" + b"\xff" * 10 + b"\0"
    with sectors.open("wb") as out:
        for number, at in enumerate(range(0, len(data), SECTOR), 150):
            minute, second, frame = number // 4500, number // 75 % 60, number % 75
            address = bytes(value // 10 << 4 | value % 10 for value in (minute, second, frame))
            out.write(sync + address + b"\1" + data[at : at + SECTOR].ljust(SECTOR, b"\0") + bytes(288))
    name = Path("big.bin")
    with ExitStack() as stack:
        paths = {
            title: next(
                path
                for path in stack.enter_context(
                    mounted([*IMGMOUNT, str(image)], scratch / title, name)
                ).iterdir()
            )
            for title, image in (("2352", sectors), ("2048", plain))
        }
        compare(
            f"sectors of 2352, {len(data) // MIB} MiB",
            {f"{title} bytes": lambda path=path: read_whole(path) for title, path in paths.items()},  # type: ignore[misc]
        )


def bench_disk(driver: str, *options: str) -> Callable[[Path, Path], None]:
    """A virtual disk as qemu-img writes it with ``options``, beside QEMU's own driver for it."""

    def bench(raw: Path, scratch: Path) -> None:
        image = scratch / f"disk.{driver}"
        quietly("qemu-img", "convert", "-O", driver, *options, raw, image)
        with raw_view(image, scratch / "ours") as ours, qemu_export(image, scratch / "peer", driver) as peer:
            title = " ".join([driver, *(option for option in options if not option.startswith("-"))])
            compare(
                title, {"imgmount": lambda: read_whole(ours), "qemu-storage-daemon": lambda: read_whole(peer)}
            )

    return bench


def bench_ewf(level: str) -> Callable[[Path, Path], None]:
    def bench(raw: Path, scratch: Path) -> None:
        quietly(
            "ewfacquire",
            "-u",
            "-f",
            "encase6",
            "-c",
            f"deflate:{level}",
            "-S",
            "8GiB",
            "-t",
            scratch / "disk",
            raw,
        )
        image = scratch / "disk.E01"
        with (
            raw_view(image, scratch / "ours") as ours,
            mounted(["ewfmount", str(image)], scratch / "peer", Path("ewf1")) as peer,
        ):
            compare(
                f"E01 {level}",
                {"imgmount": lambda: read_whole(ours), "ewfmount": lambda: read_whole(peer / "ewf1")},
            )

    return bench


def bench_squashfs(codec: str) -> Callable[[Path, Path], None]:
    """One large file, read whole."""

    def bench(raw: Path, scratch: Path) -> None:
        image, name = scratch / "tree.squashfs", Path(raw.name)
        quietly("mksquashfs", raw, image, "-comp", codec, "-noappend")
        with ExitStack() as stack:
            ours = stack.enter_context(mounted([*IMGMOUNT, str(image)], scratch / "ours", name))
            peer = stack.enter_context(mounted(["squashfuse", str(image)], scratch / "peer", name))
            compare(
                f"SquashFS {codec}",
                {"imgmount": lambda: read_whole(ours / name), "squashfuse": lambda: read_whole(peer / name)},
            )

    return bench


def bench_small_files(codec: str) -> Callable[[Path, Path], None]:
    """10,000 files of up to 20 KB in 100 folders: found, and copied, each time from a new mount."""

    def bench(raw: Path, scratch: Path) -> None:
        data, rng, at = raw.read_bytes(), random.Random(5), 0
        for number in range(SMALL_FILES):
            size = min(rng.randrange(1, 20_000), rng.randrange(1, 20_000))
            path = scratch / "small" / f"folder {number % 100:02}" / f"file {number:05}.so"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[at : at + size])
            at += size
        image = scratch / "small.squashfs"
        quietly("mksquashfs", scratch / "small", image, "-comp", codec, "-noappend")
        peers = {"imgmount": [*IMGMOUNT, str(image)], "squashfuse": ["squashfuse", str(image)]}
        for title, action in (
            ("find", find_small),
            ("cp -r", lambda folder: copy_small(folder, scratch / "copy")),
        ):
            heading = f"SquashFS {codec}, 10,000 files, {title}"
            compare_mounted(heading, peers, scratch / "mnt", Path("folder 00"), action)

    return bench


def find_small(folder: Path) -> None:
    done = subprocess.run(["find", str(folder), "-type", "f", "-size", "+0"], capture_output=True, check=True)
    assert done.stdout.count(b"\n") == SMALL_FILES


def copy_small(folder: Path, target: Path) -> None:
    quietly("cp", "-r", folder, target)
    shutil.rmtree(target)


BENCHES: dict[str, Callable[[Path, Path], None]] = {
    "chd": bench_zlib(make_chd, "CHD zlib, 16 KiB hunks", HUNK),
    "cso": bench_zlib(make_cso, "CSO, 2 KiB blocks", SECTOR),
    "sectors": bench_sectors,
    "qcow2": bench_disk("qcow2"),
    "vhd": bench_disk("vpc"),
    "vhdx": bench_disk("vhdx"),
    "vdi": bench_disk("vdi"),
    "vmdk": bench_disk("vmdk"),
    "qcow2-zlib": bench_disk("qcow2", "-c", "-o", "compression_type=zlib"),
    "qcow2-zstd": bench_disk("qcow2", "-c", "-o", "compression_type=zstd"),
    "vmdk-stream": bench_disk("vmdk", "-o", "subformat=streamOptimized"),
    "ewf": bench_ewf("fast"),
    "ewf-stored": bench_ewf("none"),
    **{f"squashfs-{codec}": bench_squashfs(codec) for codec in ("zstd", "gzip", "xz", "lz4")},
    **{f"squashfs-small-{codec}": bench_small_files(codec) for codec in ("zstd", "gzip")},
}


def with_data(bench: Callable[[Path, Path], None], data: bytes) -> Callable[[Path], None]:
    """``bench`` on ``data`` in a file in its folder."""

    def run(scratch: Path) -> None:
        raw = scratch / "data.raw"
        raw.write_bytes(data)
        bench(raw, scratch)

    return run


if __name__ == "__main__":
    content = programs(SIZE)
    main({name: with_data(bench, content) for name, bench in BENCHES.items()})
