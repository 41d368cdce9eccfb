"""The wheel brings all that a system looks for, where it looks, and the sdist builds the same wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path
from sysconfig import get_path

import pytest

from helpers import FIXTURES, SRC, tool
from imgmount import __version__
from imgmount.desktop.install import FILES

TOP = FIXTURES.parent
MAX_SDIST = 2 << 20


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    """What a command prints that must succeed without complaint."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def build(kind: str, target: Path, tree: Path = TOP) -> Path:
    """The wheel or sdist of a tree, made without a network."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=tree, capture_output=True, check=True)
    (made,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel in it, and nothing else."""
    prefix = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", prefix)
    pip = (sys.executable, "-m", "pip", "--python", prefix, "--disable-pip-version-check", "install")
    run(*pip, "--quiet", "--no-index", "--no-deps", wheel)
    return prefix


def test_no_file_of_the_tree_is_forgotten(prefix: Path) -> None:
    """Neither by the wheel nor by --install-desktop, which copies what it brings."""
    share = prefix / "share"
    arrived = sorted(
        path.read_bytes() for path in share.rglob("*") if path.is_file() and path.suffix != ".pyc"
    )
    folders = (
        TOP / "docs" / "man",
        TOP / "packaging" / "completion",
        TOP / "packaging" / "desktop",
        TOP / "systemd",
    )
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert arrived == sorted(path.read_bytes() for path in files)
    assert [
        name for name, place in FILES.items() if (share / name).read_bytes() != (TOP / place).read_bytes()
    ] == []
    assert {path for path in files if path.suffix not in (".mount", ".automount")} == {
        TOP / place for place in FILES.values()
    }


@pytest.mark.parametrize("page", ["imgmount.1", "imgmount-formats.7", "mount.imgmount.8"])
def test_man_finds_the_page(page: str, prefix: Path) -> None:
    name, _, section = page.rpartition(".")
    found = run(tool("man"), "-M", prefix / "share" / "man", "-w", section, name)
    assert found.strip() == str(prefix / "share" / "man" / f"man{section}" / page)


def test_bash_finds_its_completion(prefix: Path) -> None:
    """In the place, and under the name, that bash-completion looks for: that of the command."""
    script = prefix / "share" / "bash-completion" / "completions" / "imgmount"
    assert run(tool("bash"), "--norc", "-c", f"source {script}; complete -p imgmount").endswith("imgmount\n")


def test_zsh_finds_its_completion(prefix: Path) -> None:
    functions = prefix / "share" / "zsh" / "site-functions"
    script = f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[imgmount]"
    assert run(tool("zsh"), "-f", "-c", script) == "_imgmount\n"


def test_fish_finds_its_completion(prefix: Path, tmp_path: Path) -> None:
    env = {
        "HOME": str(tmp_path),
        "XDG_DATA_DIRS": str(prefix / "share"),
        "PATH": f"{prefix}/bin:/usr/bin:/bin",
    }
    assert run(tool("fish"), "-c", "complete -C 'imgmount ver'", env=env).startswith("verify\t")


def test_systemd_finds_the_unit(prefix: Path, tmp_path: Path) -> None:
    """A folder of XDG_DATA_DIRS, among which ~/.local/share counts always."""
    share = prefix / "share"
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "XDG_DATA_DIRS": str(share)}
    env["MANPATH"] = f"{share / 'man'}:"  # the unit names a page as its documentation
    assert run(tool("systemd-analyze"), "--user", "verify", "imgmount@disc.iso.service", env=env) == ""


def test_the_commands_run(prefix: Path) -> None:
    """With the packages it depends on taken from here; imgmount itself from nowhere else."""
    env = {"PYTHONPATH": get_path("purelib")}
    assert run(prefix / "bin" / "imgmount", "--version", env=env) == f"imgmount {__version__}\n"
    image = FIXTURES / "containers" / "wux" / "plain" / "game.wux"
    assert "file > wux" in run(prefix / "bin" / "imgmount", "info", image, env=env)
    for helper in ("mount.imgmount", "mount.fuse.imgmount"):
        assert run(prefix / "bin" / helper, "-f", image, "/mnt", env=env) == ""


def test_the_metadata(prefix: Path) -> None:
    (folder,) = prefix.glob("lib/python*/site-packages/imgmount-*.dist-info")
    metadata = PathDistribution(folder).metadata
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert (folder / "licenses" / "LICENSE").exists()
    urls = {url.partition(",")[0] for url in metadata.get_all("Project-URL") or ()}
    assert urls == {"Homepage", "Changelog", "Documentation", "Issues", "Source"}


def test_the_version_is_in_one_place() -> None:
    files = [*Path(SRC).rglob("*.py"), TOP / "pyproject.toml", *(TOP / "packaging").rglob("*")]
    written = f'"{__version__}"'.encode()
    named = [path for path in files if path.is_file() and written in path.read_bytes()]
    assert named == [Path(SRC) / "imgmount" / "__init__.py"]


def test_the_sdist_is_small_and_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path)
    assert sdist.stat().st_size < MAX_SDIST
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path, tmp_path / sdist.name.removesuffix(".tar.gz"))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {info.filename: info.CRC for info in one.infolist()} == {
            info.filename: info.CRC for info in other.infolist()
        }
