"""What a person gets on the command line: exit codes, messages with a place and a mend, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heedlm import cli
from heedlm.screen import Screen
from tests.families import checkpoint
from tests.typed import Heed, squeezed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture
def heed(heed: Heed) -> Heed:
    return squeezed(heed)


GOOD = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(30)]


def rows(folder: Path, *lines: str) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def messages(*turns: tuple[str, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


BAD = {
    "empty file": ([""], "no rows|empty"),
    "wrong field": (['{"question_text": "a", "reply_text": "b"}'], "field|recogni|schema|shape"),
    "broken line": (['{"instruction": "a", "output": '], "JSON"),
    "unknown role": ([messages(("user", "a"), ("gpt5", "b"))], "gpt5"),
    "empty answer": ([messages(("user", "a"), ("assistant", ""))], "empty"),
    "image part": (
        [messages(("user", [{"type": "image_url", "image_url": {"url": "x"}}]), ("assistant", "b"))],
        "image",
    ),
    "only a system turn": ([messages(("system", "a"))], "assistant"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_rows_are_named_with_their_line(case: str, heed: Heed, model: Path, tmp_path: Path) -> None:
    lines, said = BAD[case]
    path = rows(tmp_path, *lines)
    code, _, err = heed("train", "--model", model, "--data", path, "--run", tmp_path / "run")
    assert code == 2
    import re

    assert re.search(said, err, re.IGNORECASE), err
    assert "rows.jsonl" in err
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "data").exists()


def test_a_bad_row_among_good_ones_is_dropped_and_counted(heed: Heed, tmp_path: Path) -> None:
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD), "{broken")
    code, out, _ = heed("prepare", "--data", path, "--run", tmp_path / "run", "--set", "data.max_bad=0.2")
    assert code == 0
    assert "1 dropped" in out
    dropped = [json.loads(line) for line in (tmp_path / "run" / "data" / "dropped.jsonl").read_text().splitlines()]
    assert "rows.jsonl:31" in json.dumps(dropped)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--model", "./nowhere"), "no model folder|no such model"),
        (("--set", "train.lrr=1"), "did you mean 'lr'"),
        (("--set", "trian.lr=1"), "did you mean 'train'"),
        (("--set", "train.lr=fast"), "train.lr"),
        (("--set", "train.epochs=0"), "train.epochs"),
        (("--set", "nonsense"), "not a setting"),
        (("--set", "train.epochs", "2"), "--set train.epochs=2"),
        (("--epochs", "2"), "heed train --set train.epochs=2"),
        (("--modle", "atlas"), "did you mean --model"),
        (("--model", "atlass"), "did you mean 'atlas'"),
        (("--set", "templates.chat=chatlm"), "did you mean 'chatml'"),
        (("--set", "tokens.max_tokens=4096"), "the model sees 128"),
        (("--set", "model.method=lora", "--set", "model.lora.targets=[nope]"), "known: "),
        (("--set", "data.replay=[none.jsonl]"), "none.jsonl"),
        (("no-such-recipe.yaml",), "no recipe here"),
    ],
)
def test_usage_mistakes_say_what_where_and_how_to_mend(
    arguments: tuple[str, ...], said: str, heed: Heed, model: Path, tmp_path: Path
) -> None:
    import re

    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    defaults: list[object] = [] if "--model" in arguments else ["--model", model]
    defaults += [] if "--data" in arguments else ["--data", path]
    code, out, err = heed("train", *arguments, *defaults, "--run", tmp_path / "run")
    assert code == 2
    assert out == ""
    assert re.search(said, err), err
    assert not (tmp_path / "run" / "model").exists()


def test_every_problem_of_a_recipe_is_told_at_once(heed: Heed, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("train: {epoch: 3, lr: -1}\ndata: {sorces: [a]}\n")
    code, _, err = heed("train", recipe)
    assert code == 2
    assert "did you mean 'epochs'" in err
    assert "did you mean 'sources'" in err
    assert "train.lr" in err
    recipe.write_text("train:\n  lr: [1\n")
    code, _, err = heed("train", recipe)
    assert code == 2
    assert "r.yaml:" in err


def test_no_model_no_data_no_command(heed: Heed, model: Path, tmp_path: Path) -> None:
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    assert heed("train", "--data", path, "--run", tmp_path / "r")[0] == 2
    assert heed("train", "--model", model, "--run", tmp_path / "r")[0] == 2
    assert heed("fly")[0] == 2
    assert heed("train", "--no-such-option")[0] == 2
    assert heed("eval", tmp_path)[0] == 2
    assert heed("chat", tmp_path / "none")[0] == 2


def test_a_model_folder_without_a_tokenizer(heed: Heed, model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((model / name).read_bytes())
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    code, _, err = heed("train", "--model", bare, "--data", path, "--run", tmp_path / "run")
    assert code == 2
    assert "no tokenizer" in err


def test_a_template_that_cannot_be_verified_is_refused(heed: Heed, model: Path, tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}{% if add_generation_prompt %}>>{% endif %}"
    )
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    code, _, err = heed(
        "train", "--model", model, "--data", path, "--run", tmp_path / "run", "--set", f"templates.chat={template}"
    )
    assert code == 2
    assert "mend" in err


def test_json_is_one_object_on_standard_output(heed: Heed, model: Path, tmp_path: Path) -> None:
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    run = tmp_path / "run"
    common = ("--run", run, "--json", "--set", "data.test=0.3")
    code, out, _ = heed("prepare", "--data", path, *common)
    assert (code, json.loads(out)["rows_in"]) == (0, 30)
    code, out, _ = heed("train", "--model", model, "--data", path, *common, "--set", "train.max_steps=1")
    assert (code, json.loads(out)["steps"]) == (0, 1)
    code, out, _ = heed("eval", run, "--json", "--set", "eval.max_tokens=4")
    assert code == 0
    report = json.loads(out)
    assert report["version"] == 1
    assert report == json.loads((run / "report.json").read_text())
    assert (run / "report.html").read_text().startswith("<!")


def test_the_version_is_said(heed: Heed) -> None:
    from heedlm import __version__

    assert heed("--version") == (0, f"heed {__version__}\n", "")


def test_a_short_h_is_help(heed: Heed) -> None:
    assert heed("-h")[0] == heed("train", "-h")[0] == 0


def test_missing_words_and_unknown_verbs_are_mended(heed: Heed) -> None:
    assert "for example: heed eval runs/" in heed("eval")[2]
    assert "for example: heed pretrain recipes/" in heed("pretrain")[2]
    assert "'eval'" in heed("evl")[2]
    assert "heed --help" in heed("fly")[2]


def test_what_is_no_finished_run_says_what_to_run_next(heed: Heed, model: Path, tmp_path: Path) -> None:
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    run = tmp_path / "runs" / "one"
    assert heed("prepare", "--data", path, "--run", run)[0] == 0
    for verb in ("eval", "chat"):
        code, out, err = heed(verb, run)
        assert (code, out) == (2, "")
        assert "data is prepared" in err
        assert f"heed train --model MODEL --run {run}" in err
    assert f"heed train --model {model}" in heed("eval", model)[2]
    assert "did you mean" in heed("eval", run.with_name("onne"))[2]
    (run / "model").mkdir()
    assert f"heed eval {run}" in heed("eval", run / "model")[2]
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "run.json").write_text('{"pretrain": {}}')
    assert "nothing was tuned" in heed("eval", tmp_path / "base")[2]


def test_the_demo_is_named_before_it_was_run(heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "heed demo" in heed("chat")[2]
    assert "heed demo" in heed("eval", "runs/demo")[2]
    assert "heed chat http://localhost:8000" in heed("chat", "localhost:8000")[2]


def test_a_conversation_with_a_run_and_with_what_it_was_before(
    heed: Heed, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(model, base)
    assert heed("train", "--model", base, "--data", path, "--run", run, "--set", "train.max_steps=1")[0] == 0

    def talk(*typed: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in typed)))
        return heed("chat", run, "--max-tokens", "4")

    code, out, _ = talk("Hello", "/base Once upon", "/show")
    assert code == 0
    assert f"{base}: continues what you type" in out
    assert "Once upon" in out
    shutil.rmtree(base)
    code, out, _ = talk("/base Once upon", "Hello")
    assert code == 0
    assert "not on this machine" in out
    assert "--base FOLDER" in " ".join(out.split())


def test_ctrl_c_while_a_model_loads_is_no_traceback(heed: Heed, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: str) -> str:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("never reached")

    monkeypatch.setattr("heedlm.model.load.resolve", interrupted)
    assert heed("chat", model) == (130, "", "Interrupted.")

    def swallowed(path: str) -> str:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ModuleNotFoundError("a package that was interrupted") from None
        raise AssertionError("never reached")

    monkeypatch.setattr("heedlm.model.load.resolve", swallowed)
    code, _, err = heed("train", "--model", model, "--data", "x.jsonl")
    assert code == 130
    assert f"Go on with: heed train --model {model}" in err


def test_errors_in_a_pipe_are_not_broken_into_lines(model: Path, tmp_path: Path) -> None:
    long = tmp_path / ("a-long-name-" * 8) / "rows.jsonl"
    command = [sys.executable, "-m", "heedlm", "prepare", "--data", str(long), "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "60"})
    assert done.returncode == 2
    assert f"  at   {long}\n" in done.stderr


def test_help_shows_an_example_for_every_verb(heed: Heed) -> None:
    for command in cli.app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        code, out, _ = heed(name, "--help")
        assert code == 0
        assert f"heed {name}" in out, name
    for group in cli.app.registered_groups:
        assert heed(group.name)[0] == 2
        for command in group.typer_instance.registered_commands:  # type: ignore[union-attr]
            name = command.name or command.callback.__name__  # type: ignore[union-attr]
            code, out, _ = heed(group.name, name, "--help")
            assert code == 0
            assert f"Example: heed {group.name} {name}" in out, name


def test_a_mistake_in_a_group_names_the_whole_command(heed: Heed) -> None:
    assert "at heed data inspect mend for example: heed data inspect rows" in heed("data", "inspect")[2]
    assert "heed data --help lists the commands" in heed("data", "inspct", "x")[2]
    assert heed("data")[2] == ""


def test_ctrl_c_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    path = rows(tmp_path, *(json.dumps(row) for row in GOOD))
    command = [
        sys.executable,
        "-m",
        "heedlm",
        "train",
        "--model",
        str(model),
        "--data",
        str(path),
        "--run",
        str(tmp_path / "run"),
    ]
    command += ["--set", "train.max_steps=100000", "--set", "train.panel=0", "--set", "train.precision=fp32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "go on with: heed train" in " ".join(err.split())
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_ctrl_c_where_nothing_is_kept_does_not_say_that_something_is(capsys: pytest.CaptureFixture[str]) -> None:
    for line, kept in ((["prompt", "new", "a.prompty"], False), (["prompt", "test", "a.prompty"], True)):
        assert cli._interrupted(line, Screen()) == 130
        assert ("is kept" in capsys.readouterr().err) is kept


@pytest.mark.parametrize(
    "line",
    [
        ["prepare", "--data", "rows.jsonl", "--run", ""],
        ["prepare", "--data", "rows.jsonl", "--run="],
        ["train", "--model", "atlas", "--data", "rows.jsonl", "--run", ""],
        ["prompt", "bake", "p.prompty", "--model", "atlas", "--requests", "rows.jsonl", "--run", ""],
        ["prompt", "test", "p.prompty", "--model", "atlas", "--cases", "rows.jsonl", "--out", ""],
    ],
)
def test_a_folder_without_a_name_is_not_the_one_that_one_stands_in(
    line: list[str], heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(tmp_path, *(json.dumps(row) for row in GOOD))
    monkeypatch.chdir(tmp_path)
    code, _, err = heed(*line)
    assert code == 2
    assert "has no name" in err
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_file_where_a_folder_is_needed_is_no_traceback(heed: Heed, tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(f'{{"ticket": "Order {n}?", "target": "x"}}\n' for n in range(40)))
    how = ["ticket-triage", "--model", "http://127.0.0.1:9/v1#m", "--data", str(cases), "--budget", "100"]
    code, _, err = heed("prompt", "optimize", *how, "--out", str(cases))
    assert code == 2, err
    assert "is a file" in err or "A file is where a folder is needed." in err


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "heedlm", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "train" in done.stdout
