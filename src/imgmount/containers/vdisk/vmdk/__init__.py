"""VMware disks (VMDK): sparse (KDMV, COWD, SESparse), flat, compressed for streaming, deltas over a parent.

A descriptor, a text of its own or inside the first file, names the extents in order and the parent. Files are
looked for beside the image; physical disks are refused. Specs: VMware, "Virtual Disk Format 5.0"; for COWD
and SESparse, which it leaves out, the libvmdk documentation, "VMWare Virtual Disk Format (VMDK)", and
``block/vmdk.c`` of QEMU as the reference for behaviour.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.vdisk.vmdk.descriptor import HEAD, is_descriptor
from imgmount.containers.vdisk.vmdk.disk import MAGICS, VmdkDevice
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Match


def probe(file: BlockDevice) -> Match:
    """The magic of an extent is proof; a text must say that it is a descriptor."""
    head = file.pread(0, HEAD)
    return Match.CERTAIN if head.startswith(MAGICS) or is_descriptor(head) else Match.NO


FORMAT: Final = ContainerFormat(
    name="vmdk",
    title="VMware disk (VMDK)",
    extensions=(".vmdk",),
    checks="descriptor and tables",
    open=VmdkDevice,
    probe=probe,
    limits="no physical disks; SESparse images whose journal must be replayed are refused",
    guest=True,
)
