"""Benchmarks are scripts: their folders come onto the path, and what they write stays in the test's own folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER / "peers"))
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:  # `common` and `rows` are names that others may want
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and tokenizers that tests of benchmarks share."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture
def bench(bench_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in place of .bench, without the public files, so that the tests are the same everywhere."""
    monkeypatch.delenv("HEED_PUBLIC_DATA", raising=False)
    import common
    import rows

    monkeypatch.setattr(common, "BENCH", bench_folder)
    monkeypatch.setattr(rows, "BENCH", bench_folder)
    return bench_folder
