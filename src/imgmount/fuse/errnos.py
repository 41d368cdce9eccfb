"""From exceptions to errnos: the one place that catches everything, because a mount must live on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from errno import EIO
from typing import Final, ParamSpec, TypeVar

from imgmount.errors import ImageError

log = logging.getLogger(__name__)

MAX_WARNINGS: Final = 1000  # different ones; a damaged image must not fill the log
_warned: set[str] = set()
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def guarded(
    operation: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result | int:
    """The result of ``operation``, or an errno."""
    try:
        return operation(*args, **kwargs)
    except OSError as exc:
        return exc.errno or EIO
    except ImageError as exc:
        _warn_once(str(exc))
        return EIO
    except Exception:
        log.exception("%s failed", operation.__name__)
        return EIO


def _warn_once(message: str) -> None:
    if message not in _warned and len(_warned) < MAX_WARNINGS:
        _warned.add(message)
        log.warning("%s", message)
