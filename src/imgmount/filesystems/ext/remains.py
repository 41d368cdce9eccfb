"""What is left of a deleted file once its inode is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgmount.core.device import BlockDevice
from imgmount.core.node import File, Node, Special, Stat, Symlink
from imgmount.errors import FormatError
from imgmount.filesystems.ext import superblock as sb
from imgmount.filesystems.ext.inode import Inode, is_fast_link

if TYPE_CHECKING:
    from imgmount.filesystems.ext.volume import ExtVolume

MAX_RUNS: Final = 1 << 20  # of a file


class _Remains(Node):
    """What an inode says of a deleted file."""

    __slots__ = ("_device", "_inode", "_volume", "guess")
    guess: str

    def __init__(self, volume: ExtVolume, inode: Inode, device: BlockDevice, guess: str) -> None:
        self.id = inode.number
        self._volume = volume
        self._inode = inode
        self._device = device
        self.guess = guess

    def stat(self) -> Stat:
        return self._inode.stat._replace(nlink=1)


class RemainsOfSpecial(_Remains, Special):
    """A deleted device node, FIFO or socket."""

    __slots__ = ()


class RemainsOfLink(_Remains, Symlink):
    """A deleted symbolic link."""

    __slots__ = ()

    def readlink(self) -> str:
        inode, volume = self._inode, self._volume
        if not inode.size:
            raise FormatError(sb.NAME, _emptied(inode))
        if is_fast_link(inode, volume.super.cluster_size):
            return inode.block[: inode.size].decode("utf-8", "surrogateescape")
        target = volume.content(inode, self._device).pread(0, min(inode.size, volume.block_size))
        return target.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


class Remains(_Remains, File):
    """A deleted file: what is in a block that is in use cannot be read."""

    __slots__ = ()

    def open(self) -> BlockDevice:
        inode, volume = self._inode, self._volume
        if self._device is volume.device:
            return volume.content(inode)
        if not inode.size:
            raise FormatError(sb.NAME, _emptied(inode))
        content = volume.content(inode, self._device)
        if not volume.is_inline(inode):
            check_map(volume, inode, self._device)
        return content


def _emptied(inode: Inode) -> str:
    return f"inode {inode.number} was emptied when the file was deleted: where its content was is lost"


class _Listener(BlockDevice):
    """Remembers where it was read."""

    def __init__(self, device: BlockDevice) -> None:
        self.size = device.size
        self.places: set[int] = set()
        self._device = device

    def _pread(self, offset: int, size: int) -> bytes:
        self.places.add(offset)
        return self._device.pread(offset, size)


def check_map(volume: ExtVolume, inode: Inode, device: BlockDevice) -> None:
    """Raise ``FormatError`` where the map of a deleted file has lost blocks: they would be taken for holes.

    The inode counts its blocks, those of the map and of extended attributes too; where it counts clusters of
    several, only files without holes are taken for whole.
    """
    listener, size = _Listener(device), volume.block_size
    find = volume.map_of(inode, listener).find
    block = held = 0
    for _ in range(MAX_RUNS):
        if block * size >= inode.size:
            break
        count, start = find(block)
        held += count if start else 0
        block += count
    else:
        raise FormatError(sb.NAME, f"inode {inode.number}: more than {MAX_RUNS} runs of blocks")
    wanted = inode.allocated // size
    found = held + len(listener.places) + bool(inode.xattr_block)
    if volume.super.cluster_size != size:
        wanted = -(-inode.size // size)
        found = min(held, wanted)
    if found != wanted:
        reason = f"inode {inode.number}: {found} of the {wanted} blocks of the deleted file are known"
        raise FormatError(sb.NAME, reason)
