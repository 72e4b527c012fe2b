"""What becomes of a name that is no folder here: asked for once and briefly, with a mend for every answer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from heedlm.errors import HeedError
from heedlm.model import hub
from heedlm.model.load import resolve, resolve_here
from tests.families import checkpoint


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    hub.locate.cache_clear()
    yield
    hub.locate.cache_clear()


def answering(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, wait: float = 0.0) -> list[str]:
    """A hub that answers every question with `error`, or with a model; the list of what it was asked."""
    asked: list[str] = []

    def answer(url: str, **_: object) -> None:
        asked.append(url)
        time.sleep(wait)
        if error is not None:
            raise error

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", answer)
    return asked


def in_the_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(folder / file))


def of_the_hub(name: str) -> Exception:
    from huggingface_hub import errors

    response = SimpleNamespace(headers={}, request=None, status_code=404)
    return getattr(errors, name)("no", response=response)  # type: ignore[no-any-return]


def test_a_model_of_the_hub_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch)
    assert [resolve("gpt2"), resolve("gpt2")] == ["gpt2", "gpt2"]
    assert len(asked) == 1
    assert "gpt2" in asked[0]
    assert "config.json" in asked[0]


@pytest.mark.parametrize(
    ("error", "what", "mend"),
    [
        ("RepositoryNotFoundError", "no public model of this name", "spelling"),
        ("GatedRepoError", "accepted its licence", "https://huggingface.co/ORG/some-model"),
        ("RemoteEntryNotFoundError", "no config.json", "safetensors"),
    ],
)
def test_what_the_hub_refuses_is_said_in_plain_words(
    error: str, what: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, of_the_hub(error))
    with pytest.raises(HeedError) as caught:
        resolve("ORG/some-model")
    problem = caught.value.problems[0]
    assert what in problem.what
    assert problem.where == "ORG/some-model"
    assert mend in problem.mend


def test_a_busy_hub_is_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, of_the_hub("HfHubHTTPError"))
    assert resolve("ORG/some-model") == "ORG/some-model"


@pytest.mark.parametrize("typed", ["atlass", "Atlas", "atlas-base"])
def test_a_mistyped_name_is_told_the_nearest_known_one(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ConnectionError("nobody there"))
    with pytest.raises(HeedError, match="does not answer") as caught:
        resolve(typed)
    assert "did you mean 'atlas'?" in caught.value.problems[0].mend


def test_runs_and_folders_here_are_known_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, ConnectionError("nobody there"))
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "run.json").write_text("{}")
    (tmp_path / "my-base").mkdir()
    (tmp_path / "my-base" / "config.json").write_text("{}")
    for typed, near in (("demo", "'runs/demo'"), ("mybase", "'my-base'"), ("zzz", "atlas, my-base, runs/demo")):
        with pytest.raises(HeedError) as caught:
            resolve(typed)
        assert near in caught.value.problems[0].mend


def test_a_silent_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.1)
    answering(monkeypatch, wait=5)
    began = time.monotonic()
    with pytest.raises(HeedError, match="does not answer"):
        resolve("ORG/some-model")
    assert time.monotonic() - began < 2


def test_the_copy_in_the_cache_serves_where_the_hub_is_silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "snapshot")
    in_the_cache(monkeypatch, folder)
    answering(monkeypatch, ConnectionError("nobody there"))
    assert resolve("ORG/some-model") == str(folder)
    assert resolve_here("ORG/some-model") == str(folder)


def test_what_is_here_is_found_without_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = answering(monkeypatch)
    folder = checkpoint(tmp_path / "model")
    assert resolve_here(folder) == str(folder)
    assert str(resolve_here("atlas")).endswith("base")
    assert resolve_here("ORG/some-model") is None
    assert resolve_here("not a hub id") is None
    (tmp_path / "empty").mkdir()
    assert resolve_here("empty") is None
    assert asked == []


def test_a_name_that_no_hub_takes_is_refused_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch)
    with pytest.raises(HeedError, match="cannot be a hub id"):
        resolve("my model")
    assert asked == []


def test_offline_by_choice_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HeedError, match="HF_HUB_OFFLINE forbids"):  # as tests/conftest.py has it
        resolve("ORG/some-model")


class _Unknown(BaseHTTPRequestHandler):
    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_typo_costs_one_question_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The whole command against a hub of our own, which knows no model."""
    handler = type("Handler", (_Unknown,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 2)
    command = [sys.executable, "-m", "heedlm", "train", "--model", "atlass", "--data", "rows.jsonl", "--run", "runs/x"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    server.shutdown()
    assert done.returncode == 2
    assert "did you mean 'atlas'?" in done.stderr
    assert "Retrying" not in done.stderr
    assert len(handler.asked) == 1
    assert not (tmp_path / "runs").exists()
