"""The commands of `heed templates`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm.data.prompts import library
from tests.typed import Heed


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.jsonl"
    rows = [{"words": f"The film number {n} was good.", "label": n % 2} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + json.dumps({"words": "x", "label": "odd"}) + "\n")
    return path


def test_list(heed: Heed) -> None:
    code, out, _ = heed("templates", "list")
    assert code == 0
    assert all(f"  {name} " in out for name in library.names())
    assert f"{len(library.names())} templates, " in out
    told = json.loads(heed("templates", "list", "--json")[1])
    assert sum(map(len, told["families"].values())) == len(library.names())


def test_show_renders_every_wording_and_gives_the_source(heed: Heed, tmp_path: Path) -> None:
    code, out, _ = heed("templates", "show", "qa-open")
    assert code == 0
    assert "user: Q: Which planet is nearest to the sun?\nA:\nassistant: Mercury" in out
    assert out.count("--- wording") == len(library.shipped("qa-open").wordings)
    shown = {heed("templates", "show", "qa-multiple-choice", "--seed", seed)[1] for seed in (0, 0, 1)}
    assert len(shown) == 2  # another order, other marks
    source = heed("templates", "show", "qa-open", "--source")[1]
    assert source == library.source_of("qa-open")
    mine = tmp_path / "mine.yaml"
    mine.write_text(source)
    assert heed("templates", "show", mine)[1] == out
    assert json.loads(heed("templates", "show", "qa-open", "--json")[1])["templates"][0]["name"] == "qa-open"


def test_try_shows_rows_and_counts_all_of_them(heed: Heed, reviews: Path) -> None:
    code, out, _ = heed("templates", "try", "sentiment-review", "--data", reviews, "--map", "text=words", "--rows", 2)
    assert code == 0
    assert out.count("assistant: ") == 2
    assert "21 rows, 20 conversations" in out
    assert "1  refused: choice not in list" in out
    assert f"at   {reviews}:21" in out
    options = ("--inverted", 0.9, "--notation", "xml", "--label", "odd=negative", "--label", "1=positive", "--seed", 3)
    told = json.loads(
        heed("templates", "try", "sentiment-review", "--data", reviews, "--map", "text=words", *options, "--json")[1]
    )
    assert sum(count for wording, count in told["by_wording"].items() if "inverted" in wording) > 6
    assert told["refused"] == {}  # the last row's value has a meaning now


def test_try_shows_what_prepare_writes(heed: Heed, reviews: Path, tmp_path: Path) -> None:
    told = json.loads(
        heed("templates", "try", "sentiment-review", "--data", reviews, "--map", "text=words", "--rows", 99, "--json")[
            1
        ]
    )
    shown = {one["messages"][-2]["content"] for one in told["shown"]}
    sources = json.dumps([{"path": str(reviews), "prompts": "sentiment-review", "mapping": {"text": "words"}}])
    settings = ("--set", f"data.sources={sources}", "--set", "data.max_bad=0.1", "--set", "data.near_duplicates=off")
    assert heed("prepare", "--run", tmp_path / "run", *settings)[0] == 0
    lines = [
        line
        for name in ("train", "val", "test")
        if (path := tmp_path / "run" / "data" / f"{name}.jsonl").is_file()
        for line in path.read_text().splitlines()
    ]
    assert {json.loads(line)["messages"][-2]["content"] for line in lines} == shown


def test_try_with_nothing_made_exits_with_1(heed: Heed, reviews: Path) -> None:
    code, out, _ = heed("templates", "try", "sentiment-review", "--data", reviews)
    assert code == 1
    assert "missing column: sentiment-review needs 'text'" in out
    assert "mapping: {text: NAME_IN_THE_FILE}" in out


def test_lint_tells_all_and_exits_with_1(heed: Heed, reviews: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(library.source_of("sentiment-review"))
    code, out, _ = heed("templates", "lint", mine)
    assert (code, out) == (0, "1 template, 0 problems\n")
    code, out, _ = heed("templates", "lint", mine, "--data", reviews, "--map", "text=words")
    assert code == 1
    assert f"at   {reviews}:21" in out
    mine.write_text(mine.read_text().replace("{{ text }}", "{{ txt }}"))
    (tmp_path / "broken.yaml").write_text("a: [")
    code, out, _ = heed("templates", "lint", mine, tmp_path / "broken.yaml", tmp_path / "none.yaml", "--json")
    told = json.loads(out)
    assert code == 1
    assert told["templates"] == 1
    whats = " ".join(problem["what"] for problem in told["problems"])
    assert all(said in whats for said in ("'txt' is no column", "broken YAML", "cannot be read"))
    assert all(problem["where"] and problem["mend"] for problem in told["problems"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "qa-opn"), "did you mean 'qa-open'"),
        (("list", "none.yaml"), "no such file"),
        (("try", "qa-open", "--data", "none.jsonl"), "no such file"),
        (("try", "qa-open", "--data", "{rows}", "--map", "text"), "--map question=ask"),
        (("try", "qa-open", "--data", "{rows}", "--map", "txt=a"), "'txt' is no column of qa-open"),
        (("try", "qa-open", "--data", "{rows}", "--inverted", "2"), "inverted"),
        (("try", "qa-open", "--data", "{rows}", "--notation", "html"), "notation"),
        (("try", "qa-open", "--data", "{rows}", "--label", "1=a"), "labels say what nothing reads"),
        (("try", "qa-open", "--data", "{rows}", "--label", "1"), "write --label 1=positive"),
        (("try", "qa-open", "--data", "{rows}", "--per-row", "9"), "there are 6 wordings"),
        (("try", "qa-open"), "heed templates try"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], said: str, heed: Heed, reviews: Path) -> None:
    code, out, err = heed("templates", *(one.replace("{rows}", str(reviews)) for one in arguments))
    assert code == 2
    assert out == ""
    assert said in err
