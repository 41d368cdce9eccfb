"""Opening an image: what is peeled off, what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fixture import all_fixtures
from helpers import FIXTURES
from imgmount import registry
from imgmount.chain import volumes
from imgmount.chain.open import open_image
from imgmount.core.device import BlockDevice
from imgmount.core.format import ContainerFormat, Context, Match, Options, Partition, PartitionsFormat
from imgmount.core.slices import Slice
from imgmount.errors import ImageError, MissingPartError, MountError
from imgmount.vfs.tree import View, build_vfs

WUX = FIXTURES / "containers/wux/plain/game.wux"


def test_the_chain_says_what_it_is() -> None:
    with open_image(WUX) as image:
        assert str(image) == "file > wux"
        assert [layer.title for layer in image.layers] == ["file", "Wii U disc image, deduplicated"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("iso9660/joliet/expected", "JOLIET"),
        ("mbr/sectors4096/expected", "NATIVE"),  # and a part without a filesystem
        ("hfsplus/hybrid/expected", "Hybrid"),  # in two filesystems
        ("mbr/usb-stick/expected", ""),  # two volumes of their own
        ("wux/plain/expected", ""),
    ],
)
def test_an_image_has_the_label_of_its_filesystems(name: str, label: str, tmp_path: Path) -> None:
    fixture = next(fixture for fixture in all_fixtures() if str(fixture) == name)
    with fixture.open(tmp_path) as image:
        assert image.label == label


def test_container_raw_stops_at_the_file() -> None:
    with open_image(WUX, Options(container="raw")) as image:
        assert image.disk.size == WUX.stat().st_size


def test_a_snapshot_of_what_has_none_is_refused() -> None:
    with pytest.raises(ImageError, match="--snapshot one: wux images have no snapshots"):
        open_image(WUX, Options(extra={"snapshot": "one"}))


def test_an_unknown_format_name_is_refused() -> None:
    with pytest.raises(MountError, match="no container format is called 'wax'"):
        open_image(WUX, Options(container="wax"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="No such file"):
        open_image(tmp_path / "absent")
    with pytest.raises(MountError, match="is a directory"):
        open_image(tmp_path)
    with pytest.raises(MountError, match="neither a file nor a block device"):
        open_image("/dev/null")


@pytest.mark.parametrize(("variant", "name"), [("parallels/bundle", "disk.hdd"), ("aff/afd", "disk.afd")])
def test_a_folder_that_is_an_image(tmp_path: Path, variant: str, name: str) -> None:
    fixture = next(one for one in all_fixtures() if f"{one.format}/{one.variant}" == variant)
    file = fixture.image_path(tmp_path)
    folder = file.parent if file.parent != tmp_path else tmp_path.rename(tmp_path.with_name(name))
    with open_image(folder) as whole, open_image(folder / file.name) as inner:
        assert str(whole) == str(inner) == f"file > {fixture.format}"
        assert whole.disk.pread(0, whole.disk.size) == inner.disk.pread(0, inner.disk.size)
        assert whole.opened == inner.opened


def test_noise_is_a_raw_disk_with_no_filesystem(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(random.Random(1).randbytes(1 << 20))
    with open_image(path) as image:
        assert str(image) == "file"
        (volume,) = image.volumes
        assert str(volume.problem) == "no known filesystem"


def always(_: BlockDevice) -> Match:
    return Match.CERTAIN


def shell(device: BlockDevice, _: Context) -> BlockDevice:
    return Slice(device, 0, device.size)


def test_an_image_of_itself_must_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    fmt = ContainerFormat(name="shell", title="A shell", open=shell, probe=always)
    monkeypatch.setattr(
        registry, "matches", lambda kind, _, **__: [(Match.CERTAIN, fmt)] if kind is ContainerFormat else []
    )
    with pytest.raises(ImageError, match="more than 8 containers"):
        open_image(WUX)


def test_two_formats_that_are_equally_sure_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (ContainerFormat(name=name, title=name, open=shell, probe=always) for name in ("one", "two"))
    monkeypatch.setattr(registry, "matches", lambda *_, **__: [(Match.CERTAIN, one), (Match.CERTAIN, two)])
    with pytest.raises(ImageError, match="one and two at once: choose with --container"):
        open_image(WUX)


SLICE = FIXTURES / "partitions/bsd/slice/disk.img.xz"


def test_a_table_in_a_partition_adds_volumes() -> None:
    with open_image(SLICE) as image:
        assert str(image) == "file > xz > mbr[2] > bsd[2]"
        assert [volume.name for volume in image.volumes] == ["p1", "p2", "p2p1", "p2p4"]
        outer = image.volumes[1]
        assert outer.table == "bsd"
        assert str(outer.problem) == "a bsd table"
        assert build_vfs(image, View.TREE).listing("").nodes.keys() == {
            "disk.raw",
            "p1.raw",
            "p2.raw",
            "p2p1.raw",
            "p2p4.raw",
        }


def test_no_table_is_looked_for_where_none_is_wanted() -> None:
    with open_image(SLICE, Options(partitions="none")) as image:
        assert [volume.name for volume in image.volumes] == ["disk"]


def nested(names: list[str], problem: ImageError | None = None) -> list[tuple[Match, PartitionsFormat]]:
    def divide(device: BlockDevice, _: Context) -> list[Partition]:
        if problem is not None:
            raise problem
        return [Partition(number, "", "", Slice(device, 0, device.size)) for number in (1, 2)]

    return [
        (Match.CERTAIN, PartitionsFormat(name=name, title=name, open=divide, probe=always)) for name in names
    ]


def test_tables_that_hold_each_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(f"table{number}" for number in range(10_000))
    monkeypatch.setattr(
        registry, "matches", lambda kind, _, **__: nested([next(names)]) if kind is PartitionsFormat else []
    )
    monkeypatch.setattr(volumes, "MAX_NESTED", 100)
    with open_image(WUX) as image:
        assert len(image.volumes) == 2 + 4 + 8 + 16
        assert max(len(volume.name) for volume in image.volumes) == len("p1p1p1p1")


def test_only_so_many_tables_in_partitions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(f"table{number}" for number in range(10_000))
    monkeypatch.setattr(
        registry, "matches", lambda kind, _, **__: nested([next(names)]) if kind is PartitionsFormat else []
    )
    monkeypatch.setattr(volumes, "MAX_NESTED", 5)
    with open_image(WUX) as image:
        assert sum(bool(volume.table) for volume in image.volumes) == 5
        refused = [volume for volume in image.volumes if volume.fault]
        assert {str(volume.problem) for volume in refused} == {"more than 5 tables in partitions"}


def test_only_so_many_volumes_are_shown_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(f"table{number}" for number in range(10_000))
    monkeypatch.setattr(
        registry, "matches", lambda kind, _, **__: nested([next(names)]) if kind is PartitionsFormat else []
    )
    monkeypatch.setattr(volumes, "MAX_VOLUMES", 7)
    with open_image(WUX) as image:
        assert len(image.volumes) <= 7 + 2  # those of the table of the disk itself always
        assert "more than 7 volumes" in {str(volume.problem) for volume in image.volumes}


def test_a_table_in_itself_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "matches", lambda kind, _, **__: nested(["one"]) if kind is PartitionsFormat else []
    )
    with open_image(WUX) as image:
        assert [volume.name for volume in image.volumes] == ["p1", "p2"]


def test_a_table_that_cannot_be_read_leaves_the_raw_view_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = MissingPartError("the other half is missing")
    monkeypatch.setattr(
        registry,
        "matches",
        lambda kind, _, **__: nested(["one"], problem) if kind is PartitionsFormat else [],
    )
    with open_image(WUX) as image:
        (volume,) = image.volumes
        assert volume.problem is problem
