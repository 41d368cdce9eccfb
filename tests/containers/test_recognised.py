"""What is only recognised is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmount.chain.open import open_image
from imgmount.cli.main import main
from imgmount.containers.recognised import KNOWN, READERS
from imgmount.core.format import ContainerFormat, Magic
from imgmount.core.slices import MemoryDevice
from imgmount.errors import UnsupportedError
from imgmount.registry import best_match


@pytest.mark.parametrize(("magic", "name"), KNOWN, ids=[name.partition(":")[0] for _, name in KNOWN])
def test_it_is_refused_by_name(magic: Magic, name: str, tmp_path: Path) -> None:
    data = bytearray(4096)
    data[:8] = b"\0\0\0\0\0\x03\0\0"  # revolutions, where it is an SCP
    place = magic.offset % len(data)
    data[place : place + len(magic.data)] = magic.data
    path = tmp_path / "x.img"
    path.write_bytes(data)
    with pytest.raises(UnsupportedError, match=f"(?m)^{name} are not supported$"):
        open_image(path)
    assert all(any(one.startswith(start) for _, one in KNOWN) for start in READERS)


def test_what_reads_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.b5t"
    path.write_bytes(b"BWT5 STREAM SIGN".ljust(4096, b"\0"))
    assert main(["ls", str(path)]) == 2
    said = f"imgmount: {path}: b5t: BlindWrite 5 and 6 images are not supported; CDEmu loads them"
    told = ("", f"{said}; --container raw --raw shows the file as it is\n")
    assert capsys.readouterr() == told
    assert main(["ls", "--raw", str(path)]) == 2  # its bytes are not those of the disk
    assert capsys.readouterr() == told
    assert main(["ls", "--raw", "--container", "raw", str(path)]) == 0
    assert capsys.readouterr().out == "disk.raw\n"
    assert main(["ls", "--raw", "--container", "qcow2", str(path)]) == 2


def test_three_letters_are_not_enough() -> None:
    assert (
        best_match(ContainerFormat, MemoryDevice(b"SCPRIPT without revolutions".replace(b"I", b"\0"))) is None
    )
    assert best_match(ContainerFormat, MemoryDevice(b"SCP")) is None
