"""Nintendo discs beside wfuse and dolphin-tool: same image, same run, turn by turn, ratios of medians.

    python benchmarks/nintendo.py [wii] [rvz] [wux]

Needs wit, wfuse and dolphin-tool. The data are the libraries of this machine. A ratio above 1 means that
imgmount is faster; the one to dolphin-tool compares the mount with what ``dolphin-tool convert`` to ISO does
in a second of processor time, and both in a second of processor time, of the mount and its reader.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import statistics
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from coded import programs, quietly
from run import IMGMOUNT, MIB, ROUNDS, compare, forget, main, mounted, read_whole, seconds

SIZE = 256 * MIB
SECTOR = 0x8000
RANDOM_READS = 5000
DOLPHIN = "/usr/games/dolphin-tool"
BIG = Path("files/big.bin")


def wii_disc(scratch: Path, data: bytes) -> tuple[Path, list[str]]:
    """An encrypted disc that wit makes, with ``data`` as one file, and the options that open it."""
    folder = scratch / "disc"
    boot = bytearray(0x440)
    boot[:8] = b"RBNP01\0\0"
    struct.pack_into(">I", boot, 0x18, 0x5D1C9EA3)
    program = struct.pack(">I68xI68xI", 0x100, 0x80003100, 0x400).ljust(0x500, b"\0")
    loader = struct.pack(">16sIII4x", b"2026/11/23", 0x81200000, 0x200, 0x100) + bytes(0x300)
    files = {
        "sys/boot.bin": bytes(boot),
        "sys/bi2.bin": bytes(0x2000),
        "sys/apploader.img": loader,
        "sys/main.dol": program,
    }
    for name, content in (files | {str(BIG): data}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    disc, wia = scratch / "disc.iso", scratch / "disc.wia"
    quietly("wit", "copy", folder, disc, "--trunc", "-q", "-o")
    quietly("wit", "copy", disc, wia, "-q", "-o", "--wia", "--compr", "NONE")
    with wia.open("rb") as file:
        file.seek(0xE0)
        file.seek(struct.unpack(">Q", file.read(8))[0])
        key = file.read(16)
    wia.unlink()
    keys = scratch / "keys"
    with disc.open("rb") as file:
        file.seek(0xF800000 + 0x1DC)
        keys.write_text(f"{file.read(8).hex()}={key.hex()}\n")
    return disc, ["--keys", str(keys)]


def at_random(path: Path) -> Callable[[], None]:
    def read() -> None:
        fd = forget(path)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        rng, blocks = random.Random(1), os.fstat(fd).st_size // 4096
        for _ in range(RANDOM_READS):
            os.pread(fd, 4096, rng.randrange(blocks) * 4096)
        os.close(fd)

    return read


def bench_wii(scratch: Path) -> None:
    disc, keys = wii_disc(scratch, programs(SIZE))
    with (
        mounted([*IMGMOUNT, *keys, "--view", "all", str(disc)], scratch / "ours", Path("p1")) as ours,
        mounted(["wfuse", str(disc)], scratch / "peer", Path("iso")) as peer,
    ):
        theirs = peer / "iso/part/data" / BIG
        title = f"encrypted ISO, file of {SIZE // MIB} MiB"
        compare(
            title, {"imgmount": lambda: read_whole(ours / "p1" / BIG), "wfuse": lambda: read_whole(theirs)}
        )
        reads = {"imgmount": at_random(ours / "p1.raw"), "wfuse": at_random(theirs)}
        compare(f"the same, {RANDOM_READS} x 4 KiB at random", reads)
        best = RANDOM_READS / min(seconds(reads["imgmount"]) for _ in range(ROUNDS))
        print(f"{'':34} {best:.0f} a second")


def processor() -> float:
    """Seconds of processor time of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def dolphin_rate(image: Path, scratch: Path) -> float:
    """Bytes of the disc that ``convert`` makes of ``image`` in a second of processor time, the median."""
    rates = []
    for _ in range(ROUNDS):
        before = processor()
        target = scratch / "back.iso"
        quietly(DOLPHIN, "convert", "-u", scratch / "user", "-i", image, "-o", target, "-f", "iso")
        rates.append(target.stat().st_size / (processor() - before))
        target.unlink()
    return statistics.median(rates)


def bench_rvz(scratch: Path) -> None:
    data = programs(SIZE)
    wii, _ = wii_disc(scratch, data)
    gamecube = scratch / "gamecube.iso"
    header = bytearray(0x440)
    header[:6] = b"GBNP01"
    struct.pack_into(">I", header, 0x1C, 0xC2339F3D)
    gamecube.write_bytes(bytes(header).ljust(0x10000, b"\0") + data)
    for title, disc, name in (
        ("RVZ zstd, GameCube, raw view", gamecube, Path("disk.raw")),
        ("RVZ zstd, Wii, file", wii, Path("p1") / BIG),
        ("RVZ zstd, Wii, raw view", wii, Path("disk.raw")),
    ):
        image = scratch / f"{disc.stem}.rvz"
        if not image.exists():
            options = ["-f", "rvz", "-b", "131072", "-c", "zstd", "-l", "5"]
            quietly(DOLPHIN, "convert", "-u", scratch / "user", "-i", disc, "-o", image, *options)
        peer = dolphin_rate(image, scratch)
        size, times, used = 0, [], []
        for rounds in (0, ROUNDS):  # the first time shows what a mount without reader costs
            before = processor()
            with mounted([*IMGMOUNT, "-f", "--view", "all", str(image)], scratch / "ours", name) as ours:
                size = (ours / name).stat().st_size
                times = [seconds(lambda path=ours / name: read_whole(path)) for _ in range(rounds)]  # type: ignore[misc]
            used.append(processor() - before)
        rate, own = size / statistics.median(times), ROUNDS * size / (used[1] - used[0])
        row = f"imgmount {rate / 1e6:.0f} MB/s, {own / 1e6:.0f} a core  dolphin-tool {peer / 1e6:.0f} a core"
        row += f"   {rate / peer:.2f}x, {own / peer:.2f}x a core"
        print(f"{title:34} {row}", flush=True)


def make_wux(plain: Path, target: Path) -> None:
    """As WudCompress does: each sector is stored where it comes first."""
    index: list[int] = []
    stored: dict[bytes, int] = {}
    count = plain.stat().st_size // SECTOR
    start = -(-(32 + 4 * count) // SECTOR) * SECTOR
    with plain.open("rb") as source, target.open("wb") as out:
        out.seek(start)
        while sector := source.read(SECTOR):
            digest = hashlib.sha1(sector).digest()
            if digest not in stored:
                stored[digest] = len(stored)
                out.write(sector)
            index.append(stored[digest])
        out.seek(0)
        out.write(
            struct.pack("<4sIIIQQ", b"WUX0", 0x1099D02E, SECTOR, 0, count * SECTOR, 0)
            + struct.pack(f"<{count}I", *index)
        )


def bench_wux(scratch: Path) -> None:
    """A disc of which a third is empty, in pieces, and some is there twice."""
    data, plain = programs(SIZE), scratch / "plain.wud"
    rng = random.Random(1)
    with plain.open("wb") as file:
        while file.tell() < 2 * SIZE:
            at, length = rng.randrange(0, SIZE, SECTOR), rng.randrange(SECTOR, 32 * MIB, SECTOR)
            file.write(bytes(length) if rng.random() < 1 / 3 else data[at : at + length])
    make_wux(plain, scratch / "disc.wux")
    name = Path("disk.raw")
    with (
        mounted([*IMGMOUNT, "--raw", str(scratch / "disc.wux")], scratch / "wux", name) as wux,
        mounted([*IMGMOUNT, "--raw", str(plain)], scratch / "raw", name) as raw,
    ):
        assert subprocess.run(["cmp", str(wux / name), str(plain)], check=False).returncode == 0
        title = f"WUX raw view, {plain.stat().st_size // MIB} MiB"
        compare(title, {"wux": lambda: read_whole(wux / name), "plain": lambda: read_whole(raw / name)})


BENCHES = {"wii": bench_wii, "rvz": bench_rvz, "wux": bench_wux}


if __name__ == "__main__":
    main(BENCHES)
