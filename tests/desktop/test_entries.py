"""Entries and actions are valid, know all types of files, and do what they say with a command that exists."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from helpers import FIXTURES, tool
from imgmount.cli.commands import parser_for
from imgmount.desktop.filetypes import FILE_TYPES

SHARE = FIXTURES.parent / "packaging" / "desktop"
ENTRIES = sorted(path for path in SHARE.rglob("*") if path.suffix in {".desktop", ".nemo_action"})
OPENED = "applications/imgmount-mount.desktop"


def name_of(path: Path) -> str:
    return str(path.relative_to(SHARE))


def values(path: Path, *keys: str) -> list[str]:
    lines = [line.partition("=") for line in path.read_text().splitlines()]
    return [value for key, _, value in lines if key in keys]


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_the_types_are_current(entry: Path) -> None:
    kinds = [kind for kind in FILE_TYPES if name_of(entry) != OPENED or not kind.shared]
    expected = "".join(f"{name};" for kind in kinds for name in kind.names)
    assert set(values(entry, "MimeType", "MimeTypes", "Mimetypes")) <= {expected}, "run: make docs"


def test_a_double_click_leaves_texts_and_archives_to_their_programs() -> None:
    opened = set("".join(values(SHARE / OPENED, "MimeType")).split(";"))
    assert {"application/x-cd-image", "application/vnd.efi.iso", "application/x-wux"} <= opened
    assert not {"application/x-cue", "application/zip", "application/gzip", "inode/directory"} & opened


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_the_command_is_one_of_ours(entry: Path) -> None:
    for command in values(entry, "Exec"):
        program, *words = shlex.split(command)
        assert program == "imgmount"
        name = "unmount" if "--unmount" in words else "mount"
        parser_for(name).parse_args([word for word in words if word != "--unmount"])
    assert values(entry, "Icon", "Icon-Name")
    assert set(values(entry, "Icon", "Icon-Name")) == {"imgmount"}
    assert (SHARE / "icons/hicolor/scalable/apps/imgmount.svg").exists()


@pytest.mark.parametrize("folder", ["applications", "Thunar/sendto"])
def test_entries_are_valid(folder: str) -> None:
    entries = sorted((SHARE / folder).iterdir())
    done = subprocess.run(
        [tool("desktop-file-validate"), *entries], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_service_menu_may_run() -> None:
    """KDE believes one in a home only if it is executable."""
    assert (SHARE / "kio/servicemenus/imgmount.desktop").stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("action", sorted((SHARE / "file-manager/actions").iterdir()), ids=name_of)
def test_an_action_has_no_key_at_which_pcmanfm_crashes(action: Path) -> None:
    """libfm 1.3.2 with libfm-modules: a segmentation fault when it starts."""
    assert values(action, "Schemes") == []
    assert values(action, "Type", "Profiles") == ["Action", "image;"]
