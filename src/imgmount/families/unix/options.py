"""The options that Unix file systems read."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import NO_JOURNAL

OPTIONS: Final = (NO_JOURNAL,)
