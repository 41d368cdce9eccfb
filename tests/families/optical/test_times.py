"""Recording times of ISO 9660 are what datetime makes of them, void ones 0."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from imgmount.families.optical.times import iso_time_ns


def by_datetime(raw: bytes) -> int:
    zone = raw[6] - 256 if raw[6] > 127 else raw[6]
    try:
        moment = datetime(1900 + raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], tzinfo=UTC)
    except ValueError:
        return 0
    return int((moment - timedelta(minutes=15 * zone)).timestamp()) * 10**9


def test_times_agree_with_datetime() -> None:
    rng = random.Random(915)
    for _ in range(20_000):
        raw = bytes(rng.randrange(limit) for limit in (256, 14, 33, 25, 61, 61, 256))
        assert iso_time_ns(raw) == by_datetime(raw), raw
