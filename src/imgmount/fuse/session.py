"""The life of a mount: fork, serve until it is unmounted, clean up.

The image is parsed before the fork, so that its errors are the command's errors. The parent ends when the
kernel has begun to ask the child questions; no thread exists before that fork. SIGTERM, SIGINT and SIGHUP are
an orderly end, as an unmount is.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from select import select
from typing import Final, NamedTuple

from imgmount.chain.open import Image
from imgmount.core.heap import keep_freed_chunks
from imgmount.core.log_line import OneLineFormatter
from imgmount.errors import MountError
from imgmount.fuse.channel import Channel, Line
from imgmount.fuse.libfuse import MountedFolder
from imgmount.fuse.mountpoint import Mount, detach, discard, mounts
from imgmount.fuse.notify import notify
from imgmount.fuse.operations import Operations
from imgmount.fuse.options import ALWAYS, MountOptions, escape
from imgmount.fuse.processes import name_daemon
from imgmount.fuse.refusal import Muted, explain
from imgmount.fuse.secrets import forget_secrets
from imgmount.fuse.watch import Watch
from imgmount.vfs.vfs import Vfs

log = logging.getLogger(__name__)

# The kernel's read-ahead, where we may say so; 128 KiB otherwise. No reply is longer than channel.MAX_REPLY.
SPLICED_READ_AHEAD_KB: Final = 256
CODED_READ_AHEAD_KB: Final = 512
GC_THRESHOLD: Final = 100_000
MAX_WAIT: Final = 60  # seconds for the kernel's first question, which takes milliseconds
ANSWERS: Final = b"\0"  # what the daemon reports instead of an error
SYSLOG: Final = Path("/dev/log")


class Session(NamedTuple):
    """One image at one mount point. ``created`` says that the folder is ours to remove.

    ``idle`` is after how many seconds without use the mount ends by itself.
    """

    image: Image
    source: Path  # absolute: the daemon works in /
    vfs: Vfs
    target: Path
    options: MountOptions
    created: bool
    idle: float | None = None

    def foreground(self) -> int:
        """Mount and serve until unmounted, and tell the service manager. 0 after an orderly end."""
        try:
            return self.serve(lambda: notify("READY=1", f"MAINPID={os.getpid()}"))
        finally:
            notify("STOPPING=1")

    def serve(self, ready: Callable[[], None]) -> int:
        """Mount and serve until unmounted. Returns 0, after an orderly end.

        Raises ``MountError`` if the host refuses to mount.
        """
        forget_secrets()
        # objects that exist by now live as long as the process: the collector need not visit them
        gc.freeze()
        # listings have no reference cycles; looking for them costs a third of the time
        gc.set_threshold(GC_THRESHOLD)
        watch = Watch(self.target, self.idle)
        try:
            watch.listen()
            mounted = self._mount()
            self._answer(mounted, watch, ready)
            watch.wait()
            mounted.unmount()
        finally:
            self.discard()
        return 0  # the process ends: what is open stays so for threads that are still answering

    def _mount(self) -> MountedFolder:
        name = escape(str(self.source))
        options = [*ALWAYS, f"fsname={name}", "subtype=imgmount", *self.options.passed]
        muted = Muted()
        try:
            mounted = MountedFolder(self.target, options)
        except MountError:
            raise MountError(explain(self.target, muted.lift())) from None
        if warnings := muted.lift():
            os.write(2, os.fsencode(warnings))
        return mounted

    def _answer(self, mounted: MountedFolder, watch: Watch, ready: Callable[[], None]) -> None:
        """Answer the kernel's first request in this thread, and all others in threads that start now."""
        operations = Operations(self.vfs, self.options, every_open=watch.idle is not None)

        def answer(line: Line, request: memoryview) -> None:
            watch.used()
            operations(line, request)

        answers = operations if watch.idle is None else answer
        channel = Channel(mounted.fd, answers, operations.prepare, watch.hung_up)
        channel.serve_one()
        name_daemon(self.target)
        keep_freed_chunks()
        self.image.context.cache.start()
        channel.start()
        ready()

    def discard(self) -> None:
        """Remove the mount point if it was made for this mount."""
        if self.created:
            try:
                self.target.rmdir()
            except OSError as exc:
                log.warning("%s: %s", self.target, exc.strerror)
            discard(self.target.parent)

    def background(self) -> int:
        """Mount in a daemon; 0 as soon as the mount answers. After a failure nothing is left behind."""
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        if child := os.fork():
            os.close(writer)
            return self._await(child, reader)
        os.close(reader)
        os.chdir("/")
        code = MountError.exit_code
        try:
            code = self.serve(lambda: _detach_from_caller(writer))
        except MountError as exc:
            os.write(writer, os.fsencode(str(exc)))
        finally:
            logging.shutdown()
            os._exit(code)

    def _await(self, child: int, reader: int) -> int:
        """0 when the mount of the process ``child`` answers. ``MountError`` after ``MAX_WAIT`` seconds."""
        with os.fdopen(reader, "rb") as pipe:
            if select([pipe], [], [], MAX_WAIT)[0]:
                if (first := pipe.read(1)) == ANSWERS:
                    return 0
                said = os.fsdecode(first + pipe.read())
                raise MountError(said or f"{self.target}: the daemon has died before the mount answered")
        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(MountError):
            detach(self.target, lazy=True)
        self.discard()
        raise MountError(f"{self.target}: the mount did not answer in {MAX_WAIT} seconds and was given up")


def raise_read_ahead(target: Path, *, coded: bool) -> None:
    """Ask the kernel for larger reads, which only root may do; others keep the default."""
    mount: Mount | None = next((mount for mount in mounts() if mount.target == target), None)
    if mount is None:
        return
    try:
        Path(f"/sys/class/bdi/{mount.device}/read_ahead_kb").write_text(
            str(CODED_READ_AHEAD_KB if coded else SPLICED_READ_AHEAD_KB)
        )
    except OSError as exc:
        log.debug("read-ahead stays as it is: %s", exc.strerror)


def _detach_from_caller(writer: int) -> None:
    """Report success and leave the terminal. Warnings go to the system log if there is no log file.

    The session is left only now that the mount answers: autofs lets no other process through to its mount
    point than the process group that mounts on it.
    """
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)
    root = logging.getLogger()
    if SYSLOG.exists() and not any(isinstance(handler, logging.FileHandler) for handler in root.handlers):
        from logging.handlers import SysLogHandler

        handler = SysLogHandler(str(SYSLOG))
        handler.setFormatter(OneLineFormatter("imgmount[%(process)d]: %(message)s"))
        root.addHandler(handler)
    os.write(writer, ANSWERS)
    os.close(writer)
