"""Every row of a table is found with its place: CSV, TSV, Parquet, Arrow, whatever packs them."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.data.inspect import inspect_files
from heedlm.data.prepare import Source, prepare
from heedlm.data.schema import to_examples
from heedlm.data.sources import Row, read_rows
from heedlm.errors import HeedError, Problem
from heedlm.messages import Example

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=12)
TABLES = st.lists(st.lists(CELLS, min_size=3, max_size=3).filter(any), min_size=1, max_size=6)
PAIRS = [{"prompt": f"What is {i}?", "completion": f'It is\n{i}, "{i * i}"; ok'} for i in range(40)]


def found(path: Path) -> list[dict[str, Any]]:
    rows = list(read_rows(path))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.value for row in rows if isinstance(row, Row)]


def places(path: Path) -> list[str]:
    return [row.where.removeprefix(f"{path}:") for row in read_rows(path)]


def table(rows: list[list[str]], delimiter: str = ",", end: str = "\n", quoting: Any = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return text.getvalue()


@given(
    rows=TABLES,
    delimiter=st.sampled_from(",;\t|"),
    crlf=st.booleans(),
    bom=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    last_end=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_a_table_comes_back_as_it_was_with_the_line_where_each_record_begins(
    tmp_path_factory, rows, delimiter, crlf, bom, quoting, last_end
):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    names = ["first", "second", "third"]
    end = "\r\n" if crlf else "\n"
    text = table([names, *rows], delimiter, end, quoting)
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + (text if last_end else text.removesuffix(end)).encode())
    assert found(path) == [dict(zip(names, row, strict=True)) for row in rows]
    starts, line = [], 2  # found independently: a record begins behind all line ends written so far
    for row in rows:
        starts.append(line)
        line += table([row], delimiter, end, quoting).count("\n")
    assert [int(place) for place in places(path)] == starts


def test_a_tab_table_may_hold_commas_in_the_names_of_its_columns(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("prompt\tcompletion\tred, green, blue\nWhat?\tThat.\tx\n")
    assert found(path) == [{"prompt": "What?", "completion": "That.", "red, green, blue": "x"}]


def test_the_names_of_kinds_may_be_written_in_capitals_and_a_wrong_one_is_seen_through(tmp_path):
    for name, text in (
        ("A.CSV", "prompt,completion\na,b\n"),
        ("B.TSV", "prompt\tcompletion\na\tb\n"),
        ("c.tsv", "prompt,completion\na,b\n"),
    ):
        (tmp_path / name).write_text(text)
        assert found(tmp_path / name) == [{"prompt": "a", "completion": "b"}]
    (tmp_path / "d.csv").write_text("sep=;\nprompt;completion\na,1;b\n")
    assert found(tmp_path / "d.csv") == [{"prompt": "a,1", "completion": "b"}]
    assert places(tmp_path / "d.csv") == ["3"]


def test_blank_lines_trailing_delimiters_and_columns_without_a_name_lose_nothing(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n,prompt,completion\n0,a,b,,\n\n,,\n1,c,d\n")
    assert found(path) == [
        {"column 1": "0", "prompt": "a", "completion": "b"},
        {"column 1": "1", "prompt": "c", "completion": "d"},
    ]
    assert places(path) == ["3", "6"]


def test_lines_of_an_old_mac_end_in_a_carriage_return(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,completion\ra,b\r"c\rd",e\rf,g')
    assert [row["prompt"] for row in found(path)] == ["a", "c\rd", "f"]
    assert places(path) == ["2", "3", "5"]


def test_columns_that_are_lists_are_read_as_json_and_answers_that_look_like_json_are_not(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = tmp_path / "rows.csv"
    path.write_text(table([["messages", "prompt", "completion"], [json.dumps(turns), "", ""], ["", "x", '{"a": 1}']]))
    assert found(path) == [
        {"messages": turns, "prompt": "", "completion": ""},
        {"messages": None, "prompt": "x", "completion": '{"a": 1}'},
    ]


def test_text_in_a_column_that_may_hold_an_object_stays_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        table([["prompt", "completion", "meta"], ["a", "b", "by hand"], ["c", "d", "{x"], ["e", "f", '{"n": 1}']])
    )
    assert [row["meta"] for row in found(path)] == ["by hand", "{x", {"n": 1}]
    path.write_text(table([["conversation"], ["Human: a"]]))
    assert found(path) == [{"conversation": "Human: a"}]


def test_columns_of_text_in_parquet_are_read_as_json_too(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    pq.write_table(pa.table({"messages": [json.dumps(turns)]}), tmp_path / "a.parquet")
    assert found(tmp_path / "a.parquet") == [{"messages": turns}]


def test_a_table_is_streamed_and_holds_cells_of_ten_million_characters(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\n" + "x" * 10_000_000 + ",y\n" + "a,b\n" * 5)
    assert [len(row["prompt"]) for row in found(path)] == [10_000_000, 1, 1, 1, 1, 1]
    rows = read_rows(path)
    next(rows)
    assert csv.field_size_limit() < 1 << 30, "one cell never takes all memory"


def test_a_record_that_breaks_on_its_own_line_costs_that_line_alone(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\na,b\nc,"d" e\nf\ng,h,i\nj,k\n')
    rows = list(read_rows(path))
    assert [type(row).__name__ for row in rows] == ["Row", "Problem", "Problem", "Problem", "Row"]
    assert [row.where for row in rows] == [f"{path}:{line}" for line in (2, 3, 4, 5, 6)]


@given(number=st.integers(2, 6), data=st.data())
@settings(max_examples=100, deadline=None)
def test_one_damaged_character_of_a_table_never_takes_another_row_in_silence(tmp_path_factory, number, data):
    rows = [[f"question {index}", f'an "answer", {index}\nof two lines', "end"] for index in range(number)]
    lines = [table([row]) for row in rows]
    hit = data.draw(st.integers(0, number - 1))
    at = data.draw(st.integers(0, len(lines[hit]) - 1))
    lines[hit] = lines[hit][:at] + data.draw(st.sampled_from(["", '"', ",", "\n", "x"])) + lines[hit][at + 1 :]
    path = tmp_path_factory.mktemp("hit") / "rows.csv"
    path.write_text("prompt,completion,more\n" + "".join(lines))
    try:
        read = list(read_rows(path))
    except HeedError:
        return  # refused aloud
    there = [list(row.value.values()) for row in read if isinstance(row, Row)]
    assert [row for index, row in enumerate(rows) if index != hit and row not in there] == []
    assert len(there) == number or any(isinstance(row, Problem) for row in read)


def written(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    """The rows in a file of some kind."""
    path = folder / f"rows.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "jsonl":
        path.write_text(lines)
    elif kind == "jsonl.zst":
        path.write_bytes(pa.compress(lines.encode(), codec="zstd", asbytes=True))
    elif kind == "csv":
        path.write_text(table([list(rows[0]), *(list(row.values()) for row in rows)]))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif kind == "feather":
        pyarrow.feather.write_feather(pa.Table.from_pylist(rows), path, chunksize=7)
    else:
        opened = pa.ipc.new_stream(path, pa.Table.from_pylist(rows).schema)
        with opened as writer:
            writer.write_table(pa.Table.from_pylist(rows), max_chunksize=7)
    return path


@pytest.mark.parametrize("kind", ["jsonl.zst", "csv", "parquet", "feather", "arrow"])
def test_the_same_rows_in_any_kind_of_file_give_the_same_examples(tmp_path, kind):
    texts = {}
    for name in ("jsonl", kind):
        source = written(tmp_path, name, PAIRS)
        prepare([Source(source)], tmp_path / name, val=0.2, test=None, seed=0)
        texts[name] = [
            [{k: v for k, v in json.loads(line).items() if k != "source"} for line in path.open()]
            for path in (tmp_path / name / "train.jsonl", tmp_path / name / "val.jsonl")
        ]
    assert texts["jsonl"] == texts[kind]


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow"])
def test_rows_of_columns_are_counted_through_all_groups_and_batches(tmp_path, kind):
    rows = [{"n": number} for number in range(600)]
    path = written(tmp_path, kind, rows)
    assert found(path) == rows
    assert places(path) == [f"row {number}" for number in range(1, 601)]


def test_the_place_of_a_row_of_columns_reaches_the_splits_and_what_was_dropped(tmp_path):
    path = written(tmp_path, "parquet", [*PAIRS[:3], PAIRS[0], {"prompt": "x", "completion": ""}])
    prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0, max_bad=0.5)
    train = [json.loads(line)["source"] for line in (tmp_path / "out" / "train.jsonl").open()]
    assert train == [f"{path}:row {number}" for number in (1, 2, 3)]
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").open()]
    assert [row["where"] for row in dropped] == [f"{path}:row 4", f"{path}:row 5"]
    assert f"same conversation as {path}:row 1" in dropped[0]["what"]


def test_structs_lists_and_nulls_become_objects_without_what_is_absent(tmp_path):
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": None, "tool_calls": [{"name": "w", "arguments": {"city": "Ulm"}}]},
                {"role": "tool", "content": "Sun"},
                {"role": "assistant", "content": "Sun."},
            ],
            "meta": {"tags": ["a", None], "n": {"x": 1}},
        },
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "meta": None},
    ]
    path = written(tmp_path, "parquet", rows)
    assert found(path)[0] == rows[0]
    assert found(path)[1] == rows[1]
    report = prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0)
    assert report.kept == 2


def test_what_json_does_not_know_becomes_what_it_knows(tmp_path):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    columns = {
        "time": pa.array([moment], pa.timestamp("ns", tz="UTC")),
        "day": pa.array([moment.date()]),
        "whole": pa.array([decimal.Decimal("12345678901234567890")]),
        "part": pa.array([decimal.Decimal("1.25")]),
        "map": pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int64())),
        "bytes": pa.array(["é".encode()], pa.binary()),
        "word": pa.array(["x"]).dictionary_encode(),
        "long": pa.array([datetime.timedelta(seconds=90)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (value,) = found(tmp_path / "a.parquet")
    assert value["time"].startswith("2026-01-02 03:04:05")
    assert value == {
        "time": value["time"],
        "day": "2026-01-02",
        "whole": 12345678901234567890,
        "part": 1.25,
        "map": {"a": 1, "b": None},
        "bytes": "é",
        "word": "x",
        "long": 90.0,
    }
    json.dumps(value)


def test_one_value_that_cannot_be_read_costs_its_row_alone(tmp_path):
    images = [b"\x89PNG\xff", None, b"text", b"\xff"]
    pq.write_table(
        pa.table({"prompt": ["a", "b", "c", "d"], "image": [{"bytes": i} for i in images]}), tmp_path / "a.parquet"
    )
    rows = list(read_rows(tmp_path / "a.parquet"))
    assert [type(row).__name__ for row in rows] == ["Problem", "Row", "Row", "Problem"]
    assert isinstance(rows[0], Problem)
    assert "field 'image.bytes' holds 5 bytes" in rows[0].what
    assert "drop_columns(['image'])" in rows[0].mend


MEMORY = """
import random, resource, sys
from pathlib import Path
from heedlm.data.sources import read_rows
small, large = map(Path, sys.argv[1:])
for _ in read_rows(small): pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(1 for _ in read_rows(large))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl.zst"])
def test_memory_stays_flat_however_large_the_file(tmp_path, kind):
    rng = random.Random(0)
    rows = [{"prompt": str(n), "completion": rng.randbytes(3000).hex()} for n in range(6000)]
    paths = []
    for name, part in (("small", rows[:600]), ("large", rows)):
        (tmp_path / name).mkdir()
        paths.append(str(written(tmp_path / name, kind, part)))
    if kind == "parquet":  # everything in one row group: the worst case
        pq.write_table(pa.Table.from_pylist(rows), paths[1], row_group_size=len(rows), use_dictionary=False)
    done = subprocess.run([sys.executable, "-c", MEMORY, *paths], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 6000
    assert grown < 12_000, f"{grown} KiB for 36 MB of text"


LIGHT = """
import sys
from pathlib import Path
from heedlm.data.sources import read_rows
assert len(list(read_rows(Path(sys.argv[1])))) == 2
heavy = {"pyarrow", "datasets", "pandas", "numpy", "torch", "transformers"} & set(sys.modules)
print(",".join(sorted(heavy)))
"""


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.txt"])
def test_reading_text_imports_nothing_heavy(tmp_path, name):
    path = tmp_path / name
    path.write_text({"rows.jsonl": "{}\n{}\n", "rows.csv": "a\n1\n2\n", "rows.txt": "a\n<|endoftext|>\nb\n"}[name])
    done = subprocess.run([sys.executable, "-c", LIGHT, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


CHAT = [{"role": "user", "content": 'Say "no", please.'}, {"role": "assistant", "content": "No,\nthank you."}]
SAID = [{"from": "human", "value": "Well?"}, {"from": "gpt", "value": "Well."}]


def cells_in(path: Path, *rows: Mapping[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
@pytest.mark.parametrize(
    ("mapping", "cells"),
    [
        ({"messages": "chat"}, CHAT),
        ({"messages": "chat"}, SAID),  # the names of ShareGPT, whatever the column is called
        ({"conversations": "chat"}, SAID),
        ({"conversations": "chat", "role": "who", "content": "text"}, [{"who": "user", "text": "Well?"}, {"who": "bot", "text": "Well."}]),
    ],
)  # fmt: skip
def test_a_mapped_column_of_turns_is_read_as_json(
    tmp_path: Path, name: str, mapping: dict[str, str], cells: Any
) -> None:
    path = cells_in(
        tmp_path / name, {"n": "1", "chat": json.dumps(cells)}, {"n": "2", "chat": "  " + json.dumps(cells, indent=1)}
    )
    for row in read_rows(path):
        assert isinstance(row, Row)
        (found,) = to_examples(row, mapping)
        assert isinstance(found, Example), found
        assert [turn.content for turn in found.messages] == [list(cell.values())[1] for cell in cells]


def test_tools_in_a_mapped_column_are_read_or_absent(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    path = cells_in(
        tmp_path / "rows.csv",
        {"chat": json.dumps(CHAT), "functions": json.dumps(tools)},
        {"chat": json.dumps(CHAT), "functions": ""},
    )
    mapping = {"messages": "chat", "tools": "functions"}
    found = [to_examples(row, mapping)[0] for row in read_rows(path) if isinstance(row, Row)]
    assert [len(one.tools) for one in found if isinstance(one, Example)] == [1, 0]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (str(CHAT), "broken JSON: field 'chat' (mapped to 'messages') is "),  # as pandas writes a list
        (json.dumps(CHAT)[:-9], "broken JSON: field 'chat'"),
        ("[" * 100_000, "broken JSON: field 'chat'"),
        ("just text", "field 'chat' is 'just text'"),
        ("", "field 'chat'"),
    ],
)
def test_a_broken_cell_is_told_with_its_line_and_the_others_are_read(tmp_path: Path, cell: str, says: str) -> None:
    cells = [json.dumps(CHAT), cell, json.dumps(CHAT)]
    path = cells_in(tmp_path / "rows.csv", *({"n": str(n), "chat": one} for n, one in enumerate(cells)))
    found = [one for row in read_rows(path) if isinstance(row, Row) for one in to_examples(row, {"messages": "chat"})]
    good, bad, other = found
    assert isinstance(good, Example)
    assert isinstance(other, Example)
    assert isinstance(bad, Problem)
    assert bad.where == f"{path}:3"
    assert says in bad.what
    assert bad.mend


def test_the_mapping_of_such_a_column_is_suggested_and_works(tmp_path: Path) -> None:
    path = cells_in(tmp_path / "rows.csv", *({"n": str(n), "dialogue": json.dumps(CHAT)} for n in range(12)))
    (suggestion,) = inspect_files([path]).files[0].suggestions
    assert suggestion.mapping["conversations"] == "dialogue"
    assert inspect_files([path], mapping=suggestion.mapping).broken == 0
