"""Data on the command line: what is forgotten or mistyped is told with the line to type."""

from __future__ import annotations

import gzip
import json
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.runs import Run
from tests.typed import Heed, squeezed


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows with names of their own, in the folder where heed runs."""
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"ask": f"Who is number {n} here?", "say": f"It is cat {n} of nine."}) for n in range(12))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), "utf8")
    return Path("rows.jsonl")


def test_a_mapping_is_given_where_the_data_is(rows: Path, heed: Heed) -> None:
    said = squeezed(heed)
    code, _, err = said("prepare", "--data", rows, "--run", "none")
    assert (code, "a mapping of names: --map question=FIELD --map answer=FIELD" in err) == (2, True)
    names = ("--map", "question=ask", "--map", "answer=say")
    code, out, _ = heed("prepare", "--data", rows, *names, "--run", "run")
    assert (code, "12 rows in, 12 kept" in out) == (0, True)
    following = "Next: heed train --model MODEL --data rows.jsonl --map question=ask --map answer=say --run run\n"
    assert out.endswith(following)
    code, out, _ = heed("show", "--data", rows, *names, "--model", "atlas", "--limit", "1")
    assert (code, "of nine." in out) == (0, True)
    code, _, err = said("prepare", *names, "--run", "other")
    assert (code, "mend --data FILE --map question=ASK" in err) == (2, True)


def test_what_stands_by_itself_is_told_what_it_would_be(rows: Path, heed: Heed) -> None:
    said = squeezed(heed)
    code, _, err = said("prepare", rows)
    assert (code, "heed prepare --data rows.jsonl" in err) == (2, True)
    code, _, err = said("train", rows, "--model", "atlas")
    assert (code, "heed train --data rows.jsonl --model atlas" in err) == (2, True)
    code, _, err = said("prepare", "--data", rows, "rows.jsonl")
    assert (code, "each has its own --data: --data rows.jsonl" in err) == (2, True)
    code, _, err = said("prepare", "--data", rows, "--set", "data.val=0.2", "data.test=0.2")
    assert (code, "each setting has its own --set: --set data.test=0.2" in err) == (2, True)
    for mark, option in (("config.json", "--model"), ("run.json", "--run")):
        Path("folder").mkdir(exist_ok=True)
        Path("folder", mark).touch()
        code, _, err = said("check", "folder")
        assert (code, f"heed check {option} folder" in err) == (2, True)
        Path("folder", mark).unlink()
    assert not Path("runs").exists()


def test_a_recipe_beside_settings_is_a_recipe(rows: Path, heed: Heed) -> None:
    mapping = "{question: ask, answer: say}"
    Path("mine.yaml").write_text(f"data: {{sources: [{{path: rows.jsonl, mapping: {mapping}}}]}}", "utf8")
    code, out, _ = heed("prepare", "mine.yaml", "--set", "data.val=0.2", "--run", "run", "--quiet")
    assert (code, "12 kept" in out) == (0, True)


def test_the_next_command_trains_on_what_was_prepared(rows: Path, heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the model in its place it goes as far as the first step, and prepares nothing again."""
    mapping = "{question: ask, answer: say}"
    Path("my rows.yaml").write_text(f"data: {{sources: [{{path: rows.jsonl, mapping: {mapping}}}]}}", "utf8")
    said = heed("prepare", "my rows.yaml", "--seed", "3", "--run", "run 1", "--set", "data.val=0.2")[1]
    words = shlex.split(said.splitlines()[-1].removeprefix("Next: heed "))
    assert words == [
        "train",
        "my rows.yaml",
        "--model",
        "MODEL",
        "--run",
        "run 1",
        "--seed",
        "3",
        "--set",
        "data.val=0.2",
    ]
    before = Path("run 1/data/card.json").stat().st_mtime_ns
    told: dict[str, object] = {}

    def stops(recipe: object, run: Run, *rest: object) -> None:
        told["rows"] = sum(1 for _ in (run.data / "train.jsonl").open())
        raise HeedError("Far enough.")

    monkeypatch.setattr("heedlm.train.sft.train", stops)
    code, _, err = heed(*("atlas" if word == "MODEL" else word for word in words), "--set", "train.device=cpu")
    assert (code, err.strip().endswith("Far enough.")) == (2, True)
    assert told["rows"]
    assert Path("run 1/data/card.json").stat().st_mtime_ns == before


def test_what_was_piped_in_is_not_to_be_typed_again(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "Name a river.", "completion": "The Danube."})
    words = [sys.executable, "-m", "heedlm", "prepare", "--data", "-", "--run", str(tmp_path / "run")]
    done = subprocess.run(words, input=row, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"Next: heed train --model MODEL --run {tmp_path / 'run'}\n")


def test_looking_at_a_file_that_is_cut_off_has_an_exit_code_of_its_own(rows: Path, heed: Heed) -> None:
    Path("good.jsonl").write_text(json.dumps({"prompt": "a?", "completion": "b"}))
    packed = gzip.compress(b"A first text.\n<|endoftext|>\n" + random.Random(0).randbytes(9000))
    Path("cut.txt.gz").write_bytes(packed[:-900])  # documents, the rest of which is lost
    assert heed("data", "inspect", "good.jsonl")[0] == 0
    code, out, _ = heed("data", "inspect", "good.jsonl", "cut.txt.gz")
    assert (code, "mend cut.txt.gz first" in out) == (1, True)
    assert heed("data", "inspect", "cut.txt.gz")[0] == 1
    assert heed("prepare", "--data", "good.jsonl", "--data", "cut.txt.gz", "--run", "run")[0] == 2


def test_names_of_model_data_template_and_suite_are_told_at_once(rows: Path, heed: Heed) -> None:
    settings = ("--set", "templates.chat=chatlm", "--set", "train.score=[held]", "--set", "data.replay=[away.txt]")
    for verb in ("train", "check"):
        code, _, err = heed(verb, "--model", "./nothing", "--data", "nowhere.jsonl", "--run", "run", *settings)
        assert code == 2
        told = [name for name in ("./nothing", "nowhere.jsonl", "away.txt", "'chatml'", "'held'") if name not in err]
        assert told == []
        code, _, err = heed(verb, "--data", "nowhere.jsonl", "--run", "run")
        assert (code, "No model is named" in err, "nowhere.jsonl" in err) == (2, True, True)
    assert not Path("run").exists()


def test_every_name_that_is_not_there_is_told_at_once(rows: Path, heed: Heed) -> None:
    names = ("data.val=gone.jsonl", "data.decontaminate=[lost.jsonl]", "data.replay=[away.txt]")
    settings = [word for name in names for word in ("--set", name)]
    code, _, err = heed("prepare", "--data", "nowhere.jsonl", *settings, "--run", "run")
    assert code == 2
    assert [name for name in ("nowhere.jsonl", "gone.jsonl", "lost.jsonl", "away.txt") if name not in err] == []
    assert not Path("run").exists()


def test_an_executor_is_named_or_refused(rows: Path, heed: Heed) -> None:
    code, _, err = squeezed(heed)("prepare", "--data", rows, "--executor", "rya", "--run", "run")
    assert (code, "did you mean 'ray'?" in err) == (2, True)
