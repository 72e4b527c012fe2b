"""`heed serve` as a process: it serves without flags, says where, ends in order, and refuses at once what cannot be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.families import checkpoint
from tests.typed import Heed, squeezed

KEY = "k" * 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture
def heed(heed: Heed) -> Heed:
    return squeezed(heed)


@contextmanager
def serving(
    *arguments: object, folder: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server in a process of its own, and what it said when it was ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "heedlm", "serve", *map(str, arguments), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("w"),
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        yield process, json.loads(line)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def post(url: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_a_server_answers_and_ends_in_order(model: Path, tmp_path: Path) -> None:
    with serving(model, "--template", "chatml", "--ui", folder=tmp_path, HEED_API_KEYS=KEY) as (process, said):
        assert said["models"] == ["tiny"]
        assert said["pid"] == process.pid
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "my secret is zanzibar"}], "max_tokens": 4}
        made = post(f"{said['url']}/chat/completions", asked, Authorization=f"Bearer {KEY}")
        assert made["usage"]["completion_tokens"] <= 4
        with urllib.request.urlopen(said["url"].removesuffix("/v1") + "/", timeout=60) as page:
            assert page.url.endswith("/ui/")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "POST /v1/chat/completions 200" in log
    assert "zanzibar" not in log
    assert KEY not in log
    assert "stopped" in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "no key is set"),
        (("--host", "nowhere.invalid"), "no key is set"),
        (("--keys", "nowhere"), "cannot be read"),
        (("--port", "99999"), "--port"),
        (("--places", "0"), "--places"),
        (("--template", "chatlm"), "did you mean 'chatml'"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], said: str, heed: Heed, model: Path) -> None:
    code, out, err = heed("serve", model, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_port_that_is_taken_is_refused_before_anything_is_loaded(heed: Heed, model: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = heed("serve", model, "--port", port)
    assert code == 2
    assert f"Port {port} is taken" in err
    assert f"--port {port + 1}" in err
    assert "loading" not in err


def test_names_that_hold_no_model_are_refused(
    heed: Heed, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no model folder" in heed("serve", model, tmp_path / "nowhere", "--port", "0")[2]
    monkeypatch.chdir(tmp_path)
    assert "heed demo" in heed("serve", "--port", "0")[2]


def test_a_server_speaks_under_an_instruction(model: Path, tmp_path: Path) -> None:
    (tmp_path / "brief.prompty").write_text("---\nname: brief\n---\nsystem:\n# Task\nAnswer in one word.\n")
    arguments = (model, "--template", "chatml", "--instruction", "brief.prompty")
    with serving(*arguments, folder=tmp_path) as (_, said):
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "Why?"}]}
        seen = post(f"{said['url']}/render", asked)
        assert [one["text"] for one in seen["segments"] if one.get("block") == "task"] == [
            "# Task\nAnswer in one word."
        ]
        assert post(f"{said['url']}/chat/completions", {**asked, "max_tokens": 2})["usage"]["completion_tokens"] <= 2
    assert "every conversation stands under brief" in (tmp_path / "log").read_text()
