"""What opening an image imports, in a process of its own: a mount waits for it, and for nothing as long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixture import Fixture
from helpers import FIXTURES

SRC = Path(__file__).parent.parent / "src"
COMMON = (
    "filesystems/iso9660/rockridge",
    "filesystems/ntfs/plain",
    "filesystems/ext/ext4",
    "filesystems/wim/lzx",
    "containers/qcow2/compressed",
    "containers/ewf/encase6",
    "containers/vhdx/dynamic",
    "containers/udif/zlib",
)
# each takes longer than a format's own modules
HEAVY = ("construct", "dataclasses", "inspect", "logging.handlers", "shutil", "subprocess", "tempfile")
# of formats whose bytes are not there
OTHERS = (
    "imgmount.containers.apple.dart",
    "imgmount.containers.apple.macbinary",
    "imgmount.containers.optical.cue",
    "imgmount.containers.vdisk.vmdk",
    "imgmount.codecs.lznt1",
)
CODE = """
import sys
from imgmount.chain.open import open_image
from imgmount.vfs.tree import View, build_vfs

with open_image(sys.argv[1]) as image:
    build_vfs(image, View.TREE)
    print(*sorted(set(sys.argv[2:]) & set(sys.modules)), image, sep="\\n")
"""


@pytest.mark.parametrize("place", COMMON)
def test_opening_a_common_image_imports_nothing_heavy(place: str, tmp_path: Path) -> None:
    kind, name, variant = place.split("/")
    fixture = Fixture(kind, name, variant, FIXTURES / place / "expected.json")
    command = [sys.executable, "-c", CODE, str(fixture.image_path(tmp_path)), *HEAVY, *OTHERS]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [fixture.facts["chain"]]
