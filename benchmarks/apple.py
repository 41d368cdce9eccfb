"""Apple's images beside QEMU, one thread of the same decoder, and the raw view: same data, same run, ratios of medians.

    python benchmarks/apple.py [NAME ...]

Needs qemu-storage-daemon, xorriso, bindfs and the Python packages of the tests. The data are the libraries of
this machine. A ratio above 1 means that imgmount is faster.
"""

from __future__ import annotations

import bz2
import hashlib
import hmac
import lzma
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from coded import programs, quietly, raw_view
from run import (
    IMGMOUNT,
    MIB,
    compare,
    compare_mounted,
    main,
    mounted,
    qemu_export,
    read_at_random,
    read_whole,
)

FIXTURES = Path(__file__).parent.parent / "fixtures"
SIZE = 192 * MIB
SECTOR = 512
RANDOM_READS = 1000
FILES, FOLDERS = 20_000, 200
BIG = Path("big.bin")
KEY = hashlib.sha256(b"a key").digest()[:16]

sys.path += [str(FIXTURES / "containers"), str(FIXTURES / "filesystems/apfs")]


def lzfse(data: bytes) -> bytes:
    import lzfse as module

    packed: bytes = module.compress(data)
    return packed


ZLIB, BZIP2, LZFSE, LZMA, RAW = 0x80000005, 0x80000006, 0x80000007, 0x80000008, 1
PACK: dict[int, Callable[[bytes], bytes]] = {
    ZLIB: zlib.compress,
    BZIP2: bz2.compress,
    LZFSE: lzfse,
    LZMA: partial(lzma.compress, preset=6),
    RAW: bytes,
}


def unpack_lzfse(data: bytes) -> None:
    import lzfse as module

    module.decompress(data)


UNPACK: dict[int, Callable[[bytes], object]] = {
    BZIP2: bz2.decompress,
    LZFSE: unpack_lzfse,
    LZMA: lzma.decompress,
}


def packed(data: bytes, code: int, chunk: int) -> list[bytes]:
    pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(PACK[code], pieces, chunksize=8))


def make_udif(target: Path, data: bytes, code: int, chunk: int, pieces: list[bytes]) -> Path:
    """A UDIF image of one table, all of whose runs are of one kind."""
    import apple_udif

    entries, fork = b"", bytearray()
    for number, piece in enumerate(pieces):
        first = number * chunk // SECTOR
        count = min(chunk, len(data) - number * chunk) // SECTOR
        entries += struct.pack(">2I4Q", code, 0, first, count, len(fork), len(piece))
        fork += piece
    sectors = len(data) // SECTOR
    entries += struct.pack(">2I4Q", 0xFFFFFFFF, 0, sectors, 0, len(fork), 0)
    sum_ = zlib.crc32(data).to_bytes(4, "big")
    head = struct.pack(">4sI3Q2I24x", b"mish", 1, 0, sectors, 0, 0x208, 0) + apple_udif.checksum(2, sum_)
    table = head + struct.pack(">I", len(pieces) + 1) + entries
    target.write_bytes(apple_udif.with_plist(data, [(0, "whole disk", table)], fork, [sum_]))
    return target


def bench_udzo(chunk: int) -> Callable[[Path], None]:
    """In order and at random, beside QEMU's own driver."""

    def bench(scratch: Path) -> None:
        data = programs(SIZE)
        image = make_udif(scratch / "disk.dmg", data, ZLIB, chunk, packed(data, ZLIB, chunk))
        with raw_view(image, scratch / "ours") as ours, qemu_export(image, scratch / "peer", "dmg") as peer:
            at_random = partial(read_at_random, count=RANDOM_READS)
            for title, action in (("in order", read_whole), ("4 KiB at random", at_random)):
                both = {"imgmount": partial(action, ours), "qemu-storage-daemon": partial(action, peer)}
                compare(f"UDZO, {chunk >> 10} KiB, {title}", both)

    return bench


def bench_thread(code: int, title: str) -> Callable[[Path], None]:
    """Beside one thread that decodes the same runs of 1 MiB."""

    def bench(scratch: Path) -> None:
        data = programs(SIZE // 2)
        pieces = packed(data, code, MIB)
        image = make_udif(scratch / "disk.dmg", data, code, MIB, pieces)
        with raw_view(image, scratch / "ours") as ours:
            alone = {
                "imgmount": partial(read_whole, ours),
                "one thread": lambda: list(map(UNPACK[code], pieces)),
            }
            compare(title, alone)

    return bench


@contextmanager
def big_file(image: Path, target: Path, *options: str) -> Iterator[Path]:
    """The one large file of an image."""
    with mounted([*IMGMOUNT, *options, str(image)], target, BIG) as folder:
        yield folder / BIG


def beside_raw_view(
    make: Callable[[Path], Path], title: str, view: Callable[..., Any]
) -> Callable[[Path], None]:
    """What lies in the image as it is, beside the raw view of a file of the same data."""

    def bench(scratch: Path) -> None:
        image, plain = make(scratch), scratch / "plain.img"
        plain.write_bytes(programs(SIZE))
        with view(image, scratch / "ours") as ours, raw_view(plain, scratch / "raw") as raw:
            compare(title, {"imgmount": partial(read_whole, ours), "raw view": partial(read_whole, raw)})

    return bench


def make_udro(scratch: Path) -> Path:
    data, chunk = programs(SIZE), 4096 * SECTOR
    return make_udif(
        scratch / "disk.dmg", data, RAW, chunk, [data[at : at + chunk] for at in range(0, SIZE, chunk)]
    )


def make_hfsplus(scratch: Path, tree: Path | None = None) -> Path:
    """A hybrid disc that xorriso writes, without what it has of ISO 9660."""
    if tree is None:
        tree = scratch / "tree"
        tree.mkdir()
        (tree / BIG).write_bytes(programs(SIZE))
    quietly(
        "xorriso",
        "-as",
        "mkisofs",
        "-quiet",
        "-R",
        "-hfsplus",
        "-V",
        "Disc",
        "-o",
        scratch / "disc.iso",
        tree,
    )
    data = (scratch / "disc.iso").read_bytes()
    count = int.from_bytes(data[SECTOR + 4 : SECTOR + 8], "big")
    for number in range(1, count + 1):
        entry = data[SECTOR * number : SECTOR * (number + 1)]
        if entry[48:57] == b"Apple_HFS":
            first, blocks = int.from_bytes(entry[8:12], "big"), int.from_bytes(entry[12:16], "big")
            (scratch / "disk.img").write_bytes(data[first * SECTOR : (first + blocks) * SECTOR])
    return scratch / "disk.img"


def make_apfs(scratch: Path, items: list[Any] | None = None, password: str = "") -> Path:
    import writer

    items = items or [writer.Item(BIG.name, programs(SIZE))]
    made = writer.Container()
    made.limit = 100
    made.add(writer.Volume("Volume", items, password=password))
    (scratch / "disk.img").write_bytes(made.build())
    return scratch / "disk.img"


def bench_encrypted_apfs(scratch: Path) -> None:
    image = make_apfs(scratch, password="secret")
    (scratch / "password").write_text("secret")
    with big_file(image, scratch / "ours", "--password-file", str(scratch / "password")) as ours:
        took = compare("encrypted APFS, in order", {"imgmount": partial(read_whole, ours)})
    print(f"{'':34} {SIZE / 1e6 / took:.0f} MB/s")


def decrypt_alone(stored: bytes, mac: bytes) -> None:
    """One thread, and the calls that the format asks for: an HMAC and AES in CBC mode for each block."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    for number, at in enumerate(range(0, len(stored), SECTOR)):
        iv = hmac.digest(mac, number.to_bytes(4, "big"), "sha1")[:16]
        worker = Cipher(algorithms.AES(KEY), modes.CBC(iv)).decryptor()
        worker.update(stored[at : at + SECTOR])


def bench_encrypted_dmg(scratch: Path) -> None:
    import apple_sparse

    data = programs(SIZE // 16)
    head, aes, mac = apple_sparse.header2(len(data), 128, SECTOR, 0x1000)
    stored = apple_sparse.blocks(data, aes, mac, SECTOR)
    image = scratch / "disk.dmg"
    image.write_bytes(head.ljust(0x1000, b"\0") + stored)
    (scratch / "password").write_text(apple_sparse.PASSWORD)
    command = [*IMGMOUNT, "--raw", "--password-file", str(scratch / "password"), str(image)]
    with mounted(command, scratch / "ours", Path("disk.raw")) as folder:
        alone = partial(decrypt_alone, stored, mac)
        compare("encrypted DMG", {"imgmount": partial(read_whole, folder / "disk.raw"), "one thread": alone})


def find_all(folder: Path) -> None:
    done = subprocess.run(["find", str(folder), "-type", "f", "-size", "+0"], capture_output=True, check=True)
    assert done.stdout.count(b"\n") == FILES


def names() -> list[str]:
    return [f"folder {number * FOLDERS // FILES:03}/file number {number:05}.txt" for number in range(FILES)]


def bench_find(make: Callable[[Path, Path], Path], title: str) -> Callable[[Path], None]:
    """20,000 files, found, each time from a new mount, beside the same tree through bindfs."""

    def bench(scratch: Path) -> None:
        tree = scratch / "tree"
        for name in names():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(name)
        image = make(scratch, tree)
        peers = {"imgmount": [*IMGMOUNT, str(image)], "bindfs": ["bindfs", "-r", str(tree)]}
        compare_mounted(
            f"{title}, find over 20,000 files", peers, scratch / "mnt", Path("folder 000"), find_all
        )

    return bench


def apfs_of(scratch: Path, tree: Path) -> Path:
    import writer

    folders = [writer.Item(path.name, mode=0o40755) for path in sorted(tree.iterdir())]
    return make_apfs(scratch, [*folders, *(writer.Item(name, name.encode()) for name in names())])


BENCHES: dict[str, Callable[[Path], None]] = {
    "udzo-256": bench_udzo(256 << 10),
    "udzo-1024": bench_udzo(MIB),
    "udbz": bench_thread(BZIP2, "UDBZ"),
    "ulmo": bench_thread(LZMA, "ULMO"),
    "ulfo": bench_thread(LZFSE, "ULFO"),
    "udro": beside_raw_view(make_udro, "UDRO", raw_view),
    "hfsplus": beside_raw_view(make_hfsplus, "HFS+, one large file", big_file),
    "apfs": beside_raw_view(make_apfs, "APFS, one large file", big_file),
    "encrypted-apfs": bench_encrypted_apfs,
    "encrypted-dmg": bench_encrypted_dmg,
    "find-hfsplus": bench_find(make_hfsplus, "HFS+"),
    "find-apfs": bench_find(apfs_of, "APFS"),
}

if __name__ == "__main__":
    main(BENCHES)
