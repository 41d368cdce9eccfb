"""Mount and unmount images in the context menu of GNOME Files, which needs python3-nautilus for it.

What is offered, for which types of files and with what command stands in the actions that other file managers
read: file-manager/actions beside this folder.
"""

from __future__ import annotations

import shlex
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

from gi.repository import GObject, Nautilus

ACTIONS = Path(__file__).parents[2] / "file-manager" / "actions"
NAMES = ("imgmount-mount", "imgmount-unmount")


class Action:
    """One action of ours."""

    def __init__(self, name: str) -> None:
        """Read the action called ``name``."""
        file = RawConfigParser(delimiters="=", comment_prefixes="#")
        file.optionxform = str  # type: ignore[assignment,method-assign]  # names as they are
        file.read(ACTIONS / f"{name}.desktop", encoding="utf-8")
        profile = file["X-Action-Profile image"]
        self.name = name
        self.label = file["Desktop Entry"]["Name"]
        self.types = frozenset(profile["MimeTypes"].split(";"))
        self.command = shlex.split(profile["Exec"])
        self.most = 1 if "%f" in self.command else None  # files at a time

    def fits(self, files: list[Any]) -> bool:
        """Whether all files are images here, and not too many."""
        return (self.most is None or len(files) <= self.most) and all(
            file.get_uri_scheme() == "file" and file.get_mime_type() in self.types for file in files
        )

    def run(self, _: object, files: list[Any]) -> None:
        """Start the command; it tells the user itself what goes wrong."""
        paths = [file.get_location().get_path() for file in files]
        words = [word for word in self.command if word not in ("%f", "%F")]
        quiet = subprocess.DEVNULL
        # the user's own program and files, no shell
        subprocess.Popen([*words, *paths], stdin=quiet, start_new_session=True)  # noqa: S603


class ImgmountMenu(GObject.GObject, Nautilus.MenuProvider):  # type: ignore[misc]
    """What Files asks for the items of its menu."""

    def get_file_items(self, *arguments: Any) -> list[Any]:
        """Items for the chosen files, which are the last argument: version 3 passes its window as well."""
        files = list(arguments[-1])
        items = []
        for action in map(Action, NAMES) if files else ():
            if action.fits(files):
                item = Nautilus.MenuItem(name=f"Imgmount::{action.name}", label=action.label)
                item.connect("activate", action.run, files)
                items.append(item)
        return items
