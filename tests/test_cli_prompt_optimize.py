"""The command `heed prompt optimize`, as a person types it, against an endpoint that minds one block."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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
from tests.families import checkpoint

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


REFLECTED = SOURCE.replace("frozen #}", "#}")


def both(told: str, proposal: str, down: Callable[[], bool], answered: list[str]) -> Callable[[Any], Any]:
    """Two models: `m` minds what it is told, `strong` proposes one text, unless it is down. answered: what was."""
    weak = minds(told)

    def say(body: Any) -> Any:
        strong = body["model"] == "strong"
        if strong and down():
            return 400
        answered.append(json.dumps([body["model"], body["messages"], body["seed"] if strong else 0]))
        return f"```\n{proposal}\n```" if strong else weak(body)

    return say


def test_a_strong_model_proposes_and_what_is_paid_stays_paid_when_it_goes_down(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    file.write_text(REFLECTED)
    out, down = tmp_path / "out", [True]
    answered: list[str] = []
    with endpoint(both("Be exact.", "Choose one queue. Be exact.", lambda: down[0], answered)) as server:
        how = (file, "--model", f"{server.url}#m", "--data", data, "--budget", 700, "--out", out, "--stages", "edits")
        more = ("--reflector", f"{server.url}#strong", "--price", "1,2", "--reflector-price", "5,20", "--money", 50)
        with pytest.raises((HeedError, Interrupted)):
            heed(*how, *more)
        assert answered
        assert not (out / "lock.json").exists()
        down[0] = False
        code, text = heed(*how, *more, "--json")
        assert code == 0, text
    assert len(answered) == len(set(answered)), "nothing is paid twice"
    assert any('"strong"' in one for one in answered)
    told = json.loads(text)
    assert told["verdict"] == "better"
    assert [one["stage"] for one in told["steps"]][:2] == ["edits", "reflect"]
    assert "Be exact." in load(str(out / "best.prompty")).block("task").text
    spent = sum(line.get("cost", 0.0) for line in read_jsonl(out / "spent.jsonl"))
    assert 0 < told["budget"]["spent_money"] == pytest.approx(spent, abs=1e-5)
    assert spent <= 50


def test_money_bounds_a_search_over_all_its_runs(tmp_path: Path) -> None:
    """The endpoint's own bill: 10 and 5 tokens for each answer, at prices of 100,000 and 200,000 for a million."""
    file, data = files(tmp_path)
    with endpoint(minds("Reply with one of these")) as server:
        how = (file, "--model", f"{server.url}#m", "--data", data, "--budget", 900, "--out", tmp_path / "out")
        code, text = heed(*how, "--price", "100000,200000", "--money", 1900, "--max-tokens", 8, "--json")
        assert code == 0
        bill = 2.0 * sum(server.answered.values())
        told = json.loads(text)
        assert told["budget"]["spent_money"] == pytest.approx(bill)
        assert 0 < bill <= 1900
        heard = len(server.heard)
        heed(*how, "--price", "100000,200000", "--money", 1900, "--max-tokens", 8, "--json")
        assert len(server.heard) == heard
    assert told["gate"]["opened"]


def test_the_sealed_test_is_not_opened_again_from_another_folder(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    with endpoint(minds("Reply with one of these")) as server:
        how = (file, "--model", f"{server.url}#m", "--data", data, "--budget", 700, "--stages", "blocks")
        assert heed(*how, "--out", tmp_path / "a")[0] == 0
        heard = len(server.heard)
        for more in (("--seed", 1, "--out", tmp_path / "b"), ("--budget", 800, "--out", tmp_path / "a")):
            with pytest.raises(HeedError, match="sealed cases were opened on") as refused:
                heed(*how, *more)
            assert "--test" in refused.value.problems[0].mend
        assert len(server.heard) == heard
    record = read_jsonl(data.with_name("cases.jsonl.opened"))
    assert [line["what"] for line in record] == ["opened", "refused"]
    inside = read_jsonl(tmp_path / "a" / "sealed.jsonl")
    assert [line["what"] for line in inside] == ["opened", "result", "refused"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--money", 5), "what http.* costs is not known"),
        (("--money", 0, "--price", "1"), "buys nothing"),
        (("--money", -2, "--price", "1"), "buys nothing"),
        (("--money", "nan", "--price", "1"), "buys nothing"),
        (("--money", 5, "--price", "cheap"), "no price of a million tokens"),
        (("--budget", -7), "buys nothing"),
        (("--minutes", -1), "buys nothing"),
        (("--stages", "reflect"), "none is named"),
        (("--reflector", "no/such-folder-here"), "no/such-folder-here"),
        (("--money", 5, "--price", "1", "--reflector", "http://127.0.0.1:1/v1#x"), "what http.*#x costs"),
    ],
)
def test_what_cannot_be_bought_is_refused_before_anything_is_asked(
    tmp_path: Path, more: tuple[Any, ...], said: str
) -> None:
    file, data = files(tmp_path)
    with endpoint(lambda body: "no") as server, pytest.raises(HeedError, match=said) as refused:
        heed(file, "--model", f"{server.url}#m", "--data", data, "--out", tmp_path / "o", *more)
    assert server.heard == []
    assert all(one.where and one.mend for one in refused.value.problems)


def test_models_of_this_machine_have_no_price(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    with pytest.raises(HeedError, match="cost nothing"):
        heed(file, "--model", "atlas", "--data", data, "--out", tmp_path / "o", "--money", 5)


def test_a_model_without_right_answers_is_searched_by_likelihood_and_the_lock_says_so(tmp_path: Path) -> None:
    file, data = files(tmp_path, 60)
    model = checkpoint(tmp_path / "model")
    out = tmp_path / "out"
    how = ("--model", model, "--data", data, "--budget", 400, "--max-tokens", 2, "--out", out, "--json", "--quiet")
    assert heed(file, *how)[0] == 0
    lock = json.loads((out / "lock.json").read_text())
    assert lock["headroom"]["blind"]
    assert {one["measure"] for one in lock["steps"]} == {"likelihood"}
    known = [one for one in lock["candidates"] if one["likelihoods"]]
    assert len(known) > 2
    assert all(0 < each < 1 for one in known for each in one["likelihoods"].values())
    assert not {item for one in known for item in one["likelihoods"]} & set(lock["split"]["test"])


def test_kill_9_in_the_middle_and_the_same_command_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    file, data = files(tmp_path)
    right = minds("Reply with one of these")
    victim: list[subprocess.Popen[bytes]] = []
    heard: list[str] = []

    def deadly(body: Any) -> str:
        heard.append(json.dumps(body["messages"]))
        if len(heard) == 100:
            os.kill(victim[0].pid, signal.SIGKILL)
        return right(body)

    with endpoint(deadly) as server:
        name = f"{server.url}#m"
        how = [str(file), "--model", name, "--data", str(data), "--budget", "700", "--stages", "mix,blocks"]
        command = [sys.executable, "-m", "heedlm", "prompt", "optimize", *how, "--out", str(tmp_path / "killed")]
        victim.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert victim[0].wait(timeout=300) == -signal.SIGKILL
        assert not (tmp_path / "killed" / "lock.json").exists()
        code, text = heed(*how, "--out", tmp_path / "killed")
        assert code == 0, text
        asked = len(heard)
        (data.parent / "cases.jsonl.opened").unlink()  # so that the sealed test may be opened for the unbroken run too
        code, text = heed(*how, "--out", tmp_path / "whole")
        assert code == 0, text
    broken, whole = (json.loads((tmp_path / run / "lock.json").read_text()) for run in ("killed", "whole"))
    for key in ("verdict", "best", "steps", "candidates", "ended", "headroom"):
        assert broken[key] == whole[key], key
    assert asked - (len(heard) - asked) <= 64  # what was on its way when it was killed
