"""``imgmount --install-desktop`` and ``--uninstall-desktop``: they do their work and end the program."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from imgmount.cli.parser import ExitAction


class _Install(ExitAction):
    def __call__(self, *_: Any) -> NoReturn:
        from imgmount.desktop import install

        for line in install.uninstall() if self.dest == "uninstall_desktop" else install.install():
            print(line)
        raise SystemExit(0)


def add_install_arguments(parser: argparse.ArgumentParser) -> None:
    """Both options."""
    group = parser.add_argument_group("for desktops")
    group.add_argument(
        "--install-desktop",
        action=_Install,
        help="after pip or pipx: put types of files, menu entries, manual pages, completion and the user "
        "unit where your desktop and your shell look, in ~/.local/share",
    )
    group.add_argument("--uninstall-desktop", action=_Install, help="remove what --install-desktop installed")
