"""Ends that the daemon brings about: by a signal, by idleness; and what systemd is told of its life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket

import pytest

from helpers import FIXTURES, SRC

WUX = FIXTURES / "containers/wux/plain/game.wux"


class Manager:
    """What systemd is to a service of ``Type=notify``."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "mnt"
        self.address = str(folder / "notify")
        self._socket = socket(AF_UNIX, SOCK_DGRAM)
        self._socket.settimeout(30)
        self._socket.bind(self.address)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "imgmount", "-f", "--raw", *options, str(WUX), str(self.target)]
        return subprocess.Popen(words, env=os.environ | {"PYTHONPATH": SRC, "NOTIFY_SOCKET": self.address})

    def told(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()
    if os.path.ismount(manager.target):
        subprocess.run(["fusermount3", "-u", "-z", str(manager.target)], check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_an_orderly_end_even_while_a_file_is_open(
    manager: Manager, number: signal.Signals
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, where the tests run under nohup
    process = manager.start()
    signal.signal(signal.SIGHUP, before)
    assert manager.told() == ["READY=1", f"MAINPID={process.pid}"]
    file = os.open(manager.target / "disk.raw", os.O_RDONLY)
    assert os.read(file, 4)
    process.send_signal(number)
    assert process.wait(20) == 0
    with pytest.raises(OSError, match="not connected"):
        os.close(file)
    assert manager.told() == ["STOPPING=1"]
    assert not manager.target.exists()


def test_an_idle_mount_goes_but_not_while_a_file_is_open(manager: Manager) -> None:
    process = manager.start("--idle-timeout", "1s")
    manager.told()
    with (manager.target / "disk.raw").open("rb", buffering=0) as file:
        time.sleep(2.2)
        assert process.poll() is None
        assert file.read(4)
    assert process.wait(20) == 0
    assert manager.told() == ["STOPPING=1"]
    assert not manager.target.exists()


def test_use_keeps_a_mount(manager: Manager) -> None:
    process = manager.start("-o", "idle_timeout=3")
    manager.told()
    for _ in range(16):  # what the kernel knows already, in four seconds
        (manager.target / "disk.raw").open("rb").close()
        time.sleep(0.25)
    assert process.poll() is None
    process.terminate()
    assert process.wait(20) == 0


def test_a_service_manager_that_has_gone_costs_a_line(manager: Manager) -> None:
    manager.address += " gone"
    process = manager.start("--idle-timeout", "1s")
    assert process.wait(20) == 0
