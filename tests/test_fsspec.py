"""fsspec, and what reads through it, find the files of a QCOW2's ext4 that mke2fs and qemu-img made."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from errno import EROFS
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests import abstract

from helpers import FIXTURES, register_with_fsspec
from linux_disk import qcow2_of

ROWS = 5000
CSV = "n,square\n" + "".join(f"{number},{number * number}\n" for number in range(ROWS))
SUM = sum(number * number for number in range(ROWS))
SCENARIOS = (
    "bulk_operations_scenario_0",
    "glob_edge_cases_files",
    "dir_and_file_with_same_name_prefix",
    "10_files_with_hashed_names",
)


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    register_with_fsspec()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "sub").mkdir()
    (folder / "data.csv").write_text(CSV)
    (folder / "sub/more.csv").write_text(CSV)
    (folder / "link.csv").symlink_to("data.csv")
    (folder / "loop").symlink_to(".")
    (folder / "loop2").symlink_to(".")
    (folder / "dead").symlink_to("nowhere")
    os.utime(folder / "data.csv", (1_000_000_000, 1_000_000_000))
    return qcow2_of(folder, folder.parent / "disk.qcow2")


@pytest.fixture
def files(disk: Path) -> Any:
    return fsspec.filesystem("imgmount", fo=disk)


def test_pandas_reads_a_csv(disk: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for table in (
        pandas.read_csv(f"imgmount://data.csv::file://{disk}"),
        pandas.read_csv("imgmount://sub/more.csv", storage_options={"fo": str(disk)}),
        pandas.read_csv(f"imgmount:///data.csv::{disk}", engine="pyarrow"),
    ):
        assert table["square"].sum() == SUM


def test_pyarrow_reads_a_dataset(files: Any) -> None:
    fs = pytest.importorskip("pyarrow.fs", reason="pyarrow is not installed")
    dataset = pytest.importorskip("pyarrow.dataset", reason="pyarrow is not installed")
    inside = fs.PyFileSystem(fs.FSSpecHandler(files))
    found = {info.path: info.size for info in inside.get_file_info(fs.FileSelector("sub"))}
    assert found == {"sub/more.csv": len(CSV)}
    table = dataset.dataset("sub", filesystem=inside, format="csv").to_table()
    assert sum(table["square"].to_pylist()) == SUM


def test_duckdb_asks_for_files(files: Any) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        connection.register_filesystem(files)
        for paths, times in (("data.csv", 1), ("*.csv", 2)):
            query = f"select sum(square) from read_csv('imgmount://{paths}')"
            assert connection.sql(query).fetchall() == [(SUM * times,)]


def test_listings_walk_in_no_circle(files: Any) -> None:
    assert files.find("") == ["data.csv", "dead", "link.csv", "loop", "loop2", "sub/more.csv"]
    assert files.glob("**/*.csv") == ["data.csv", "link.csv", "sub/more.csv"]
    types = {entry["name"]: entry["type"] for entry in files.ls("", detail=True)}
    assert types == {
        "lost+found": "directory",
        "sub": "directory",
        "data.csv": "file",
        "link.csv": "file",
        "loop": "link",
        "loop2": "link",
        "dead": "link",
    }
    assert "loop/loop2/data.csv" in files.ls("loop/loop2", detail=False)
    assert files.ls("data.csv", detail=False) == ["data.csv"]
    with pytest.raises(FileNotFoundError):
        files.ls("nothing")


def test_facts(files: Any) -> None:
    facts = files.info("link.csv")
    assert (facts["size"], facts["type"], facts["islink"]) == (len(CSV), "file", True)
    assert facts["destination"] == "data.csv"
    assert files.info("imgmount:///data.csv")["name"] == "data.csv"
    assert files.info("")["type"] == files.info("/")["type"] == "directory"
    assert files.isdir("loop")
    assert not files.exists("dead")
    assert files.modified("data.csv").timestamp() == 1_000_000_000
    assert files.cat_file("data.csv", 2, 8) == b"square"


def test_nothing_is_written(files: Any, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    changes: list[Callable[[], object]] = [
        lambda: files.open("data.csv", "wb"),
        lambda: files.touch("new"),
        lambda: files.mkdir("new"),
        lambda: files.makedirs("new/folder"),
        lambda: files.rm("data.csv"),
        lambda: files.rmdir("sub"),
        lambda: files.cp("data.csv", "new"),
        lambda: files.put(str(tmp_path / "new"), "new"),
        lambda: files.pipe("new", b"data"),
    ]
    for change in changes:
        with pytest.raises(OSError, match="read only") as caught:
            change()
        assert caught.value.errno == EROFS


def test_threads_share_one_file_system(files: Any) -> None:
    with ThreadPoolExecutor(8) as threads:
        paths = ["data.csv", "sub/more.csv", "loop/link.csv"] * 10
        assert set(threads.map(files.cat_file, paths)) == {CSV.encode()}


def test_options_and_views(disk: Path) -> None:
    raw = fsspec.filesystem("imgmount", fo=disk, view="raw")
    assert raw.ls("", detail=False) == ["disk.raw"]
    stored = fsspec.filesystem("imgmount", fo=disk, view="raw", container="raw")
    assert stored.cat_file("disk.raw") == disk.read_bytes()
    snapshots = FIXTURES / "containers/qcow2/snapshots/disk.qcow2.xz"
    old = fsspec.filesystem("imgmount", fo=snapshots, view="raw", extra={"snapshot": "before"})
    new = fsspec.filesystem("imgmount", fo=snapshots, view="raw")
    assert old.cat_file("disk.raw") != new.cat_file("disk.raw")


def test_an_image_in_an_image_is_opened_by_way_of_a_cache(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner.qcow2").write_bytes(disk.read_bytes())
    outer = qcow2_of(tmp_path / "folder", tmp_path / "outer.qcow2")
    chain = f"inner.qcow2::file://{outer}"
    with fsspec.open(f"imgmount://data.csv::simplecache::imgmount://{chain}", "r") as file:
        assert file.read() == CSV
    with pytest.raises(ValueError, match="simplecache::"):
        fsspec.open(f"imgmount://data.csv::imgmount://{chain}")


def test_the_image_stays_open_as_long_as_a_file_of_it(disk: Path) -> None:
    def held() -> list[str]:
        gc.collect()
        return [link for fd in os.scandir("/proc/self/fd") if (link := _target(fd)) == str(disk)]

    before = held()
    file = fsspec.open(f"imgmount://data.csv::file://{disk}").open()
    assert len(held()) == len(before) + 1
    assert file.read() == CSV.encode()
    file.close()
    del file
    assert held() == before


def _target(fd: os.DirEntry[str]) -> str:
    try:
        return str(Path(fd).readlink())
    except FileNotFoundError:  # the descriptor that lists the folder
        return ""


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An image that holds what fsspec's tests ask for."""
    folder = tmp_path_factory.mktemp("scenarios")
    local = fsspec.filesystem("file", auto_mkdir=True)
    for name in SCENARIOS:
        getattr(abstract.AbstractFixtures(), f"_{name}")(local, os.path.join, str(folder / name))
    return fsspec.filesystem("imgmount", fo=qcow2_of(folder, folder.parent / "scenarios.qcow2"))


class TestGet(abstract.AbstractFixtures, abstract.AbstractGetTests):  # type: ignore[misc]
    """fsspec's own tests of copying out."""

    test_get_directory_recursive = None  # it writes to both sides

    @pytest.fixture
    def fs(self, scenarios: Any) -> Any:
        return scenarios

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self) -> str:
        return f"{SCENARIOS[0]}/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self) -> str:
        return f"{SCENARIOS[1]}/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self) -> str:
        return f"{SCENARIOS[2]}/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self) -> str:
        return f"{SCENARIOS[3]}/source"
