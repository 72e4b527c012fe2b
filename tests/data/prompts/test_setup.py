"""What a recipe says of prompts is checked before a row is read; choices are taken from the data where a template asks so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heedlm import api
from heedlm.config import SourceConfig
from heedlm.data.prompts import library
from heedlm.data.prompts.apply import Prompting
from heedlm.data.prompts.preview import tried, wordings_of
from heedlm.data.prompts.setup import asked_once, prompting_of, with_choices, with_gathered
from heedlm.data.sources import read_rows
from heedlm.errors import HeedError


def source(**options: Any) -> SourceConfig:
    return SourceConfig(path="rows.csv", **options)


def table(path: Path, labels: list[Any], **more: Any) -> Path:
    rows = [{"text": f"A text of number {n}.", "label": label, **more} for n, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_nothing_is_asked_of_a_source_without_prompts() -> None:
    assert prompting_of(source(), 0) is None
    assert asked_once(None) is None


def test_what_stands_beside_prompts_is_taken() -> None:
    how = prompting_of(
        source(
            prompts="sentiment-review",
            prompts_per_row=2,
            few_shot=3,
            inverted=0.25,
            notation="mix",
            mapping={"text": "review"},
            labels={0: "negative", "Good": "positive"},
        ),
        7,
    )
    assert how is not None
    assert (how.seed, how.per_row, how.few_shot, how.inverted, how.notation) == (7, 2, 3, 0.25, "mix")
    assert (how.mapping, how.labels) == ({"text": "review"}, {"0": "negative", "good": "positive"})
    for_tests = asked_once(how)
    assert for_tests is not None
    assert (for_tests.per_row, for_tests.inverted, for_tests.few_shot) == (1, 0.0, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"few_shot": 2}, "few_shot is read only beside prompts"),
        ({"notation": "xml"}, "notation is read only beside prompts"),
        ({"prompts": "qa-open", "labels": {True: "good"}}, "write them in quotes"),
        ({"prompts": "sentimnt-review"}, "did you mean 'sentiment-review'"),
        ({"prompts": ["none.yaml", "nope"]}, "no such file of templates"),
        ({"prompts": "sentiment-review", "prompts_per_row": 9}, "there are 6 wordings"),
        ({"prompts": "rewrite-style", "inverted": 0.2}, "no template of rewrite-style has an inverted wording"),
        ({"prompts": "nli-three-way", "inverted": 0.2, "prompts_per_row": 2}, "there are 1 inverted wordings"),
        ({"prompts": "sentiment-review", "mapping": {"txt": "x"}}, "'txt' is no column of sentiment-review"),
        ({"prompts": "sentiment-review", "labels": {1: "fine"}}, "which is no choice of sentiment-review"),
        ({"prompts": "qa-open", "labels": {1: "fine"}}, "labels say what nothing reads"),
    ],
)
def test_mistakes_are_told_before_a_row_is_read(options: dict[str, Any], said: str) -> None:
    with pytest.raises(HeedError) as refused:
        prompting_of(source(**options), 0)
    assert said in str(refused.value)
    assert all(problem.mend for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("[{path: a, prompts: x, few_shot: 99}]", "few_shot"),
        ("[{path: a, prompts: x, notation: html}]", "notation"),
        ("[{path: a, prompts: {x: 1}}]", "prompts"),
    ],
)
def test_mistakes_in_the_recipe_itself(setting: str, said: str) -> None:
    with pytest.raises(HeedError) as refused:
        api.make_recipe(settings=[f"data.sources={setting}"])
    assert said in str(refused.value)


def test_choices_are_taken_from_all_rows_of_a_source_and_its_tests(tmp_path: Path) -> None:
    how = Prompting(library.find_all(["classify-text"]))
    train = table(tmp_path / "train.jsonl", ["red", "Blue ", "red", None, ""])
    test = table(tmp_path / "test.jsonl", ["green"])
    one, other, none = with_choices([(how, train), (asked_once(how), test), (None, train)])
    assert one is not None
    assert other is not None
    assert one.gathered == other.gathered == {"classify-text": ("Blue", "green", "red")}
    assert other.per_row == 1
    assert none is None


def test_labels_are_the_choices_where_they_are_given(tmp_path: Path) -> None:
    how = prompting_of(source(prompts="classify-text", labels={1: "good", 2: "bad", 3: "good"}), 0)
    assert how is not None
    assert with_gathered(how, [tmp_path / "is not read"]).gathered == {"classify-text": ("good", "bad")}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, 2], "holds bare numbers"),
        (["1", "-1"], "holds bare numbers"),
        (["same"] * 5, "holds only 'same': there is nothing to choose"),
        ([None], "holds no value"),
        ([f"label {n}" for n in range(51)], "more than 50 different values"),
    ],
)
def test_values_that_are_no_choices(labels: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(HeedError, match=said):
        with_gathered(Prompting(library.find_all(["classify-text"])), [table(tmp_path / "rows.jsonl", labels)])


def test_fifty_values_are_still_choices(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.jsonl", [f"label {n}" for n in range(50)])
    how = with_gathered(Prompting(library.find_all(["classify-text"])), [path])
    assert len(how.gathered["classify-text"]) == 50


def test_another_template_or_setting_is_another_result(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(library.source_of("qa-open").replace("name: qa-open", "name: mine"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"question": f"Who is number {n}?", "answer": f"Ada {n}"}) + "\n" for n in range(30))
    )

    def prepared(**options: Any) -> tuple[bool, str]:
        sources = [{"path": str(rows), "prompts": [str(mine)], **options}]
        report = api.prepare(run=tmp_path / "run", settings={"data.sources": sources})
        return report.reused, report.why

    assert not prepared()[0]
    assert prepared()[0]
    assert prepared(few_shot=2) == (False, f"{rows} has other prompts")
    mine.write_text(mine.read_text().replace("Answer the question in", "Answer this in"))
    assert prepared(few_shot=2) == (False, f"{rows} has other prompts")
    assert prepared(few_shot=2)[0]


def test_the_card_counts_templates_and_what_was_refused(tmp_path: Path) -> None:
    rows = table(tmp_path / "rows.jsonl", [n % 2 for n in range(40)] + ["odd"])
    sources = [{"path": str(rows), "prompts": "sentiment-review"}]
    settings = {"data.sources": sources, "data.max_bad": 0.1, "data.val": None, "data.test": None}
    report = api.prepare(run=tmp_path / "run", settings=settings)
    assert report.dropped == {"choice not in list": 1}
    card = json.loads((tmp_path / "run" / "data" / "card.json").read_text())
    assert card["sources"][str(rows)]["shapes"] == {"template sentiment-review": 40}
    with pytest.raises(HeedError, match="choice not in list") as refused:
        api.prepare(run=tmp_path / "other", settings={"data.sources": sources})
    assert f"{rows}:41" in str(refused.value)


def test_a_look_at_all_rows_of_a_file(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.jsonl", [0, 1, "x", "y", 1])
    path.write_text(path.read_text() + "{broken\n")
    found = tried(read_rows(path), Prompting(library.find_all(["sentiment-review"]), per_row=2), 3)
    assert (found.rows, found.made, sum(found.by_wording.values()), len(found.shown)) == (6, 6, 6, 3)
    assert found.refused == {"choice not in list": 2, "broken JSON": 1}
    assert [problem.where.rpartition(":")[2] for problem in found.problems] == ["3", "6", "4"]
    assert len(wordings_of(library.shipped("sentiment-review"))) == 8
