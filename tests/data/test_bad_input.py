"""Broken data sets: each is told the right line, the right field and a mend, and nothing is left half-written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from heedlm.data.prepare import Source, prepare
from heedlm.errors import HeedError

GOOD = '{"prompt": "What is 1 + 1?", "completion": "2"}'
NAN = float("nan")


def chat(*turns: object, **more: object) -> str:
    return json.dumps({"messages": list(turns), **more})


def turn(role: object, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


U, A = turn("user", "Hi"), turn("assistant", "Hello")
DEEP = '{"prompt": "a", "completion": "b", "x": ' + "[" * 90 + "]" * 90 + "}"
CALL = {"name": "f", "arguments": {}}

# name -> (the second line of a file whose first line is good, what must be said about it, what the mend must hold)
LINES: dict[str, tuple[str | bytes, tuple[str, ...], str]] = {
    "broken JSON": ('{"prompt": "a", "completion" "b"}', ("broken JSON", "column 30"), "json.dumps"),
    "single quotes": ("{'prompt': 'a', 'completion': 'b'}", ("broken JSON",), "double quotes"),
    "Python's None": ('{"prompt": "a", "completion": None}', ("broken JSON", "None"), "null"),
    "trailing comma": ('{"prompt": "a", "completion": "b",}', ("broken JSON",), "comma"),
    "two objects on one line": (GOOD + GOOD, ("broken JSON", "extra data"), "one object per line"),
    "cut off": ('{"prompt": "a", "compl', ("broken JSON",), "cut off"),
    "backslash": ('{"prompt": "C:\\dir", "completion": "b"}', ("broken JSON", "escape"), "\\\\"),
    "raw line break": ('{"prompt": "a\tb", "completion": "b"}', ("broken JSON", "control character"), "\\n"),
    "huge number": ('{"prompt": "a", "completion": ' + "9" * 5000 + "}", ("too many digits",), "quotes"),
    "nested too deeply to read": ("[" * 100_000 + "]" * 100_000, ("nested too deeply",), "flatten"),
    "nested too deeply to write": (DEEP, ("field 'x[0]", "nested more than 64"), "flatten"),
    "a list for a row": ('["a", "b"]', ("not an object", "a list"), "messages"),
    "text for a row": ('"a"', ("not an object", "text"), "prompt"),
    "null for a row": ("null", ("not an object", "null"), "prompt"),
    "field twice": ('{"prompt": "a", "completion": "b", "prompt": "c"}', ("repeated field", "'prompt'"), "rename"),
    "not UTF-8": (b'{"prompt": "caf\xe9", "completion": "b"}', ("not UTF-8", "0xe9", "column 16"), "iconv"),
    "half a character": ('{"prompt": "\\ud800", "completion": "b"}', ("field 'prompt'", "half of a character"), "pair"),
    "half a character in meta": ('{"prompt": "a", "completion": "b", "n": ["\\udfff"]}', ("field 'n[0]'",), "pair"),
    "no fields": ("{}", ("unknown shape", "no fields"), "messages"),
    "unknown fields": ('{"body": "a"}', ("unknown shape", "body"), "mapping"),
    "a document": ('{"text": "a"}', ("document", "field 'text' is 'a'"), "data.replay"),
    "a bad answer": ('{"prompt": "a", "completion": "b", "label": false}', ("bad answer", "'label'"), "rename"),
    "choice that is none": (
        '{"question": "a", "choices": ["x", "y"], "answer": "z"}',
        ("choices", "field 'answer' is 'z'", "none of them: A, B, x, y"),
        "letter",
    ),
    "choice beyond the last": (
        '{"question": "a", "choices": ["x", "y"], "answer": 2}',
        ("choices", "field 'answer' is 2"),
        "counted from 0",
    ),
    "choice that could be two": (
        '{"question": "a", "choices": ["B", "A"], "answer": "A"}',
        ("choices", "could be either of two"),
        "text of the right choice",
    ),
    "choices without the right one": (
        '{"question": "a", "choices": ["x"], "target": 0}',
        ("field 'answer' is missing",),
        "letter",
    ),
    "no choice": ('{"question": "a", "choices": [], "answer": 0}', ("field 'choices' is a list of 0",), "first"),
    "choices that are numbers": ('{"question": "a", "choices": [1, 2], "answer": 0}', ("'choices[0]' is 1",), '"1"'),
    "no answer among several": (
        '{"question": "a", "context": "b", "answers": {"text": [], "answer_start": []}}',
        ("empty answer", "field 'answers'"),
        "not said",
    ),
    "pair of the same": (
        '{"prompt": "a", "chosen": "b", "rejected": "b"}',
        ("preference", "'chosen' and 'rejected' hold the same"),
        "worse",
    ),
    "pair without a question": ('{"chosen": "b", "rejected": "c"}', ("field 'prompt' is missing",), "question"),
    "pair that asks two things": (
        json.dumps({"chosen": [turn("user", "x"), A], "rejected": [turn("user", "y"), A]}),
        ("preference", "part before an answer, at turn 1"),
        "same questions",
    ),
    "pair that answers something else": (
        json.dumps({"prompt": "x", "chosen": [turn("user", "y"), A], "rejected": [turn("user", "y"), U]}),
        ("preference", "another question than 'prompt'"),
        "one of the two places",
    ),
    "worse answer empty": ('{"prompt": "a", "chosen": "b", "rejected": ""}', ("'rejected' is empty",), "answer"),
    "thinking of a user": (
        chat(turn("user", [{"type": "thinking", "thinking": "x"}]), A),
        ("not text", "messages[0].content", "reasoning"),
        "remove the part",
    ),
    "thinking twice": (
        chat(U, turn("assistant", [{"type": "thinking", "thinking": "x"}, "y"], reasoning="z")),
        ("messages[1].content", "also has a reasoning field"),
        "one of the two places",
    ),
    "misspelt field": (
        '{"instuction": "a", "outptu": "b"}',
        ("unknown shape", "instuction"),
        "did you mean 'instruction'",
    ),
    "rows one level down": ('{"data": [{"prompt": "a"}]}', ("unknown shape",), "'data'"),
    "no answer field": ('{"prompt": "a"}', ("field 'completion' is missing", "found prompt"), "completion"),
    "misspelt answer field": (
        '{"instruction": "a", "outptu": "b"}',
        ("field 'output' is missing",),
        "did you mean 'outptu'",
    ),
    "no question field": ('{"output": "a"}', ("field 'instruction' is missing",), "instruction"),
    "empty answer": (
        '{"prompt": "a", "completion": " \\n"}',
        ("empty answer", "field 'completion'"),
        "write the answer",
    ),
    "empty question": ('{"instruction": "", "output": "b"}', ("empty question", "field 'instruction'"), "write it"),
    "null for text": (
        '{"prompt": "a", "completion": null}',
        ("field 'completion' is null", "expected text"),
        "remove the row",
    ),
    "NaN for text": (
        '{"instruction": "a", "input": NaN, "output": "b"}',
        ("field 'input' is NaN", "expected text"),
        "fillna",
    ),
    "NaN in meta": ('{"prompt": "a", "completion": "b", "score": {"x": NaN}}', ("field 'score.x' is NaN",), "null"),
    "number for text": ('{"question": "a", "answer": 42}', ("field 'answer' is 42", "expected text"), '"42"'),
    "true for text": ('{"question": true, "answer": "b"}', ("field 'question' is true",), "string"),
    "object for text": ('{"question": {"q": 1}, "answer": "b"}', ("field 'question' is an object with q",), "string"),
    "list id": ('{"prompt": "a", "completion": "b", "id": [1]}', ("field 'id' is a list of 1",), "text"),
    "object group": ('{"prompt": "a", "completion": "b", "group": {}}', ("field 'group'",), "text"),
    "unknown role": (
        chat(U, turn("gpt", "x")),
        (
            "field 'messages[1].role' is 'gpt'",
            "expected user/assistant/system/tool",
        ),
        "'assistant'",
    ),
    "role in capitals": (chat(turn("User", "x"), A), ("field 'messages[0].role' is 'User'",), "'user'"),
    "role null": (chat(turn(None, "x"), A), ("field 'messages[0].role' is null",), "four"),
    "role missing": (chat({"content": "x"}, A), ("field 'messages[0].role' is missing", "found content"), "user"),
    "ShareGPT in messages": (
        chat(U, {"from": "gpt", "value": "x"}),
        ("messages[1].role", "found from, value"),
        "conversations",
    ),
    "content missing": (chat({"role": "user"}, A), ("field 'messages[0].content' is missing",), "text of the turn"),
    "content null": (chat(turn("user", None), A), ("field 'messages[0].content' is null",), "write the text"),
    "content a number": (chat(U, turn("assistant", 7)), ("field 'messages[1].content' is 7",), '"7"'),
    "messages a text": ('{"messages": "Hi"}', ("field 'messages' is 'Hi'", "expected a list"), "role"),
    "messages an object": ('{"messages": {"role": "user"}}', ("field 'messages' is an object",), "role"),
    "messages empty": ('{"messages": []}', ("no answer", "empty list"), "at least one user"),
    "a turn that is text": (chat("Hi", A), ("field 'messages[0]' is 'Hi'", "expected a turn"), "content"),
    "a turn that is a list": (chat([U], A), ("field 'messages[0]' is a list of 1",), "content"),
    "only system": (chat(turn("system", "x")), ("no answer", "messages[0]"), "add the answer"),
    "no assistant": (chat(U), ("no answer",), "add the answer"),
    "two user turns": (chat(U, U, A), ("role order", "messages[1]", "user turn after a user turn"), "join"),
    "ends with user": (chat(U, A, U), ("role order", "messages[2]"), "remove the turns"),
    "starts with assistant": (chat(A, U, A), ("role order", "messages[0]"), "question before it"),
    "late system": (chat(U, turn("system", "x"), A), ("role order", "messages[1]"), "first turn"),
    "tool from nowhere": (chat(U, turn("tool", "x"), A), ("role order", "messages[1]"), "tool call before"),
    "tool call without result": (
        chat(U, turn("assistant", "", tool_calls=[CALL]), U, A),
        ("role order", "tool call"),
        "result",
    ),
    "result of another call": (
        chat(U, turn("assistant", None, tool_calls=[{"id": "c1", **CALL}]), turn("tool", "1", tool_call_id="c2"), A),
        ("tool call", "messages[2]", "'c2'", "c1"),
        "tool_call_id",
    ),
    "image": (
        chat(turn("user", [{"type": "image_url", "image_url": {}}]), A),
        ("not text", "messages[0].content[0].type", "image_url"),
        "words",
    ),
    "audio": (
        chat(turn("user", [{"type": "text", "text": "x"}, {"type": "input_audio"}]), A),
        ("not text", "content[1]"),
        "words",
    ),
    "part without text": (
        chat(turn("user", [{"type": "text"}]), A),
        ("messages[0].content[0].text' is null",),
        "write the text",
    ),
    "part a number": (chat(turn("user", [3]), A), ("messages[0].content[0]' is 3",), "text"),
    "weight a word": (chat(U, turn("assistant", "x", weight="high")), ("messages[1].weight' is 'high'",), "0, 1"),
    "weight below 0": (chat(U, turn("assistant", "x", weight=-1)), ("messages[1].weight' is -1",), "0, 1"),
    "weight on user": (
        chat(turn("user", "x", weight=1), A),
        ("messages[0]", "only assistant turns"),
        "remove its weight",
    ),
    "train a word": (chat(U, turn("assistant", "x", train="yes")), ("messages[1].train' is 'yes'",), "true or false"),
    "nothing taught": (chat(U, turn("assistant", "x", weight=0)), ("every assistant turn has weight 0",), "train"),
    "calls an object": (
        chat(U, turn("assistant", "x", tool_calls={})),
        ("messages[1].tool_calls' is an object",),
        "arguments",
    ),
    "call without name": (
        chat(U, turn("assistant", "x", tool_calls=[{}])),
        ("messages[1].tool_calls[0].name' is null",),
        "name",
    ),
    "arguments not JSON": (
        chat(U, turn("assistant", "x", tool_calls=[{"function": {"name": "f", "arguments": "{a}"}}])),
        ("messages[1].tool_calls[0].function.arguments' is '{a}'",),
        "object itself",
    ),
    "arguments a list": (
        chat(U, turn("assistant", "x", tool_calls=[{"name": "f", "arguments": "[1]"}])),
        ("arguments' is a list",),
        "{}",
    ),
    "tools a text": (chat(U, A, tools="weather"), ("field 'tools' is 'weather'", "list of tool schemas"), "function"),
    "template_kwargs a list": (chat(U, A, template_kwargs=[1]), ("field 'template_kwargs'",), "enable_thinking"),
    "two system texts": (chat(turn("system", "x"), U, A, system="y"), ("'system'", "messages[0]"), "keep one"),
    "thinking never closed": (
        '{"prompt": "a", "completion": "<think>hm"}',
        ("empty answer", "never closes"),
        "</think>",
    ),
    "unknown ShareGPT role": (
        '{"conversations": [{"from": "narrator", "value": "x"}]}',
        ("conversations[0].from' is 'narrator'",),
        "four",
    ),
    "ShareGPT value null": (
        '{"conversations": [{"from": "human", "value": null}]}',
        ("conversations[0].value' is null",),
        "text",
    ),
    "instances empty": ('{"instruction": "a", "instances": []}', ("field 'instances'",), "input"),
    "instance without output": (
        '{"instruction": "a", "instances": [{"input": "x"}]}',
        ("output' is missing",),
        "output",
    ),
    "instance empty": (
        '{"instruction": "a", "instances": [{"output": ""}]}',
        ("instances[0].output' is empty",),
        "answer",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_broken_row_is_told_its_line_its_field_and_a_mend(tmp_path, name):
    line, says, mend = LINES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + (line.encode() if isinstance(line, str) else line))
    with pytest.raises(HeedError) as caught:
        prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0)
    head, problem = caught.value.problems
    assert "1 of 2 rows" in head.what
    assert problem.where == f"{path}:2"
    for piece in says:
        assert piece in problem.what, problem
    assert mend in problem.mend, problem
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"], "nothing half-written"


def in_a_list(*rows: str) -> str:
    return "[\n" + ",\n".join(rows) + "\n]\n"


# name -> (file name, content, what is said, line or None, what the mend must hold)
FILES: dict[str, tuple[str, bytes, str, int | None, str]] = {
    "empty": ("rows.jsonl", b"", "empty", None, "at least one row"),
    "only white space": ("rows.jsonl", b"\n \n\r\n", "empty", None, "at least one row"),
    "only a byte order mark": ("rows.json", b"\xef\xbb\xbf\n", "empty", None, "at least one row"),
    "UTF-16": ("rows.jsonl", GOOD.encode("utf-16"), "UTF-16", None, "iconv"),
    "Parquet": ("rows.jsonl", b"PAR1\x15\x04", "Parquet", None, "again"),
    "zip": ("rows.json", b"PK\x03\x04xx", "zip", None, "unzip"),
    "zstd": ("rows.jsonl.zst", b"\x28\xb5\x2f\xfdxx", "damaged", None, "again"),
    "CSV": ("rows.csv", b'prompt,completion\n"a,b\nc,d\n', "never closed", 2, "twice"),
    "words": ("notes.log", b"Once upon a time", "no known kind", None, ".jsonl"),
    "words called JSON": ("notes.json", b"Once upon a time", "not JSON", None, "JSON lines"),
    "empty list": ("rows.json", b"[]", "no usable row", None, "other data"),
    "cut-off list": ("rows.json", ("[\n" + GOOD + ",\n").encode(), "not closed", 3, "write the file again"),
    "two lists": ("rows.json", (in_a_list(GOOD) + in_a_list(GOOD)).encode(), "text follows", 4, "one list per file"),
    "one-line list": (
        "rows.json",
        f'[{GOOD}, {{"a" 1}}, {GOOD}]'.encode(),
        "cannot be told apart",
        1,
        "one object per line",
    ),
    "cut-off archive": ("rows.jsonl.gz", gzip.compress(GOOD.encode() * 99)[:-12], "cut off", None, "again"),
    "damaged archive": ("rows.jsonl.gz", gzip.compress(GOOD.encode())[:-8] + b"12345678", "damaged", None, "again"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_told_its_place_and_a_mend(tmp_path, name):
    file, content, says, line, mend = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(HeedError) as caught:
        prepare([Source(path)], tmp_path / "out", val=0.1, test=None, seed=0)
    problem = caught.value.problems[0]
    assert says in problem.what
    assert problem.where == (f"{path}:{line}" if line else str(path))
    assert mend in problem.mend
    assert [entry.name for entry in tmp_path.iterdir()] == [file]


def test_a_bad_byte_inside_a_list_is_told_its_row_and_field(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(in_a_list(GOOD, '{"prompt": "caf\xe9", "completion": "b"}').encode("latin-1"))
    with pytest.raises(HeedError) as caught:
        prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0)
    assert caught.value.problems[1].where == f"{path}:3"
    assert "'prompt' holds byte 0xe9" in caught.value.problems[1].what


def test_missing_files_and_empty_folders_are_all_named_at_once_with_the_nearest(tmp_path):
    (tmp_path / "mails.jsonl").write_text(GOOD)
    (tmp_path / "empty").mkdir()
    sources = [
        Source(tmp_path / "mail.jsonl"),
        Source(tmp_path / "empty"),
        Source(tmp_path / "mails.jsonl", {"promt": "x"}),
    ]
    with pytest.raises(HeedError) as caught:
        prepare(sources, tmp_path / "out", val="nowhere.jsonl", test=None, seed=0)
    said = [problem.what for problem in caught.value.problems]
    assert said == [
        "no such file or folder",
        "no such file or folder",
        "folder holds no data file; found nothing",
        "unknown field name 'promt' in a mapping",
    ]
    assert "mails.jsonl" in caught.value.problems[1].mend


def test_a_missing_file_is_not_answered_with_every_file_there_is(tmp_path):
    for name in (".git", ".venv", "data"):
        (tmp_path / name).mkdir()
    for name in (".gitignore", ".rows.jsonl", "README.md", "rows.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(HeedError) as caught:
        prepare([Source(tmp_path / "zzz")], tmp_path / "out", val=None, test=None, seed=0)
    assert caught.value.problems[0].mend.endswith("; known: data, rows.json")
    (tmp_path / "void").mkdir()
    with pytest.raises(HeedError) as caught:
        prepare([Source(tmp_path / "void" / "zzz")], tmp_path / "out", val=None, test=None, seed=0)
    assert caught.value.problems[0].mend == "give the path of a file or folder that exists"


def test_a_folder_with_only_folders_says_what_it_found(tmp_path):
    (tmp_path / "data" / "inner").mkdir(parents=True)
    with pytest.raises(HeedError, match="found inner"):
        prepare([Source(tmp_path / "data")], tmp_path / "out", val=None, test=None, seed=0)


def test_no_source_at_all_is_refused(tmp_path):
    with pytest.raises(HeedError, match="no data"):
        prepare([], tmp_path / "out", val=None, test=None, seed=0)


def test_problems_of_several_files_come_in_one_pass_first_twenty_then_a_count(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text("\n".join([GOOD.replace("1", name)] + ['{"prompt": "x"}'] * 15))
    with pytest.raises(HeedError) as caught:
        prepare(
            [Source(tmp_path / "a.jsonl"), Source(tmp_path / "b.jsonl")], tmp_path / "out", val=None, test=None, seed=0
        )
    head, *shown, tail = caught.value.problems
    assert "30 of 32 rows are broken (30 x missing field)" in head.what
    assert "--set data.max_bad=0.9375" in head.mend
    assert len(shown) == 20
    assert Path(shown[-1].where.rpartition(":")[0]).name == "b.jsonl"
    assert tail.what == "and 10 more broken rows"


def test_the_mend_of_too_many_broken_rows_works(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([GOOD.replace("1", str(i)) for i in range(7)] + ['{"prompt": "x"}'] * 2))
    with pytest.raises(HeedError) as caught:
        prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0)
    enough = float(caught.value.problems[0].mend.rpartition("=")[2])
    report = prepare([Source(path)], tmp_path / "out", val=None, test=None, seed=0, max_bad=enough)
    assert report.dropped == {"missing field": 2}
    assert report.kept == 7


@pytest.mark.parametrize("max_bad", [-0.1, 1.5, NAN])
def test_an_impossible_max_bad_is_refused(tmp_path, max_bad):
    with pytest.raises(HeedError, match="max_bad"):
        prepare([Source(tmp_path)], tmp_path / "out", val=None, test=None, seed=0, max_bad=max_bad)
