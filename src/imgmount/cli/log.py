"""Where the log goes: warnings to stderr as lines of ours, everything asked for to a file."""

from __future__ import annotations

import logging
from typing import Final

from imgmount.core.log_line import OneLineFormatter

_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


def configure(verbosity: int, log_file: str | None) -> None:
    """Send the package's log to stderr and to ``log_file``.

    Raises ``OSError`` where that cannot be written.
    """
    # a log that cannot be written, on a full disk for example, must not print tracebacks
    logging.raiseExceptions = False
    logger = logging.getLogger("imgmount")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
    terminal = logging.StreamHandler()
    terminal.setFormatter(OneLineFormatter("imgmount: %(message)s"))
    logger.addHandler(terminal)
    if log_file:
        file = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(file)
