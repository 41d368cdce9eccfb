"""What tests of disc containers share."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from fixture import all_fixtures
from helpers import context, tool, wrong
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context
from imgmount.core.slices import MemoryDevice
from imgmount.errors import ImageError
from imgmount.families.optical.disc import Disc
from imgmount.registry import named


def unpacked(name: str, scratch: Path) -> Path:
    """The image of the fixture ``format/variant``, unpacked with its files."""
    fixture = next(one for one in all_fixtures() if f"{one.format}/{one.variant}" == name)
    return fixture.image_path(scratch)


def open_disc(fmt: str, data: bytes, files: dict[str, bytes] | None = None, name: str = "test.img") -> Disc:
    """``data`` opened as ``fmt``, with ``files`` beside it."""
    around = context(files)
    disc = named(ContainerFormat, fmt).open(
        MemoryDevice(data), Context(Path(name), around.siblings, around.cache, around.options)
    )
    assert isinstance(disc, Disc)
    return disc


def told(fmt: str, data: bytes, files: dict[str, bytes] | None = None, name: str = "test.img") -> str:
    """What is said of a damaged description.

    Why it is refused, else what ``verify`` and its tracks say, a line each.
    """
    try:
        disc = open_disc(fmt, data, files, name)
    except ImageError as exc:
        return str(exc)
    faults = [str(part.fault) for part in disc.partitions() if part.fault is not None]
    return "\n".join([*wrong(disc.verify()), *faults])


def shown(disc: Disc) -> dict[str, BlockDevice]:
    """The files of all tracks."""
    return dict(file for part in disc.partitions() for file in part.files)


def content(device: BlockDevice) -> bytes:
    return device.pread(0, device.size)


def starts_by_libcdio(path: Path) -> list[int]:
    """Where libcdio's cd-info says that tracks begin: LSNs."""
    command = [tool("cd-info"), "--no-device-info", "--no-cddb", "-i", path.name]
    printed = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=path.parent
    ).stdout.partition("leadout")[0]
    return [
        int(lsn) for lsn in re.findall(r"^ *\d+: [\d:]+ +(\d+) +(?:data|audio|XA) ", printed, re.MULTILINE)
    ]
