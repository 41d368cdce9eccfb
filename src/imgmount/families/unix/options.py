"""The options that Unix file systems share."""

from __future__ import annotations

from typing import Final

from imgmount.core.option import Option

NO_JOURNAL: Final = Option.switch(
    "no-journal", "show ext3 and ext4 volumes without what waits in their journal", flag=True
)
OPTIONS: Final = (NO_JOURNAL,)
