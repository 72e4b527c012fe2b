"""A bake from files to figures, by both methods, interrupted and gone on with, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heedlm import api
from heedlm.baking import bake
from heedlm.errors import HeedError
from heedlm.generate.chat import load_chat
from heedlm.instructions.bake.job import Job, Places, lessons_of
from heedlm.instructions.bake.report import Baked
from heedlm.instructions.bake.sides import part
from heedlm.instructions.format import load
from heedlm.messages import Message, Request, Sampling
from heedlm.runs import Run, read_jsonl
from heedlm.train.stage import Interrupted, Observer
from tests.instructions.bake.conftest import NAMES, SOURCE, lines, written

FAST = ("train.max_steps=40", "train.lr=0.01", "train.tokens_per_step=700", "train.precision=fp32", "train.panel=0")


def baked(files: dict[str, Path], model: Path, run: Path, **how: Any) -> Baked:
    settings = how.pop("settings", FAST)
    given = {"requests": [files["requests"]], "replay": [files["replay"]], "max_tokens": 12, **how}
    return bake(instruction=files["instruction"], model=model, run=run, settings=settings, **given)


Made = tuple[Baked, dict[str, Path], Path]


@pytest.fixture(scope="module", params=["kl", "sft"])
def made(request: pytest.FixtureRequest, obedient: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bake that is done, its files and its run."""
    folder = tmp_path_factory.mktemp(request.param)
    files = written(folder)
    return baked(files, obedient, folder / "run", method=request.param), files, folder / "run"


def test_what_the_text_does_is_done_without_it_and_the_rest_stays(made: Made) -> None:
    done, _, folder = made
    found = done.measured
    assert (found.plain, found.told) == (0.0, 1.0)
    assert found.recovery is not None
    assert found.recovery.value >= 0.9
    assert found.recovery.low <= found.recovery.value <= found.recovery.high
    assert found.both >= 0.9
    assert found.others is not None
    assert found.others.mean >= -0.1
    assert found.items == found.gain.n == round(0.2 * len(NAMES))
    assert found.tokens[0] > found.tokens[1] > 0
    assert [one.scale for one in found.doses] == [0.0, 0.5, 1.0, 1.5]
    assert found.doses[0].alone == found.plain
    assert found.doses[2].alone == found.baked
    assert not (folder / "bake" / "targets").exists()
    told = json.loads(done.files[0].read_text())
    assert told["recovery"]["value"] == found.recovery.value == Run.open(folder).info()["bake"]["recovery"]["value"]
    assert "of what the text gains" in done.files[1].read_text()


def test_the_run_is_one_like_any_other(made: Made, obedient: Path) -> None:
    done, files, folder = made
    (reply,) = load_chat(folder).reply([Request((Message("user", "What does Anz like?"),))], Sampling(max_tokens=12))
    assert reply.text.startswith("blue")
    tasks = {task.name: task for task in api.evaluate(run=folder, settings=["eval.max_tokens=12"]).report.tasks}
    assert set(tasks) == {"baked_blue", "count"}
    assert tasks["baked_blue"].arms["instruct"].score >= 0.9
    asked = (folder / "bake" / "answers.jsonl").read_bytes()
    again = baked(files, obedient, folder, method=json.loads(done.files[0].read_text())["method"])
    assert again.measured == done.measured  # nothing is trained, nothing is asked anew
    assert (folder / "bake" / "answers.jsonl").read_bytes() == asked


def test_a_run_that_was_begun_on_something_else_is_refused(made: Made, obedient: Path, tmp_path: Path) -> None:
    done, files, folder = made
    shutil.copytree(folder, tmp_path / "run")
    method = json.loads(done.files[0].read_text())["method"]
    other = {"kl": "sft", "sft": "kl"}[method]
    with pytest.raises(HeedError, match=r"begun with something else: method, top"):
        baked(files, obedient, tmp_path / "run", method=other, top=3)
    changed = dict(files, instruction=tmp_path / "blue.prompty")
    changed["instruction"].write_text(SOURCE.replace("Say blue.", "Say blue, please."))
    with pytest.raises(HeedError, match=r"something else: instruction"):
        baked(changed, obedient, tmp_path / "run", method=method)
    shutil.rmtree(tmp_path / "run" / "bake")
    with pytest.raises(HeedError, match="it is no bake"):
        baked(files, obedient, tmp_path / "run", method=method)


def test_answers_that_fail_the_checks_are_left_out_and_counted(
    files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    """Requests that the model counts at, whatever the text says, are none to learn from."""
    counted = [{"vars": {"question": f"Count for {name}."}} for name in NAMES[:20]]
    asked = [{"vars": {"question": f"What does {name} like?"}} for name in NAMES]
    lines(files["requests"], asked[:40] + counted)
    test = lines(tmp_path / "test.jsonl", asked[40:])
    done = baked(files, obedient, tmp_path / "run", method="sft", test=[test], replay=[])
    assert done.learned.asked == 60
    assert done.learned.kept == 40
    assert done.learned.dropped == {"fails starts-with": 20}
    assert done.learned.plain == 0
    assert done.measured.others is None
    rows = read_jsonl(tmp_path / "run" / "bake" / "train.jsonl")
    assert not [row for row in rows if "Count" in json.dumps(row)]
    assert all(one.others is None for one in done.measured.doses)


def test_requests_and_other_rows_of_one_group_are_all_learned(
    files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    """Names stand in requests and in other rows alike; what is held out of the one is no leak of the other."""
    for name in ("requests", "replay"):
        rows = [json.loads(line) for line in files[name].read_text().splitlines()]
        lines(files[name], [{**row, "group": name_} for row, name_ in zip(rows, NAMES, strict=True)])
    settings = [*FAST, "train.max_steps=2"]
    done = baked(files, obedient, tmp_path / "run", method="sft", settings=settings, replay_share=0.4)
    prepared = [row for name in ("train", "val") for row in read_jsonl(tmp_path / "run" / "data" / f"{name}.jsonl")]
    assert len(prepared) == len(done.learned.lessons) == 40 + 10 + 33


def test_no_answer_that_passes_is_an_error_with_the_reasons(
    files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    files["instruction"].write_text(files["instruction"].read_text().replace("value: blue", "value: green"))
    with pytest.raises(HeedError, match=r"Of 40 answers .* none can be learned: 40 fails starts-with"):
        baked(files, obedient, tmp_path / "run")


def test_a_bake_that_is_stopped_goes_on_to_the_same_weights(
    files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    whole = baked(files, obedient, tmp_path / "whole")

    def stop(number: int, of: int, report: Any) -> None:
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        baked(files, obedient, tmp_path / "cut", observer=Observer(lambda line: None, stop))
    kept = (tmp_path / "cut" / "bake" / "targets" / "logprobs.npy").stat().st_mtime_ns
    shown: list[int] = []
    heard: list[str] = []

    def step(number: int, of: int, report: Any) -> None:
        shown.append(number)
        assert (tmp_path / "cut" / "bake" / "targets" / "logprobs.npy").stat().st_mtime_ns == kept

    observer = Observer(lambda line: None, step)
    baked(files, obedient, tmp_path / "cut", observer=observer, on_progress=lambda what, done, of: heard.append(what))
    assert shown[0] == 21
    assert "teacher's distributions" not in heard  # they were computed before the stop
    one, other = (
        load_file(run / "adapter" / "adapter_model.safetensors") for run in (whole.model.parent, tmp_path / "cut")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "opd"}, "no method"),
        ({"samples": 3}, "nothing is drawn"),
        ({"replay_share": 1.0}, "share of replay"),
        ({"settings": ["model.method=full"]}, "Baking trains adapters"),
        ({"settings": ["model.lora.modules_to_save=[lm_head]"]}, "adapters alone"),
        ({"settings": ["data.replay=[a.txt]"]}, "documents and mixtures"),
        ({"model": "http://127.0.0.1:1/v1#m"}, "endpoint cannot be trained"),
        ({"model": "no/such/folder"}, "no/such/folder"),
        ({"held_out": 0.01}, "fewest"),
    ],
)
def test_what_cannot_be_baked_is_refused_before_anything_is_asked(
    change: dict[str, Any], message: str, files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    model = change.pop("model", obedient)
    with pytest.raises(HeedError) as refused:
        baked(files, model, tmp_path / "run", **change)
    assert message in str(refused.value)
    assert not (tmp_path / "run" / "bake" / "answers.jsonl").exists()


def test_an_instruction_without_checks_and_a_test_that_overlaps_are_refused(
    files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    with pytest.raises(HeedError, match="is among the requests"):
        baked(files, obedient, tmp_path / "run", test=[files["requests"]])
    source = files["instruction"].read_text()
    files["instruction"].write_text(source.replace("  check: [{type: starts-with, value: blue}]\n", ""))
    with pytest.raises(HeedError, match="has no checks"):
        baked(files, obedient, tmp_path / "run")


@pytest.mark.parametrize(("share", "plain", "wanted"), [(0.0, 0, 0), (0.2, 12, 12), (0.7, 40, 117), (0.9, 40, 450)])
def test_plain_answers_are_the_share_that_was_asked_for_as_far_as_there_are_rows(
    share: float, plain: int, wanted: int, files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    instruction = load(str(files["instruction"]))
    parted = part(instruction, [files["requests"]], [], [files["replay"]], [], held_out=0.2, seed=0)
    job = Job(instruction, "obedient", replay_share=share, max_tokens=12)
    learned = lessons_of(job, parted, load_chat(obedient), Places(tmp_path), 128, lambda what, done, of: None)
    assert (learned.kept, learned.told, learned.plain, learned.wanted) == (40, 10, plain, wanted)
    assert ("all there is" in learned.words()) == (plain < wanted)
    held = {tuple(row.messages) for row in parted.others}
    assert not [one for one in learned.lessons if one.kind == "plain" and one.row("student").messages in held]


def test_several_answers_to_a_request_are_drawn_and_equal_ones_learned_once(
    files: dict[str, Path], obedient: Path, tmp_path: Path
) -> None:
    instruction = load(str(files["instruction"]))
    job = Job(instruction, "obedient", method="sft", samples=3, temperature=0.3, max_tokens=12)
    parted = part(instruction, [files["requests"]], [], [files["replay"]], [], held_out=0.2, seed=0)
    places, chat = Places(tmp_path), load_chat(obedient)
    learned = lessons_of(job, parted, chat, places, 128, lambda what, done, of: None)
    assert learned.asked == 3 * len(parted.requests) == 120
    assert learned.dropped["said before"] >= 40
    ids = [row["id"] for row in read_jsonl(places.train)]
    assert len(ids) == len(set(ids)) == len(learned.lessons)
    assert learned.kept + learned.dropped["said before"] + learned.dropped.get("fails starts-with", 0) == 120
    assert learned.told == len(range(0, learned.kept, 4))
    before = places.train.read_bytes()
    lessons_of(job, parted, chat, places, 128, lambda what, done, of: None)
    assert places.train.read_bytes() == before
