"""Mounting by libfuse, which knows who may mount and how: as root itself, for others through fusermount3.

mfusepy loads the library. It prefers libfuse 2 where both are installed; we need 3 and say so before we
import it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from imgmount.core.system_library import first_loadable
from imgmount.errors import MountError
from imgmount.fuse.refusal import INSTALL

SONAMES: Final = ("libfuse3.so.4", "libfuse3.so.3")  # newest first
NO_OPERATIONS: Final = bytes(8)  # the begin of a struct fuse_lowlevel_ops


def _choose() -> str:
    wanted = os.environ.get("FUSE_LIBRARY_PATH")
    name = first_loadable([wanted] if wanted else SONAMES)
    if name is None:
        raise MountError(f"{wanted or 'libfuse 3'} cannot be loaded: {INSTALL}")
    os.environ["FUSE_LIBRARY_PATH"] = name
    return name


_NAME: Final = _choose()
import mfusepy  # noqa: E402  it loads the library that was chosen

if mfusepy.fuse_version_major != 3:
    version = f"{mfusepy.fuse_version_major}.{mfusepy.fuse_version_minor}"
    raise MountError(f"libfuse 3 is needed, {_NAME} is version {version}")

_library = ctypes.CDLL(_NAME)
_pointer = ctypes.c_void_p
for _function, _result, _arguments in (
    ("fuse_session_new", _pointer, (_pointer, _pointer, ctypes.c_size_t, _pointer)),
    ("fuse_session_mount", ctypes.c_int, (_pointer, ctypes.c_char_p)),
    ("fuse_session_fd", ctypes.c_int, (_pointer,)),
    ("fuse_session_unmount", None, (_pointer,)),
):
    getattr(_library, _function).restype = _result
    getattr(_library, _function).argtypes = _arguments


class _Arguments(ctypes.Structure):
    """``struct fuse_args``: fuse_opt.h."""

    _fields_ = (
        ("argc", ctypes.c_int),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("allocated", ctypes.c_int),
    )


class MountedFolder:
    """A folder on which ``options`` have been mounted. ``fd`` is the line to the kernel.

    Raises ``MountError``; libfuse has printed why on standard error.
    """

    def __init__(self, target: Path, options: Sequence[str]) -> None:
        words = (ctypes.c_char_p * 3)(b"imgmount", b"-o", os.fsencode(",".join(options)))
        arguments = _Arguments(len(words), words, 0)
        self._session = _library.fuse_session_new(
            ctypes.byref(arguments), NO_OPERATIONS, len(NO_OPERATIONS), None
        )
        if not self._session or _library.fuse_session_mount(self._session, os.fsencode(target)):
            raise MountError(f"{target}: the mount failed")
        # a descriptor of our own: the other is closed before the mount goes
        self.fd = os.dup(_library.fuse_session_fd(self._session))

    def unmount(self) -> None:
        """Take the mount away, in use or not."""
        _library.fuse_session_unmount(self._session)
