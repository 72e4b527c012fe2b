"""Source files become splits, a list of what was dropped and a card: whole, or not at all."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heedlm.data.decontaminate import Items
from heedlm.data.prepare import NAMES, PrepareReport, Source, prepare
from heedlm.data.store import read_split
from heedlm.errors import HeedError


def rows_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def pairs(number: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {i} + {i}?", "completion": str(2 * i)} for i in range(start, start + number)]


def run(tmp_path: Path, rows: list[dict[str, Any]] | None = None, **settings: Any) -> PrepareReport:
    if rows is not None:
        rows_file(tmp_path / "rows.jsonl", rows)
    options = {"val": 0.1, "test": 0.2, "seed": 0, **settings}
    return prepare([Source(tmp_path / "rows.jsonl")], tmp_path / "out", **options)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_every_row_stands_in_one_split_and_the_report_counts_them(tmp_path):
    report = run(tmp_path, pairs(200))
    found = {name: list(read_split(report.out / f"{name}.jsonl")) for name in report.splits}
    assert {name: len(examples) for name, examples in found.items()} == dict(report.splits)
    questions = [example.messages[0].content for examples in found.values() for example in examples]
    assert sorted(questions) == sorted(row["prompt"] for row in pairs(200))
    assert (report.rows_in, report.kept, report.duplicates, dict(report.dropped)) == (200, 200, 0, {})
    assert (report.proof.groups, report.proof.groups_on_two_sides, report.proof.prompts_on_two_sides) == (200, 0, 0)
    assert names(report.out) == sorted(NAMES)
    assert (report.out / "dropped.jsonl").read_text() == ""


def test_one_row_becomes_train_and_says_that_the_others_are_empty(tmp_path):
    report = run(tmp_path, pairs(1))
    assert sum(report.splits.values()) == 1
    assert report.splits["train"] == 1
    assert [note.split(" is empty")[0] for note in report.notes] == ["val", "test"]
    assert not (report.out / "val.jsonl").exists()


def test_three_rows_fill_every_side(tmp_path):
    assert run(tmp_path, pairs(3), val=0.01, test=0.01).splits == {"train": 1, "val": 1, "test": 1}


def test_without_shares_everything_is_train(tmp_path):
    report = run(tmp_path, pairs(5), val=None, test=0)
    assert report.splits == {"train": 5}
    assert report.notes == ()


def test_duplicates_are_dropped_with_the_place_of_the_first(tmp_path):
    rows = pairs(10)
    report = run(tmp_path, [*rows, {"instruction": "What is  3 + 3?", "output": "6 "}, rows[0]])
    assert report.duplicates == 2
    assert report.dropped == {"duplicate": 2}
    dropped = [json.loads(line) for line in (report.out / "dropped.jsonl").read_text().splitlines()]
    source = tmp_path / "rows.jsonl"
    assert [(row["version"], row["where"], row["what"]) for row in dropped] == [
        (1, f"{source}:11", f"duplicate: same conversation as {source}:4"),
        (1, f"{source}:12", f"duplicate: same conversation as {source}:1"),
    ]


def test_broken_rows_up_to_max_bad_are_dropped_with_reasons(tmp_path):
    rows = [*pairs(98), {"prompt": "no answer"}, {"prompt": "empty", "completion": ""}]
    report = run(tmp_path, rows, max_bad=0.02)
    assert report.dropped == {"missing field": 1, "empty answer": 1}
    assert report.kept == 98
    with pytest.raises(HeedError, match="2 of 100 rows are broken"):
        run(tmp_path, max_bad=0.0199)


def test_the_same_question_stands_on_one_side_in_whatever_words_it_is_wrapped(tmp_path):
    rows = []
    for i in range(60):
        rows.append({"prompt": f"Capital of land {i}?", "completion": f"City {i}"})
        rows.append({"system": "Answer in capitals.", "prompt": f"capital of  land {i}", "completion": f"CITY {i}"})
        turns = ["user", f"Capital of land {i}?", "assistant", f"City {i}", "user", "Sure?", "assistant", "Yes."]
        pairs_of = zip(turns[::2], turns[1::2], strict=True)
        rows.append({"messages": [{"role": role, "content": content} for role, content in pairs_of]})
    report = run(tmp_path, rows, val=0.2, test=0.2)
    sides: dict[str, set[str]] = {}
    for name in report.splits:
        for example in read_split(report.out / f"{name}.jsonl"):
            sides.setdefault(
                example.messages[-1].content.lower().replace("yes.", example.messages[1].content.lower()), set()
            ).add(name)
    assert len(sides) == 60
    assert all(len(found) == 1 for found in sides.values())


def test_groups_of_the_rows_decide(tmp_path):
    rows = [{**row, "group": f"g{index // 10}"} for index, row in enumerate(pairs(100))]
    report = run(tmp_path, rows, val=0.2, test=0.2)
    assert report.proof.groups == 10
    sides: dict[str | None, set[str]] = {}
    for name in report.splits:
        for example in read_split(report.out / f"{name}.jsonl"):
            sides.setdefault(example.group, set()).add(name)
    assert len(sides) == 10
    assert all(len(found) == 1 for found in sides.values())


def test_fixed_files_keep_their_rows_and_train_loses_what_they_ask(tmp_path):
    test = rows_file(tmp_path / "test.jsonl", pairs(10))
    val = rows_file(tmp_path / "val.json", pairs(5, start=8))
    report = run(
        tmp_path, [{**row, "completion": row["completion"] + "!"} for row in pairs(30)], val=str(val), test=test
    )
    assert report.splits == {"train": 17, "val": 3, "test": 10}
    assert report.dropped == {"duplicate": 2, "also in test": 10, "also in val": 3}
    assert report.proof.groups_on_two_sides == report.proof.prompts_on_two_sides == 0
    assert any("left out" in note for note in report.notes)
    assert [example.source for example in read_split(report.out / "test.jsonl")] == [
        f"{test}:{i + 1}" for i in range(10)
    ]


def test_a_fixed_test_file_goes_with_a_share_for_val(tmp_path):
    test = rows_file(tmp_path / "test.jsonl", pairs(3, start=500))
    report = run(tmp_path, pairs(50), test=str(test), val=0.2)
    assert report.splits["test"] == 3
    assert report.splits["train"] + report.splits["val"] == 50
    assert report.splits["val"] > 0


def test_train_left_empty_by_the_test_file_is_refused(tmp_path):
    test = rows_file(tmp_path / "test.jsonl", [{**row, "completion": "other"} for row in pairs(5)])
    with pytest.raises(HeedError, match="no row is left to train on"):
        run(tmp_path, pairs(5), test=str(test))
    test.write_text((tmp_path / "rows.jsonl").read_text())
    with pytest.raises(HeedError, match="no usable row is left for train"):
        run(tmp_path, test=str(test))
    assert names(tmp_path) == ["rows.jsonl", "test.jsonl"]


def test_a_file_named_twice_is_refused(tmp_path):
    with pytest.raises(HeedError, match="named twice, as test and as source"):
        run(tmp_path, pairs(5), test=str(tmp_path / "rows.jsonl"))


def test_repeated_ids_are_made_unique_and_counted(tmp_path):
    report = run(tmp_path, [{**row, "id": "same"} for row in pairs(3)], val=None, test=None)
    ids = [example.id for example in read_split(report.out / "train.jsonl")]
    assert ids[0] == "same"
    assert len(set(ids)) == 3
    assert all(name.startswith("same") for name in ids)
    assert "2 example(s) had the id of another" in report.notes[0]


def test_several_sources_with_mappings_and_a_folder(tmp_path):
    mapped = rows_file(tmp_path / "mapped.jsonl", [{"Q": "What?", "A": "That."}])
    folder = tmp_path / "folder"
    folder.mkdir()
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"prompt": "b?", "completion": "b"}))
    rows_file(folder / "a.jsonl", [{"prompt": "a?", "completion": "a"}])
    report = prepare(
        [Source(mapped, {"question": "Q", "answer": "A"}), Source(folder)],
        tmp_path / "out",
        val=None,
        test=None,
        seed=0,
    )
    assert [example.messages[1].content for example in read_split(report.out / "train.jsonl")] == ["That.", "a", "b"]
    card = json.loads((report.out / "card.json").read_text())
    assert {Path(name).name: source["shapes"] for name, source in card["sources"].items()} == {
        "mapped.jsonl": {"question-answer": 1},
        "a.jsonl": {"prompt-completion": 1},
        "b.jsonl.gz": {"prompt-completion": 1},
    }


def test_the_same_inputs_are_not_prepared_again_and_a_change_is_named(tmp_path):
    first = run(tmp_path, pairs(20))
    before = {name: (first.out / name).stat().st_mtime_ns for name in names(first.out)}
    again = run(tmp_path)
    assert again.reused
    assert again.why == "same files and settings as before"
    assert {name: (first.out / name).stat().st_mtime_ns for name in names(first.out)} == before
    assert dataclasses.replace(again, reused=False, why="", seconds=0) == dataclasses.replace(first, why="", seconds=0)
    source = tmp_path / "rows.jsonl"
    for settings, why in [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"seed": 1, "val": 0.2}, "val was 0.1, is 0.2"),
        ({"seed": 1, "val": 0.2, "max_bad": 0.5}, "max_bad was 0.01, is 0.5"),
    ]:
        report = run(tmp_path, **settings)
        assert (report.reused, report.why) == (False, why)
    assert run(tmp_path, pairs(21), seed=1, val=0.2, max_bad=0.5).why == f"{source} has changed"
    (first.out / "val.jsonl").unlink()
    assert run(tmp_path, seed=1, val=0.2, max_bad=0.5).why == "val.jsonl is gone"
    more = rows_file(tmp_path / "more.jsonl", pairs(5, start=90))
    two = prepare([Source(source), Source(more)], first.out, val=0.2, test=0.2, seed=1, max_bad=0.5)
    assert two.why == f"{more} is new"
    assert (
        prepare([Source(more), Source(source)], first.out, val=0.2, test=0.2, seed=1, max_bad=0.5).why
        == "the sources have another order"
    )
    assert run(tmp_path, seed=1, val=0.2, max_bad=0.5).why == f"{more} is no longer a source"


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    rows_file(tmp_path / "rows.jsonl", pairs(50))
    for name in ("one", "two"):
        prepare([Source(tmp_path / "rows.jsonl")], tmp_path / name, val=0.1, test=0.1, seed=4)
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_split_changed_by_hand_is_not_lost(tmp_path):
    report = run(tmp_path, pairs(20))
    with (report.out / "train.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(HeedError, match="changed after it was prepared") as caught:
        run(tmp_path, seed=5)
    assert caught.value.problems[0].where.endswith("train.jsonl")
    assert (report.out / "train.jsonl").read_text().endswith("{}\n")


@pytest.mark.parametrize("name", ["train.jsonl", "thesis.txt"])
def test_a_folder_that_is_not_ours_is_not_replaced(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(HeedError, match="not replaced"):
        run(tmp_path, pairs(5))
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_a_foreign_file_in_a_prepared_folder_is_not_lost(tmp_path):
    report = run(tmp_path, pairs(5))
    (report.out / "notes.txt").write_text("mine")
    with pytest.raises(HeedError, match=r"did not write: notes\.txt"):
        run(tmp_path, seed=9)
    assert (report.out / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_filled_and_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    assert run(tmp_path, pairs(5)).kept == 5
    rows_file(tmp_path / "file", [])
    with pytest.raises(HeedError, match="expected a folder"):
        prepare([Source(tmp_path / "rows.jsonl")], tmp_path / "file", val=None, test=None, seed=0)


def test_a_source_inside_the_output_folder_is_refused(tmp_path):
    rows_file(tmp_path / "out" / "train.jsonl", pairs(5))
    with pytest.raises(HeedError, match="stands in the output folder"):
        prepare([Source(tmp_path / "out" / "train.jsonl")], tmp_path / "out", val=None, test=None, seed=0)
    assert names(tmp_path / "out") == ["train.jsonl"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    report = run(tmp_path, pairs(20))
    before = (report.out / "train.jsonl").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HeedError, match="no space left on the disk"):
        run(tmp_path, seed=7)
    assert (report.out / "train.jsonl").read_bytes() == before
    assert names(tmp_path) == ["out", "rows.jsonl"]


LIMITED = """
import resource, sys
from pathlib import Path
from heedlm.data.prepare import Source, prepare
from heedlm.errors import HeedError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    prepare([Source(Path(sys.argv[1]))], Path(sys.argv[2]), val=0.1, test=0.1, seed=0)
except HeedError as error:
    print(error)
"""


def test_a_file_that_the_system_will_not_let_grow_is_an_error_with_a_mend(tmp_path):
    source = rows_file(tmp_path / "rows.jsonl", pairs(2000))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, source, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        env=_path(),
    )
    assert "cannot be written: File too large" in done.stdout, done
    assert "mend" in done.stdout
    assert names(tmp_path) == ["rows.jsonl"]


SLOW = """
import sys
from pathlib import Path
from heedlm.data.prepare import Source, prepare
def hold(what, rows):
    print(what, flush=True)
    sys.stdin.read()
prepare([Source(Path(sys.argv[1]))], Path(sys.argv[2]), val=0.1, test=0.1, seed=1, on_progress=hold)
"""


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_leaves_the_old_result_and_the_next_run_clears_up(tmp_path, how):
    report = run(tmp_path, pairs(1000))
    before = (report.out / "train.jsonl").read_bytes()
    command = [sys.executable, "-c", SLOW, tmp_path / "rows.jsonl", report.out]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_path()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"reading")
        process.send_signal(how)
        process.wait(timeout=20)
    assert (report.out / "train.jsonl").read_bytes() == before
    assert len(names(tmp_path)) == (3 if how == signal.SIGKILL else 2)
    assert run(tmp_path, seed=1).why == "seed was 0, is 1"
    assert names(tmp_path) == ["out", "rows.jsonl"]


def test_a_kill_between_the_two_renames_is_put_right(tmp_path):
    report = run(tmp_path, pairs(20))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    report.out.rename(tmp_path / f".out.old-{gone.pid}")
    again = run(tmp_path)
    assert again.kept == 20
    assert names(tmp_path) == ["out", "rows.jsonl"]


def test_progress_is_heard(tmp_path):
    heard: list[tuple[str, int]] = []
    run(tmp_path, pairs(2500), on_progress=lambda what, rows: heard.append((what, rows)))
    assert heard[:2] == [("reading rows.jsonl", 1000), ("reading rows.jsonl", 2000)]
    assert heard[-1][0] == "writing the splits"


def test_preparing_imports_neither_torch_nor_transformers():
    code = "import sys, heedlm.data.prepare; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_path())
    assert done.stdout.strip() == "set()"


def test_rows_of_one_form_are_not_compared_pair_by_pair(tmp_path, monkeypatch):
    # Every row shares most of its words with all others: compared in pairs, 2,000 rows are half a million comparisons.
    rows = [
        {
            "instruction": f"Explain point {i} of the plan in your own words, please.",
            "input": f"item {i} " * 10,
            "output": f"It says {i}. " * 20,
        }
        for i in range(2000)
    ]
    rows_file(tmp_path / "rows.jsonl", rows)
    compared = []
    verified = Items._verified
    monkeypatch.setattr(Items, "_verified", lambda self, *found: compared.append(found[0]) or verified(self, *found))
    assert run(tmp_path).kept == 2000
    assert len(compared) < 20 * len(rows)
