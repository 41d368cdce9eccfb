"""Mounts that a real systemd makes, watches and lets go: one boot in a box, with a case for each way to mount."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import FIXTURES, SRC

HERE = Path(__file__).parent
ISO = FIXTURES / "filesystems/iso9660/rockridge/rockridge.iso.xz"
UNITS = HERE.parent.parent / "systemd"
FACTS = json.loads((ISO.parent / "expected.json").read_text())
RIGHT = FACTS["trees"]["disk"]["dir/sub/Case"][1][:8]  # the file that each case reads

DISC = r"fuse.imgmount /srv/images/disc.iso ro,user_id=0,group_id=0,allow_other"
CLEAN = "ActiveState=inactive ExecMainStatus=0 NRestarts=0 Result=success Type=notify"

# what each case prints: a pattern a line
CASES = {
    "fstab automount": [
        "before: inactive",
        f"first look: {RIGHT}",
        f"mounted: ro,nosuid,nodev,relatime {DISC}",
        "idle: success inactive",
        f"next look: {RIGHT}",
    ],
    "shipped pair": [
        f"a visitor looks: {RIGHT}",
        "state: success active",
        "NoNewPrivs: 1 Seccomp: 2",
        "stopped: success inactive",
    ],
    "killed daemon of a mount unit": ["the unit: success inactive", f"next look: {RIGHT}"],
    "mount DIR": [f"exit 0: ro,nosuid,nodev,relatime {DISC}", "visitor games -rwx------"],
    "remount": [
        "exit 0",
        f"exit 0: ro,nosuid,nodev,noexec,relatime {DISC}",
        "imgmount: .*: unknown mount option 'frobnicate'",
        f"exit 32: {RIGHT}",
        "umount: exit 0 ",
    ],
    "subtype": [f"exit 0: {RIGHT}"],
    "an option without its value": [
        r"imgmount: mount option 'snapshot' needs a value: snapshot=\.\.\.",
        "exit 32 ",
    ],
    "user mounts": [
        f"exit 0: {RIGHT}",
        "ro,nosuid,nodev,noexec,relatime fuse.imgmount /srv/images/disc.iso ro,user_id=4242,group_id=4242",
        "umount: exit 0 ",
        "imgmount: .*: /mnt/theirs: the folder is another user's: choose one of your own",
        "exit 32",
    ],
    "a user without systemd": [
        f"exit 0: {RIGHT}",
        "imgmount: .*: allow_other and allow_root are for root here: leave them out, or .* user_allow_other .*",
        "exit 1",
        f"exit 0: root looks: {RIGHT}",
        "exit 0",
    ],
    "user service": [
        f"start: exit 0: {CLEAN.replace('inactive', 'active')}: {RIGHT}",
        f"stop: exit 0: {CLEAN}: No such file or directory",
    ],
    "user service unmounted by hand": [CLEAN],
    "user service killed": [
        f"{CLEAN.replace('inactive', 'active').replace('NRestarts=0', 'NRestarts=1')}: {RIGHT}",
        "Main process exited, code=killed, status=9/KILL",
        f"stop: {CLEAN}: No such file or directory",
    ],
    "user service of no image": [
        "exit 1: ActiveState=failed ExecMainStatus=1 NRestarts=0 Result=exit-code Type=notify",
        "imgmount: /srv/images/none.iso: No such file or directory",
    ],
    "left behind": [],
}


def reason_to_skip() -> str:
    if os.geteuid():
        return "only root can boot a systemd in a box"
    if not shutil.which("systemd-nspawn"):
        return "systemd-nspawn is not installed: the package systemd-container"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if "\tautofs\n" not in Path("/proc/filesystems").read_text():
        return "the kernel has no autofs"
    return ""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The lines that each case printed."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    script = tmp_path_factory.mktemp("box") / "script"
    settings = {"PYTHON": sys.executable, "SRC": SRC, "UNITS": UNITS, "ISO": ISO}
    words = [f"{name}={shlex.quote(str(value))}" for name, value in settings.items()]
    script.write_text("\n".join(["#!/bin/bash", *words, (HERE / "cases.sh").read_text()]))
    folders = [UNITS.parent, Path(sys.prefix), Path(sys.base_prefix)]
    done = subprocess.run(
        ["bash", HERE / "boot.sh", script, *folders], capture_output=True, text=True, timeout=118, check=False
    )
    if not done.stdout.startswith("== up"):
        pytest.skip(f"no systemd can be booted in a box here: {(done.stdout + done.stderr).strip()[-300:]}")
    cases = re.split(r"^== (.*)\n", done.stdout, flags=re.MULTILINE)
    return {name: lines.splitlines() for name, lines in zip(cases[1::2], cases[2::2], strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_in_a_box(case: str, box: dict[str, list[str]]) -> None:
    lines = box[case]
    assert re.fullmatch("\n".join(CASES[case]), "\n".join(lines)), "\n".join(lines)
