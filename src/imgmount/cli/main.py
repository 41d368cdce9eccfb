"""The entry points of the command line: choose the command, report its failure, set up the log.

Exit codes: 0 done, 1 the host or the call is at fault, 2 the image is, 32 the mount failed (as a mount helper
only), 130 interrupted, 141 the reader of the output has gone (SIGINT and SIGPIPE, as a shell counts them).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from imgmount.cli.commands import dispatch, subject

HELPERS: Final = ("mount.imgmount", "mount.fuse.imgmount")

GC_THRESHOLD: Final = 100_000  # new objects, more than a start makes

EXIT_HOST: Final = 1
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE: Final = 141


def program() -> NoReturn:
    """Be the program ``imgmount``, or one of the ``HELPERS``.

    Python's own end takes a tenth of a mount's time, to free what the process gives back anyway; and its
    collector, looking for cycles in modules, a twentieth.
    """
    gc.set_threshold(GC_THRESHOLD)
    code = main()
    with suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
        sys.stdout.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    if argv is None:
        if sys.argv[0].rpartition("/")[2] in HELPERS:
            return main_helper()
        argv = sys.argv[1:]
    return _guarded(lambda: _dispatch(list(argv)))


def main_helper(argv: Sequence[str] | None = None) -> int:
    """Run as ``mount.imgmount``, which mount(8) calls: see ``cli.helper``."""
    from imgmount.cli.helper import EXIT_MOUNT_FAILED, run

    return _guarded(lambda: run(sys.argv[1:] if argv is None else list(argv)), EXIT_MOUNT_FAILED)


def _dispatch(argv: list[str]) -> int:
    if not argv:
        from imgmount.cli.help import overview

        overview(sys.stderr)
        return EXIT_HOST
    if argv[0] == "--print":  # for packagers: completion scripts, the manual page
        from imgmount.cli import generate

        return generate.run(argv[1:])
    if argv[0] == "--complete":  # for the completion scripts
        from imgmount.cli import complete

        return complete.run(argv[1:])
    return dispatch(argv)


def _guarded(action: Callable[[], int], failure: int | None = None) -> int:
    """Run ``action``. A failure is one line and an exit code: ``failure`` if given, but not for usage."""
    subject.clear()
    _open_standard_files()
    _prepare_stdout()
    try:
        code = _code_of(action)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        code = EXIT_PIPE
    except Exception as exc:  # the last resort of a program: the user gets a line, not a stack
        if os.environ.get("IMGMOUNT_DEBUG"):
            raise
        from imgmount.cli.parser import UsageError

        code = explain(exc)
        if failure is not None and not isinstance(exc, UsageError):
            code = failure
    return code


def _code_of(action: Callable[[], int]) -> int:
    try:
        return action()
    except SystemExit as exc:  # argparse after --help and --version
        return exc.code if isinstance(exc.code, int) else 0


def explain(exc: Exception) -> int:
    """Tell why the command failed on its ``subject``, in one line; the result is the exit code."""
    from imgmount.cli.text import complain
    from imgmount.errors import ImgMountError

    about = subject[-1] if subject else ""
    if isinstance(exc, ImgMountError):
        text = exc.with_advice()
        complain(text if not about or text.startswith(about) else f"{about}: {text}")
        return exc.exit_code
    if isinstance(exc, OSError) and exc.strerror:
        complain(f"{exc.filename if exc.filename is not None else about}: {exc.strerror}".removeprefix(": "))
        return EXIT_HOST
    complain(
        f"{about}: internal error, {type(exc).__name__}: {exc}; IMGMOUNT_DEBUG=1 shows where".removeprefix(
            ": "
        )
    )
    return EXIT_HOST


def _open_standard_files() -> None:
    """Those that a caller has closed: an image must not get their numbers, which a daemon redirects."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  None where it was closed
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _prepare_stdout() -> None:
    """Names are UTF-8 with undecodable bytes kept, whatever the locale: that is what a mount shows too."""
    import io

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def _abandon_stdout() -> None:
    """The reader has gone: what is left in the buffer must not raise again when Python ends."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass  # not a real file: a test's
