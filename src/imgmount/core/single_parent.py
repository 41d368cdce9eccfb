"""Every directory has one place in the tree.

An image that says otherwise would have loops, or more paths than bytes.
"""

from __future__ import annotations

from imgmount.errors import FormatError


class SingleParent:
    """Which place each directory was first listed from. Any number of threads may use it."""

    def __init__(self, fmt: str) -> None:
        self._fmt = fmt
        self._places: dict[int, object] = {}

    def claim(self, directory: int, place: object) -> None:
        """Refuse to list ``directory`` (its id) from another ``place`` than the first.

        Raises ``FormatError``.
        """
        if self._places.setdefault(directory, place) != place:
            raise FormatError(self._fmt, f"directory {directory:#x} is in two places of the tree")
