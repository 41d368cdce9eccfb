"""What the tests of deleted files share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from imgmount.core.node import File, Node
from imgmount.errors import ImageError

SOME = 1 << 20


def content(node: Node, most: int | None = None) -> bytes:
    """What a file holds, or its first ``most`` bytes."""
    assert isinstance(node, File)
    device = node.open()
    return device.pread(0, device.size if most is None else min(device.size, most))


def check_damage_ends_where_it_is(
    data: bytes | bytearray,
    deleted: Callable[[bytearray], Mapping[str, Node]],
    rng: random.Random,
    *,
    rounds: int,
    changes: int,
    values: Sequence[int],
    most: int | None = SOME,
) -> None:
    """Damage ``data`` in so many places and ask for everything, again and again: ``ImageError`` alone may come out."""
    used = [at for at in range(0, len(data), 512) if any(data[at : at + 512])]
    for _ in range(rounds):
        changed = bytearray(data)
        for _ in range(changes):
            changed[rng.choice(used) + rng.randrange(512)] = rng.choice(values)
        try:
            nodes = deleted(changed)
        except ImageError:
            continue
        for node in nodes.values():
            try:
                content(node, most) if isinstance(node, File) else node.stat()
            except ImageError:
                continue
