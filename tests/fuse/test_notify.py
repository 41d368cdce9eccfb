"""What a service manager is told, by a datagram."""

from __future__ import annotations

import os
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket

import pytest

from imgmount.fuse.notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_arrive_as_one_datagram(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"imgmount {os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
    with socket(AF_UNIX, SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(f"\0{name}" if abstract else name)
        notify("READY=1", "MAINPID=12")
        assert manager.recv(100) == b"READY=1\nMAINPID=12"


def test_without_a_manager_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    assert caplog.messages == []


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1"])
def test_a_manager_that_cannot_be_reached_is_a_warning(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
    assert len(caplog.messages) == 1
    assert address in caplog.text
