"""Log records as lines: one line each, whatever a name in an image holds."""

from __future__ import annotations

import logging

from imgmount.core.printable import printable


class OneLineFormatter(logging.Formatter):
    """A record is one line that nothing in it can break; only the traceback of a bug has more."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info:
            return super().format(record)
        return printable(super().format(record))
