"""Every row is found, with the line at which it starts, whatever the file looks like."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.data import json_rows, sources, window
from heedlm.data.sources import Row, data_files, read_rows
from heedlm.errors import HeedError, Problem

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), min_size=1, max_size=6)


def written(folder: Path, text: str | bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass"))
    return path


def values(path: Path) -> list[dict[str, Any]]:
    found = list(read_rows(path))
    assert all(isinstance(row, Row) for row in found), found
    return [row.value for row in found if isinstance(row, Row)]


def lines(path: Path) -> list[int]:
    return [int(row.where.rpartition(":")[2]) for row in read_rows(path)]


@given(
    rows=ROWS, ascii_only=st.booleans(), crlf=st.booleans(), bom=st.booleans(), packed=st.booleans(), gaps=st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_json_lines_come_back_as_they_were_with_their_lines(
    tmp_path_factory, rows, ascii_only, crlf, bom, packed, gaps
):
    folder = tmp_path_factory.mktemp("lines")
    end = "\r\n" if crlf else "\n"
    between = end * 2 if gaps else end
    data = between.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode(
        "utf-8", errors="surrogatepass"
    )
    data = (b"\xef\xbb\xbf" if bom else b"") + data
    path = written(folder, gzip.compress(data) if packed else data, "rows.jsonl.gz" if packed else "rows.jsonl")
    try:
        data.decode()
    except UnicodeDecodeError:
        return  # half characters are refused elsewhere
    assert values(path) == rows
    assert lines(path) == [1 + index * (2 if gaps else 1) for index in range(len(rows))]


@given(rows=ROWS, indent=st.sampled_from([None, 0, 1, 2, 4]), crlf=st.booleans(), bom=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_json_list_comes_back_as_it_was_and_each_row_knows_the_line_it_starts_on(
    tmp_path_factory, rows, indent, crlf, bom
):
    folder = tmp_path_factory.mktemp("list")
    text = json.dumps(rows, indent=indent)
    starts = []  # found independently: the line of each row is where the text written so far ends
    for index in range(len(rows)):
        before = json.dumps(rows[:index], indent=indent)[: -1 if indent is None else -2] if index else "["
        starts.append(before.count("\n") + (2 if indent is not None else 1))
    data = text.replace("\n", "\r\n") if crlf else text
    path = written(folder, (b"\xef\xbb\xbf" if bom else b"") + data.encode(), "rows.json")
    assert values(path) == rows
    assert lines(path) == starts


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.txt"])
def test_content_decides_between_a_list_and_lines_whatever_the_file_is_called(tmp_path, name):
    rows = [{"a": 1}, {"a": 2}]
    assert values(written(tmp_path, "\n".join(map(json.dumps, rows)), name)) == rows
    assert values(written(tmp_path, json.dumps(rows), name)) == rows
    assert values(written(tmp_path, json.dumps(rows, indent=2), name)) == rows


def test_objects_over_several_lines_without_a_list_are_rows(tmp_path):
    path = written(tmp_path, '{\n "a": 1\n}\n{\n "a": 2\n}\n', "rows.jsonl")
    assert values(path) == [{"a": 1}, {"a": 2}]
    assert lines(path) == [1, 4]


def test_one_object_is_one_row(tmp_path):
    assert values(written(tmp_path, '{"a": 1}', "row.json")) == [{"a": 1}]
    assert values(written(tmp_path, json.dumps({"a": 1}, indent=2), "row.json")) == [{"a": 1}]


def test_an_empty_list_holds_no_rows(tmp_path):
    assert list(read_rows(written(tmp_path, "[]", "rows.json"))) == []


def test_a_comma_before_the_closing_bracket_loses_nothing(tmp_path):
    assert values(written(tmp_path, '[\n{"a": 1},\n{"a": 2},\n]', "rows.json")) == [{"a": 1}, {"a": 2}]


def test_reading_goes_on_behind_a_broken_line(tmp_path):
    path = written(tmp_path, '{"a": 1}\n{"a": \n{"a": 3}\n\n{"a" 4}\n{"a": 5}')
    found = list(read_rows(path))
    assert [type(row).__name__ for row in found] == ["Row", "Problem", "Row", "Problem", "Row"]
    assert [row.where for row in found] == [f"{path}:{line}" for line in (1, 2, 3, 5, 6)]


@pytest.mark.parametrize("indent", [0, 2])
def test_reading_goes_on_behind_a_broken_row_of_a_list(tmp_path, indent):
    text = json.dumps([{"n": i, "in": [{"deep": i}]} for i in range(5)], indent=indent)
    broken = text.replace('"n": 2,', '"n": 2')
    found = list(read_rows(written(tmp_path, broken, "rows.json")))
    assert [row.value["n"] for row in found if isinstance(row, Row)] == [0, 1, 3, 4]
    (problem,) = [row for row in found if isinstance(row, Problem)]
    number = int(problem.where.rpartition(":")[2])
    assert '"deep"' in broken.split("\n")[number + 1] or '"n": 2' in broken.split("\n")[number - 2]


def test_a_list_on_one_line_that_breaks_is_refused_because_its_rows_cannot_be_told_apart(tmp_path):
    with pytest.raises(HeedError, match="cannot be told apart"):
        list(read_rows(written(tmp_path, '[{"a": 1}, {"a" 2}, {"a": 3}]', "rows.json")))


@pytest.mark.parametrize("text", ['[\n{"a": 1},\n{"a": 2}\n', '[{"a": 1}', "["])
def test_a_list_that_is_cut_off_is_refused(tmp_path, text):
    with pytest.raises(HeedError, match="not closed"):
        list(read_rows(written(tmp_path, text, "rows.json")))


def test_a_cut_off_archive_is_refused(tmp_path):
    data = gzip.compress("\n".join(json.dumps({"a": i, "b": "x" * (i % 97)}) for i in range(5000)).encode())
    with pytest.raises(HeedError, match="cut off"):
        list(read_rows(written(tmp_path, data[: len(data) // 2], "rows.jsonl.gz")))


def test_a_folder_gives_its_data_files_by_name_and_nothing_else(tmp_path):
    written(tmp_path, '{"a": 2}', "b.json")
    written(tmp_path, '{"a": 1}', "a.jsonl")
    written(tmp_path, "notes", "README.md")
    written(tmp_path, '{"a": 9}', ".hidden.jsonl")
    (tmp_path / "deeper").mkdir()
    assert [file.name for file in data_files(tmp_path)] == ["a.jsonl", "b.json"]
    assert values(tmp_path) == [{"a": 1}, {"a": 2}]


def test_what_a_dataset_says_of_itself_is_no_row(tmp_path):
    written(tmp_path, '{"prompt": "a?", "completion": "b"}')
    for name in ("dataset_info.json", "dataset_infos.json"):
        written(tmp_path, '{"license": "mit"}', name)
    assert [path.name for path in data_files(tmp_path)] == ["rows.jsonl"]
    assert sources.passed_over(tmp_path) == []


def test_what_is_passed_over_in_a_folder_is_told(tmp_path):
    written(tmp_path, '{"prompt": "a?", "completion": "b"}')
    for name in ("README.md", ".hidden", "LICENSE"):
        written(tmp_path, "x", name)
    (tmp_path / "pictures").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "record").mkdir()  # as `heed synth` leaves one beside its rows
    for name in ("card.json", "journal.jsonl"):
        written(tmp_path / "record", "{}", name)
    assert sources.passed_over(tmp_path) == []
    for number in range(5):
        (tmp_path / f"more {number}").mkdir()
        written(tmp_path / f"more {number}", "{}")
        written(tmp_path, "x", f"odd{number}.bin")
    deeper, odd = sources.passed_over(tmp_path)
    assert deeper.count("--data") == 3
    assert f"--data '{tmp_path / 'more 0'}'" in deeper
    assert deeper.endswith(" and 2 more")
    assert odd.endswith("left alone: odd0.bin, odd1.bin, odd2.bin and 2 more")
    assert sources.passed_over(tmp_path / "rows.jsonl") == sources.passed_over(Path("-")) == []
    assert sources.passed_over(Path("hub:ann/rows")) == []


def test_the_output_of_prepare_is_not_taken_for_a_folder_of_sources(tmp_path):
    for name in ("card.json", "dropped.jsonl", "train.jsonl"):
        written(tmp_path, "{}", name)
    with pytest.raises(HeedError) as caught:
        data_files(tmp_path)
    assert "train.jsonl" in caught.value.problems[0].mend


def test_json_lines_are_streamed(tmp_path):
    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"n": number, "text": "x" * 1000}) + "\n")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 10


def test_a_long_line_is_one_row(tmp_path):
    rows = [{"text": "x" * 10_000_000}, {"text": "y"}]
    assert values(written(tmp_path, "\n".join(map(json.dumps, rows)))) == rows


@given(
    number=st.integers(2, 6),
    layout=st.sampled_from(["lines", "list of lines", "list, indented", "list, opened on the first line"]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_one_damaged_character_never_takes_another_row_with_it(tmp_path_factory, number, layout, data):
    rows = [
        {"n": index, "turns": [{"role": "user", "content": "a, {b}"}, {"role": "x", "content": "[c]"}]}
        for index in range(number)
    ]
    texts = [json.dumps(row, indent=2 if "indented" in layout else None) for row in rows]
    hit = data.draw(st.integers(0, number - 1))
    at = data.draw(st.integers(0, len(texts[hit]) - 1))
    texts[hit] = (
        texts[hit][:at] + data.draw(st.sampled_from(["", '"', "{", "}", "[", "]", ",", "x"])) + texts[hit][at + 1 :]
    )
    if layout == "lines":
        text = "\n".join(texts)
    elif "first line" in layout:
        text = "[" + ",\n ".join(texts) + "]"
    else:
        text = "[\n" + ",\n".join(text.replace("\n", "\n  ") for text in texts) + "\n]"
    path = written(tmp_path_factory.mktemp("hit"), text, "rows.jsonl" if layout == "lines" else "rows.json")
    try:
        found = list(read_rows(path))
    except HeedError:
        return  # refused aloud
    there = [row.value.get("n") for row in found if isinstance(row, Row)]
    assert [index for index in range(number) if index != hit and index not in there] == []
    assert len(there) == number or any(isinstance(row, Problem) for row in found)


@given(
    rows=ROWS,
    indent=st.sampled_from([None, 0, 2]),
    as_list=st.booleans(),
    chunk=st.integers(1, 40),
    data=st.data(),
)
@settings(max_examples=120, deadline=None)
def test_what_is_found_does_not_hang_on_where_the_window_ends(rows, indent, as_list, chunk, data):
    text = json.dumps(rows, indent=indent) if as_list else "\n".join(json.dumps(row, indent=indent) for row in rows)
    damaged = bytearray(text.encode())
    first = text.index("{") + 1  # so much is read before the window moves
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(first, max(first, len(damaged) - 1)))
        damaged[at : at + 1] = data.draw(
            st.sampled_from([b"", b'"', b"{", b"}", b"[", b"]", b",", b"\n", b"\xc3", b"x"])
        )

    def outcome(head: int) -> list[object]:
        found: list[object] = []
        stream = io.BytesIO(damaged[head:])
        try:
            for row in json_rows._json_values(window.Window(bytes(damaged[:head]), stream), Path("rows.json")):
                found.append(row)
        except HeedError as error:
            found += error.problems
        return found

    whole = outcome(len(damaged))
    with mock.patch.object(window, "_CHUNK", chunk):
        assert repr(outcome(first)) == repr(whole)


@pytest.mark.parametrize("layout", ["on one line", "indented", "objects one after the other"])
def test_a_list_is_read_in_little_memory(tmp_path, layout):
    row = {"text": "ü" * 1000, "face": "\U0001f600"}
    one = json.dumps(row, ensure_ascii=False, indent=1 if layout == "indented" else None)
    between = "\n\n" if layout.startswith("objects") else ",\n" if layout == "indented" else ", "
    path = tmp_path / "rows.json"
    with path.open("w") as file:
        file.write("" if layout.startswith("objects") else "[")
        file.writelines(one + between for _ in range(10_000))
        file.write(one + ("" if layout.startswith("objects") else "]"))
    tracemalloc.start()
    try:
        found = sum(1 for _ in read_rows(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 10_001
    assert peak < 12_000_000 < path.stat().st_size


def test_the_column_of_a_mistake_is_counted_from_the_start_of_its_line(tmp_path):
    rows = [json.dumps({"n": number, "text": "x" * 50}) for number in range(9)]
    rows[7] = rows[7].replace('"text":', '"text"')
    for between in (", ", ",\n  "):
        text = "[" + between.join(rows) + "]"
        path = written(tmp_path, text, "rows.json")
        at = text.index('"text" "')
        column = at + 8 - (text.rindex("\n", 0, at) + 1 if "\n" in text else 0)
        with mock.patch.object(window, "_CHUNK", 30), mock.patch.object(sources, "_HEAD", 30):
            rows_found = read_rows(path)
            problem = next(row for row in rows_found if isinstance(row, Problem))
        assert f"at column {column}," in problem.what
