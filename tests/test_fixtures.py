"""Every fixture of every format: recognised as what it is, and byte for byte what independent tools found in it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from conformance import check_device, check_tree
from fixture import Fixture, all_fixtures, fixture_trees
from imgmount.core.device import BlockDevice
from imgmount.errors import UnsupportedError


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_fixture(fixture: Fixture, tmp_path: Path) -> None:
    facts = fixture.facts
    if "refused" in facts:
        with pytest.raises(UnsupportedError, match=f"(?m)^{re.escape(facts['refused'])}$"):
            fixture.open(tmp_path)
        return
    with fixture.open(tmp_path) as image:
        volumes = {volume.name: volume for volume in image.volumes}
        assert str(image) == facts["chain"]
        if "raw" in facts:
            check_bytes(image.disk, facts["raw"])
        for name, fact in facts.get("parts", {}).items():
            check_bytes(volumes[name].device, fact)
        shown = dict(file for volume in image.volumes for file in volume.partition.files)
        for name, fact in facts.get("files", {}).items():
            check_bytes(shown[name], fact)
        for name, tree in fixture_trees(facts).items():
            check_tree(volumes[name].filesystem.root, tree)


def check_bytes(device: BlockDevice, fact: tuple[int, str]) -> None:
    content = device.pread(0, device.size)
    assert [len(content), hashlib.sha256(content).hexdigest()] == list(fact)
    check_device(device, content)
