"""Suites asked by `heed eval`, with a tiny model: in the report, again from the log, at every batch size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm import cli
from heedlm.eval.log import read_items
from tests.families import checkpoint
from tests.typed import Heed

ROWS = [{"prompt": f"Say the word number {n}.", "completion": f"Word {n}."} for n in range(40)]
SUITE = """\
tasks:
  colours:
    scorer: likelihood
    plain: true
    items:
      - {id: a, prompt: The sky is, choices: [blue, green and yellow], target: blue}
      - {id: b, prompt: Grass is, choices: [blue, green], target: green}
  shout:
    scorer: checks
    max_tokens: 6
    samples: 2
    temperature: 1.0
    templates: {plain: "{{ prompt }}", label: "Question: {{ prompt }}"}
    items: [{id: c, prompt: Shout., checks: [{type: upper-case}]}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a run `one` that was trained on it without test rows, and a suite."""
    folder = tmp_path_factory.mktemp("suites")
    model = checkpoint(folder / "base", max_position_embeddings=512)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    common = ["--model", str(model), "--data", str(folder / "rows.jsonl"), "--run", str(folder / "one")]
    with pytest.raises(SystemExit):
        cli.main(["train", *common, *(f"--set={s}" for s in ("data.test=null", "train.max_steps=1")), "--quiet"])
    (folder / "mine.yaml").write_text(SUITE)
    return folder


def test_a_suite_is_asked_reported_and_scored_again(heed: Heed, made: Path) -> None:
    run, suite = made / "one", made / "mine.yaml"
    code, out, err = heed("eval", run, "--suite", suite, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert [(task["name"], task["n"], task["groups"]) for task in told["tasks"]] == [("colours", 2, 2), ("shout", 4, 1)]
    shout = next(one for one in told["suites"] if one["task"] == "shout" and one["arm"] == "instruct")
    assert set(shout["spread"]["by_format"]) == {"plain", "label"}
    assert shout["agreement"]["sample"]["pairs"] == 2
    assert {one["baseline"] for one in told["suites"]} == {0.5, None}
    assert "2 prompt formats" in (run / "eval" / "mine" / "report.md").read_text()
    assert "Formats and consistency" in (run / "eval" / "mine" / "report.html").read_text()
    assert not (run / "report.md").exists()  # the place of the report on the run's own items
    items = read_items(run / "eval" / "items.jsonl")
    colours = [item for item in items if item.task == "colours"]
    assert {item.prompt for item in colours} == {"The sky is", "Grass is"}  # alike in every arm
    assert all(item.tokens == 0 and item.reply in ("blue", "green", "green and yellow") for item in colours)
    assert all(item.tokens is not None and item.tokens <= 6 for item in items if item.task == "shout")
    again = json.loads(heed("eval", run, "--suite", suite, "--rescore", "--json")[1])
    assert again["tasks"] == told["tasks"]
    assert again["suites"] == told["suites"]
    assert len(read_items(run / "eval" / "items.jsonl")) == len(items)


def test_suites_of_one_name_do_not_share_a_report(heed: Heed, made: Path) -> None:
    run = made / "one"
    (made / "twin.yaml").write_text("tasks: {t: {scorer: exact, items: [{prompt: Hm, target: Hm}], max_tokens: 2}}\n")
    (made / "more").mkdir()
    (made / "more" / "twin.yaml").write_text((made / "twin.yaml").read_text().replace("t:", "u:", 1))
    folders = []
    for suite in (made / "twin.yaml", made / "more" / "twin.yaml", made / "twin.yaml"):
        code, _, err = heed("eval", run, "--suite", suite)
        assert code == 0, err
        folders.append(Path(err.strip().splitlines()[-1].split(": ")[1]).parent.name)
    assert folders == ["twin", "twin-2", "twin"]
    for folder, task in (("twin", "t"), ("twin-2", "u")):
        report = json.loads((run / "eval" / folder / "report.json").read_text())
        assert [one["name"] for one in report["tasks"]] == [task]
    assert json.loads(heed("eval", run, "--suite", made / "more" / "twin.yaml", "--rescore", "--json")[1])["tasks"]


def test_the_evidence_of_a_suite_stands_beside_its_report(heed: Heed, made: Path) -> None:
    run, gate = made / "one", made / "gate.yaml"
    gate.write_text("errors: 0.5\n")
    few = ("--set", "eval.items=2")
    code, _, err = heed("eval", run, "--suite", "forgetting", "--gate", gate, *few)
    assert code == 0, err
    assert (run / "eval" / "forgetting" / "evidence.json").is_file()
    assert not (run / "evidence.json").exists()
    verify = ("eval", run, "--suite", "forgetting", "--verify", "--json")
    assert json.loads(heed(*verify)[1]) == {"verdict": "ship", "changed": []}
    assert heed("eval", run, "--suite", "constraints", *few, "--set", "eval.max_tokens=2")[0] == 0
    assert json.loads(heed(*verify)[1])["changed"] == []  # a log that has grown is still the same log
    log = run / "eval" / "items.jsonl"
    text = log.read_text()
    log.write_text(text.replace('"score": 0', '"score": 1', 1))
    code, out, _ = heed(*verify)
    assert (code, json.loads(out)["changed"]) == (1, ["eval/items.jsonl has changed"])
    log.write_text(text)
    assert heed("eval", run, "--verify")[0] == 2  # no gate was asked of the run's own items


def test_quiet_says_only_the_result(heed: Heed, made: Path) -> None:
    common = ("eval", made / "one", "--suite", "forgetting", "--set", "eval.items=2")
    code, out, err = heed(*common, "--quiet")
    assert (code, err) == (0, "")
    assert "common knowledge" in out
    code, out, err = heed(*common, "--quiet", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["tasks"]


def test_the_likeliest_choice_is_the_same_at_every_batch_size(heed: Heed, made: Path) -> None:
    seen = set()
    for batch in (1, 4, 16):
        out = made / f"batch{batch}"
        code, _, err = heed(
            "eval", made / "base", made / "one", "--suite", "forgetting", "--out", out,
            "--set", f"eval.batch_size={batch}", "--set", "eval.items=5", "--set", "seed=1",
        )  # fmt: skip
        assert code == 0, err
        told = json.loads((out / "report.json").read_text())["suites"]
        assert {(one["task"], one["baseline"]) for one in told} == {
            ("common_knowledge", 0.25),
            ("grammar", 0.5),
            ("patterns", 0.25),
        }
        items = sorted(read_items(out / "items.jsonl"), key=lambda item: (item.arm, item.task, item.id))
        seen.add(tuple((item.arm, item.task, item.id, item.reply) for item in items))
    assert len(seen) == 1
    assert len(next(iter(seen))) == 2 * 3 * 5


def test_what_cannot_be_asked_is_refused_before_anything_is(heed: Heed, made: Path) -> None:
    code, _, err = heed("eval", made / "one", "--suite", "held_out")
    assert code == 2
    assert "no test rows" in err
    assert "heed eval RUN --data FILE, or --suite NAME" in err
    code, _, err = heed("eval", made / "one", "--suite", "forgeting")
    assert code == 2
    assert "did you mean 'forgetting'?" in err
    code, _, err = heed("eval", made / "one", "--suite", made / "none.yaml")
    assert code == 2
    assert "no such suite" in err
    code, _, err = heed("eval", made / "one", "--set", "eval.suites=[]")
    assert code == 2


def test_an_item_that_was_trained_on_is_refused(heed: Heed, made: Path) -> None:
    leaky = made / "leaky.yaml"
    row = ROWS[3]
    leaky.write_text(
        f"tasks:\n  t: {{scorer: exact, items: [{{prompt: {row['prompt']}, target: {row['completion']}}}]}}\n"
    )
    code, _, err = heed("eval", made / "one", "--suite", leaky)
    assert code == 2
    assert "leaky.yaml:2" in err
