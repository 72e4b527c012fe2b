"""What tests in a browser share: one chromium, and a folder for pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")  # not longer: a second playwright, of other tests, would not start beside it
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    sync.expect.set_options(timeout=60_000)  # a busy machine may need many of the usual five seconds
    with sync.sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def shots() -> Path:
    """Where pictures of the pages are kept, to be looked at."""
    folder = Path(__file__).resolve().parents[2] / "test-artefacts" / "playground"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
