"""What packages put below /usr/share, in a user's own data folder, for who has no package of the system.

What was made is written down, files and, with a slash behind them, folders: nothing else is removed later.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from imgmount.core.program import failure_of
from imgmount.errors import MountError

TREE: Final = Path(__file__).parents[3]
_OF_DESKTOPS: Final = (
    "Thunar/sendto/imgmount-mount.desktop",
    "Thunar/sendto/imgmount-unmount.desktop",
    "applications/imgmount-mount.desktop",
    "applications/imgmount-unmount.desktop",
    "file-manager/actions/imgmount-mount.desktop",
    "file-manager/actions/imgmount-unmount.desktop",
    "icons/hicolor/scalable/apps/imgmount.svg",
    "kio/servicemenus/imgmount.desktop",
    "mime/packages/imgmount.xml",
    "nautilus-python/extensions/imgmount_menu.py",
    "nemo/actions/imgmount-mount.nemo_action",
    "nemo/actions/imgmount-unmount.nemo_action",
)
# Below a data folder, and where each lies in a source tree: pyproject.toml says the same to the wheel.
FILES: Final = {
    **{name: f"packaging/desktop/{name}" for name in _OF_DESKTOPS},
    "bash-completion/completions/imgmount": "packaging/completion/imgmount.bash",
    "fish/vendor_completions.d/imgmount.fish": "packaging/completion/imgmount.fish",
    "man/man1/imgmount.1": "docs/man/imgmount.1",
    "man/man7/imgmount-formats.7": "docs/man/imgmount-formats.7",
    "man/man8/mount.imgmount.8": "docs/man/mount.imgmount.8",
    "systemd/user/imgmount@.service": "systemd/imgmount@.service",
    "zsh/site-functions/_imgmount": "packaging/completion/_imgmount",
}
_FIRST: Final = _OF_DESKTOPS[0]
RECORD: Final = "imgmount/desktop-files"
# Programs that tell a desktop what is new, and the folder that each is given.
REFRESHERS: Final = {"update-mime-database": "mime", "update-desktop-database": "applications"}
_COMMAND: Final = re.compile(r"^(Exec|TryExec|Dependencies)=imgmount\b", re.MULTILINE)
_RESERVED: Final = re.compile(r"[\s\"'\\<>~|&;$*?#()`]")


def install() -> Iterator[str]:
    """Install, or bring up to date; yields what was done. Raises ``MountError``, ``OSError``."""
    home, sources = data_home(), _sources()
    if seen := [folder for folder in (home, *system_folders()) if folder / _FIRST == sources[_FIRST]]:
        yield f"{seen[0]}: your desktop looks there already"
    else:
        made = _recorded(home)
        for name, source in sources.items():
            made |= dict.fromkeys(_install(source, home, name))
        for name in [name for name in made if not name.endswith("/") and name not in FILES]:
            (home / name).unlink(missing_ok=True)  # of an older version
            del made[name]
        made |= dict.fromkeys(_folders(home, RECORD))
        (home / RECORD).write_text("".join(f"{name}\n" for name in made))
        yield f"{home}: {len(FILES)} files installed, for the command {' '.join(command())}"
    yield from _refresh(home)


def uninstall() -> Iterator[str]:
    """Remove what ``install`` made; yields what was done. Raises ``MountError``, ``OSError``."""
    home = data_home()
    made = list(_recorded(home))
    if not made:
        raise MountError(f"{home}: nothing there was installed by --install-desktop")
    files = [name for name in made if not name.endswith("/")]
    for name in (*files, RECORD):
        (home / name).unlink(missing_ok=True)
    yield f"{home}: {len(files)} files removed"
    yield from _refresh(home)
    for name in sorted((name for name in made if name.endswith("/")), reverse=True):
        folder = home / name
        _forget_caches(folder)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def data_home() -> Path:
    """Where the user's own data lies. Raises ``MountError``."""
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError:
        raise MountError("there is no home to install into") from None


def system_folders() -> list[Path]:
    """Where data for all users lies."""
    listed = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [Path(folder) for folder in listed.split(":") if folder]


def _sources() -> dict[str, Path]:
    """Where our files lie: in a source tree, or where pip puts a wheel's data."""
    folders = (Path(sys.prefix) / "share", Path(site.getuserbase()) / "share")
    places = [{name: TREE / place for name, place in FILES.items()}]
    places += [{name: folder / name for name in FILES} for folder in folders]
    for files in places:
        if all(path.is_file() for path in files.values()):
            return files
    raise MountError(f"the files for desktops are not in {folders[0]}: install imgmount again")


def command() -> list[str]:
    """This program, by its whole path: a desktop may look for programs in other folders than a shell."""
    called = shutil.which(sys.argv[0])
    if called and Path(called).name == "imgmount":
        return [os.path.abspath(called)]  # noqa: PTH100  keeps links, whose target an upgrade may move
    return [sys.executable, "-m", "imgmount"]


def _install(source: Path, home: Path, name: str) -> Iterator[str]:
    """Copy a file, and name the program in it by its path. Yields what was made, the folders first.

    What is there already is left alone: newer versions of pipx link manual pages.
    """
    if (home / name).exists() and (home / name).samefile(source):
        return
    yield from _folders(home, name)
    ours = command()
    words = {"Exec": " ".join(map(quoted, ours)), "TryExec": ours[0], "Dependencies": ours[0]}
    text = _COMMAND.sub(lambda found: f"{found[1]}={words[found[1]]}", source.read_text())
    (home / name).write_text(text)
    shutil.copymode(source, home / name)
    yield name


def quoted(word: str) -> str:
    """A word of an Exec line, by the Desktop Entry Specification: first quoted, then escaped as a value."""
    word = word.replace("%", "%%")
    if not _RESERVED.search(word):
        return word
    return '"' + re.sub(r'(["`$\\])', r"\\\1", word).replace("\\", "\\\\") + '"'


def _folders(home: Path, name: str) -> Iterator[str]:
    """Make the folders above a file; yields those that were missing."""
    for folder in reversed(Path(name).parents[:-1]):
        if not (home / folder).is_dir():
            (home / folder).mkdir(parents=True)
            yield f"{folder}/"


def _recorded(home: Path) -> dict[str, None]:
    """What earlier installations made, in order."""
    try:
        names = (home / RECORD).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: None for name in names if name and not Path(name).is_absolute() and ".." not in name}


def _refresh(home: Path) -> Iterator[str]:
    """Have the desktop read the files again."""
    for program, folder in REFRESHERS.items():
        if shutil.which(program) is None:
            yield f"{program} is not installed: log in again, or your desktop may not see the change"
        elif (home / folder).is_dir():
            # one that succeeds may warn of folders that it is not asked about
            failure = failure_of([program, str(home / folder)])
            yield f"{program}: {failure or 'done'}"


def _forget_caches(folder: Path) -> None:
    """Remove what readers of our files left in a folder that was made for us, if nobody else uses it."""
    if folder.name == "extensions" and not any(folder.glob("*.py")):
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    elif folder.name == "mime" and not (folder / "packages").exists():
        shutil.rmtree(folder)
    elif folder.name == "applications" and [path.name for path in folder.iterdir()] == ["mimeinfo.cache"]:
        (folder / "mimeinfo.cache").unlink()
