"""Find the parent of a differencing disk by its identifier; names only say where to look first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from imgmount.core.device import BlockDevice
from imgmount.core.format import Context
from imgmount.errors import ImageError, ImgMountError, MissingPartError

MAX_CANDIDATES: Final = 256  # files beside the image whose identifiers are compared


def find_parent(  # noqa: PLR0917
    fmt: str,
    identifier: str,
    names: Sequence[str],
    extensions: tuple[str, ...],
    context: Context,
    is_parent: Callable[[BlockDevice], bool],
) -> str:
    """The name of the parent: one of ``names``, else of a file beside the image with one of ``extensions``.

    Raises ``MissingPartError``, and ``ImageError`` where the only file of the right name is another disk.
    """
    beside = [name for name in context.siblings.names() if name.lower().endswith(extensions)]
    others: list[str] = []
    reasons: list[str] = []
    for name in [*names, *beside[:MAX_CANDIDATES]]:
        try:
            if is_parent(context.siblings.open(name)):
                return name
            others.append(name)
        except ImgMountError as exc:
            reasons.append(str(exc))
    if known := [name for name in names if name in others]:
        raise ImageError(
            f"{fmt}: {known[0]!r} is not the parent of this image: it is not {identifier}, or not any more"
        )
    reason = reasons[0] if names else f"no *{extensions[0]} beside the image is it; --refs DIR adds a folder"
    raise MissingPartError(f"{fmt}: the parent {identifier} is missing: {reason}")
