"""The command `heed prompt optimize`, as a person types it, against an endpoint that minds one block."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heedlm import cli
from heedlm.errors import HeedError
from heedlm.eval.endpoint import Interrupted
from heedlm.instructions.format import load
from heedlm.runs import read_jsonl
from tests.endpoints import endpoint

SOURCE = """---
name: pick
inputs:
  - {name: ticket, kind: string, required: true}
heed:
  schema: 1
  trust: {ticket: data}
---
system:
# Task {# id=task frozen #}
Choose one queue.

# Tone {# id=tone #}
Be merry.

user:
{{ ticket }}
"""


def heed(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["prompt", "optimize", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def files(folder: Path, count: int = 90) -> tuple[Path, Path]:
    file, data = folder / "pick.prompty", folder / "cases.jsonl"
    file.write_text(SOURCE)
    rows = ({"vars": {"ticket": f"Order {n}?"}, "target": ("mail", "shop")[n % 2]} for n in range(count))
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file, data


def minds(told: str) -> Callable[[Any], Any]:
    """Right where `told` stands in the system text, else chatter."""

    def say(body: Any) -> str:
        messages = body["messages"]
        number = int("".join(sign for sign in messages[-1]["content"].split("Order")[-1] if sign.isdigit()))
        return ("mail", "shop")[number % 2] if told in messages[0]["content"] else "I think that it is nice."

    return say


def test_a_missing_output_format_is_found_proved_and_kept_in_the_lock(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    out = tmp_path / "out"
    with endpoint(minds("Reply with one of these")) as server:
        how = (file, "--model", f"{server.url}#m", "--data", data, "--budget", 700, "--out", out, "--stages", "blocks")
        code, text = heed(*how)
        assert code == 0, text
        assert "Better: pick + add output_format" in text
        asked = len(server.heard)
        assert 0 < asked <= 700
        code, text = heed(*how, "--json")  # the same again: nothing is asked, and the test is not opened again
        assert len(server.heard) == asked
    told = json.loads(text)
    assert told["verdict"] == "better"
    assert told["gate"]["chosen"] == 1.0
    assert "mail, shop" in load(str(out / "best.prompty")).block("output_format").text
    lock = json.loads((out / "lock.json").read_text())
    assert lock["budget"]["spent"] <= 700
    ids = {id_ for part in lock["split"].values() for id_ in part}
    assert len(ids) == 90
    for one in lock["candidates"]:
        assert set(one["scores"]) <= ids
        assert not set(one["scores"]) & set(lock["split"]["pool"])
    opened = [one for one in lock["candidates"] if set(one["scores"]) & set(lock["split"]["test"])]
    assert len(opened) == 2
    assert [line["what"] for line in read_jsonl(out / "sealed.jsonl")] == ["opened", "result"]


def test_an_endpoint_that_fails_in_the_middle_costs_nothing_that_was_answered(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    right, left = minds("Reply with one of these"), [60]
    answered: list[str] = []

    def failing(body: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            return 400
        answered.append(json.dumps(body["messages"]))
        return right(body)

    out = ("--budget", 700, "--out", tmp_path / "out", "--stages", "blocks")
    with endpoint(failing) as server:
        how = (file, "--model", f"{server.url}#m", "--data", data, *out)
        with pytest.raises((HeedError, Interrupted)):
            heed(*how)
        assert not (tmp_path / "out" / "lock.json").exists()
        assert len(answered) == 60
        left[0] = 10_000
        assert "Better" in heed(*how)[1]
    assert len(answered) == len(set(answered)) > 60


def test_a_model_that_hears_nothing_has_no_headroom(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    with endpoint(lambda body: "no") as server:
        code, text = heed(file, "--model", f"{server.url}#m", "--data", data, "--budget", 700, "--out", tmp_path / "o")
    assert code == 0
    assert "No headroom: none of" in text
    assert load(str(tmp_path / "o" / "best.prompty")).blocks == load(str(file)).blocks
    assert not (tmp_path / "o" / "sealed.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--budget", 0), "buys nothing"),
        (("--budget", 40), "the sealed test alone takes"),
        (("--minutes", 0), "buys nothing"),
        (("--stages", "formt"), "no stage 'formt'"),
        (("--stages", ","), "no stage"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(tmp_path: Path, more: tuple[Any, ...], said: str) -> None:
    file, data = files(tmp_path)
    with endpoint(lambda body: "no") as server, pytest.raises(HeedError, match=said):
        heed(file, "--model", f"{server.url}#m", "--data", data, "--out", tmp_path / "o", *more)
    assert server.heard == []


def test_a_test_file_that_overlaps_the_data_is_refused(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    test = tmp_path / "test.jsonl"
    test.write_text(data.read_text().splitlines()[3] + "\n")
    with pytest.raises(HeedError, match="overlaps the data"):
        heed(file, "--model", "http://127.0.0.1:1/v1#m", "--data", data, "--test", test, "--out", tmp_path / "o")


def test_the_model_that_comes_with_heed(tmp_path: Path) -> None:
    file, data = files(tmp_path, 40)
    how = ("--model", "atlas", "--data", data, "--budget", 150, "--max-tokens", 3, "--out", tmp_path / "o", "--json")
    code, text = heed(file, *how, "--quiet")
    assert code == 0
    told = json.loads(text)
    assert told["verdict"] in ("better", "kept", "no headroom")
    assert told["budget"]["spent"] <= 150
