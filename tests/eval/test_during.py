"""Scores of a model in the making: asked when there is time, the same decisions however often a run is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.progress import Progress

from heedlm import api
from heedlm.errors import HeedError
from heedlm.eval import during, evaluate
from heedlm.eval.curves import curves_from
from heedlm.eval.during import Exam, Rules
from heedlm.eval.during_setup import spread
from heedlm.messages import Example, Message, Score, Task
from heedlm.screen import Screen
from heedlm.templates.chat import load_template
from heedlm.tokens.tokenizer import load_tokenizer
from heedlm.train.loop import StepReport
from heedlm.train.stage import Interrupted, Observer
from tests.families import checkpoint

ROWS = [
    {"instruction": f"Add {a} and {b}.", "output": f"{a} and {b} make {a + b}."} for a in range(6) for b in range(6)
]
SETTINGS = {
    "train.tokens_per_step": 300,
    "train.epochs": 4,
    "train.precision": "fp32",
    "train.panel": 0,
    "train.lr": 0.01,
    "train.checkpoint_every": 3,
    "train.eval_every": 2,
    "train.device": "cpu",
    "data.val": 0.2,
    "data.test": 0.1,
    "eval.max_tokens": 6,
    "train.score": ["held_out"],
    "train.score_items": 4,
    "train.score_share": 1,
}
CLOCK = ("seconds", "tokens_per_second", "peak_memory_bytes", "ceiling_share")
Scored = Callable[[int], float]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    checkpoint(folder / "base")
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return folder


def tune(world: Path, run: Path, more: Mapping[str, Any] | None = None, observer: Observer | None = None) -> Any:
    settings = {key: value for key, value in {**SETTINGS, **(more or {})}.items() if value is not ...}
    return api.train(
        model=world / "base", data=world / "rows.json", run=run, settings=settings, observer=observer or api.silent()
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores(run: Path) -> list[dict[str, Any]]:
    return [line for line in lines(run / "metrics.jsonl") if line["kind"] == "score"]


def result(run: Path) -> dict[str, Any]:
    """The run without what a clock says."""
    metrics = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines(run / "metrics.jsonl")]
    return {
        "model": (run / "model" / "model.safetensors").read_bytes(),
        "metrics": metrics,
        "notes": [
            {k: v for k, v in line.items() if k != "seconds"}
            for line in {line["step"]: line for line in lines(run / "scores.jsonl")}.values()
        ],
        "replies": sorted((line["arm"], line["id"], line["reply"]) for line in lines(run / "eval" / "during.jsonl")),
    }


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scored], list[int]]:
    """Scores as a test wants them, by step; gives the steps that were asked."""

    def pretend(score: Scored) -> list[int]:
        asked: list[int] = []
        ask = Exam.ask

        def told(self: Exam, model: Any, step: int, *, keep: bool) -> dict[str, Any]:
            asked.append(step)
            return {**ask(self, model, step, keep=keep), "score": score(step)}

        monkeypatch.setattr(Exam, "ask", told)
        return asked

    return pretend


def test_the_model_is_scored_on_validation_rows_at_every_evaluation(world: Path, tmp_path: Path) -> None:
    said: list[str] = []
    heard: list[dict[str, Any]] = []
    report = tune(world, tmp_path, observer=Observer(said.append, lambda *a: None, sinks=(heard.append,)))
    found = scores(tmp_path)
    assert [line["step"] for line in found] == [*range(2, report.steps, 2), report.steps]
    assert found == [line for line in heard if line["kind"] == "score"]
    assert all(0 <= line["score"] <= 1 and line["items"] == 4 and line["errors"] == 0 for line in found)
    assert "scores on the way: 4 items (held_out) at every evaluation" in said
    assert any(line.startswith("step 2: score 0.") for line in said)
    asked = lines(tmp_path / "eval" / "during.jsonl")
    val = {json.loads(line)["id"] for line in (tmp_path / "data" / "val.jsonl").read_text().splitlines()}
    assert len(asked) == 4 * len(found)
    assert {line["id"] for line in asked} < val
    assert [curve.name for curve in curves_from(lines(tmp_path / "metrics.jsonl"))] == [
        "training",
        "validation",
        "task score",
    ]
    assert report.best_score is None


def test_weights_and_losses_are_the_same_to_the_last_bit_with_and_without_it(world: Path, tmp_path: Path) -> None:
    tune(world, tmp_path / "with")
    tune(world, tmp_path / "without", {"train.score": ..., "train.score_items": ..., "train.score_share": ...})
    one, other = result(tmp_path / "with"), (tmp_path / "without" / "model" / "model.safetensors").read_bytes()
    assert one["model"] == other
    losses = [line["loss"] for line in lines(tmp_path / "without" / "metrics.jsonl") if line["kind"] == "train"]
    assert [line["loss"] for line in one["metrics"] if line["kind"] == "train"] == losses
    assert not (tmp_path / "without" / "scores.jsonl").exists()


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_run_that_is_stopped_and_goes_on_decides_the_same(world: Path, tmp_path: Path, stop: int) -> None:
    chosen = {"train.best": "score", "train.patience": 3}
    tune(world, tmp_path / "whole", chosen)

    def press(step: int, of: int, report: object) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        tune(world, tmp_path / "parts", chosen, Observer(lambda line: None, press))
    tune(world, tmp_path / "parts", chosen)
    assert result(tmp_path / "parts") == result(tmp_path / "whole")


@pytest.mark.parametrize("moment", ["while it asks", "before it notes", "after it noted"])
def test_a_run_that_dies_while_it_is_scored_decides_the_same(
    moment: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"train.best": "score", "train.patience": 4}
    tune(world, tmp_path / "whole", chosen)

    def dies(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        judge, run_arm = Exam.judge, evaluate.run_arm

        def judged(self: Exam, step: int, figures: Mapping[str, Any]) -> Any:
            if step < 4:
                return judge(self, step, figures)
            if moment == "after it noted":
                judge(self, step, figures)
            raise KeyboardInterrupt

        def asked(tasks: Any, arm: Any, *rest: Any, **how: Any) -> Any:
            if arm.name == "step 4":  # half of the items come through
                run_arm([Task("held_out", "held_out", tasks[0].examples[:2], tasks[0].scorer)], arm, *rest, **how)
                raise KeyboardInterrupt
            return run_arm(tasks, arm, *rest, **how)

        if moment == "while it asks":
            patch.setattr(during, "run_arm", asked)
        else:
            patch.setattr(Exam, "judge", judged)
        with pytest.raises(KeyboardInterrupt):
            tune(world, tmp_path / "parts", chosen)
    with (tmp_path / "parts" / "scores.jsonl").open("a") as file:
        file.write('{"version": 1, "step": 6, "left')  # a line that the kill left without its end
    tune(world, tmp_path / "parts", chosen)
    assert result(tmp_path / "parts") == result(tmp_path / "whole")


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_with_kill_9_decides_the_same(world: Path, tmp_path: Path) -> None:
    chosen = {"train.best": "score", "train.patience": 4}
    tune(world, tmp_path / "whole", chosen)
    given = ["--model", str(world / "base"), "--data", str(world / "rows.json"), "--run", str(tmp_path / "parts")]
    given += [w for key, value in {**SETTINGS, **chosen}.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "heedlm", "train", *given]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    notes = tmp_path / "parts" / "scores.jsonl"
    while not notes.is_file() or len(notes.read_text().splitlines()) < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    tune(world, tmp_path / "parts", chosen)
    assert result(tmp_path / "parts") == result(tmp_path / "whole")


def test_what_the_clock_decided_before_a_kill_still_holds(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs with other clocks the one that goes on keeps to what was said to be left out."""
    slow = {"train.score_share": 0.2}
    with monkeypatch.context() as patch:
        ask, noted = Exam.ask, [0]

        def expensive(self: Exam, model: Any, step: int, *, keep: bool) -> dict[str, Any]:
            noted[0] += 1
            return {**ask(self, model, step, keep=keep), "seconds": 1e4}

        patch.setattr(Exam, "ask", expensive)
        said: list[str] = []

        def press(step: int, of: int, report: object) -> None:
            if step == 7:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune(world, tmp_path, slow, Observer(said.append, press))
        assert noted == [1]
        assert any("step 4: not scored" in line and "train.score_share is 0.2" in line for line in said)
    before = lines(tmp_path / "scores.jsonl")
    assert [("score" in line, line["step"]) for line in before] == [(True, 2), (False, 4), (False, 6)]
    again: list[str] = []
    tune(world, tmp_path, slow, Observer(again.append, lambda *a: None))
    assert "going on after step 6" in " ".join(again)
    assert lines(tmp_path / "scores.jsonl")[:3] == before
    assert [line["step"] for line in scores(tmp_path)][:1] == [2]


def test_the_best_score_is_kept_and_said(world: Path, tmp_path: Path, pretended: Callable[[Scored], list[int]]) -> None:
    pretended(lambda step: {4: 0.9, 6: 0.9}.get(step, 0.1))
    said: list[str] = []
    report = tune(world, tmp_path, {"train.best": "score"}, Observer(said.append, lambda *a: None))
    losses = {line["step"]: line["val_loss"] for line in lines(tmp_path / "metrics.jsonl") if "val_loss" in line}
    best = min((4, 6), key=lambda step: losses[step])  # of equal scores the one of the lower loss
    assert (report.best_score, report.best_step, report.best_loss) == (0.9, best, losses[best])
    assert f"keeping the weights of step {best}: score 0.900" in said
    assert report.steps > 6


def test_patience_ends_a_run_and_a_run_that_ended_stays_so(
    world: Path, tmp_path: Path, pretended: Callable[[Scored], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pretended(lambda step: 0.5 if step == 2 else 0.4)
    said: list[str] = []
    chosen = {"train.patience": 2, "train.best": "score"}
    from heedlm.train import stage

    with monkeypatch.context() as patch:
        patch.setattr(stage._Fitting, "finish", lambda self, end: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tune(world, tmp_path, chosen, Observer(said.append, lambda *a: None))
    assert asked == [2, 4, 6]
    assert "The run ends here: 2 scores in a row were not above it" in said[-1]
    report = tune(world, tmp_path, chosen)
    assert asked == [2, 4, 6]
    assert (report.steps, report.best_step, report.best_score) == (6, 2, 0.5)


def test_scores_without_best_and_patience_choose_nothing(
    world: Path, tmp_path: Path, pretended: Callable[[Scored], list[int]]
) -> None:
    pretended(lambda step: 1.0 if step == 2 else 0.0)
    report = tune(world, tmp_path)
    losses = [line["val_loss"] for line in lines(tmp_path / "metrics.jsonl") if "val_loss" in line]
    assert (report.best_score, report.best_loss) == (None, min(losses))


def test_a_score_that_cannot_be_had_stops_nothing(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(during, "run_arm", full)
    said: list[str] = []
    report = tune(world, tmp_path, {"train.best": "score"}, Observer(said.append, lambda *a: None))
    assert "step 2: could not be scored: CUDA out of memory. Tried to allocate 2 GiB" in said
    assert (report.best_score, report.best_step) == (None, 0)
    assert not scores(tmp_path)


def test_without_validation_rows_a_suite_of_its_own_is_asked(world: Path, tmp_path: Path) -> None:
    report = tune(world, tmp_path / "run", {"data.val": None, "train.score": ["forgetting"], "train.best": "score"})
    assert report.best_score is not None
    assert report.best_loss is None
    with pytest.raises(HeedError, match="there are no validation rows"):
        tune(world, tmp_path / "other", {"data.val": None})


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"train.score": ["held_uot"]}, "held_out"),
        ({"train.score": ..., "train.score_items": ..., "train.score_share": ..., "train.best": "score"}, "train.best"),
        ({"train.score": []}, "train.score"),
        ({"train.score_share": 0}, "train.score_share"),
        ({"train.patience": 0}, "train.patience"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    more: dict[str, Any], what: str, world: Path, tmp_path: Path
) -> None:
    with pytest.raises(HeedError) as error:
        tune(world, tmp_path / "run", more)
    assert what in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "test"])
def test_items_among_the_rows_of_training_and_test_are_refused(split: str, world: Path, tmp_path: Path) -> None:
    api.prepare(run=tmp_path / "run", data=world / "rows.json", settings={"data.val": 0.2, "data.test": 0.1})
    row = json.loads((tmp_path / "run" / "data" / f"{split}.jsonl").read_text().splitlines()[0])
    suite = tmp_path / "mine.yaml"
    asked, answer = (turn["content"] for turn in row["messages"])
    suite.write_text(
        "about: Mine.\ntasks:\n  sums:\n    items:\n"
        f"      - {{prompt: {json.dumps(asked)}, target: {json.dumps(answer)}}}\n    scorer: normalised\n"
    )
    with pytest.raises(HeedError, match=f"1 of 1 items of train.score stand among the {split} rows"):
        tune(world, tmp_path / "run", {"train.score": [str(suite)]})


def exam(folder: Path, rules: Rules) -> Exam:
    base = checkpoint(folder / "base")
    tokenizer = load_tokenizer(base)
    example = Example("a", (Message("user", "Hi"), Message("assistant", "Ho")), "x:1")
    task = Task("t", "t", (example,), lambda example, reply: Score(0.0, reply, ""))
    template = load_template("chatml", tokenizer)
    return Exam([task], tokenizer, template, folder / "scores.jsonl", folder / "during.jsonl", rules, max_tokens=2)


def figures(score: float, seconds: float) -> dict[str, Any]:
    return {"score": score, "tasks": {"t": score}, "items": 1, "errors": 0, "weights": "w", "seconds": seconds}


@pytest.mark.parametrize(("seconds", "asked"), [(179.0, False), (180.0, True)])
def test_all_scores_together_stay_within_their_share(seconds: float, asked: bool, tmp_path: Path) -> None:
    one = exam(tmp_path, Rules(share=0.1))
    one.begin(anew=True)
    assert one.left_out(1, 0.0) == ""  # what one costs is known only afterwards
    one.judge(1, figures(0.5, 10.0))
    # 10 s are spent and 10 s would come: a tenth of 180 s of steps and these 20 s.
    assert (one.left_out(2, seconds) == "") is asked
    one.judge(4, figures(0.5, 99.0))
    assert (one.left_out(2, seconds) == "") is asked  # what came later does not count
    if not asked:
        assert one.left_out(2, 1e9)  # what was decided stays


def test_patience_counts_scores_and_not_what_was_left_out(tmp_path: Path) -> None:
    one = exam(tmp_path, Rules(share=0.01, chooses=True, patience=2))
    one.begin(anew=True)
    assert not one.judge(1, figures(0.5, 1.0)).verdict.enough
    assert one.left_out(2, 1.0)
    assert not one.judge(3, figures(0.5, 1.0)).verdict.enough
    last = one.judge(4, figures(0.4, 1.0))
    assert last.verdict.enough
    assert "the best so far is 0.500, at step 1" in last.words
    assert one.judge(4, figures(0.4, 1.0)).verdict == last.verdict
    assert len(lines(tmp_path / "scores.jsonl")) == 4
    assert not one.judge(5, {**figures(0.6, 1.0)}).verdict.enough


def test_other_weights_at_the_same_step_are_scored_anew(tmp_path: Path) -> None:
    one = exam(tmp_path, Rules())
    one.begin(anew=True)
    from heedlm.model.load import load_model

    model = load_model(tmp_path / "base")
    first = one.ask(model, 1, keep=True)
    assert one.ask(model, 1, keep=True)["weights"] == first["weights"]
    assert len(lines(tmp_path / "during.jsonl")) == 1
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    assert one.ask(model, 1, keep=True)["weights"] != first["weights"]
    assert len(lines(tmp_path / "during.jsonl")) == 2
    assert one.ask(model, 1, keep=False)["weights"] == ""
    assert len(lines(tmp_path / "during.jsonl")) == 2


def test_notes_of_another_version_are_refused(tmp_path: Path) -> None:
    one = exam(tmp_path, Rules())
    (tmp_path / "scores.jsonl").write_text('{"version": 9, "step": 1, "score": 0.5}\n')
    one.begin(anew=False)
    with pytest.raises(HeedError, match="version"):
        one.left_out(2, 1.0)
    one.begin(anew=True)
    assert one.left_out(2, 1.0) == ""


def test_a_suite_that_chose_the_model_is_named_where_it_judges_it(world: Path, tmp_path: Path) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text("about: Mine.\ntasks:\n  mine: {items: [{prompt: Hi, target: Ho}], scorer: f1}\n")
    chosen = {"train.score": [str(suite)], "train.best": "score", "train.epochs": 1, "train.panel": 0}
    tune(world, tmp_path / "run", chosen)
    asked = {"eval.suites": [str(suite), "held_out"], "eval.items": 2, "eval.max_tokens": 2}
    headline = json.loads(api.evaluate(run=tmp_path / "run", settings=asked).files[0].read_text())["headline"]
    assert headline.startswith("CHOSEN ON: ")
    assert "mine.yaml chose this model" in headline
    fair = json.loads(
        api.evaluate(run=tmp_path / "run", settings={"eval.items": 2, "eval.max_tokens": 2}).files[0].read_text()
    )
    assert "CHOSEN ON" not in fair["headline"]


def test_items_are_spread_evenly_and_come_in_all_their_forms() -> None:
    def example(item: str, form: str) -> Example:
        meta = {"item": item, "variant": {"wording": form}}
        return Example(f"{item}/{form}", (Message("user", "?"), Message("assistant", "!")), "x:1", meta=meta)

    rows = tuple(example(str(item), form) for item in range(10) for form in "ab")
    task = Task("t", "t", rows, lambda example, reply: Score(0.0, reply, ""))
    for most, kept in ((1, "0"), (3, "036"), (10, "0123456789"), (11, "0123456789")):
        assert [one.id for one in spread(task, most).examples] == [f"{item}/{form}" for item in kept for form in "ab"]


def test_the_progress_line_shows_the_last_score(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(Progress, "update", lambda self, task, **how: notes.append(how["note"]))
    report = StepReport(2.5, 0.5, 1.0, 1e-3, 100, 50, 0.5, 0, epoch_ended=False)
    with Screen().observer("training") as observer:
        observer.step(1, 9, report)
        for sink in observer.sinks:
            sink({"kind": "train", "step": 1, "loss": 2.5})
            sink({"kind": "score", "step": 1, "score": 0.25})
        observer.step(2, 9, report)
    assert notes == ["step 1/9  loss 2.500  200 tokens/s", "step 2/9  loss 2.500  score 0.250  200 tokens/s"]
