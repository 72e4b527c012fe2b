"""Names in a mixture stand for sources, or are refused before a row is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heedlm import api
from heedlm.config import DataConfig
from heedlm.data.learned import pages
from heedlm.data.mixture import mixture_of
from heedlm.errors import HeedError
from heedlm.tokens.mixture import Mixture, Portion, Stock, mix


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """alpaca.jsonl, more/alpaca.csv.gz's namesake more/alpaca.jsonl, set/one.jsonl and set/two.jsonl."""
    for name, count in (("alpaca", 30), ("more/alpaca", 5), ("more/dolly", 10), ("set/one", 6), ("set/two", 4)):
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        rows = ({"prompt": f"{name} asks {n}?", "completion": f"It is {n} of {name}."} for n in range(count))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)


SOURCES = ["alpaca.jsonl", "more/dolly.jsonl", "set"]


def resolved(mixture: Any, sources: list[str] = SOURCES, files: tuple[str, ...] = ()) -> Mixture:
    return mixture_of(DataConfig(sources=sources, mixture=mixture), files)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("alpaca.jsonl", "alpaca.jsonl"),
        ("alpaca", "alpaca.jsonl"),
        ("more/dolly.jsonl", "more/dolly.jsonl"),
        ("./more/dolly.jsonl", None),
        ("dolly.jsonl", "more/dolly.jsonl"),
        ("dolly", "more/dolly.jsonl"),
        ("set", "set"),
        ("set/one.jsonl", "set/one.jsonl"),
        ("two", "set/two.jsonl"),
    ],
)
def test_a_source_is_named_by_its_path_or_the_end_of_it(name: str, source: str | None) -> None:
    if source is None:
        with pytest.raises(HeedError, match="no source is named"):
            resolved({name: {"cap": 3}})
        return
    mixture = resolved({name: {"cap": 3, "epochs": 2}})
    assert mixture.portions == {source: Portion(cap=3, epochs=2)}


def test_the_rows_of_a_folder_belong_to_it_but_for_files_named_by_themselves() -> None:
    assert resolved({"set": {"cap": 3}}).source("set/one.jsonl:4") == "set"
    apart = resolved({"set": {"cap": 3}, "one": {"cap": 2}})
    assert [apart.source(f"set/{name}.jsonl:4") for name in ("one", "two")] == ["set/one.jsonl", "set"]
    assert resolved({}).source("set/one.jsonl:4") == "set"  # counted so without a mixture too


@pytest.mark.parametrize("name", ["alpaca", "alpaca.jsonl", "./alpaca.jsonl"])
def test_a_file_is_one_source_however_its_path_is_written(name: str) -> None:
    mixture = resolved({name: {"cap": 3}}, ["./alpaca.jsonl", "more/dolly.jsonl"])
    assert mixture.portions == {"./alpaca.jsonl": Portion(cap=3)}
    assert mixture.source("alpaca.jsonl:3") == "./alpaca.jsonl"


@pytest.mark.parametrize("name", ["solo", "only", "only.jsonl", "solo/only.jsonl"])
def test_a_folder_of_one_file_has_the_names_of_both(name: str, tmp_path: Path) -> None:
    (tmp_path / "solo").mkdir()
    (tmp_path / "solo" / "only.jsonl").write_text((tmp_path / "alpaca.jsonl").read_text())
    mixture = resolved({name: {"cap": 3}}, ["solo", "more/dolly.jsonl"])
    assert mixture.portions == {"solo": Portion(cap=3)}
    assert mixture.source("solo/only.jsonl:3") == "solo"


def test_standard_input_and_absolute_paths_have_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", (tmp_path / "alpaca.jsonl").open())
    mixture = resolved({"-": {"cap": 3}, "dolly": {"cap": 2}}, ["-", str(tmp_path / "more" / "dolly.jsonl")])
    assert mixture.source("<stdin>:3") == "-"
    assert mixture.portions.keys() == {"-", str(tmp_path / "more" / "dolly.jsonl")}


@pytest.mark.parametrize(
    ("name", "says", "mend"),
    [
        ("alpca.jsonl", "no source is named 'alpca.jsonl'", "did you mean 'alpaca.jsonl'?"),
        ("dolly.json", "no source is named 'dolly.json'", "did you mean 'dolly.jsonl'?"),
        ("zzz", "no source is named 'zzz'", "alpaca.jsonl"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, says: str, mend: str) -> None:
    with pytest.raises(HeedError, match=says) as caught:
        resolved({name: {"cap": 3}})
    (problem,) = caught.value.problems
    assert problem.where == f"data.mixture.{name}"
    assert mend in problem.mend


def test_a_name_that_could_be_two_sources_and_two_names_for_one_are_refused_together() -> None:
    with pytest.raises(HeedError) as caught:
        resolved({"alpaca": {"cap": 3}, "dolly": {"cap": 1}, "dolly.jsonl": {"cap": 2}}, ["alpaca.jsonl", "more"])
    first, second = caught.value.problems
    assert first.what == "'alpaca' could be 2 sources: alpaca.jsonl, more/alpaca.jsonl"
    assert second.what == "'dolly' and 'dolly.jsonl' are both more/dolly.jsonl"
    assert resolved({"alpaca.jsonl": {"cap": 3}}, ["alpaca.jsonl", "more"]).portions.keys() == {"alpaca.jsonl"}


def test_a_run_without_sources_names_the_files_of_its_rows() -> None:
    mixture = resolved({"old": {"cap": 3}}, [], ("elsewhere/old.jsonl", "hub:o/colours,split=test"))
    assert mixture.portions.keys() == {"elsewhere/old.jsonl"}
    hubs = resolved({"colours": {"cap": 3}}, [], ("hub:o/colours,split=test",))
    assert hubs.source("hub:o/colours,split=test:row 4") == "hub:o/colours,split=test"


def test_weights_are_given_to_all_sources_or_to_none() -> None:
    with pytest.raises(HeedError) as caught:
        resolved({"alpaca": {"weight": 2}, "dolly": {"cap": 4}})
    assert [problem.where for problem in caught.value.problems] == [
        "data.mixture.more/dolly.jsonl",
        "data.mixture.set",
    ]
    both = {"one": {"weight": 1}, "two": {"weight": 1}}  # a folder of which every file has a weight needs none itself
    assert len(resolved({"alpaca": {"weight": 2}, "dolly": {"weight": 1}, **both}).portions) == 4


@pytest.mark.parametrize(
    "settings",
    [
        ["data.mixture.alpaca.cap=7"],
        ["data.mixture.alpaca.jsonl.cap=7"],
        ["data.mixture.alpaca.jsonl={cap: 7}"],
        ["data.mixture={alpaca.jsonl: {cap: 3}}", "data.mixture.alpaca.jsonl.cap=7"],
        ["data.mixture.alpaca.jsonl.epochs=1", "data.mixture.alpaca.jsonl.cap=7"],
    ],
)
def test_one_setting_is_enough_and_a_later_one_wins(settings: list[str]) -> None:
    recipe = api.make_recipe(data=SOURCES, settings=settings)
    assert mixture_of(recipe.data).portions == {"alpaca.jsonl": Portion(cap=7)}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.mixture.alpaca.weigth=2", "did you mean 'weight'?"),
        ("data.mixture.alpaca.jsonl.weigth=2", "did you mean 'weight'?"),
        ("data.mixture.alpaca.cap=0", "expected a whole number above 0 or null"),
        ("data.mixture.alpaca.weight=-1", "expected a finite number above 0 or null"),
        ("data.mixture.alpaca.weight=.inf", "expected a finite number above 0 or null"),
        ("data.mixture.alpaca.epochs=.nan", "expected a number above 0 and of at most 1000"),
        ("data.mixture.my-rows.jsonl.cap=0", "Key 'data.mixture.my-rows.jsonl.cap' is 0"),
        ("data.mixture.alpaca=2", "is 2, expected a section with settings in it"),
        ("data.mixture.alpaca=null", "is None"),
        ("data.mixture=2", "is 2, expected a mapping"),
        ("data.mixture.alpaca.cap=many", "'many'"),
    ],
)
def test_what_is_wrong_with_a_setting_is_told(setting: str, says: str) -> None:
    with pytest.raises(HeedError) as caught:
        api.make_recipe(data=SOURCES, settings=[setting])
    assert says in str(caught.value)


def test_prepare_tells_what_will_be_taken_and_refuses_before_it_reads(tmp_path: Path) -> None:
    base = {"data.val": None, "data.test": None, "data.near_duplicates": "off"}
    with pytest.raises(HeedError, match="no source is named"):
        api.prepare(run="run", data=SOURCES, settings={**base, "data.mixture": {"gone": {"cap": 1}}})
    assert not (tmp_path / "run").exists()
    asked = {"alpaca": {"cap": 10}, "set": {"epochs": 1.5, "cap_tokens": 300}}
    report = api.prepare(run="run", data=SOURCES, settings={**base, "data.mixture": asked})
    assert report.train_rows == {
        "alpaca.jsonl": 30, "more/dolly.jsonl": 10, "set/one.jsonl": 6, "set/two.jsonl": 4
    }  # fmt: skip
    assert report.mixture == (
        "one epoch of training:",
        "  alpaca.jsonl: 10 of 30 rows (28.6% of the rows; 0.3333 epochs); left out by cap 20",
        "  more/dolly.jsonl: 10 of 10 rows (28.6% of the rows; 1 epochs)",
        "  set: 10 of 10 rows, 15 with repeats (42.9% of the rows; 1.5 epochs)",
        "  set: of these at most 300 tokens, counted when the rows are tokenised",
    )
    again = api.prepare(run="run", data=SOURCES, settings={**base, "data.mixture": {"set": {"cap": 1}}})
    assert again.reused  # how much is learned of them does not change the rows
    assert "  set: 1 of 10 rows (2.4% of the rows; 0.1 epochs); left out by cap 9" in again.mixture


def test_the_card_of_what_is_learned_says_it_all() -> None:
    stock = Stock(0)
    for source, count in (("a.jsonl", 30), ("b|c.csv", 4)):
        for number in range(count):
            stock.add(source, f"{source}{number}", 10, 4)
    stock.leave_out("b|c.csv")
    mixed = mix(stock, Mixture({"a.jsonl": Portion(cap=10), "b|c.csv": Portion(epochs=2)}))
    train = {"sequences": 18, "rows": 14, "tokens": 180, "learned_tokens": 72, "left_out": 20}
    template = {"name": "chatml", "grade": "hard", "system": "Be `kind`\n to all."}
    facts = {"counts": {"train": train, "replay": {"tokens": 20}}, "sources": mixed.accounts, "template": template}
    made = pages(facts)
    text = made["card.md"]
    assert "One epoch holds 18 sequences of 14 different rows: 180 tokens, of which 72 are learned (40%)." in text
    assert "The mixture leaves out 20 rows. Beside them stand 20 tokens of plain documents." in text
    assert "| a.jsonl | 10 | 30 | 0.3333 | 55.6% | 100 | 55.6% | 40% |" in text
    assert "| b\\|c.csv | 8 | 4 | 2 | 44.4% | 80 | 44.4% | 40% |" in text
    assert "| a.jsonl | cap | 20 | 200 |" in text
    assert "| b\\|c.csv | longer than tokens.max_tokens | 1 |  |" in text
    assert "- a.jsonl: cap 10" in text
    assert "chatml (hard); where a row has none, it adds a system text: `Be 'kind' to all.`." in text
    assert "it adds no system text." in pages({**facts, "template": {**template, "system": None}})["card.md"]
    assert made["card.html"].startswith("<!doctype html>")
    assert "<title>What is learned</title>" in made["card.html"]
