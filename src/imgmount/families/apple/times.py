"""Times of classic Mac OS, HFS and HFS+: seconds since 1904."""

from __future__ import annotations

from typing import Final

from imgmount.core.fields import NS, local_ns

_HFS_EPOCH: Final = 2_082_844_800  # 1904 to 1970, in seconds


def hfs_time_ns(value: int, *, local: bool = False) -> int:
    """Seconds since 1904, in UTC (HFS+) or wall-clock time (HFS); 0 stays 0."""
    if not value:
        return 0
    seconds = value - _HFS_EPOCH
    if not local:
        return seconds * NS
    from datetime import UTC, datetime  # which HFS+ does without

    return local_ns(datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None))
