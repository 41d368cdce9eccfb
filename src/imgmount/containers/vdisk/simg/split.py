"""The parts of a sparse image that was cut for a flash loader.

Which files they are, and what is missing between them.

Each part holds one stretch of the image, in the order of the numbers in their names.
Source: AOSP, ``system/core/libsparse/sparse.cpp``, "sparse_file_resparse".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from imgmount.containers.vdisk.simg.part import HEADER_SIZE, MAGIC, Part
from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.core.slices import Unreadable
from imgmount.errors import FormatError, ImageError, MissingPartError

MAX_PARTS: Final = 1024
_NUMBERED: Final = re.compile(
    r"(?P<stem>.*?[^0-9])(?P<number>[0-9]{1,6})(?P<tail>(?:\.[a-z]\w*)?)", re.IGNORECASE
)
_SAYS_PART: Final = re.compile(r"sparse_?chunk|_chunk", re.IGNORECASE)

Missing = list[tuple[int, int, BlockDevice]]  # (start, size, what raises the error)


class Numbered(NamedTuple):
    """A part, its file's name and the number in that."""

    number: int
    name: str
    part: Part


def find_parts(file: BlockDevice, context: Context) -> tuple[list[Part], Missing, list[str]]:
    """(parts in order, what lies in parts that are missing, names) of the set that ``file`` belongs to."""
    own = list(_in_one_file(file))
    name = context.path.name
    found = _NUMBERED.fullmatch(name)
    if len(own) > 1 or found is None:
        return own, [], [name] * len(own)
    numbered = [Numbered(int(found["number"]), name, own[0])]
    numbered += _others(found, own[0], context)
    numbered.sort(key=lambda one: one.number)
    if not all(_follow(before, after) for before, after in pairwise(numbered)):
        return own, [], [name]  # images of one size, each by itself
    missing = list(_missing(numbered)) if len(numbered) > 1 or _SAYS_PART.search(name) else []
    return [one.part for one in numbered], missing, [one.name for one in numbered]


def _in_one_file(file: BlockDevice) -> Iterator[Part]:
    """The part in ``file``, and those behind it if parts were put together."""
    part = Part(file)
    yield part
    for _ in range(MAX_PARTS):
        head = file.pread(part.stored, HEADER_SIZE)
        if head[:4] != MAGIC.to_bytes(4, "little") or head[12:20] != file.pread(12, 8):
            return
        part = Part(file, part.stored)
        yield part


def _others(found: re.Match[str], own: Part, context: Context) -> Iterator[Numbered]:
    """The other sparse images of the same size whose names differ in the number alone."""
    seen = 0
    for name in context.siblings.names():
        other = _NUMBERED.fullmatch(name)
        if other is None or (other["stem"], other["tail"]) != (found["stem"], found["tail"]):
            continue
        if int(other["number"]) == int(found["number"]):
            continue
        seen += 1
        if seen > MAX_PARTS:
            raise FormatError("simg", f"more than {MAX_PARTS} parts")
        try:
            file = context.siblings.open(name)
            if file.pread(0, 4) != MAGIC.to_bytes(4, "little") or file.pread(12, 8) != own.file.pread(12, 8):
                continue
            yield Numbered(int(other["number"]), name, Part(file))
        except FormatError as exc:
            raise FormatError(
                "simg", f"{name!r}, which belongs to the image, is damaged: {exc.reason}"
            ) from exc
        except ImageError:
            continue


def _follow(before: Numbered, after: Numbered) -> bool:
    return before.part.end <= after.part.first or after.part.end == 0


def _missing(numbered: list[Numbered]) -> Iterator[tuple[int, int, BlockDevice]]:
    """What lies between parts whose numbers do not follow each other, and outside of a lone part."""
    first, last = numbered[0], numbered[-1]
    gaps = [(0, first.part.first, first.name, "before")] if first.number > 0 else []
    for before, after in pairwise(numbered):
        if after.number > before.number + 1:
            gaps.append((before.part.end, after.part.first, before.name, "after"))
    if len(numbered) == 1:
        gaps.append((last.part.end, last.part.size, last.name, "after"))
    for start, end, name, where in gaps:
        if start < end:
            reason = MissingPartError(f"simg: the parts {where} {name!r} are missing: they belong beside it")
            yield start, end - start, Unreadable(end - start, reason)
