"""The parents of differencing images: siblings, opened in the format that the child declares."""

from __future__ import annotations

import os
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Options, Siblings
from imgmount.errors import ImageError
from imgmount.registry import best_match, named
from imgmount.sources.file import FileDevice
from imgmount.sources.siblings import FolderSiblings, NoSiblings

MAX_PARENTS: Final = 64  # differencing images on top of each other


def with_parents(context: Context, *children: BlockDevice) -> Context:
    """``context`` that can open the parent of ``children[-1]``; each child before is based on the next."""

    def open_parent(name: str, fmt: str | None) -> BlockDevice:
        file = context.siblings.open(name)
        if _identity(file) in map(_identity, children):
            raise ImageError(f"{name!r} is, in the end, its own parent")
        if len(children) > MAX_PARENTS:
            raise ImageError(f"more than {MAX_PARENTS} parents above each other")
        path = file.path if isinstance(file, FileDevice) else context.path
        inner = context._replace(path=path, siblings=context.siblings.beside(file), options=Options())
        if fmt is None:
            return _open_guessed(
                file,
                with_parents(inner._replace(siblings=_fenced(inner.siblings, path.name)), *children, file),
            )
        if fmt == "raw":
            return file
        wanted: ContainerFormat = named(ContainerFormat, fmt)
        return wanted.open(file, with_parents(inner, *children, file))

    return context._replace(open_parent=open_parent)


def _fenced(siblings: Siblings, name: str) -> Siblings:
    """What an image of a guessed format may name, as its guest may have written the bytes that decided it."""
    return siblings.fenced() if isinstance(siblings, FolderSiblings) else NoSiblings(name)


def _open_guessed(file: BlockDevice, context: Context) -> BlockDevice:
    found = best_match(ContainerFormat, file)
    return found[1].open(file, context) if found else file


def _identity(file: BlockDevice) -> object:
    """The host's (device, inode): two names of one file are one file."""
    if not isinstance(file, FileDevice):
        return file
    status = os.fstat(file.fd)
    return status.st_dev, status.st_ino
