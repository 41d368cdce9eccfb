from __future__ import annotations

from hypothesis import settings

settings.register_profile(
    "imgmount", deadline=None, derandomize=True
)  # the same examples everywhere, and no wall clock
settings.load_profile("imgmount")
