"""Parallels disks, versions 1 and 2.

One expanding file (``.hds``, ``.hdd``), or what a bundle's DiskDescriptor.xml lists.

Spec: QEMU, ``docs/interop/parallels.txt``; for the bundle the libphdi documentation, "Parallels Hard Disk
image file format".
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.vdisk.parallels.disk import MAGICS, ParallelsDevice
from imgmount.containers.vdisk.parallels.folder import BundleDevice, is_descriptor
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match
from imgmount.core.option import SNAPSHOT


def probe(file: BlockDevice) -> Match:
    """The magic of an expanding disk, or a bundle's descriptor."""
    return Match.CERTAIN if file.pread(0, 16) in MAGICS or is_descriptor(file) else Match.NO


def open_disk(file: BlockDevice, context: Context) -> BlockDevice:
    """Either form."""
    return ParallelsDevice(file, None) if file.pread(0, 16) in MAGICS else BundleDevice(file, context)


FORMAT: Final = ContainerFormat(
    name="parallels",
    title="Parallels disk",
    extensions=(".hdd", ".hds"),
    checks="the block table",
    open=open_disk,
    probe=probe,
    guest=True,
    options=(SNAPSHOT,),
)
