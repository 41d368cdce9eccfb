"""A second opinion for ``imgmount verify --strict``: the tree as pyfatfs sees it, compared with ours.

pyfatfs follows a looping chain for ever, so nothing is asked of it about a directory whose chain we know to
be damaged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from imgmount.core.device_file import DeviceFile
from imgmount.core.names import safe_name
from imgmount.core.node import Directory, File, Node
from imgmount.errors import ImageError, MountError, in_our_words
from imgmount.filesystems.fat.volume import FatDirectory, FatVolume

_Pair = tuple[str, FatDirectory, Any]  # path, the directory, pyfatfs's entry of it

# What pyfatfs raises on bytes it does not expect, besides its own PyFATException.
_SURPRISES: Final = (ImageError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError)


def compare(volume: FatVolume) -> Iterator[str]:
    """Each difference between our tree and that of pyfatfs, in one line.

    Names, kinds, sizes, times and the place of every cluster are compared. Raises ``MountError`` where
    pyfatfs is not installed.
    """
    try:
        from pyfatfs._exceptions import PyFATException

        # the class alone: pyfatfs.PyFatFS needs the pkg_resources of old setuptools
        from pyfatfs.PyFat import PyFat
    except ImportError as exc:
        raise MountError("the second opinion needs pyfatfs: pip install imgmount[strict]") from exc
    if volume.fat.copy:
        yield "FAT 0 is damaged, and pyfatfs reads no other"
        return
    other = PyFat(encoding=volume.encoding)
    try:
        _, damage = volume.runs(volume.root)
        if damage is not None:
            yield f"/: {damage}; pyfatfs was not asked"
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unclean volume is news to `verify`, not to us
            other.set_fp(DeviceFile(volume.device))
    except (PyFATException, *_SURPRISES) as exc:
        yield f"pyfatfs cannot open it: {in_our_words(exc)}"
        return
    pending: list[_Pair] = [("", volume.root, other.root_dir)]
    while pending:
        pair = pending.pop()
        try:
            yield from _directory(volume, other, pair, pending)
        except (PyFATException, *_SURPRISES) as exc:
            yield f"{pair[0] or '/'}: pyfatfs cannot list it: {in_our_words(exc)}"


def _directory(volume: FatVolume, other: Any, pair: _Pair, pending: list[_Pair]) -> Iterator[str]:
    """One directory; those inside that both know go on ``pending``."""
    path, ours, theirs = pair
    listing = ours.listing()
    if listing.damage is not None:
        yield f"{path or '/'}: {listing.damage}; pyfatfs was not asked"
        return
    directories, files, _ = theirs.get_entries()
    entries = _named([*directories, *files])
    for name, node in listing.nodes.items():
        # pyfatfs ignores the case flags of short names
        entry = entries.pop(name, None) or entries.pop(name.upper(), None)
        if entry is None:
            yield f"{path}/{name}: pyfatfs does not list it"
            continue
        yield from (f"{path}/{name}: {text}" for text in _entry(volume, other, node, entry))
        if isinstance(node, FatDirectory) and entry.is_directory():
            pending.append((f"{path}/{name}", node, entry))
    yield from (f"{path}/{name}: only pyfatfs lists it" for name in entries)


def _named(entries: list[Any]) -> dict[str, Any]:
    """Their entries under the names that a path can hold, as ours are."""
    named: dict[str, Any] = {}
    for entry in entries:
        raw = entry.get_long_name() if entry.lfn_entry is not None else entry.get_short_name()
        named[safe_name(raw, set(named) if raw in named else set())] = entry
    return named


def _entry(volume: FatVolume, other: Any, node: Node, entry: Any) -> Iterator[str]:
    if isinstance(node, Directory) is not entry.is_directory():
        yield "a directory to one of us, a file to the other"
        return
    fact = node.stat()
    if fact.mtime_ns and (theirs := int(entry.get_mtime().timestamp())) != fact.mtime_ns // 10**9:
        yield f"modified at {fact.mtime_ns // 10**9}, pyfatfs says {theirs}"
    if not isinstance(node, File):
        return
    if entry.filesize != fact.size:
        yield f"{fact.size} bytes, pyfatfs says {entry.filesize}"
    elif fact.size:
        yield from _clusters(volume, other, node, entry)


def _clusters(volume: FatVolume, other: Any, node: Any, entry: Any) -> Iterator[str]:
    """Compare where every cluster of a file lies."""
    chain = volume.chain_of(node.record)
    if chain.damage is not None:
        yield f"{chain.damage}; pyfatfs was not asked"
        return
    theirs = islice(other.get_cluster_chain(entry.get_cluster()), chain.clusters)
    ours = (
        cluster
        for start, count in zip(chain.firsts, chain.counts, strict=True)
        for cluster in range(start, start + count)
    )
    for index, (mine, its) in enumerate(zip(ours, theirs, strict=True)):
        if volume.offset(mine) != other.get_data_cluster_address(its):
            yield f"cluster {index} is {mine} at {volume.offset(mine):#x}, pyfatfs says {its}"
            return
