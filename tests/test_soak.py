"""Reads that fail again and again: the memory stays as it was, without help of the collector of cycles."""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
import random
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import FIXTURES, tool
from imgmount.chain.open import Image, open_image
from imgmount.core.cache import ReadCache
from imgmount.errors import ImageError
from packers import noise

SIZE = 3 << 20
READS = 300
DATA = noise(SIZE)


def damaged(data: bytes) -> bytes:
    """``data`` with noise in its middle."""
    at = len(data) // 2
    return data[:at] + random.Random(1).randbytes(4000) + data[at + 4000 :]


def zstd(data: bytes) -> bytes:
    command = [tool("zstd"), "-q", "-c", f"--stream-size={len(data)}"]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def qcow2(folder: Path) -> bytes:
    (folder / "raw").write_bytes(DATA)
    subprocess.run(
        [tool("qemu-img"), "convert", "-c", "-O", "qcow2", folder / "raw", folder / "disk.qcow2"], check=True
    )
    return (folder / "disk.qcow2").read_bytes()


def ewf(_: Path) -> bytes:
    return lzma.decompress((FIXTURES / "containers/ewf/encase6/disk.E01.xz").read_bytes())


MAKERS: dict[str, Callable[[Path], bytes]] = {
    "xz": lambda _: damaged(lzma.compress(DATA, preset=0)),
    "zstd": lambda _: damaged(zstd(DATA)),
    "bzip2": lambda _: damaged(bz2.compress(DATA, 1)),
    "gzip": lambda _: damaged(gzip.compress(DATA, 1)),
    "bgzip": lambda _: damaged(
        subprocess.run([tool("bgzip"), "-c"], input=DATA, stdout=subprocess.PIPE, check=True).stdout
    ),
    "qcow2": lambda folder: damaged(qcow2(folder)),
    "E01": lambda folder: damaged(ewf(folder)),
}


@pytest.fixture(params=MAKERS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Image]:
    path = tmp_path / f"disk.{request.param}"
    path.write_bytes(MAKERS[request.param](tmp_path))
    with open_image(path, cache=ReadCache(8 << 20)) as opened:
        yield opened


def failing(image: Image) -> list[int]:
    """Places that cannot be read."""
    places = []
    for offset in range(0, image.disk.size, 4096):
        try:
            image.disk.pread(offset, 4096)
        except ImageError:
            places.append(offset)
    return places


def test_failing_reads_keep_no_memory(image: Image) -> None:
    places = failing(image)
    assert places
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before = 0
        for number in range(READS):
            with pytest.raises(ImageError):
                image.disk.pread(places[number % len(places)], 4096)
            if number == READS // 3:
                before, _ = tracemalloc.get_traced_memory()
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert after - before < 64 << 10
    assert most < 40 << 20


def test_a_failing_read_decodes_nothing_again(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    places = failing(image)[:40]
    disk = image.disk

    def refuse(*_: object) -> bytes:
        raise AssertionError

    device = next(layer.device for layer in image.layers[1:])
    for name in ("_decoder", "decode", "_decode"):
        if hasattr(device, name):
            monkeypatch.setattr(device, name, refuse)
    for place in places:
        with pytest.raises(ImageError):
            disk.pread(place, 4096)
