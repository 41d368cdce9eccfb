"""From exceptions to errnos: the one place that catches everything, because nothing may travel through C."""

from __future__ import annotations

import logging
from collections.abc import Callable
from errno import EIO
from typing import Final

from imgmount.errors import ImageError
from imgmount.fuse.libfuse import keep_thread_state

log = logging.getLogger(__name__)

MAX_WARNINGS: Final = 1000  # different ones; a damaged image must not fill the log
_warned: set[str] = set()


def guarded(operation: Callable[..., int | None]) -> Callable[..., int]:
    """``operation`` as libfuse wants it: its result (None is 0), or a negative errno."""

    def guard(*args: object) -> int:
        keep_thread_state()
        try:
            return operation(*args) or 0
        except OSError as exc:
            return -(exc.errno or EIO)
        except ImageError as exc:
            _warn_once(str(exc))
            return -EIO
        except Exception:
            log.exception("%s failed", operation.__name__)
            return -EIO

    return guard


def _warn_once(message: str) -> None:
    if message not in _warned and len(_warned) < MAX_WARNINGS:
        _warned.add(message)
        log.warning("%s", message)
