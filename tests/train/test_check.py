"""`heed check`: one screen that says whether to begin, what is wrong with its mend, and what it would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from heedlm import api
from heedlm.cli import main
from heedlm.errors import HeedError
from heedlm.train import check, check_page, numerics
from heedlm.train.check import CheckReport
from heedlm.train.numerics import Comparison
from heedlm.train.pace import Pace, measure_pace
from heedlm.train.stage import Observer
from tests.families import checkpoint

BASE = ("train.precision=fp32", "train.device=cpu", "train.tokens_per_step=300", "train.micro_tokens=300")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(120)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


def spoil(folder: Path, *tokens: int) -> Path:
    """Give tokens the rows that they have in a model that never met them."""
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        for token in tokens:
            weights[name][token] = weights[name].mean(0)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def checked(model: Path, data: Path, *settings: str, **more: Any) -> CheckReport:
    return api.check(model=model, data=data, settings=[*BASE, *settings], **more)


def test_a_sound_training_is_ready_and_all_of_it_is_told(model: Path, data: Path) -> None:
    said: list[str] = []
    report = checked(model, data, say=said.append)
    assert report.ok
    assert not report.findings
    assert said
    assert report.model is not None
    assert report.data is not None
    assert report.plan is not None
    assert report.model.architecture == "LlamaForCausalLM"
    assert report.model.stop[0] == "<|im_end|>"
    assert report.model.shares_prefixes
    assert not report.model.untrained
    assert not report.model.tied
    assert report.data.splits["train"] > 90
    assert 0 < report.data.learned_tokens < report.data.tokens
    short, usual, long = report.data.lengths
    assert short <= usual <= long
    assert report.plan.steps > 20
    assert report.plan.memory["peak"] > report.plan.memory["weights"] > 0
    assert report.plan.seconds is not None
    assert report.plan.seconds > 0
    assert [one.peak for one in report.plan.proposals] == sorted((o.peak for o in report.plan.proposals), reverse=True)
    assert report.machine.available <= report.machine.memory
    assert check_page.verdict(report).startswith("Ready: ")


def test_the_plan_is_the_one_that_training_follows(model: Path, data: Path, tmp_path: Path) -> None:
    report = checked(model, data, "train.epochs=1")
    said: list[str] = []
    done = api.train(
        model=model,
        data=data,
        run=tmp_path / "run",
        settings=[*BASE, "train.epochs=1", "train.panel=0"],
        observer=Observer(said.append, lambda step, of, report: None),
    )
    assert report.plan is not None
    assert report.plan.steps == done.steps
    assert report.plan.trainable == done.trainable_parameters
    noted = json.loads((tmp_path / "run" / "run.json").read_text())["memory"]
    assert noted["need"].keys() == report.plan.memory.keys()
    assert noted["need"]["activations"] == report.plan.memory["activations"]


def test_rows_and_tokens_of_a_named_run_are_there_for_training(model: Path, data: Path, tmp_path: Path) -> None:
    checked(model, data, run=tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    said: list[str] = []
    api.train(
        model=model,
        data=data,
        run=tmp_path / "run",
        settings=[*BASE, "train.max_steps=1", "train.panel=0"],
        observer=Observer(said.append, lambda step, of, report: None),
    )
    assert any(line.startswith("tokens: as before") for line in said)


@pytest.mark.parametrize(
    ("settings", "severity", "mend"),
    [
        (["model.method=full"], "warning", "heed eval"),
        (["model.method=full", "model.freeze=[embed_tokens]"], "error", "model.freeze"),
        (["model.method=lora"], "error", "model.lora.tokens=[<|im_start|>, <|im_end|>]"),
        (["model.method=lora", "model.lora.tokens=[<|im_start|>, <|im_end|>]"], "warning", "heed eval"),
        (["model.method=lora", "model.lora.tokens=[<|im_end|>]"], "warning", "heed eval"),
        (["model.method=lora", "model.lora.modules_to_save=[embed_tokens, lm_head]"], "warning", "heed eval"),
    ],
)
def test_control_tokens_that_the_model_never_met_are_found_with_the_remedy(
    model: Path, data: Path, settings: list[str], severity: str, mend: str
) -> None:
    report = checked(spoil(model, 2, 3), data, *settings)
    assert report.model is not None
    assert set(report.model.untrained) == {"<|im_start|>", "<|im_end|>"}
    assert max((one.severity for one in report.findings), key=["warning", "error"].index) == severity
    assert any("<|im_end|> ends every answer" in one.what for one in report.findings)
    assert any(mend in one.mend for one in report.findings)
    assert report.ok == (severity == "warning")


def test_a_format_that_ends_with_what_the_model_knows_needs_no_remedy(model: Path, data: Path) -> None:
    report = checked(spoil(model, 2, 3), data, "model.method=lora", "templates.chat=human_assistant")
    assert report.ok
    assert report.model is not None
    assert not report.model.untrained
    assert report.model.grade == "soft"


def test_a_stop_that_only_the_head_never_met_is_found(model: Path, data: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][3] = 0.0
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    report = checked(model, data, "model.method=lora")
    assert not report.ok
    assert report.model is not None
    assert list(report.model.untrained) == ["<|im_end|>"]


def test_what_a_recipe_can_mend_is_a_finding(model: Path, data: Path) -> None:
    report = checked(model, data, "tokens.max_tokens=20", "tokens.overflow=refuse")
    assert not report.ok
    assert report.model is None
    assert report.findings[0].mend
    assert check_page.verdict(report).startswith("Not ready: ")
    assert len(check_page.page(report)) < 20  # one screen, however many rows are too long


def test_a_model_too_large_for_the_machine_is_a_finding(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "device_memory_bytes", lambda device: 100_000)
    report = checked(model, data)
    assert not report.ok
    assert "too large" in report.findings[0].what
    monkeypatch.setattr(check, "device_memory_bytes", lambda device: 20_000_000)
    report = checked(model, data)
    assert not report.ok
    assert "at least" in report.findings[0].what


def test_few_steps_no_validation_and_lost_rows_are_warnings(model: Path, tmp_path: Path) -> None:
    lines = [{"prompt": f"Say {n}.", "completion": f"It is {n}. " * (1 if n % 3 else 20)} for n in range(20)]
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    report = checked(model, path, "data.val=null", "train.epochs=1")
    assert report.ok
    told = " ".join(one.what for one in report.findings)
    assert "steps" in told
    assert "validation" in told
    assert "too long and dropped" in told
    assert check_page.verdict(report).endswith("3 warnings.")


@pytest.mark.parametrize(
    "given",
    [
        {"model": "nowhere/at/all", "data": "rows.jsonl"},
        {"model": "model", "data": "none.jsonl"},
        {"data": "rows.jsonl"},
    ],
)
def test_input_that_cannot_be_read_is_refused(
    given: dict[str, str], model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    with pytest.raises(HeedError):
        api.check(**given)


def run_main(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["check", *words])
    return int(leaving.value.code or 0), capsys.readouterr().out


def test_the_command_prints_one_screen_and_its_exit_code_is_the_verdict(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [word for line in BASE for word in ("--set", line)]
    code, out = run_main(capsys, "--model", str(model), "--data", str(data), *settings)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("Ready: ")
    assert len(lines) <= 45
    for word in ("machine", "model", "data", "plan", "LlamaForCausalLM", "fits"):
        assert word in out
    spoil(model, 2, 3)
    lora = ["--set", "model.method=lora"]
    code, out = run_main(capsys, "--model", str(model), "--data", str(data), *settings, *lora)
    assert code == 1
    assert out.startswith("Not ready: 1 error.")
    assert '--set "model.lora.tokens=[<|im_start|>, <|im_end|>]" trains their rows' in out  # in one piece, to be copied
    code, out = run_main(capsys, "--model", str(model), "--data", str(data), *settings, *lora, "--json")
    assert code == 1
    read = json.loads(out)
    assert read["ok"] is False
    assert read["verdict"].startswith("Not ready")
    assert read["findings"][0]["severity"] == "error"
    assert read["plan"]["memory"]["peak"] > 0
    assert run_main(capsys, "--model", str(model), "--data", "nowhere.jsonl")[0] == 2


def test_numerics_print_differences_and_fail_with_one(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Comparison("one way or another", 1e-7, 1e-6)
    unused = Comparison("a way this model has not", None, 1e-6, "its head cannot be called apart")
    monkeypatch.setattr(numerics, "compare_all", lambda *a, **k: [good, unused])
    code, out = run_main(capsys, "--numerics", "--model", str(model))
    assert code == 0
    assert "1.0e-07" in out
    assert "not used" in out
    assert "cannot be called apart" in out
    monkeypatch.setattr(numerics, "compare_all", lambda *a, **k: [good, good._replace(difference=0.5, note="w")])
    code, out = run_main(capsys, "--numerics", "--model", str(model))
    assert code == 1
    assert out.startswith("1 of 2 comparisons failed.")
    assert "FAILED" in out
    code, out = run_main(capsys, "--numerics", "--model", str(model), "--json")
    assert code == 1
    assert json.loads(out)["comparisons"][1]["difference"] == 0.5


def test_the_shipped_model_knows_its_end_of_text_and_no_turn_marks() -> None:
    from heedlm.model.load import load_model, resolve
    from heedlm.model.untrained import untrained_rows
    from heedlm.tokens.tokenizer import load_tokenizer

    matrix = load_model("atlas").get_input_embeddings().weight
    special = load_tokenizer(resolve("atlas")).get_added_vocab()
    found = untrained_rows(matrix, special.values())
    assert special["<|endoftext|>"] not in found
    assert {special["<|im_start|>"], special["<|im_end|>"]} <= set(found)


def test_pace_is_of_the_rows_themselves(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []

    def heard(trainee: Any, plan: Any, loader: Any) -> Any:
        pace = measure_pace(trainee, plan, loader)
        seen.append(tuple(pace))  # type: ignore[arg-type]
        return pace

    monkeypatch.setattr(check, "measure_pace", heard)
    checked(model, data)
    assert seen[0][0] >= 0
    assert seen[0][1] > 0


def test_the_time_is_that_of_steps_and_validations(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "measure_pace", lambda *given: Pace(0.0, 1.0))
    few, many = (checked(model, data, f"train.eval_every={every}", "train.max_steps=20") for every in (20, 2))
    assert few.plan is not None
    assert many.plan is not None
    assert few.plan.seconds is not None
    assert many.plan.seconds is not None
    steps = 20 * few.data.tokens if few.data else 0
    once = (many.plan.seconds - few.plan.seconds) / 9  # nine validations more
    assert 0 < once < few.plan.seconds < steps
    assert few.plan.tokens_per_second == many.plan.tokens_per_second == pytest.approx(1.0)


def test_no_two_ways_to_compute_a_step_bear_one_name(model: Path, data: Path) -> None:
    plan = checked(model, data).plan
    assert plan is not None
    ways = [(one.way, one.micro_tokens) for one in plan.proposals]
    assert len(set(ways)) == len(ways) > 1
