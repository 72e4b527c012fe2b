"""Tasks of lm-eval asked by us: the same questions, the same figures as lm-eval itself gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from heedlm.errors import HeedError
from heedlm.eval.arms import bare, instruct
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.suites.read import read_suite
from heedlm.generate.chat import load_chat
from heedlm.messages import Request, Sampling
from tests.families import checkpoint
from tests.typed import Heed

LANDS = [("Italy", "Rome"), ("Peru", "Lima"), ("France", "Paris"), ("Japan", "Tokyo"), ("Egypt", "Cairo")]
CHOICE = """\
task: tiny_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA, validation: DATA}}
output_type: multiple_choice
test_split: test
fewshot_split: validation
num_fewshot: 2
doc_to_text: "Question: {{q}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_bytes
    aggregation: mean
    higher_is_better: true
"""
TEXTS = """\
task: tiny_texts
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
output_type: generate_until
test_split: test
doc_to_text: "Question: {{q}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
filter_list:
  - name: first letter
    filter:
      - {function: regex, regex_pattern: "([A-Za-z])"}
      - {function: take_first}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lm-eval's files with a suite that names them, and a tiny model."""
    found = tmp_path_factory.mktemp("harness")
    rows = [
        {"q": f"What is the capital of {land}?", "choices": ["Oslo", city, "B"], "label": 1, "answer": city[0]}
        for land, city in LANDS
    ]
    (found / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("choice", CHOICE), ("texts", TEXTS)):
        (found / f"{name}.yaml").write_text(text.replace("DATA", str(found / "rows.jsonl")))
    (found / "suite.yaml").write_text(
        "tasks:\n  choice: {lm_eval: choice.yaml}\n  texts: {lm_eval: texts.yaml, kind: facts, gated: true}\n"
        "  bytes: {lm_eval: choice.yaml, metric: acc_bytes}\n"
    )
    checkpoint(found / "model", max_position_embeddings=512)
    return found


def theirs(folder: Path) -> dict[str, Any]:
    """The samples of lm-eval's own run, by task."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=str(folder / "model"), device="cpu", dtype="float32", batch_size=2)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=[str(folder / "choice.yaml"), str(folder / "texts.yaml")],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    assert found is not None
    return dict(found["samples"])


def test_the_same_questions_likelihoods_and_scores_as_lm_eval(folder: Path) -> None:
    tasks = {one.task.name: one.task for one in read_suite(folder / "suite.yaml").tasks}
    chat = load_chat(folder / "model", name="tiny")
    samples = theirs(folder)
    for build in (bare, instruct):  # asked alike in every arm
        items = run_arm(list(tasks.values()), Arm("a", chat, build), Sampling())
        by_task = {name: [item for item in items if item.task == name] for name in tasks}
        choice, texts = samples["tiny_choice"], samples["tiny_texts"]
        assert [item.prompt for item in by_task["choice"]] == [one["arguments"][0][0] for one in choice]
        assert [item.score for item in by_task["choice"]] == [one["acc"] for one in choice]
        assert [item.score for item in by_task["bytes"]] == [one["acc_bytes"] for one in choice]
        assert [item.prompt for item in by_task["texts"]] == [one["arguments"][0][0] for one in texts]
        assert [item.score for item in by_task["texts"]] == [one["exact_match"] for one in texts]
    for one, example in zip(choice, tasks["choice"].examples, strict=True):
        asked = [Request(text=example.messages[0].content)] * 3
        ours = [sum(found) for found in chat.score(asked, [f" {text}" for text in example.meta["choices"]])]
        assert ours == pytest.approx([float(resp[0][0]) for resp in one["resps"]], abs=1e-4)


def test_they_stand_in_one_report_with_tasks_of_our_own(heed: Heed, folder: Path) -> None:
    other = checkpoint(folder / "other", "qwen2", max_position_embeddings=512)
    mine = folder / "mine.yaml"
    mine.write_text("tasks: {mine: {scorer: exact, max_tokens: 2, items: [{prompt: Rome, target: Italy}]}}\n")
    common = ("--suite", folder / "suite.yaml", "--suite", mine, "--out", folder / "out", "--json")
    code, out, err = heed("eval", folder / "model", other, *common)
    assert code == 0, err
    (pair,) = json.loads(out)["pairs"]
    assert [task["name"] for task in pair["tasks"]] == ["choice", "texts", "bytes", "mine"]
    assert [task["n"] for task in pair["tasks"]] == [5, 5, 5, 1]
    assert json.loads(heed("eval", folder / "model", other, *common, "--rescore")[1])["pairs"] == [pair]


def test_what_a_suite_says_beside(folder: Path) -> None:
    choice, texts, _ = read_suite(folder / "suite.yaml").tasks
    assert choice.baseline == pytest.approx(1 / 3)
    assert (texts.task.kind, texts.task.gated, texts.baseline) == ("facts", True, None)
    assert texts.task.examples[0].meta["asking"] == {"plain": True, "stop": ["\n"], "max_tokens": 4}
    assert texts.task.scorer(texts.task.examples[0], " r, because").value == 1.0
    assert texts.task.scorer(texts.task.examples[0], " 42").value == 0.0
    assert "Answer: " in choice.task.examples[0].messages[0].content  # two solved examples stand before it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lm_eval: no_such_task", "has no task 'no_such_task'"),
        ("lm_eval: none.yaml", "has no task 'none.yaml'"),
        ("lm_eval: 3", "expected a text"),
        ("{lm_eval: choice.yaml, metric: f1}", "known: acc, acc_bytes"),
        ("{lm_eval: choice.yaml, items: a.jsonl}", "unknown key 'items'"),
        ("lm_eval: broken.yaml", "lm-eval cannot load 'broken.yaml'"),
        ("lm_eval: rolling.yaml", "of a sort that is not asked here"),
        ("lm_eval: glued.yaml", "give the task target_delimiter"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_line(folder: Path, text: str, said: str) -> None:
    (folder / "broken.yaml").write_text((folder / "choice.yaml").read_text().replace("rows.jsonl", "none.jsonl"))
    (folder / "glued.yaml").write_text((folder / "choice.yaml").read_text() + "target_delimiter: ''\n")
    (folder / "rolling.yaml").write_text(
        (folder / "texts.yaml")
        .read_text()
        .replace("generate_until", "loglikelihood_rolling")
        .partition("filter_list")[0]
        + "metric_list: [{metric: word_perplexity}]\n"
    )
    path = folder / "bad.yaml"
    path.write_text(f"tasks:\n  t: {text}\n" if text.startswith("{") else f"tasks:\n  t:\n    {text}\n")
    with pytest.raises(HeedError) as caught:
        read_suite(path)
    assert said in str(caught.value)
    assert f"{path}:" in str(caught.value)
