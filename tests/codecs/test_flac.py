"""FLAC frames against the reference encoder, decoded by libFLAC and without it."""

from __future__ import annotations

import math
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import tool
from imgmount.codecs import flacframes
from imgmount.errors import FormatError

SAMPLES = 6000
RNG = random.Random(9639)


def tone(pitch: float, noise: int) -> list[int]:
    waves = (int(9000 * math.sin(n / pitch) + 5000 * math.sin(n / pitch / 3.3)) for n in range(SAMPLES))
    return [wave + RNG.randrange(-noise, noise + 1) for wave in waves]


def noise() -> list[int]:
    return [RNG.randrange(-32768, 32768) for _ in range(SAMPLES)]


def clicks() -> list[int]:
    return [(32767, -32768)[n % 2] if n % 97 == 0 else 0 for n in range(SAMPLES)]


Channels = Callable[[], tuple[list[int], list[int]]]
SOUNDS: dict[str, Channels] = {
    "tones": lambda: (tone(20, 30), tone(31, 30)),
    "alike": lambda: ((one := tone(20, 9)), [sample + 3 for sample in one]),
    "noise": lambda: (noise(), noise()),
    "silence": lambda: ([0] * SAMPLES, [-7] * SAMPLES),
    "wasted bits": lambda: (
        [sample & ~15 for sample in tone(20, 200)],
        [sample & ~63 for sample in tone(44, 200)],
    ),
    "clicks": lambda: (clicks(), tone(5, 1)),
}
OPTIONS = (
    "-0",
    "-1",
    "-2",
    "-5",
    "-8pe",
    "-l 0",
    "-l 12 -b 4608",
    "-l 32 --lax -b 512",
    "-M -5 -b 192",
    "-r 0,0 -5",
    "-b 1000",
)


def encoded(sound: str, options: str, folder: Path) -> tuple[bytes, bytes]:
    """(samples, frames of the reference encoder without their stream)."""
    left, right = SOUNDS[sound]()
    raw = struct.pack(
        f"={2 * SAMPLES}h", *(sample for pair in zip(left, right, strict=True) for sample in pair)
    )
    (folder / "raw").write_bytes(raw)
    form = [
        "--endian=little",
        "--sign=signed",
        "--channels=2",
        "--bps=16",
        "--sample-rate=44100",
        "--force-raw-format",
    ]
    command = [
        tool("flac"),
        "-s",
        "-f",
        *form,
        *options.split(),
        "-o",
        str(folder / "out"),
        str(folder / "raw"),
    ]
    subprocess.run(command, check=True)
    data, at, last = (folder / "out").read_bytes(), 4, 0
    while not last:
        last, at = data[at] >> 7, at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return raw, data[at:]


@pytest.mark.parametrize("sound", SOUNDS)
def test_frames_of_the_reference_encoder(sound: str, tmp_path: Path) -> None:
    for options in OPTIONS:
        raw, frames = encoded(sound, options, tmp_path)
        samples, used = flacframes.decode(frames + b"what follows", SAMPLES)
        assert samples.tobytes() == raw, options
        assert used == len(frames), options


def test_damage_is_an_error_or_other_sound(tmp_path: Path) -> None:
    _, frames = encoded("tones", "-5", tmp_path)
    for at in range(0, 400, 3):
        for value in (0, 0xFF, frames[at] ^ 0x10):
            try:
                samples, _ = flacframes.decode(frames[:at] + bytes([value]) + frames[at + 1 :], SAMPLES)
            except FormatError:
                continue
            assert len(samples) == 2 * SAMPLES
    for size in (0, 1, 10, 100, len(frames) - 1):
        with pytest.raises(FormatError):
            flacframes.decode(frames[:size], SAMPLES)


def test_a_predictor_that_runs_away_is_stopped() -> None:
    bits = (
        "11111111111110" + "00" + "0111" + "0000" + "0001" + "1000" + "0" * 8 + "1" * 16 + "0" * 8
    )  # 65536 samples
    order, precision = 32, "1110"
    subframe = (
        "0" + "111111" + "0" + ("0" + "1" * 15) * order + precision + "00000" + ("0" + "1" * 14) * order
    )
    residual = "00" + "0000" + "0000" + "1" * (65536 - order)
    text = bits + subframe + residual
    data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    with pytest.raises(FormatError) as found:
        flacframes.decode(data, 65536)
    assert str(found.value.__cause__) == "a predictor that runs away"


def test_what_would_take_too_much_memory_is_refused() -> None:
    with pytest.raises(FormatError, match="without libFLAC"):
        flacframes.decode(bytes(flacframes.MAX_DATA + 1), 10)
