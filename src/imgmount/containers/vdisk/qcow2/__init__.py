"""QEMU copy-on-write disks (QCOW2, versions 2 and 3).

Compressed, with backing files, internal snapshots, external data.

Not here: encryption (AES, LUKS) is refused by name; bitmaps and the VM's state are not shown; the reference
counts are not needed to read. Spec: QEMU, ``docs/interop/qcow2.txt``.
"""

from __future__ import annotations

from typing import Final

from imgmount.containers.vdisk.qcow2.device import Qcow2Device
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Later, Match
from imgmount.core.option import SNAPSHOT


def probe(file: BlockDevice) -> Match:
    """Version 1 has the same magic and is another format."""
    return Match.NO if file.pread(4, 4) == b"\0\0\0\1" else Match.CERTAIN


FORMAT: Final = ContainerFormat(
    name="qcow2",
    title="QEMU disk (QCOW2)",
    extensions=(".qcow2", ".qcow"),
    checks="reference counts, against the tables",
    open=Qcow2Device,
    probe=probe,
    limits="no encrypted images",
    check=Later("imgmount.containers.vdisk.qcow2.refcounts:check_refcounts"),
    guest=True,
    options=(SNAPSHOT,),
)
