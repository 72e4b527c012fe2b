"""What files hold is told without changing them: shapes, examples, lengths, problems, and commands that work."""

from __future__ import annotations

import io
import json
import shlex
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from heedlm import api, cli
from heedlm.data.card import BINS
from heedlm.data.inspect import Inspection, inspect_files
from heedlm.data.inspect_page import as_json, page
from heedlm.errors import HeedError
from heedlm.screen import _plain
from tests.data.test_schema import JUNK, NAMES
from tests.families import checkpoint
from tests.typed import Heed


def write(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def screen(found: Inspection, *, plain: bool = True) -> str:
    console = Console(record=True, width=160, file=io.StringIO(), force_terminal=not plain)
    for one in page(found, plain=plain):
        console.print(one, soft_wrap=True)
    return console.export_text()


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in said]


GOOD: list[Any] = [
    {
        "messages": turns(
            ("system", "Be brief."), ("user", "What is it?"), ("assistant", "It is the capital of the land.")
        )
    },
    {"messages": turns(("user", "And then?"), ("assistant", "Tea."), ("user", "Then?"), ("assistant", "More tea."))},
    {"instruction": "Name a colour.", "output": "Blue.", "note": "x", "licence": "MIT"},
    {"prompt": "Which?", "chosen": "This one.", "rejected": "None."},
]


def test_what_a_mixed_file_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD)
    found = inspect_files([path])
    assert (found.rows, found.examples, found.broken) == (4, 4, 0)
    assert {shape.name: (shape.rows, shape.read, shape.sure) for shape in found.shapes} == {
        "messages": (2, 2, "certain"),
        "alpaca": (1, 1, "certain"),
        "preference": (1, 1, "certain"),
    }
    assert "opened by instruction" in next(shape.why for shape in found.shapes if shape.name == "alpaca")
    assert found.roles == {"user": 5, "assistant": 5, "system": 1}
    assert found.turns == {2: 2, 3: 1, 4: 1}
    assert found.systems == {"": 3, "Be brief.": 1}
    assert found.licences == {"MIT": 1}
    assert found.unused == {"note": 1}
    assert found.features == {"several answers": 1, "a worse answer": 1}
    assert found.languages["English"] == 1
    assert [file.rows for file in found.files] == [4]
    assert found.problems == ()
    assert len({example.source for example in found.shown}) == 3, "one example of each shape"
    text = screen(found)
    assert "4 rows, all of them readable" in text
    assert "[assistant] [[This one.]]" in text
    assert "[rejected] None." in text
    assert f"heed prepare --data {path} --run" in text


def test_problems_are_grouped_with_their_places_and_mends(tmp_path: Path) -> None:
    bad = [{"messages": turns(("user", "x"), ("gpt", "y"))} for _ in range(5)]
    path = write(tmp_path / "rows.jsonl", [*GOOD, *bad, "{broken", {"prompt": "x"}])
    found = inspect_files([path])
    assert found.broken == 7
    role, *others = found.problems
    assert (role.reason, role.rows) == ("unknown role", 5)
    assert [problem.where for problem in role.examples] == [f"{path}:{line}" for line in (5, 6, 7)]
    assert {trouble.reason for trouble in others} == {"broken JSON", "missing field"}
    assert {shape.name: shape.sure for shape in found.shapes}["messages"] == "doubtful"
    assert "2 of 7 could be read" in next(shape.why for shape in found.shapes if shape.name == "messages")
    text = screen(found)
    assert "5 x unknown role" in text
    assert f"{path}:5: field 'messages[1].role' is 'gpt'" in text
    assert "mend write 'assistant' for 'gpt'" in text


def test_a_row_that_could_be_meant_otherwise_makes_a_shape_less_sure(tmp_path: Path) -> None:
    both = {"instruction": "a", "output": "b", "question": "c"}
    path = write(tmp_path / "rows.jsonl", [{"instruction": f"a{n}", "output": "b"} for n in range(9)] + [both])
    (shape,) = inspect_files([path]).shapes
    assert shape.sure == "likely"
    assert "1 also hold question" in shape.why
    (shape,) = inspect_files([path], mapping={"instruction": "instruction", "output": "output"}).shapes
    assert shape.sure == "certain", "a mapping says what was meant"


@given(st.lists(st.integers(0, 12_000), min_size=1, max_size=30))
def test_lengths_are_counted_whole(lengths: list[int]) -> None:
    from heedlm.data.inspect import _lengths, _rounded

    found = _lengths(__import__("collections").Counter(map(_rounded, lengths)))
    ranked = sorted(map(_rounded, lengths))
    assert (found.rows, found.min, found.max) == (len(lengths), ranked[0], ranked[-1])
    assert found.median == ranked[(len(ranked) - 1) // 2]
    assert found.p95 == ranked[round((len(ranked) - 1) * 0.95)]
    assert sum(count for _, _, count in found.bins) == len(lengths)
    assert found.bins[0][2] > 0 < found.bins[-1][2]
    for (_, end, _), (start, _, _) in zip(found.bins, found.bins[1:], strict=False):
        assert start == (end or 0) + 1, "no gap"
    assert {start for start, _, _ in found.bins} <= {0, *BINS}
    assert all(abs(_rounded(length) - length) <= length / 100 for length in lengths)


def run_next(found: Inspection, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Do what the first line says, in a folder of its own; what came out."""
    program, *arguments = shlex.split(found.next[0])
    assert program == "heed"
    arguments[arguments.index("--run") + 1] = str(tmp_path / "run")
    with pytest.raises(SystemExit) as left:
        cli.main([*arguments, "--set", "data.val=null", "--set", "data.test=null"])
    out, err = capsys.readouterr()
    assert left.value.code == 0, err
    return out


UNKNOWN: dict[str, tuple[Callable[[int], dict[str, Any]], dict[str, str]]] = {
    "names in words": (lambda n: {"user_query": f"What is {n}?", "bot_reply": f"It is {n}."}, {}),
    "names in capitals": (lambda n: {"id": n, "userQuestion": f"What is {n}?", "modelAnswer": f"It is {n}."}, {}),
    "German": (lambda n: {"Frage": f"Was ist {n}?", "Antwort": f"Das ist {n}."}, {}),
    "with a passage": (
        lambda n: {"query": f"Who is {n}?", "passage": f"Number {n}.", "reply": f"He is {n}."},
        {"question": "query", "context": "passage", "answer": "reply"},
    ),
    "one asks": (
        lambda n: {"b": f"It is {n}, as all the books say.", "c": f"What is {n}?"},
        {"question": "c", "answer": "b"},
    ),
    "order alone": (lambda n: {"x1": f"Number {n}", "x2": f"It is {n}."}, {"question": "x1", "answer": "x2"}),
    "turns": (
        lambda n: {
            "dialog": [{"speaker": "human", "text": f"What is {n}?"}, {"speaker": "bot", "text": f"It is {n}."}]
        },
        {"conversations": "dialog", "role": "speaker", "content": "text"},
    ),
    "turns with more beside": (
        lambda n: {
            "thread": [
                {"who": "user", "when": "now", "said": f"What is {n}?"},
                {"who": "assistant", "when": "now", "said": f"It is {n}, and it always was."},
            ]
        },
        {"conversations": "thread", "role": "who", "content": "said"},
    ),
    "a known question": (lambda n: {"instruction": f"Say {n}.", "reply": f"It is {n}."}, {}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_mapping_is_suggested_that_works(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, mapping = UNKNOWN[name]
    path = write(tmp_path / "it's mine.jsonl", map(row, range(40)))
    found = inspect_files([path])
    assert found.examples == 0
    (hint,) = found.files[0].suggestions
    assert (hint.read, hint.of) == (40, 40)
    if mapping:
        assert hint.mapping == mapping
    assert "40 rows in, 40 kept" in run_next(found, tmp_path, capsys)
    again = inspect_files([path], mapping=hint.mapping)
    assert (again.examples, again.broken) == (40, 0)
    assert "--map" in again.next[0]
    run_next(again, tmp_path, capsys)


@pytest.mark.parametrize(
    "row",
    [
        {"a1": 1, "b1": 2},
        {"text": "A film.", "label": 1},
        {"only": "one text"},
        {"rows": [{"x": 1}]},
        {},
        {"q": None, "a": None},
    ],
)
def test_nothing_is_suggested_where_nothing_would_work(row: dict[str, Any], tmp_path: Path) -> None:
    found = inspect_files([write(tmp_path / "rows.jsonl", [row] * 3)])
    assert found.files[0].suggestions == ()
    assert found.next
    assert not found.next[0].startswith("heed prepare")


def test_rows_of_another_kind_in_a_good_file_get_advice_but_no_mapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(9)]
    odd = {"frage": "Was?", "antwort": "Das."}
    found = inspect_files([write(tmp_path / "rows.jsonl", [*rows, odd])])
    assert "mapping" not in found.next[0]
    assert "data.max_bad=0.1" in found.next[0]
    assert any("a file of their own" in line for line in found.next)
    assert "9 kept" in run_next(found, tmp_path, capsys)


def test_two_files_of_which_one_needs_a_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write(tmp_path / "one.jsonl", [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(5)])
    two = write(tmp_path / "two.jsonl", [{"ask": f"What is {n}?", "say": f"It is {n}."} for n in range(5)])
    found = inspect_files([one, two])
    assert [len(file.suggestions) for file in found.files] == [0, 1]
    assert "10 rows in, 10 kept" in run_next(found, tmp_path, capsys)
    assert "heed prepare" in inspect_files([tmp_path]).next[0], "a folder is looked at as well"


def test_questions_alone_are_items_of_an_evaluation(tmp_path: Path) -> None:
    found = inspect_files([write(tmp_path / "items.jsonl", [{"prompt": f"Do {n}."} for n in range(3)])])
    assert "data.decontaminate" in found.next[0]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"text": "A wonderful film.", "label": 1}, {"text": "A dull film.", "label": 0}], "sentiment-review"),
        ([{"premise": "It rains.", "hypothesis": "It is wet.", "label": 0}], "nli-three-way"),
        ([{"text": f"Text {n} here.", "label": ("spam", "ham")[n % 2]} for n in range(6)], "classify-text"),
        ([{"article": "A long text about a town.", "highlights": "A town."}], "summarise-article"),
    ],
)
def test_labelled_rows_are_sent_to_the_templates_that_fit(
    rows: list[Any], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "rows.jsonl", rows)
    found = inspect_files([path])
    assert name in found.files[0].templates
    line = next(line for line in found.next if line.startswith("heed templates try"))
    with pytest.raises(SystemExit) as left:
        cli.main([*shlex.split(line)[1:], "--json"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)["made"] >= 1


def test_documents_are_sent_to_replay(tmp_path: Path) -> None:
    found = inspect_files([write(tmp_path / "texts.jsonl", [{"text": "Once upon a time."}])])
    assert "data.replay" in found.next[0]
    assert found.shapes[0].name == "raw-text"


def test_a_file_that_cannot_be_read_to_its_end_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[\n" + json.dumps(GOOD[2]) + ",\n")
    found = inspect_files([path])
    assert found.examples == 1
    assert "list is not closed" in found.problems[0].examples[0].what
    assert found.next[0].startswith(f"mend {path} first: what cannot be read to its end is refused")
    assert [file.whole for file in found.files] == [False]


def test_what_else_is_in_a_folder_is_told(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", GOOD)
    assert not any("not read" in line for line in inspect_files([tmp_path]).next)
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "deeper" / "more.jsonl", GOOD)
    (tmp_path / "sheet.xlsx").write_bytes(b"PK")
    found = inspect_files([tmp_path])
    assert found.next[-2].endswith(f"were not read; name them as well: --data {tmp_path / 'deeper'}")
    assert found.next[-1].endswith("left alone: sheet.xlsx")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: inspect_files([]), "No data"),
        (lambda t: inspect_files([t / "rows.jsn"]), "no such file"),
        (lambda t: inspect_files([t], mapping={"ask": "x"}), "unknown field name 'ask'"),
        (lambda t: api.inspect(data=t / "no.jsonl", model=t / "nothing"), "no model folder"),
    ],
)
def test_mistakes_are_told(call: Callable[[Path], Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(HeedError, match=says):
        call(tmp_path)


def test_as_json_is_all_of_it_and_can_be_written(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*GOOD, {"prompt": "x"}, {"ask": "a?", "say": "b"}])
    told = as_json(inspect_files([path]))
    again = json.loads(json.dumps(told, default=lambda one: one.__dict__ if hasattr(one, "__dict__") else str(one)))
    assert again["version"] == 1
    assert again["rows"] == 6
    assert again["shown"][0]["rendered"][0] == {"text": "[system] ", "learned": False}
    assert again["shown"][0]["row"]["messages"][0]["role"] == "system"
    assert again["lengths"]["words asked"]["bins"][0].keys() == {"from", "to", "rows"}


@given(st.lists(st.dictionaries(st.sampled_from([*NAMES, "ask", "say", "dialog"]), JUNK, max_size=5), max_size=6))
def test_whatever_rows_hold_it_is_told_and_added_up(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = inspect_files([write(Path(folder) / "rows.jsonl", [*rows, {"prompt": "a", "completion": "b"}])])
    unknown = found.rows - sum(shape.rows for shape in found.shapes)
    assert (found.rows, unknown >= 0) == (len(rows) + 1, True)
    assert found.examples >= 1
    assert found.broken <= sum(trouble.rows for trouble in found.problems)
    assert sum(found.roles.values()) == sum(turns * count for turns, count in found.turns.items())
    assert sum(found.languages.values()) == sum(found.systems.values()) == found.examples
    assert found.next[0].startswith("heed prepare")
    assert screen(found)
    json.dumps(_plain(as_json(found)), allow_nan=False)


def test_text_of_the_data_does_not_steer_the_terminal(tmp_path: Path) -> None:
    odd = "\x1b[2J\x07\x9b31m\x7f tab\there"
    row = {"system": odd, "prompt": odd, "completion": odd}
    found = inspect_files([write(tmp_path / "rows.jsonl", [row, {"messages": turns((odd, "x"))}])])
    console = Console(record=True, width=160, file=io.StringIO(), force_terminal=False)
    for one in page(found, plain=True):
        console.print(one, soft_wrap=True)
    shown = console.export_text()
    assert not set("\x1b\x07\x9b\x7f") & set(shown)
    assert "\u241b[2J" in shown


def test_examples_are_drawn_with_the_seed_from_the_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": f"Say {n}.", "completion": f"{n}"} for n in range(300)])

    def lines(seed: int) -> list[int]:
        return [int(one.source.rpartition(":")[2]) for one in inspect_files([path], shown=4, seed=seed).shown]

    assert lines(1) == lines(1)
    assert lines(1) != lines(2)
    assert max(lines(1)) > 20
    assert inspect_files([path], shown=0).shown == ()
    assert len(inspect_files([path], shown=999).shown) == 300


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Ten times the rows, all of them different in every field that is counted, a bad one among every three."""

    def rows(count: int) -> Iterable[Any]:
        for n in range(count):
            yield {
                "instruction": f"Say {n} " + "x " * n,
                "output": f"It is {n}.",
                f"own{n}": n,
                "system": f"System {n}",
            }
            yield {"prompt": f"p {n}", "completion": f"c {n}", "licence": f"Licence {n}"}
            yield {f"odd{n}": f"value {n}"}

    def peak(count: int) -> int:
        path = write(tmp_path / f"{count}.jsonl", rows(count))
        tracemalloc.start()
        found = inspect_files([path])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.rows == 3 * count
        return most

    small, large = peak(1200), peak(3600)
    assert large < 1.5 * small + 500_000


def test_on_the_command_line(tmp_path: Path, heed: Heed) -> None:
    path = write(tmp_path / "rows.jsonl", [*GOOD, {"ask": "What is it?", "say": "It is tea."}])
    code, out, _ = heed("data", "inspect", path)
    assert code == 0
    assert "shape" in out
    assert "words answered" in out
    assert "█" in out
    code, out, _ = heed("data", "inspect", path, "--json")
    assert json.loads(out)["rows"] == 5
    code, out, _ = heed("data", "inspect", path, "--map", "question=ask", "--map", "answer=say", "--json")
    assert json.loads(out)["examples"] == 1
    dead = write(tmp_path / "dead.jsonl", [{"a": 1}, {"a": 2}])
    code, out, _ = heed("data", "inspect", dead)
    assert code == 1, "nothing can be learnt from"
    assert "none of 2 rows can be learnt from" in out
    documents = write(tmp_path / "documents.jsonl", [{"text": "It rained all day in the north."}])
    assert heed("data", "inspect", documents)[0] == 0, "documents are of use as they are"
    code, _, err = heed("data", "inspect", path, "--map", "question")
    assert (code, "--map question=ask" in err) == (2, True)
    code, _, err = heed("data", "inspect")
    assert (code, "heed data inspect" in err) == (2, True)
    code, _, err = heed("data", "inspect", path, "--modle", "x")
    assert (code, "did you mean --model" in err) == (2, True)


def test_with_a_model_the_examples_are_what_it_would_see(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "base")
    path = write(tmp_path / "rows.jsonl", [*GOOD, {"prompt": "a" * 9, "completion": "b"}])
    found = api.inspect(data=path, model=model, limit=3, settings=["templates.chat=human_assistant"])
    assert len(found.rendered) == len(found.shown) == 3
    whole = "".join(text for text, _ in found.rendered[0])
    assert "Human: " in whole
    learned = [text for text, taught in found.rendered[0] if taught]
    assert learned
    assert all("Human" not in text for text in learned)
    assert "[[" in screen(found)
    assert "[[" not in screen(found, plain=False)
    nothing = api.inspect(data=write(tmp_path / "texts.jsonl", [{"text": "Once."}]), model=model)
    assert nothing.rendered == ()
    long = write(tmp_path / "long.jsonl", [{"prompt": "a", "completion": "b " * 9000}])
    assert "more characters)" in screen(api.inspect(data=long, model=model))
