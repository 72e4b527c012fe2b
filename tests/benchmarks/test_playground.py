"""The benchmark of the playground still finds its way through the page."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.mark.slow
@pytest.mark.browser
def test_a_small_run_has_all_figures(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("playwright")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no chromium on this machine")
    playground = importlib.import_module("playground")
    monkeypatch.setattr(sys, "argv", ["playground.py", "--quick", "--threads", "1"])
    assert playground.main() == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["smoke"]
    assert min(found["usable_seconds"], found["first_text_ms"], found["first_text_ms_p90"]) > 0
