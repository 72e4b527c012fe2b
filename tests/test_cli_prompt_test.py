"""The command `heed prompt test`, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heedlm import cli
from heedlm.errors import HeedError
from tests.endpoints import endpoint


def heed(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["prompt", "test", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def written(folder: Path, n: int) -> Path:
    path = folder / "cases.jsonl"
    asserts = '[{"type": "equals", "field": "queue", "value": "{{ expect }}"}]'
    lines = (f'{{"vars": {{"ticket": "Order {k}?"}}, "expect": "shipping", "assert": {asserts}}}\n' for k in range(n))
    path.write_text("".join(lines))
    return path


def test_exit_codes_and_reports_against_an_endpoint(tmp_path: Path) -> None:
    def say(body: dict[str, object]) -> str:
        messages = body["messages"]
        assert isinstance(messages, list)
        return '{"queue": "shipping", "summary": "Asks."}' if messages[0]["role"] == "system" else "Hello!"

    with endpoint(say) as server:
        how = ("ticket-triage", "--model", f"{server.url}#m", "--out", tmp_path / "out")
        code, text = heed(*how, "--cases", written(tmp_path, 40), "--min-score", "0.8", "--min-gain", "0")
        assert code == 0, text
        assert "a sure gain" in text
        code, text = heed(*how, "--cases", written(tmp_path, 3), "--min-score", "0.8", "--json")
        assert code == 3
        told = json.loads(text)
        assert (told["calls"], told["decision"]["call"]) == (0, "cannot tell")
        assert heed(*how, "--cases", tmp_path / "cases.jsonl", "--assert", "upper-case")[0] == 0
        assert heed(*how, "--cases", written(tmp_path, 40), "--assert", "upper-case", "--min-score", "0.5")[0] == 1
        assert len(server.heard) == 80
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "answers.jsonl",
        "report.json",
        "report.md",
        "report.html",
    }


def test_promptfoo_file_with_a_model_of_our_own(tmp_path: Path) -> None:
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(
        "prompts: ['Say the capital of {{country}}.', 'Capital of {{country}}?']\n"
        "providers: [openai:gpt-x]\n"
        "tests: [{vars: {country: France}, assert: [{type: icontains, value: paris}]}]\n"
    )
    with endpoint(lambda body: "Paris") as server:
        code, text = heed(path, "--model", f"{server.url}#m", "--out", tmp_path / "out", "--json")
    assert code == 0
    told = json.loads(text)
    assert [cell["instruction"] for cell in told["cells"]] == ["empty", "prompt-1", "prompt-2"]
    assert "gpt-x" in " ".join(told["notes"])


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"vars": {"tickt": "a"}, "target": "b"}\n{"vars": {"ticket": "a"}}\n')
    with pytest.raises(HeedError) as caught:
        heed("ticket-triage", "--cases", path)
    told = str(caught.value)
    for said in ("no model is named", "tickt", "cases.jsonl:1"):
        assert said in told
    with pytest.raises(HeedError, match="no cases"):
        heed("ticket-triage", "--model", "atlas")
    with pytest.raises(HeedError, match="no JSON"):
        heed("ticket-triage", "--model", "atlas", "--cases", path, "--assert", "{")


def test_a_mistake_of_all_cases_is_told_once(tmp_path: Path) -> None:
    cases = written(tmp_path, 30)
    with pytest.raises(HeedError) as caught:
        heed("ticket-triage", "--model", "atlas", "--cases", cases, "--assert", "nope", "--out", tmp_path / "out")
    (told,) = caught.value.problems
    assert told.what == "heed has no assertion 'nope'"
    assert told.where == f"{cases}:1 and 29 more"
    names = told.mend.removeprefix("known: ").split(", ")
    assert len(names) == len(set(names))


def test_a_file_in_the_place_of_the_report_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with endpoint(lambda body: "x") as server:
        how = ("ticket-triage", "--model", f"{server.url}#m", "--cases", written(tmp_path, 3))
        with pytest.raises(HeedError, match="is a file"):
            heed(*how, "--out", tmp_path / "cases.jsonl")
        assert not server.heard
        with pytest.raises(HeedError, match="is named twice") as caught:
            heed(*how, "--model", f"{server.url}#m", "--out", tmp_path / "out")
        assert [one.where for one in caught.value.problems] == ["--model"]
        with pytest.raises(HeedError) as caught:
            heed(*how, "--against", "nope", "--out", tmp_path / "out")
        assert [one.what for one in caught.value.problems] == ["there is no instruction 'nope'"]


def test_a_row_that_is_no_case_says_how_a_case_looks(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"tickets": "Where is it?"}\n')
    with pytest.raises(HeedError) as caught:
        heed("ticket-triage", "--model", "atlas", "--cases", path, "--out", tmp_path / "out")
    assert '{"vars": {"ticket": "..."}}' in caught.value.problems[0].mend


def test_the_model_that_comes_with_heed(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"vars": {"ticket": "Where is order 1?"}, "target": "x"}\n')
    how = (
        "ticket-triage",
        "--model",
        "atlas",
        "--cases",
        cases,
        "--max-tokens",
        4,
        "--out",
        tmp_path / "out",
        "--json",
    )
    first = json.loads(heed(*how, "--format", "chat", "--format", "completion/xml")[1])
    assert first["calls"] == 4
    assert [cell["n"] for cell in first["cells"]] == [1] * 4
    again = json.loads(heed(*how, "--format", "chat", "--format", "completion/xml")[1])
    assert again["calls"] == 0
    assert again["cells"] == first["cells"]
