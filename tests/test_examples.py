"""Every example runs as a person would run it, and shows what it says it shows."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heedlm.model.load import SHIPPED
from tests.families import checkpoint

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# What a person's Python prepends: the example finds the package, no network, one thread.
QUIET = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

needs_atlas = pytest.mark.skipif(
    not (SHIPPED["atlas"] / "config.json").is_file(),
    reason="the base model that ships with heed is not in this checkout",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs an example's `main` in an empty folder; what it returns."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object) -> Any:
        return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)["main"]([str(a) for a in arguments])

    return run


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert not [path.name for path in EXAMPLES.glob("*.py") if f'"{path.stem}"' not in text]


def test_the_rows_beside_the_examples_hold_nothing_that_the_demo_holds_back() -> None:
    from heedlm.atlas.facts import countries, words
    from heedlm.atlas.world import held_out

    rows = [json.loads(line) for line in (EXAMPLES / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 96
    asked = " ".join(f"{row['instruction']} {row['input']}" for row in rows)
    names = [c.name for c in countries() if held_out(c.key)] + [w.english for w in words() if held_out(w.key)]
    assert not [name for name in names if re.search(rf"\b{re.escape(name)}[?.]", asked)]


def test_three_lines_as_a_script(model: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(EXAMPLES / "train_in_three_lines.py"), "--model", str(model), "--run", "runs/mine"]
    done = subprocess.run(script, cwd=tmp_path, env=QUIET, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "steps on 87 rows, validation loss" in done.stdout
    assert (tmp_path / "runs" / "mine" / "model" / "config.json").is_file()


def test_three_lines_take_a_file_of_ones_own(model: Path, example: Any, tmp_path: Path, capsys: Any) -> None:
    rows = tmp_path / "mine.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Say {n}.", "completion": f"{n}!"}) + "\n" for n in range(40)))
    example("train_in_three_lines", "--model", model, "--data", rows, "--run", "mine")
    assert re.search(r"\d steps on 3\d rows", capsys.readouterr().out)


def test_the_mask_is_shown_segment_by_segment_and_token_by_token(model: Path, example: Any, capsys: Any) -> None:
    example("look_at_the_mask", "--model", model)
    shown = capsys.readouterr().out
    assert "0.0  user        'And its currency?'" in shown
    assert "0.0  assistant   'The capital of Peru is Lima.'" in shown
    assert "1.0  assistant   'The currency of Peru is the Peruvian sol.'" in shown
    assert "1.0  terminator" in shown
    assert shown.count("[[The capital of Peru is Lima.<|im_end|>]]") == 1
    assert shown.count("[[The currency of Peru is the Peruvian sol.<|im_end|>]]") == 2
    assert "What does <|im_end|> mean?<|im_end|>" in shown


def test_the_mask_follows_the_template(model: Path, example: Any, capsys: Any) -> None:
    example("look_at_the_mask", "--model", model, "--template", "human_assistant")
    assert "Assistant:[[ It ends a turn.<|endoftext|>]]" in capsys.readouterr().out


def test_another_objective_goes_through_the_same_loop(model: Path, example: Any, capsys: Any) -> None:
    found = example("own_loop_objective", "--model", model, "--steps", 6)
    plain, trusted = found["cross-entropy"], found["trusted cross-entropy"]
    assert plain.learned_tokens == trusted.learned_tokens > 0
    assert plain.loss < trusted.loss  # a model that trusts nothing yet is moved less by what it trusts
    assert capsys.readouterr().out.count("validation loss") == 2


def test_the_trusted_objective_is_the_plain_one_times_its_own_probability() -> None:
    import torch

    from heedlm.messages import Batch

    trusted = runpy.run_path(str(EXAMPLES / "own_loop_objective.py"), run_name="own")["trusted_nll"]
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    empty = torch.zeros(0, dtype=torch.long)
    batch = Batch(
        empty,
        empty,
        empty,
        empty,
        torch.tensor([0, 1]),
        torch.tensor([0, 0]),
        torch.tensor([1.0, 0.5]),
        torch.tensor([0, 0]),
    )
    result = trusted(lambda batch: logits, batch)
    p = torch.softmax(logits.detach(), dim=-1)[:, 0]
    torch.testing.assert_close(result.loss.detach(), (torch.tensor([1.0, 0.5]) * p * -p.log()).sum())
    assert result.correct.tolist() == [True, False]
    result.loss.backward()
    expected = (
        torch.tensor([1.0, 0.5])[:, None]
        * p[:, None]
        * (torch.softmax(logits.detach(), -1) - torch.tensor([[1.0, 0.0]] * 2))
    )
    torch.testing.assert_close(logits.grad, expected)


def test_three_datasets_run_on_any_model(model: Path, example: Any, tmp_path: Path, capsys: Any) -> None:
    """A tiny checkpoint learns nothing in so short a time, but the street is the same; the same seed writes the same rows."""
    replies = example("one_base_three_datasets", "--model", model, "--run", tmp_path / "run")
    assert len(replies) == 9
    assert all(list(by) == ["base", "screenplay", "conversation", "instruct"] for by in replies.values())
    assert "one base, three datasets" in " ".join(capsys.readouterr().out.split())
    rows = {
        name: [json.loads(line) for line in (tmp_path / "run" / "rows" / f"{name}.jsonl").open()]
        for name in ("screenplay", "conversation", "instruct")
    }
    prompts = [[row["prompt"] for row in of] for of in rows.values()]
    assert prompts[0] == prompts[1] == prompts[2]
    assert len(set(prompts[0])) == 400
    assert not set(replies) & set(prompts[0])


@needs_atlas
def test_one_base_three_datasets_three_behaviours(example: Any, tmp_path: Path) -> None:
    replies = example("one_base_three_datasets", "--run", tmp_path / "run", "--seed", 0)
    screenplay, conversation, instruct = (
        [by[name] for by in replies.values()] for name in ("screenplay", "conversation", "instruct")
    )
    base = [by["base"] for by in replies.values()]

    def share(texts: list[str], pattern: str) -> float:
        return sum(re.search(pattern, text) is not None for text in texts) / len(texts)

    line, question, answer = r"^[A-Z]+: ", r"\?$", r"^The (capital|currency|official language) of .+ is .+\.$"
    assert share(screenplay, line) >= 0.8
    assert share(conversation, question) >= 0.8
    assert share(instruct, answer) >= 0.8
    for others in (base, conversation, instruct):
        assert share(others, line) <= 0.2
    for others in (screenplay, instruct):
        assert share(others, question) <= 0.2
    for others in (base, screenplay, conversation):
        assert share(others, answer) <= 0.2
    # Tuning taught the form; the fact was in the base: of countries in no row, at least half are answered rightly.
    assert sum(reply in true_sentences() for reply in instruct) >= len(instruct) / 2


def true_sentences() -> set[str]:
    from heedlm.atlas.facts import ASKED, countries, fact_sentence

    return {fact_sentence(country, attribute) for country in countries() for attribute in ASKED}


def test_a_table_becomes_conversations(example: Any, tmp_path: Path, capsys: Any) -> None:
    found = example("table_to_conversations", "--run", tmp_path / "tickets")
    plain, varied = found["plain"], found["varied"]
    assert 30 <= len(plain) < len(varied)
    answers = {row["messages"][-1]["content"] for row in plain}
    assert {"shipping", "billing", "something else"} <= answers
    assert {row["meta"]["prompt"]["wording"] for row in plain} == set("123456")
    assert any(len(row["messages"]) > 3 for row in varied)
    assert any(row["meta"]["task"] == "classify-text-inverted" for row in varied)
    assert len({row["meta"]["prompt"].get("notation") for row in varied}) == 5
    assert "conversations to learn from, two of them" in capsys.readouterr().out


def test_a_teacher_that_is_often_wrong_gives_rows_that_are_right(example: Any, tmp_path: Path, capsys: Any) -> None:
    done = example("best_of_several", "--out", tmp_path / "sums", "--count", 25)
    rows = [json.loads(line) for line in done.file.open()]
    assert len(rows) == done.rows > 20
    for row in rows:
        one, other = map(int, re.findall(r"\d+", row["messages"][0]["content"]))
        assert row["messages"][1]["content"].endswith(f"make {one + other}.")
    shares = done.facts["passed_by_draw"]
    assert shares == sorted(shares)
    assert shares[0] < 0.8 < shares[-1]
    assert done.rows + sum(done.dropped.values()) == 25
    assert "answers were drawn" in capsys.readouterr().out


@needs_atlas
def test_the_notebook_runs_from_a_file_to_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "first_run.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert any("heedlm.train(" in cell.source and len(cell.source.splitlines()) == 3 for cell in cells)
    shutil.copy(EXAMPLES / "rows.jsonl", tmp_path)
    for key, value in QUIET.items():
        monkeypatch.setenv(key, value)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=place).execute()
    said = "".join(output.get("text", "") for output in cells[-1].outputs if output.get("name") == "stdout")
    base, instruct = re.findall(r"^(?:base|instruct): +(.+)$", said, re.MULTILINE)
    assert instruct.startswith("The capital of ")
    assert instruct != base
    assert (tmp_path / "runs" / "first" / "model" / "config.json").is_file()


def test_the_smallest_export_that_is_good_enough_is_named(example: Any, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("gguf")
    from tests.exports.makers import bytes_tokenizer, saved

    saved(tmp_path / "model", bytes_tokenizer("qwen2"), "qwen2")
    best = example("smallest_export", "--model", "model", "--same-top", "0.5")
    assert best.folder == Path("exports/sizes/q8_0")
    assert example("smallest_export", "--model", "model", "--same-top", "1.1") is None
    assert capsys.readouterr().out.count("too far off") == 3
    assert not any((tmp_path / "exports" / "sizes").iterdir())
