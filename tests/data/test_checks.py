"""What is looked for once all rows are there: dropped, flagged, grouped, written down and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heedlm.config import DataConfig
from heedlm.data.checks import Checks, checks_of
from heedlm.data.prepare import PrepareReport, Source, prepare
from heedlm.data.store import read_split
from heedlm.errors import HeedError

TOWN = (
    "The ferry leaves the old harbour in the morning and comes back when the lamps are lit, and on the way it stops at each "
    "of the small islands, where people wait on the pier with baskets of fruit, bread and fish for the {} market."
)
ITEM = "A baker sells twelve loaves of rye bread in the morning and nine more after lunch; how many loaves are that in all?"


def pairs(number: int) -> list[tuple[str, str]]:
    return [(f"What is {i} + {i}?", str(2 * i)) for i in range(number)]


def run(folder: Path, rows: list[Any], checks: Checks, **settings: Any) -> PrepareReport:
    values = [{"prompt": row[0], "completion": row[1]} if isinstance(row, tuple) else row for row in rows]
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    options = {"val": 0.1, "test": 0.1, "seed": 0, "max_bad": 0.5, **settings}
    return prepare([Source(source)], folder / "out", checks=checks, **options)


def lines(report: PrepareReport, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (report.out / name).read_text(encoding="utf-8").splitlines()]


def card(report: PrepareReport) -> dict[str, Any]:
    return json.loads((report.out / "card.json").read_text(encoding="utf-8"))


def test_a_flag_is_counted_listed_and_shown_and_the_row_stays(tmp_path):
    report = run(
        tmp_path, [*pairs(20), ("Why?", "As an AI language model, I do not know.")], Checks({"refusal": "flag"})
    )
    assert (report.kept, dict(report.flagged)) == (21, {"refusal": 1})
    where, what = f"{tmp_path / 'rows.jsonl'}:21", "the answer says 'as an ai language model'"
    assert lines(report, "flagged.jsonl") == [
        {"version": 1, "where": where, "rule": "refusal", "what": what, "masked": False}
    ]
    assert card(report)["flagged"]["refusal"]["examples"] == [{"where": where, "what": what}]
    assert any("1 refusal" in note for note in report.notes)
    for name in ("card.md", "card.html"):
        assert "refusal" in (report.out / name).read_text(encoding="utf-8")


def test_a_drop_has_a_reason_and_a_way_back(tmp_path):
    report = run(
        tmp_path, [*pairs(20), ("Why?", "As an AI language model, I do not know.")], Checks({"refusal": "drop"})
    )
    assert (report.kept, dict(report.flagged), dict(report.dropped)) == (20, {}, {"refusal": 1})
    (dropped,) = lines(report, "dropped.jsonl")
    assert dropped["reason"] == "refusal"
    assert dropped["mend"].endswith("--set data.clean.refusal=flag")
    assert card(report)["sources"][str(tmp_path / "rows.jsonl")]["kept"] == 20


def test_cleaning_drops_do_not_count_as_broken_rows(tmp_path):
    rows = [("Why?", f"As an AI language model, I do not know {i}.") for i in range(20)]
    assert run(tmp_path, [*pairs(2), *rows], Checks({"refusal": "drop"}), max_bad=0.0).kept == 2


def test_rows_of_a_test_file_are_flagged_and_never_dropped(tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"prompt": "Why?", "completion": "As an AI language model, I cannot say."}) + "\n")
    report = run(tmp_path, pairs(20), Checks({"refusal": "drop"}), test=str(test))
    assert (report.splits["test"], dict(report.flagged)) == (1, {"refusal": 1})


def test_masked_rows_are_written_masked_and_duplicates_of_the_mask_count_once(tmp_path):
    rows = [("Who?", "Mail ada@example.org now."), ("Who?", "Mail bob@example.org now."), *pairs(20)]
    report = run(tmp_path, rows, Checks({"email": "mask"}), val=None, test=None)
    text = (report.out / "train.jsonl").read_text(encoding="utf-8")
    assert "Mail [EMAIL] now." in text
    assert "example.org" not in "".join(path.read_text(encoding="utf-8") for path in report.out.iterdir())
    assert [row["meta"] for row in lines(report, "train.jsonl") if "meta" in row] == [{"masked": ["email"]}]
    assert report.duplicates == 1
    assert card(report)["flagged"]["email"] | {"examples": []} == {
        "count": 0,
        "masked": 1,
        "finds": "e-mail addresses, told by their form",
        "examples": [],
    }


def alike(words: str = "town evening winter") -> list[tuple[str, str]]:
    return [("Tell me of the ferry.", TOWN.format(word)) for word in words.split()]


def test_one_of_each_near_duplicate_stays_with_the_place_of_the_other(tmp_path):
    report = run(tmp_path, [*alike(), *pairs(20)], Checks(near_duplicates="drop"))
    assert (report.kept, report.near_duplicates, dict(report.dropped)) == (21, 2, {"near-duplicate": 2})
    source = tmp_path / "rows.jsonl"
    assert [row["what"] for row in lines(report, "dropped.jsonl")] == [
        f"near-duplicate: 89% the same as {source}:1",
        f"near-duplicate: 89% the same as {source}:1",
    ]
    assert report.proof.near_duplicates_on_two_sides == 0
    found = card(report)
    first = found["near_duplicates"]["examples"][0]
    assert (first["where"], first["like"]) == (f"{source}:2", f"{source}:1")
    assert first["similarity"] == pytest.approx(48 / 54, abs=1e-4)
    (counted,) = found["sources"].values()
    assert (counted["kept"], counted["dropped"], sum(counted["shapes"].values())) == (21, 2, 21)
    assert sum(counted["languages"].values()) == 21


@pytest.mark.parametrize("seed", range(6))
def test_flagged_near_duplicates_stay_together(tmp_path, seed):
    rows = [
        {**dict(zip(("prompt", "completion"), row, strict=True)), "group": f"g{n}"} for n, row in enumerate(alike())
    ]
    report = run(tmp_path, [*rows, *pairs(12)], Checks(near_duplicates="flag"), val=0.3, test=0.3, seed=seed)
    assert report.kept == 15
    assert report.near_duplicates == 2
    sides = [
        name
        for name in report.splits
        for example in read_split(report.out / f"{name}.jsonl")
        if "ferry" in example.messages[0].content
    ]
    assert len(sides) == 3
    assert len(set(sides)) == 1
    assert report.proof.near_duplicates_on_two_sides == 0


def test_without_a_search_the_proof_does_not_claim_one(tmp_path):
    report = run(tmp_path, [*alike(), *pairs(20)], Checks())
    assert (report.kept, report.near_duplicates) == (23, 0)
    assert report.proof.near_duplicates_on_two_sides is None


def test_similarity_is_a_threshold(tmp_path):
    assert run(tmp_path, [*alike(), *pairs(9)], Checks(near_duplicates="drop", similarity=0.87)).near_duplicates == 2
    assert run(tmp_path, [*alike(), *pairs(9)], Checks(near_duplicates="drop", similarity=0.9)).near_duplicates == 0


def test_a_row_like_one_of_the_test_file_leaves_train(tmp_path):
    test = tmp_path / "test.jsonl"
    rows = [{"prompt": asked, "completion": said} for asked, said in alike("town evening")]
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run(tmp_path, [*alike("winter"), *pairs(20)], Checks(near_duplicates="drop"), test=str(test))
    assert (report.splits["test"], dict(report.dropped)) == (2, {"near-duplicate": 1})


def items(folder: Path, *asked: str) -> Path:
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps({"question": one, "answer": "21"}) + "\n" for one in asked))
    return path


def test_rows_with_an_item_of_an_evaluation_are_dropped_and_the_matched_words_written_down(tmp_path):
    rows = [*pairs(20), (f"Solve it.\n\n{ITEM.replace('rye', 'white')}", "That is 21."), ("Name a bird!", "A wren.")]
    path = items(tmp_path, ITEM, "Name a bird.", "Never asked here, whatever else may be asked of anybody?")
    report = run(tmp_path, rows, Checks(decontaminate=(path,)))
    assert (report.kept, report.contaminated, dict(report.dropped)) == (20, 2, {"contaminated": 2})
    first, second = lines(report, "contamination.jsonl")
    assert first["where"].endswith("rows.jsonl:21")
    assert (first["item_of"], first["item"], first["kind"]) == (str(path), f"{path}:1", "prompt and answer")
    assert first["share"] < 1.0
    assert first["matched"].startswith("a baker sells")
    assert (second["item"], second["kind"], second["share"], second["row"]) == (f"{path}:2", "prompt", 1.0, "dropped")
    entry = card(report)["contamination"]["of"][str(path)]
    assert entry == {"rows": 2, "with_answer": 1, "dropped": 2}


def test_contaminated_rows_can_be_kept_and_counted(tmp_path):
    path = items(tmp_path, ITEM)
    report = run(tmp_path, [*pairs(20), (ITEM, "21")], Checks(decontaminate=(path,), contaminated="flag"))
    assert (report.kept, report.contaminated, dict(report.dropped)) == (21, 1, {})
    assert [entry["row"] for entry in lines(report, "contamination.jsonl")] == ["kept"]


def test_the_runs_own_test_rows_are_protected(tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"prompt": ITEM, "completion": "It is 21 loaves."}) + "\n")
    leak = {"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]}
    leak["messages"] += [{"role": "user", "content": ITEM}, {"role": "assistant", "content": "It is 21 loaves."}]
    rows = [*pairs(20), leak, (f"Say how you would begin: {ITEM}", "I would add.")]
    report = run(tmp_path, rows, Checks(), test=str(test))
    assert dict(report.dropped) == {"contaminated": 1}
    assert [(entry["item_of"], entry["kind"], entry["row"]) for entry in lines(report, "contamination.jsonl")] == [
        ("test", "prompt and answer", "dropped"),
        ("test", "prompt", "kept"),
    ]


def test_rows_of_one_form_do_not_contaminate_each_other(tmp_path):
    form = "Write a polite letter in which {} of the shop explains to {} that the parcel with the {} comes a week late."
    names = [f"{first}{last}" for first in ("An", "Be", "Ca", "Do", "El", "Fa") for last in ("ra", "do", "na", "lin")]
    trios = zip(names, names[1:], names[2:], strict=False)
    rows = [(form.format(one, other, thing), f"Dear {other}, ...") for one, other, thing in trios]
    report = run(tmp_path, rows, Checks(near_duplicates="drop"), val=0.2, test=0.2)
    assert (report.kept, report.contaminated, report.near_duplicates) == (22, 0, 0)


def test_contradictions_are_reported_and_kept(tmp_path):
    rows = [
        *pairs(20),
        ("Capital of Chad?", "N'Djamena"),
        ("capital of chad", "Moundou"),
        ("Capital of Chad?", "It is N'Djamena."),
    ]
    rows += [("Tell a tale.", "Once there was a cat."), ("Tell a tale.", "Long ago a dog lived by the sea.")]
    rows += [("How many are there?", "There are 4 of them."), ("How many are there?", "There are 5 of them.")]
    report = run(tmp_path, rows, Checks())
    assert (report.kept, report.contradictory) == (27, 2)
    found = card(report)["answers"]
    assert (found["questions"], found["contradictory"]) == (3, 2)
    assert {one["question"] for one in found["examples"]} == {"capital of chad", "How many are there?"}
    assert "Moundou" in (report.out / "card.md").read_text(encoding="utf-8")


def test_a_change_of_the_checks_or_of_an_evaluation_prepares_again(tmp_path):
    path = items(tmp_path, ITEM)
    assert not run(tmp_path, pairs(20), Checks(decontaminate=(path,))).reused
    assert run(tmp_path, pairs(20), Checks(decontaminate=(path,))).reused
    path = items(tmp_path, ITEM, "Another one that nobody asks?")
    again = run(tmp_path, pairs(20), Checks(decontaminate=(path,)))
    assert (again.reused, again.why.split(" was ")[0]) == (False, "decontaminate")
    changed = run(tmp_path, pairs(20), Checks({"echo": "flag"}, decontaminate=(path,)))
    assert changed.why == "clean was {}, is {'echo': 'flag'}"


def test_all_evaluation_files_that_cannot_be_read_are_named_at_once(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(HeedError) as caught:
        run(tmp_path, pairs(5), Checks(decontaminate=(tmp_path / "none.jsonl", tmp_path / "nor.jsonl")))
    assert [problem.where for problem in caught.value.problems] == [
        str(tmp_path / "none.jsonl"),
        str(tmp_path / "nor.jsonl"),
    ]
    with pytest.raises(HeedError, match="file is empty"):
        run(tmp_path, pairs(5), Checks(decontaminate=(empty,)))
    assert not (tmp_path / "out").exists()


def test_train_left_empty_by_contamination_is_refused(tmp_path):
    with pytest.raises(HeedError, match="no row is left to train on"):
        run(tmp_path, [(ITEM, "21")], Checks(decontaminate=(items(tmp_path, ITEM),)), val=None, test=None)


@pytest.mark.parametrize(
    "text",
    [
        "\x00\x01",
        "\u202e\u200b",
        "🏳️‍🌈" * 50,
        "a" * 2_000_000,
        "ab " * 700_000,
        "\n" * 100_000,
        "ﷺ" * 1000,
        "\u0300" * 1000,
        "`|*_#<&>",
    ],
)
def test_odd_text_passes_every_check(tmp_path, text):
    rows = [*pairs(12), (f"Odd: {text}", "Yes."), ("And this?", f"See {text}"), (text + "x", text + "y")]
    checks = checks_of(DataConfig(decontaminate=(str(items(tmp_path, ITEM, text + " it?")),)))
    report = run(tmp_path, rows, checks)
    assert report.kept + sum(report.dropped.values()) == 15


def test_the_defaults_of_a_recipe_reach_the_checks():
    config = DataConfig(clean={"max_words": 7, "email": "mask"}, decontaminate=["x.jsonl"], similarity=0.9)
    checks = checks_of(config)
    assert checks.clean["email"] == "mask"
    assert checks.clean["echo"] == "flag"
    assert (checks.limits, checks.near_duplicates, checks.similarity) == ((7, 0), "drop", 0.9)
    assert (checks.decontaminate, checks.contaminated) == ((Path("x.jsonl"),), "drop")
