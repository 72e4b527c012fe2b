"""The folder of a synthesis, its refusals, and the command line over it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import heedlm
from heedlm.errors import HeedError
from heedlm.generate.chat import load_chat
from heedlm.messages import Message, Request
from heedlm.synth.options import Options, options_of
from heedlm.synth.stage import synthesise
from tests.endpoints import asked, completion, endpoint
from tests.eval.scripted import ScriptedChat
from tests.families import checkpoint
from tests.typed import Heed, squeezed


@pytest.fixture
def heed(heed: Heed, monkeypatch: pytest.MonkeyPatch) -> Heed:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    return squeezed(heed)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{number}?"}) + "\n" for number in range(5)))
    return path


def chat() -> ScriptedChat:
    return ScriptedChat(lambda request: f"To {request.messages[-1].content}")


# Options --------------------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_with_the_options_is_told_at_once() -> None:
    with pytest.raises(HeedError) as told:
        options_of("answer", {"temprature": 1, "draws": 3, "max_tokens": 0, "top_p": 2.0, "seed": True, "licence": " "})
    whats = [problem.what for problem in told.value.problems]
    assert whats == [
        "There is no option 'temprature'.",
        "Mode 'answer' has no use for 'draws'.",
        "This is 0, expected a whole number from 1 on.",
        "This is 2.0, expected 0.01 to 1.0.",
        "This is True, expected a whole number from 0 on.",
        "This is ' ', expected a few words.",
    ]
    assert "'temperature'" in told.value.problems[0].mend


@pytest.mark.parametrize(
    ("mode", "given", "said"),
    [
        ("anser", {}, "did you mean 'answer'"),
        ("best-of", {"temperature": 0}, "the same"),
        ("answer", {"budget_money": "x"}, "no amount"),
        ("answer", {"budget_money": 1}, "needs the prices"),
        ("answer", {"budget_money": 1, "price_in": 1}, "needs the prices"),
        ("answer", {"price_out": 1}, "prices is missing"),
        ("answer", {"budget_requests": -1}, "from 0 on"),
        ("answer", {"price_in": "-1", "price_out": "1"}, "no amount"),
        ("self-instruct", {"similarity": 0.0}, "0.1 to 1.0"),
        ("answer", {"max_tokens": "9"}, "whole number"),
        ("answer", {"guide": "caf\udce9"}, "a few words"),
        ("answer", {"rate": 6}, "1 to 5"),
        ("answer", {"rate": 2.5}, "whole number"),
        ("best-of", {"rate": 2}, "no use"),
    ],
)
def test_options_out_of_bounds(mode: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(HeedError) as told:
        options_of(mode, given)
    assert said in str(told.value)


def test_answers_that_must_differ_are_drawn_warm() -> None:
    assert Options().sampling("answer").temperature == Options().sampling("backtranslate").temperature == 0.0
    assert Options().sampling("best-of").temperature == Options().sampling("self-instruct").temperature == 0.7
    assert Options(temperature=1.0, seed=4).sampling("answer", 3).seed == 7
    assert options_of("best-of", {"temperature": 0, "draws": 1}).draws == 1


# The folder -----------------------------------------------------------------------------------------------------------


def test_a_folder_holds_one_synthesis(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesise("answer", data=prompts, model=chat(), out=out)
    kept = (out / "rows.jsonl").read_bytes()
    other = ScriptedChat(lambda request: "x", name="other")
    for change in ({"model": other}, {"mode": "self-instruct"}, {"data": tmp_path / "more.jsonl"}):
        (tmp_path / "more.jsonl").write_text('{"prompt": "a"}\n')
        with pytest.raises(HeedError, match="another synthesis"):
            synthesise(**{"mode": "answer", "data": prompts, "model": chat(), "out": out, **change})  # type: ignore[arg-type]
    assert (out / "rows.jsonl").read_bytes() == kept
    assert other.asked == []


def test_prompts_that_are_added_are_all_that_is_asked(prompts: Path, tmp_path: Path) -> None:
    first, second = chat(), chat()
    synthesise("answer", data=prompts, model=first, out=tmp_path / "out")
    prompts.write_text('{"prompt": "new?"}\n' + prompts.read_text())
    done = synthesise("answer", data=prompts, model=second, out=tmp_path / "out")
    assert [request.messages[0].content for request in second.asked] == ["new?"]
    assert (done.rows, done.reused) == (6, 5)


def test_nothing_is_written_before_the_inputs_are_known_to_be_good(tmp_path: Path) -> None:
    empty, odd = tmp_path / "empty.jsonl", tmp_path / "odd.jsonl"
    empty.write_text("")
    odd.write_text('{"a": 1}\n{broken\n')
    for mode, data, said in (
        ("answer", tmp_path / "none.jsonl", "no such file"),
        ("answer", empty, "empty"),
        ("answer", odd, "no prompt to start from"),
        ("backtranslate", odd, "no document to start from"),
        ("self-instruct", odd, "no prompt"),
    ):
        with pytest.raises(HeedError, match=said) as told:
            synthesise(mode, data=data, model=chat(), out=tmp_path / "out")
        assert mode != "answer" or data != odd or "odd.jsonl:2" in str(told.value)
    assert not (tmp_path / "out").exists()


def test_broken_rows_are_dropped_beside_good_ones(prompts: Path, tmp_path: Path) -> None:
    prompts.write_text(prompts.read_text() + '{broken\n{"messages": []}\n')
    done = synthesise("answer", data=prompts, model=chat(), out=tmp_path / "out")
    dropped = [json.loads(line) for line in (tmp_path / "out" / "record" / "dropped.jsonl").read_text().splitlines()]
    assert done.rows == 5
    assert [drop["where"].rpartition(":")[2] for drop in dropped] == ["6", "7"]
    assert all(drop["version"] == 1 and drop["reason"] and drop["why"] for drop in dropped)


def test_a_folder_that_cannot_be_made(prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HeedError):
        synthesise("answer", data=prompts, model=chat(), out=tmp_path / "file")


def test_an_error_in_the_middle_says_that_the_rest_is_kept(prompts: Path, tmp_path: Path) -> None:
    times: list[str] = []

    def say(body: dict[str, Any]) -> Any:
        times.append(asked(body))
        return "yes" if len(times) < 3 else (401, {}, {"error": {"message": "expired"}})

    with endpoint(say) as place, pytest.raises(HeedError, match="expired") as told:
        synthesise("answer", data=prompts, model=place.url, out=tmp_path / "out", concurrency=1)
    assert "the same command goes on" in told.value.problems[0].mend
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_a_password_in_an_address_is_not_written_down(prompts: Path, tmp_path: Path) -> None:
    with endpoint(asked) as place:
        address = place.url.replace("http://", "http://ann:secret@")
        synthesise("answer", data=prompts, model=address, out=tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or "secret" not in path.read_text()


def test_a_model_on_this_machine(prompts: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    done = heedlm.synthesise("answer", data=str(prompts), model=model, out=tmp_path / "out", max_tokens=4, batch=2)
    assert done.spent["requests"] == 5
    assert done.rows + sum(done.dropped.values()) == 5
    chat = load_chat(model)
    asked_of = [json.loads(line)["prompt"] for line in prompts.read_text().splitlines()]
    seen = sum(len(chat.render(Request((Message("user", text),))).ids) for text in asked_of)
    assert done.spent["prompt_tokens"] == seen  # as the model saw them, not as many as there are bytes
    assert 0 < done.spent["completion_tokens"] <= 5 * 4
    assert done.spent["guessed_requests"] == 0
    again = heedlm.synthesise("answer", data=str(prompts), model=model, out=tmp_path / "out", max_tokens=4)
    assert again.reused == 5


# The command line -----------------------------------------------------------------------------------------------------


def test_what_nobody_counted_is_said_to_be_the_most_it_can_be(heed: Heed, prompts: Path, tmp_path: Path) -> None:
    with endpoint(asked, tokens=None) as place:
        words = ("--model", place.url, "--out", tmp_path / "out", "--price-in", "1", "--price-out", "2")
        code, said, _ = heed("synth", "answer", prompts, *words)
    assert code == 0
    assert re.search(r"5 requests, at most \d+ \+ 2,560 tokens, at most 0.00\d+ in money", said)


def test_a_name_has_one_place(heed: Heed, prompts: Path) -> None:
    code, _, err = heed("synth", "answer", prompts, "--model", "http://127.0.0.1:9/v1", "--name", "tiny")
    assert (code, "--model http://HOST/v1#NAME" in err) == (2, True)


def test_the_command_line_from_prompts_to_rows(heed: Heed, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with endpoint(asked) as place:
        common = ("--model", f"{place.url}#tiny", "--out", out, "--price-in", "1", "--price-out", "2")
        code, said, err = heed("synth", "answer", prompts, *common, "--budget-requests", 3)
        assert code == 1
        assert "3 rows in" in said
        assert "3 requests, 30 + 15 tokens, 0.00006 in money" in said
        assert "2 dropped: not asked (" in said
        assert "budget of 3 requests" in err
        code, said, _ = heed("synth", "answer", prompts, *common, "--json")
    report = json.loads(said)
    assert (code, report["rows"], report["reused"], report["stopped"]) == (0, 5, 3, None)
    assert report["spent"] == {
        "requests": 5,
        "prompt_tokens": 50,
        "completion_tokens": 25,
        "unsure_requests": 0,
        "guessed_requests": 0,
        "money": "0.0001",
    }
    assert "Next: heed prepare --data" in heed("synth", "answer", prompts, *common)[1]


def test_all_modes_have_a_command(heed: Heed, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.md").write_text("Rivers run to the sea. " * 3)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        json.dumps({"prompt": "a", "completion": "b", "meta": {"checks": [{"type": "contains", "value": "x"}]}})
    )

    def say(body: dict[str, Any]) -> str:
        if "new tasks" in asked(body):
            return "<task>Tell me of the moon.</task>"
        return "<instruction>Write about rivers.</instruction>" if "Below stands" in asked(body) else "x marks it"

    with endpoint(say) as place:
        for mode, data in (("self-instruct", prompts), ("backtranslate", "text.md"), ("best-of", rows)):
            more = ("--rows", 1) if mode == "self-instruct" else ()
            code, said, err = heed("synth", mode, data, "--model", place.url, *more)
            assert code == 0, err
            assert said.startswith(f"1 row in synth/{mode}/rows.jsonl")
    assert "draw by draw: 100%" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("synth", "answer", "PROMPTS"), "No model is named"),
        (("synth", "answer"), "for example: heed synth answer"),
        (("synth", "anser", "PROMPTS"), "heed synth --help"),
        (("synth", "answer", "PROMPTS", "--model", "./nowhere"), "no model folder"),
        (("synth", "answer", "PROMPTS", "--model", "127.0.0.1:80/v1"), "--model http://127.0.0.1:80/v1"),
        (("synth", "answer", "none.jsonl", "--model", "atlas"), "none.jsonl"),
        (("synth", "answer", "PROMPTS", "--model", "http://127.0.0.1:9/v1"), "cannot be reached"),
        (("synth", "answer", "PROMPTS", "--model", "atlas", "--budget-money", "1"), "--price-in"),
        (("synth", "answer", "PROMPTS", "--model", "atlas", "--budget-requests", "-1"), "from 0 on"),
        (("synth", "answer", "PROMPTS", "--model", "atlas", "--top-p", "3"), "0.01 to 1.0"),
        (("synth", "answer", "PROMPTS", "--model", "atlas", "--draws", "3"), "no option --draws"),
        (("synth", "best-of", "PROMPTS", "--model", "atlas", "--temperature", "0"), "--draws 1"),
    ],
)
def test_mistakes_are_mended(arguments: tuple[str, ...], said: str, heed: Heed, prompts: Path, tmp_path: Path) -> None:
    words = [str(prompts) if word == "PROMPTS" else word for word in arguments]
    code, out, err = heed(*words, *(("--out", tmp_path / "out") if "--model" in words else ()))
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_the_key_comes_from_the_environment(heed: Heed, prompts: Path, tmp_path: Path) -> None:
    assert os.environ["OPENAI_API_KEY"] == "sesame"
    with endpoint(lambda body: completion("yes")) as place:
        assert heed("synth", "answer", prompts, "--model", place.url, "--out", tmp_path / "out", "--quiet")[0] == 0
        assert set(place.keys) == {"Bearer sesame"}
    assert "sesame" not in "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json*"))


def test_rows_of_somebody_else_are_not_written_over(prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "mine?"}\n')
    teacher = chat()
    with pytest.raises(HeedError, match="would be lost"):
        synthesise("answer", data=tmp_path / "rows.jsonl", model=teacher, out=tmp_path)
    assert (tmp_path / "rows.jsonl").read_text() == '{"prompt": "mine?"}\n'
    assert teacher.asked == []
    assert not (tmp_path / "record").exists()
    synthesise("answer", data=prompts, model=chat(), out=tmp_path / "out")
    mine = (tmp_path / "out" / "rows.jsonl").read_text() + '{"prompt": "a", "completion": "b"}\n'
    (tmp_path / "out" / "rows.jsonl").write_text(mine)
    with pytest.raises(HeedError, match="changed since"):
        synthesise("answer", data=prompts, model=chat(), out=tmp_path / "out")
    (tmp_path / "out" / "rows.jsonl").rename(tmp_path / "mine.jsonl")
    assert synthesise("answer", data=prompts, model=chat(), out=tmp_path / "out").reused == 5


def test_a_process_killed_between_rows_and_card_is_no_obstacle(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heedlm.synth import stage

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    for name in ("_write_drops", "sync"):
        monkeypatch.setattr(stage, name, killed)
        with pytest.raises(KeyboardInterrupt):
            synthesise("answer", data=prompts, model=chat(), out=tmp_path / "out")
        monkeypatch.undo()
        prompts.write_text(prompts.read_text() + '{"prompt": "more?"}\n')
    assert synthesise("answer", data=prompts, model=chat(), out=tmp_path / "out").rows == 6


def test_a_model_tuned_anew_under_the_same_name_is_asked_anew(prompts: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    model = checkpoint(tmp_path / "base")
    synthesise("answer", data=prompts, model=model, out=tmp_path / "out", max_tokens=4)
    tensors = load_file(model / "model.safetensors")
    save_file(
        {name: tensor + torch.tensor(0.01, dtype=tensor.dtype) for name, tensor in tensors.items()},
        model / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert synthesise("answer", data=prompts, model=model, out=tmp_path / "out", max_tokens=4).reused == 0


def test_half_characters_and_odd_numbers_of_an_endpoint(prompts: Path, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": NaN}'}}

    def say(body: dict[str, Any]) -> Any:
        told = completion("half a smile: \ud83d")
        if asked(body) == "1?":
            told["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
        return told

    for _ in range(2):
        with endpoint(say) as place:
            done = synthesise("answer", data=prompts, model=f"{place.url}#tiny", out=tmp_path / "out")
    assert done.reused == 5
    assert done.dropped == {"unusable answer": 1}
    row = json.loads((tmp_path / "out" / "rows.jsonl").read_text().splitlines()[0])
    assert row["messages"][1]["content"].startswith("half a smile: ")
