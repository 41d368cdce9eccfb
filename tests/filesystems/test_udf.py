"""UDF: images made by others and on the spot, damage, hostile structures. The fixtures are checked by test_fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import check_tree, manifest
from fixture import unpack
from helpers import context, image
from imgmount.filesystems.udf.volume import UdfFilesystem, open_udf
from imgmount.sources.file import FileDevice

UTIL_LINUX = {  # what udfinfo says of each: label, revision, block size
    "udf-cd-mkudfiso-20100208": ("Volume Label", "1.02", "2048"),
    "udf-hdd-mkudffs-1.0.0-1": ("LinuxUDF", "2.01", "512"),
    "udf-hdd-mkudffs-1.3-1": ("Label", "2.01", "512"),
    "udf-hdd-mkudffs-1.3-7": ("Label4096", "2.01", "4096"),  # over an older volume of 512-byte blocks
    "udf-hdd-mkudffs-2.2": ("😀", "2.01", "512"),
    "udf-hdd-udfclient-0.7.7": ("discname", "2.01", "512"),
    "udf-multi-0-320-640-mkudffs": ("third session", "2.01", "2048"),
    "udf-multi-0-417-834-genisoimage": ("third session", "1.02", "2048"),
    "udf": ("test-udf", "1.02", "2048"),
}
LIBCDIO = {
    "test-udf1": {
        "COPYING": (35147, "8ceb4b9ee5adedde47b31e975c1d90c73ad27b6b165a1dcd80c7c545eb65b903"),
        "README": (3843, "6be0f98c340898ee02618dce3d0fd212d4933aee49d35a4edaae28ebce0bf6f7"),
    },
    "udf102": {"FéжΘvrier": (10, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882")},
}


def opened(path: Path, **options: object) -> UdfFilesystem:
    return open_udf(FileDevice(path), context(None, **options))


@pytest.mark.parametrize("name", UTIL_LINUX)
def test_volumes_of_many_makers(name: str, tmp_path: Path) -> None:
    unpack(image(f"udf/util-linux__util-linux__{name}.img.xz"), tmp_path / "image")
    volume = opened(tmp_path / "image")
    facts = volume.info()
    assert (volume.label, facts["revision"], facts["block size"]) == UTIL_LINUX[name]
    assert set(manifest(volume.root)) <= {"lost+found"}


@pytest.mark.parametrize("name", LIBCDIO)
def test_trees_of_libcdio(name: str) -> None:
    check_tree(opened(image(f"udf/libcdio__libcdio__{name}.iso")).root, dict(LIBCDIO[name]))


@pytest.mark.parametrize("maker", ["320-640-mkudffs", "417-834-genisoimage"])
@pytest.mark.parametrize(("session", "label"), [(1, "first session"), (2, "second session"), (3, "third session")])
def test_each_session_is_there(maker: str, session: int, label: str, tmp_path: Path) -> None:
    unpack(image(f"udf/util-linux__util-linux__udf-multi-0-{maker}.img.xz"), tmp_path / "image")
    assert opened(tmp_path / "image", session=session).label == label
