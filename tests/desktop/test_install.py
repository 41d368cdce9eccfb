"""A user's own installation: complete, with the program's whole path, and gone without a trace."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import FIXTURES, tool
from imgmount.cli.main import main
from imgmount.desktop import install
from imgmount.desktop.install import FILES, quoted

SHARE = FIXTURES.parent / "packaging" / "desktop"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "my programs" / "imgmount"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setattr(install, "command", lambda: [str(program)])
    return program


@pytest.fixture
def home(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_every_file_is_named() -> None:
    assert {name for name in tree(SHARE) if (SHARE / name).is_file()} == {
        name for name, place in FILES.items() if place.startswith("packaging/desktop/")
    }


def test_man_and_shells_find_what_is_installed(home: Path, program: Path) -> None:
    assert main(["--install-desktop"]) == 0
    for page in ("imgmount", "imgmount-formats", "mount.imgmount"):
        subprocess.run([tool("man"), "-M", str(home / "man"), "-w", page], check=True, capture_output=True)
    # fish completes only commands that there are
    env = {"HOME": str(home), "XDG_DATA_HOME": str(home), "PATH": f"{program.parent}:{os.defpath}"}
    ask = [tool("fish"), "-c", "complete -C 'imgmount ver'"]
    assert "verify" in subprocess.run(ask, env=env, capture_output=True, text=True, check=True).stdout


def test_what_is_installed_works_and_goes_without_a_trace(
    home: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool("update-mime-database")
    assert main(["--install-desktop"]) == 0
    assert f"{home}: {len(FILES)} files installed, for the command {program}" in capsys.readouterr().out
    assert set(FILES) <= tree(home)
    entry = home / "applications/imgmount-mount.desktop"
    assert f'Exec="{program}" --open --notify %f\nNo' in entry.read_text()
    assert f"\nTryExec={program}\n" in entry.read_text()
    subprocess.run([tool("desktop-file-validate"), str(entry)], check=True)
    assert os.access(home / "kio/servicemenus/imgmount.desktop", os.X_OK)
    assert "application/x-wux=imgmount-mount.desktop" in (home / "applications/mimeinfo.cache").read_text()

    asked = subprocess.run(
        [tool("gio"), "mime", "application/x-wux"], capture_output=True, text=True, check=True
    )
    assert "imgmount-mount.desktop" in asked.stdout

    assert main(["--install-desktop"]) == 0  # once more changes nothing
    compileall.compile_dir(home / "nautilus-python", quiet=1)  # as GNOME Files does
    assert main(["--uninstall-desktop"]) == 0
    assert f"{home}: {len(FILES)} files removed" in capsys.readouterr().out
    assert tree(home) == set()


def test_what_others_have_there_stays(home: Path) -> None:
    others = [
        "applications/other.desktop",
        "mime/packages/other.xml",
        "icons/hicolor/scalable/apps/other.svg",
    ]
    for name in others:
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text('<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info"/>')
    assert main(["--install-desktop"]) == 0
    assert main(["--uninstall-desktop"]) == 0
    left = {name for name in tree(home) if (home / name).is_file()}
    assert set(others) <= left
    assert not [name for name in left if "imgmount" in name]


def test_a_link_of_pipx_stays(home: Path) -> None:
    page = home / "man/man1/imgmount.1"
    page.parent.mkdir(parents=True)
    page.symlink_to(SHARE.parents[1] / "docs/man/imgmount.1")
    assert main(["--install-desktop"]) == 0
    assert main(["--uninstall-desktop"]) == 0
    assert page.is_symlink()


def test_files_of_an_older_version_are_removed(home: Path) -> None:
    assert main(["--install-desktop"]) == 0
    old = home / "applications/imgmount-old.desktop"
    old.touch()
    with (home / install.RECORD).open("a") as record:
        record.write("applications/imgmount-old.desktop\n../../outside\n")
    (home.parent.parent / "outside").touch()
    assert main(["--install-desktop"]) == 0
    assert not old.exists()
    assert (home.parent.parent / "outside").exists()
    (home.parent.parent / "outside").unlink()


def test_without_an_installation_there_is_nothing_to_remove(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--uninstall-desktop"]) == 1
    assert capsys.readouterr().err == f"imgmount: {home}: nothing there was installed by --install-desktop\n"


def test_a_package_of_the_system_needs_no_copy(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_DIRS", f"/usr/share:{SHARE}")
    assert main(["--install-desktop"]) == 0
    assert capsys.readouterr().out.startswith(f"{SHARE}: your desktop looks there already\n")
    assert tree(home) == set()


def test_a_mount_option_installs_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", "install-desktop", "x.img", "y"]) == 1
    assert "unknown mount option 'install-desktop'" in capsys.readouterr().err
    assert not home.exists()


def test_the_program_is_named_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bin", "venv"):
        (tmp_path / name).mkdir()
    (tmp_path / "venv/imgmount").touch(mode=0o755)
    (tmp_path / "bin/imgmount").symlink_to(tmp_path / "venv/imgmount")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for called, expected in (
        ("imgmount", [str(tmp_path / "bin/imgmount")]),
        (str(tmp_path / "venv/imgmount"), [str(tmp_path / "venv/imgmount")]),
        ("/somewhere/imgmount/__main__.py", [sys.executable, "-m", "imgmount"]),
    ):
        monkeypatch.setattr("sys.argv", [called])
        assert install.command() == expected


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/usr/bin/imgmount", "/usr/bin/imgmount"),
        ("/a b/imgmount", '"/a b/imgmount"'),
        ("/100%/imgmount", "/100%%/imgmount"),
        ('/a"$\\', r'"/a\\"\\$\\\\"'),
    ],
)
def test_a_word_of_a_command_line_is_quoted(word: str, written: str) -> None:
    assert quoted(word) == written
