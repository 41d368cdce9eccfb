from __future__ import annotations

from pathlib import Path

import pytest

from toy_formats import Maker


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    return Maker(tmp_path, monkeypatch)
