"""Speed beside the C tools that people use today: same image, same run, turn by turn, ratios of medians.

    python benchmarks/run.py [raw] [iso] [start] [memory]

Needs qemu-storage-daemon (its FUSE export), fuseiso, archivemount and genisoimage. Everything is warm: the
question is what the programs cost, not the disk. A ratio above 1 means that imgmount is faster.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROUNDS = 7
MIB = 1 << 20
RAW_SIZE = 1024 * MIB
FILES, FOLDERS = 50_000, 250
IMGMOUNT = [sys.executable, "-m", "imgmount"]


def wait_for(happens: Callable[[], bool], what: str) -> None:
    """Until it does; a minute is too long."""
    deadline = time.monotonic() + 60
    while not happens():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


@contextmanager
def mounted(command: list[str], target: Path, answers: Path) -> Iterator[Path]:
    """Run a mounter until ``answers`` exists below ``target``; unmount it afterwards."""
    target.mkdir(exist_ok=True)
    process = subprocess.Popen([*command, str(target)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((target / answers).exists, f"{command[0]}: no {answers}")
    try:
        yield target
    finally:
        while subprocess.run(["fusermount3", "-u", str(target)], capture_output=True, check=False).returncode:
            time.sleep(0.1)
        process.wait(10)


@contextmanager
def qemu_export(image: Path, target: Path, driver: str = "raw") -> Iterator[Path]:
    """QEMU's FUSE export replaces one file."""
    target.touch()
    options = ["--blockdev", f"driver=file,node-name=f,filename={image},read-only=on"]
    options += ["--blockdev", f"driver={driver},node-name=r,file=f,read-only=on"]
    options += ["--export", f"type=fuse,id=e,node-name=r,mountpoint={target}"]
    process = subprocess.Popen(["qemu-storage-daemon", *options], stdout=subprocess.DEVNULL)
    wait_for(lambda: os.path.ismount(target), f"qemu-storage-daemon: {image.name} is not exported")
    try:
        yield target
    finally:
        process.terminate()
        process.wait(10)


def seconds(action: Callable[[], object]) -> float:
    """How long ``action`` takes: all of it, or what it has timed itself and returns."""
    started = time.perf_counter()
    timed = action()
    return timed if isinstance(timed, float) else time.perf_counter() - started


def forget(path: Path) -> int:
    """Open ``path`` with nothing of it in the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return fd


def sequential(path: Path, start: int = 0, stop: int = sys.maxsize) -> None:
    fd, buffer = os.open(path, os.O_RDONLY), bytearray(MIB)
    offset = start
    while offset < stop and (count := os.preadv(fd, [buffer], offset)):
        offset += count
    os.close(fd)


def read_whole(path: Path) -> float:
    """The seconds it takes to read a file of which nothing is in the page cache; so do the next two."""
    os.close(forget(path))
    return seconds(lambda: sequential(path))


def read_by_two(path: Path) -> float:
    os.close(forget(path))
    half = path.stat().st_size // 2
    with ThreadPoolExecutor(2) as pool:
        return seconds(lambda: list(pool.map(sequential, [path, path], [0, half], [half, sys.maxsize])))


def read_at_random(path: Path, count: int = 10_000) -> float:
    fd = forget(path)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    rng, blocks = random.Random(1), os.fstat(fd).st_size // 4096
    places = [rng.randrange(blocks) * 4096 for _ in range(count)]
    took = seconds(lambda: [os.pread(fd, 4096, place) for place in places])
    os.close(fd)
    return took


def find_files(folder: Path) -> None:
    done = subprocess.run(["find", str(folder), "-type", "f", "-size", "+0"], capture_output=True, check=True)
    assert done.stdout.count(b"\n") == FILES + 1, done.stdout[:200]


def compare(title: str, actions: dict[str, Callable[[], object]]) -> float:
    """Time the actions in turn and print medians, and how much slower each peer is than the first, whose median is returned."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, action in actions.items():
            times[name].append(seconds(action))
    return report(title, times)


def compare_mounted(
    title: str, peers: dict[str, list[str]], target: Path, answers: Path, action: Callable[[Path], object]
) -> None:
    """Time ``action`` on each peer's mount in turn, each time from a new one: nothing is known to the kernel."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(ROUNDS):
        for name, command in peers.items():
            with mounted(command, target, answers) as folder:
                times[name].append(seconds(lambda folder=folder: action(folder)))  # type: ignore[misc]
    report(title, times)


def report(title: str, times: dict[str, list[float]]) -> float:
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = next(iter(medians.values()))
    row = "  ".join(f"{name} {value * 1000:8.1f} ms" for name, value in medians.items())
    ratios = "  ".join(f"{value / ours:.2f}x {name}" for name, value in list(medians.items())[1:])
    print(f"{title:34} {row}   {ratios}", flush=True)
    return ours


def bench_raw(scratch: Path) -> None:
    image = scratch / "raw.img"
    block = random.Random(1).randbytes(16 * MIB)
    with image.open("wb") as file:
        for number in range(RAW_SIZE // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])
    read_whole(image)
    sequential(image)
    with ExitStack() as stack:
        ours = (
            stack.enter_context(mounted([*IMGMOUNT, "--raw", str(image)], scratch / "ours", Path("disk.raw")))
            / "disk.raw"
        )
        qemu = stack.enter_context(qemu_export(image, scratch / "qemu.raw"))
        readings = {
            "raw, 1 MiB sequential": read_whole,
            "raw, two readers": read_by_two,
            "raw, 10,000 x 4 KiB": read_at_random,
        }
        for title, action in readings.items():
            compare(
                title, {"imgmount": lambda a=action: a(ours), "qemu-storage-daemon": lambda a=action: a(qemu)}
            )  # type: ignore[misc]


def make_iso(scratch: Path) -> Path:
    tree, image = scratch / "tree", scratch / "many.iso"
    for number in range(FOLDERS):
        folder = tree / f"folder {number:03}"
        folder.mkdir(parents=True)
        for file in range(FILES // FOLDERS):
            (folder / f"file number {file:03}.txt").write_text(f"{number} {file}\n")
    (tree / "big.bin").write_bytes(random.Random(2).randbytes(64 * MIB) * 4)
    subprocess.run(["genisoimage", "-quiet", "-R", "-J", "-o", str(image), str(tree)], check=True)
    shutil.rmtree(tree)
    return image


def bench_iso(scratch: Path) -> None:
    image = make_iso(scratch)
    mounters = {
        "imgmount": [*IMGMOUNT, str(image)],
        "fuseiso": ["fuseiso", "-n", str(image)],
        "archivemount": ["archivemount", "-o", "readonly", str(image)],
    }
    first: dict[str, list[float]] = {name: [] for name in mounters}
    second: dict[str, list[float]] = {name: [] for name in mounters}
    for _ in range(ROUNDS):
        for name, command in mounters.items():
            with mounted(command, scratch / name, Path("big.bin")) as folder:
                for times in (first, second):
                    times[name].append(seconds(lambda folder=folder: find_files(folder)))  # type: ignore[misc]
    report("ISO, find over 50,000 files", first)
    report("ISO, the same again", second)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(mounted(mounters[name], scratch / name, Path("big.bin"))) / "big.bin"
            for name in ("imgmount", "fuseiso")
        }
        compare(
            "ISO, 256 MiB file, 1 MiB",
            {name: lambda path=path: read_whole(path) for name, path in files.items()},
        )  # type: ignore[misc]


def bench_start(scratch: Path) -> None:
    small, large = scratch / "small.img", scratch / "large.img"
    small.write_bytes(random.Random(3).randbytes(MIB))
    with large.open("wb") as file:
        file.truncate(50 << 30)
    times: dict[str, list[float]] = {"1 MB": [], "50 GB sparse": []}
    for _ in range(ROUNDS):
        for name, image in (("1 MB", small), ("50 GB sparse", large)):
            target = scratch / "start"
            target.mkdir(exist_ok=True)
            times[name].append(seconds(lambda image=image, target=target: _first_answer(image, target)))  # type: ignore[misc]
            subprocess.run(["fusermount3", "-u", str(target)], check=True)
    report("exec to first answer", times)
    compare(
        "imgmount --help",
        {
            "imgmount --help": lambda: subprocess.run([*IMGMOUNT, "--help"], capture_output=True, check=True),
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        },
    )


def _first_answer(image: Path, target: Path) -> None:
    subprocess.run([*IMGMOUNT, "--raw", str(image), str(target)], check=True, capture_output=True)
    assert (target / "disk.raw").stat().st_size == image.stat().st_size


def bench_memory(scratch: Path) -> None:
    image = make_iso(scratch)
    with mounted([*IMGMOUNT, "-f", str(image)], scratch / "memory", Path("big.bin")) as folder:
        find_files(folder)
        found = subprocess.run(
            ["pgrep", "-f", f"imgmount -f {image}"], capture_output=True, text=True, check=True
        )
        status = Path(f"/proc/{found.stdout.split()[0]}/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"{'memory while find walks 50,000':34} {int(peak) / 1024:.1f} MiB at most")


BENCHES = {"raw": bench_raw, "iso": bench_iso, "start": bench_start, "memory": bench_memory}


def main(benches: Mapping[str, Callable[[Path], None]]) -> None:
    """Those of ``benches`` that the command line names, or all, each with a folder of its own."""
    for name in sys.argv[1:] or benches:
        with tempfile.TemporaryDirectory(prefix="imgmount-bench-") as scratch:
            benches[name](Path(scratch))


if __name__ == "__main__":
    main(BENCHES)
