"""The benchmark of compiling and linting: a smoke run, and figures that can go wrong."""

from __future__ import annotations

import importlib

import pytest


def test_a_small_run_has_every_figure() -> None:
    benchmark = importlib.import_module("instructions_text")
    found = benchmark.measure(benchmark.Size(50, 1, 12))
    assert found["compile_per_second"] > 0
    assert found["lint_seconds_100"] > 0
    assert (found["escapes"], found["tried"], found["values"]) == (0, 96, 12)


def test_a_compiler_that_guards_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = importlib.import_module("instructions_text")
    import heedlm.instructions.compile as room

    monkeypatch.setattr(room, "guarded", lambda pieces, guard: (list(pieces), []))
    assert sum(benchmark.escapes_of(benchmark.Part("3-0", 40))[1].values()) > 5
