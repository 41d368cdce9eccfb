"""Virtual disks made on the spot by qemu: fragmented, with holes, of odd sizes.

``qemu-img convert`` is the oracle.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from conformance import check_device
from helpers import tool
from imgmount.chain.open import open_image
from imgmount.core.format import Options

WRITES = 60


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def create(image: Path, fmt: str, size: int, options: str = "", *more: object) -> Path:
    """An empty image."""
    run(
        tool("qemu-img"), "create", "-q", "-f", fmt, *(("-o", options) if options else ()), *more, image, size
    )
    return image


def scribble(image: Path, fmt: str, size: int, *, seed: int = 1, writes: int = WRITES) -> Path:
    """Random pieces of ``image`` overwritten in random order: data that differs from place to place, zeros, discards."""
    rng = random.Random(seed)
    pattern = image.with_suffix(".pattern")
    pattern.write_bytes(rng.randbytes((1 << 16) + 1))
    commands: list[str] = []
    for _ in range(writes):
        length = min(size, 512 * int(2 ** rng.uniform(0, 11)))
        offset = min(512 * rng.randrange(size // 512), size - length) // 512 * 512
        kind = rng.choice(("data", "data", "data", "zero"))
        commands += [
            "-c",
            f"write -z {offset} {length}" if kind == "zero" else f"write -s {pattern} {offset} {length}",
        ]
    run(tool("qemu-io"), "-f", fmt, *commands, image)
    pattern.unlink()
    return image


def raw_of(image: Path, fmt: str, *more: object) -> bytes:
    """The disk as qemu sees it."""
    raw = image.with_suffix(".raw")
    run(tool("qemu-img"), "convert", "-f", fmt, "-O", "raw", *more, image, raw)
    try:
        return raw.read_bytes()
    finally:
        raw.unlink()


def check(image: Path, expected: bytes, chain: str, **options: object) -> None:
    """``image`` opens as ``chain`` and holds ``expected``."""
    with open_image(image, Options(**options)) as opened:  # type: ignore[arg-type]
        assert str(opened) == f"file > {chain}"
        check_device(opened.disk, expected)
