"""Broken data sets, each with its mend followed: told the right place, the right field, and what to do that works.

For every one: no traceback, a message that names file and line (or row) and field, nothing written; then the mend is done,
by the command it names where it names one, and the same data passes whole.
"""

from __future__ import annotations

import ast
import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heedlm.cli import main
from heedlm.data.prepare import PrepareReport, Source, prepare
from heedlm.errors import HeedError, Problem

GOOD = {"prompt": "What is 1 + 1?", "completion": "2"}
LAST = {"prompt": "Name a river.", "completion": "The Danube."}
U, A = {"role": "user", "content": "Weather in Ulm?"}, {"role": "assistant", "content": "Sun."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "name": "weather", "arguments": {"city": "Ulm"}}],
}
RESULT = {"role": "tool", "content": "sun", "tool_call_id": "c1"}
LONG = "word " * 2_000_000  # ten million characters
Mend = Callable[[bytes], bytes]


class Broken(NamedTuple):
    """A data set. place: of the first thing wrong, behind the name of the file.   fix: what the mend says; None: run it.

    becomes: what the mended file is called.   kept: examples when it is mended.
    """

    file: str
    data: bytes
    place: str
    says: tuple[str, ...]
    mend: str
    fix: Mend | None
    becomes: str = ""
    kept: int = 3


def lines(broken: str | bytes) -> bytes:
    """A good row, a broken one, a good one."""
    middle = broken if isinstance(broken, bytes) else broken.encode()
    return json.dumps(GOOD).encode() + b"\n" + middle + b"\n" + json.dumps(LAST).encode() + b"\n"


def line(broken: str | bytes, says: tuple[str, ...], mend: str, fix: Mend, kept: int = 3) -> Broken:
    return Broken("rows.jsonl", lines(broken), ":2", says, mend, fix, kept=kept)


def swap(old: str | bytes, new: str | bytes) -> Mend:
    was, now = (text if isinstance(text, bytes) else text.encode() for text in (old, new))

    def change(data: bytes) -> bytes:
        assert was in data
        return data.replace(was, now, 1)

    return change


def swap_all(old: bytes, new: bytes) -> Mend:
    return lambda data: data.replace(old, new)


def instead(new: str | bytes) -> Mend:
    """What else stands on the second line."""
    now = new if isinstance(new, bytes) else new.encode()
    return lambda data: b"\n".join([data.split(b"\n")[0], now, *data.split(b"\n")[-2:]])


def chat(*turns: object, **more: object) -> str:
    return json.dumps({"messages": list(turns), **more})


def table(*records: str) -> bytes:
    return "\n".join(["prompt,completion", "What is 1 + 1?,2", *records, "Name a river.,The Danube."]).encode() + b"\n"


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **options)
    return file.getvalue()


def arrow(rows: list[dict[str, Any]], *, stream: bool) -> bytes:
    file, whole = io.BytesIO(), pa.Table.from_pylist(rows)
    opened = pa.ipc.new_stream(file, whole.schema) if stream else pa.ipc.new_file(file, whole.schema)
    with opened as writer:
        writer.write_table(whole, max_chunksize=1)
    return file.getvalue()


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("NEW", data)
    return file.getvalue()


def tarred(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo("rows.jsonl")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def untarred(data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        packed = archive.extractfile("rows.jsonl")
        assert packed is not None
        return packed.read()


def database(rows: list[dict[str, Any]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(f"{folder}/rows")
        connection.execute("create table T (prompt text, completion text)")
        connection.executemany("insert into T values (:prompt, :completion)", rows)
        connection.commit()
        connection.close()
        return Path(folder, "rows").read_bytes()


def json_of_python(data: bytes) -> bytes:
    first, second, *rest = data.decode().split("\n")
    return "\n".join([first, json.dumps(ast.literal_eval(second)), *rest]).encode()


PLAIN = [GOOD, {"prompt": "Name a colour.", "completion": "Blue."}, LAST]
TURNS = [{"messages": [U, {**A, "role": role}]} for role in ("assistant", "bot", "assistant")]
for number, row in enumerate(TURNS):
    row["messages"][0] = {**U, "content": f"Weather on day {number}?"}
WHOLE = "".join(json.dumps(row) + "\n" for row in PLAIN).encode()
UTF16 = "\ufeff".encode("utf-16-le") + WHOLE.decode().encode("utf-16-le")
IMAGE = {"prompt": "What is this?", "completion": "A cat.", "image": {"bytes": b"\x89PNG\xff"}}


def mended_table(rows: list[dict[str, Any]]) -> Mend:
    return lambda data: parquet(rows)


CASES: dict[str, Broken] = {
    # roles and turns
    "wrong role": line(
        chat(U, {"role": "gpt", "content": "Sun."}),
        ("unknown role", "'messages[1].role' is 'gpt'"),
        "write 'assistant' for 'gpt'",
        swap('"gpt"', '"assistant"'),
    ),
    "role in capitals": line(
        chat({**U, "role": "User"}, A), ("'messages[0].role' is 'User'",), "'user'", swap('"User"', '"user"')
    ),
    "role a number": line(
        chat({**U, "role": 0}, A),
        ("'messages[0].role' is 0",),
        "write one of the four",
        swap('"role": 0', '"role": "user"'),
    ),
    "turns in a nested list": line(
        chat([U, A]),
        ("field 'messages[0]' is a list of 2", "expected a turn"),
        "content",
        instead(chat(U, A)),
    ),
    "turns as text": line('{"messages": "Hi"}', ("field 'messages' is 'Hi'",), "role", instead(chat(U, A))),
    "content a number": line(
        chat(U, {**A, "content": 7}), ("'messages[1].content' is 7",), 'put it in quotes: "7"', swap(": 7", ': "7"')
    ),
    "content a nested list": line(
        chat(U, {**A, "content": [["a"]]}),
        ("messages[1].content[0]",),
        "text",
        swap('[["a"]]', '[{"type": "text", "text": "a"}]'),
    ),
    "content true": line(
        chat(U, {**A, "content": True}), ("'messages[1].content' is true",), "string", swap("true", '"true"')
    ),
    "only system turns": line(
        chat({"role": "system", "content": "Be kind."}),
        ("no answer", "messages[0]"),
        "remove the row",
        lambda data: b"\n".join(data.split(b"\n")[::2]) + b"\n",
        2,
    ),
    "only user turns": line(chat(U), ("no answer", "messages[0]"), "add the answer", instead(chat(U, A))),
    "no turns at all": line(
        chat(), ("no answer", "'messages' is an empty list"), "at least one user", instead(chat(U, A))
    ),
    "tool result without an answer": line(
        chat(U, CALL, RESULT),
        ("role order", "last turn 'messages[2]' is a tool turn"),
        "add the answer",
        instead(chat(U, CALL, RESULT, A)),
    ),
    "tool call without a result": line(
        chat(U, CALL, U, A),
        ("role order", "'messages[2]' is a user turn after a tool call"),
        "result and an answer",
        instead(chat(U, CALL, RESULT, A, U, A)),
    ),
    "tool result for another call": line(
        chat(U, CALL, {**RESULT, "tool_call_id": "c9"}, A),
        ("tool call", "'messages[2]' answers call 'c9', expected one of c1"),
        "the id of the call",
        swap('"c9"', '"c1"'),
    ),
    "tool result from nowhere": line(
        chat(U, RESULT, A), ("role order", "messages[1]"), "tool call before it", instead(chat(U, CALL, RESULT, A))
    ),
    "arguments cut off": line(
        chat(U, {**CALL, "tool_calls": [{"name": "w", "arguments": '{"city": "Ul'}]}, RESULT, A),
        ("messages[1].tool_calls[0].arguments",),
        "the object itself",
        swap(r'"{\"city\": \"Ul"', '{"city": "Ulm"}'),
    ),
    "two questions in a row": line(
        chat(U, {**U, "content": "Well?"}, A),
        ("role order", "messages[1]"),
        "join the two",
        instead(chat({**U, "content": "Weather in Ulm? Well?"}, A)),
    ),
    # values
    "NaN for text": line(
        '{"prompt": "a?", "completion": NaN}',
        ("field 'completion' is NaN",),
        'write ""',
        lambda data: swap("NaN", '"b"')(data),
    ),
    "NaN beside": line(
        '{"prompt": "a?", "completion": "b", "score": NaN}',
        ("field 'score' is NaN",),
        "write null",
        swap("NaN", "null"),
    ),
    "infinity deep inside": line(
        '{"prompt": "a?", "completion": "b", "n": {"x": [1, -Infinity]}}',
        ("'n.x[1]'",),
        "null or a number",
        swap("-Infinity", "0"),
    ),
    "a huge integer": line(
        '{"prompt": "a?", "completion": ' + "9" * 5000 + "}",
        ("too many digits",),
        'as text, in "quotes"',
        lambda data: re.sub(rb"(9+)", rb'"\1"', data),
    ),
    "null for text": line(
        '{"prompt": "a?", "completion": null}',
        ("field 'completion' is null",),
        "write the text there",
        swap("null", '"b"'),
    ),
    "an object for text": line(
        '{"prompt": {"text": "a?"}, "completion": "b"}',
        ("field 'prompt' is an object with text",),
        "one string",
        swap('{"text": "a?"}', '"a?"'),
    ),
    "half a character": line(
        r'{"prompt": "a\ud83d?", "completion": "b"}',
        ("field 'prompt' holds half of a character (\\ud83d)",),
        "both halves",
        swap(r"\ud83d", r"\ud83d\ude00"),
    ),
    "half a character in a name": line(
        r'{"prompt": "a?", "completion": "b", "x\udc00": 1}',
        ("not UTF-8", "half of a character"),
        "remove the character",
        swap(r"\udc00", ""),
    ),
    "not UTF-8": line(
        b'{"prompt": "caf\xe9?", "completion": "b"}',
        ("not UTF-8", "byte 0xe9 at column 16"),
        "iconv -f LATIN1",
        lambda data: data.decode("latin-1").encode(),
    ),
    "an empty answer": line(
        '{"prompt": "a?", "completion": " \\u00a0"}',
        ("empty answer", "'completion'"),
        "write the answer",
        swap(" \\u00a0", "b"),
    ),
    "too deep": line(
        '{"prompt": "a?", "completion": "b", "x": ' + "[" * 90 + "]" * 90 + "}",
        ("nested more than 64",),
        "remove it",
        lambda data: re.sub(rb', "x": [\[\]]+', b"", data),
    ),
    # JSON
    "keys written twice": line(
        '{"prompt": "a?", "completion": "b", "prompt": "c?"}',
        ("repeated field", "'prompt'"),
        "rename the others",
        swap('"prompt": "c?"', '"other": "c?"'),
    ),
    "keys written twice in a turn": line(
        '{"messages": [{"role": "user", "content": "x", "content": "y"}, {"role": "assistant", "content": "z"}]}',
        ("repeated field", "'content'"),
        "keep one 'content'",
        swap('"content": "x", ', ""),
    ),
    "Python written as JSON": line(
        repr({"prompt": "a?", "completion": "b", "more": None}), ("broken JSON",), "json.dumps(row)", json_of_python
    ),
    "a comma too many": line(
        '{"prompt": "a?", "completion": "b",}', ("broken JSON",), "remove the comma", swap(",}", "}")
    ),
    "two rows on a line": line(
        '{"prompt": "a?", "completion": "b"} {"prompt": "c?", "completion": "d"}',
        ("broken JSON", "extra data"),
        "one object per line",
        swap("} {", "}\n{"),
        4,
    ),
    "a raw line feed in text": line(
        '{"prompt": "a\tb?", "completion": "b"}', ("broken JSON", "control character"), r"\n", swap("\t", r"\t")
    ),
    "nested beyond reading": line("[" * 100_000, ("nested too deeply",), "flatten the row", instead(chat(U, A))),
    "zeros after a crash": line(b"\x00" * 40, ("broken JSON",), "write the file again", lambda data: WHOLE),
    "one zero in a text": line(
        b'{"prompt": "a\x00?", "completion": "b"}',
        ("broken JSON", "control character"),
        "remove the NUL",
        swap(b"\x00", b""),
    ),
    "marks of a merge": line(
        b'<<<<<<< HEAD\n{"prompt": "a?", "completion": "b"}\n=======\n{"prompt": "a?", "completion": "c"}\n>>>>>>> other',
        ("broken JSON",),
        "keep one of the two sides",
        instead('{"prompt": "a?", "completion": "b"}'),
    ),
    "curly quotes": line(
        '{\u201cprompt\u201d: "a?", "completion": "b"}',
        ("broken JSON",),
        "straight quotes",
        lambda data: data.replace("\u201c".encode(), b'"').replace("\u201d".encode(), b'"'),
    ),
    "a comment": line(
        '{"prompt": "a?", "completion": "b"} // mine', ("broken JSON",), "remove what follows", swap(" // mine", "")
    ),
    "a comment inside": line(
        '{"prompt": "a?", /* mine */ "completion": "b"}', ("broken JSON",), "no comments", swap("/* mine */ ", "")
    ),
    "a number beyond all numbers": line(
        '{"prompt": "a?", "completion": "b", "n": 1e999}', ("field 'n' is ",), "null or a number", swap("1e999", "1")
    ),
    "a list in place of a row": line('["a?", "b"]', ("not an object", "a list"), "messages", instead(chat(U, A))),
    "a line of ten million characters, cut off": line(
        json.dumps({"prompt": LONG, "completion": "b"})[:-5],
        ("broken JSON",),
        "write the rest of it",
        lambda data: data.replace(b'"completion":\n', b'"completion": "b"}\n'),
    ),
    "a line of ten million characters with a wrong field": line(
        json.dumps({"prompt": "a?", "completion": [LONG]}),
        ("field 'completion[0]'",),
        "write",
        lambda data: re.sub(rb"\[.*\]", b'"b"', data),
    ),
    "lines that end as on an old Macintosh": Broken(
        "rows.jsonl",
        WHOLE.replace(b"\n", b"\r"),
        ":1",
        ("broken JSON", "extra data"),
        r"tr '\r' '\n'",
        swap_all(b"\r", b"\n"),
    ),
    "the last line cut off": Broken(
        "rows.jsonl", WHOLE[:-12], ":3", ("broken JSON",), "cut off: write the file again", lambda data: WHOLE
    ),
    "a list cut off": Broken(
        "rows.json",
        json.dumps(PLAIN, indent=1).encode()[:-2],
        ":13",
        ("list is not closed",),
        "up to its last ]",
        lambda data: data + b"]",
    ),
    "two lists": Broken(
        "rows.json",
        json.dumps([GOOD], indent=1).encode() + b"\n" + json.dumps([LAST], indent=1).encode(),
        ":7",
        ("text follows the end",),
        "one list per file",
        lambda data: data.replace(b"]\n[", b","),
        kept=2,
    ),
    "a list on each line": Broken(
        "rows.json",
        json.dumps([GOOD, PLAIN[1]]).encode() + b"\n" + json.dumps([LAST]).encode(),
        ":1",
        ("not an object", "the row is a list"),
        "each object of the list on a line of its own",
        lambda data: data.replace(b"}, {", b"}\n{").replace(b"[", b"").replace(b"]", b""),
    ),
    "a list broken on one line": Broken(
        "rows.json",
        json.dumps(PLAIN).encode().replace(b'": "2"', b'" "2"'),
        ":1",
        ("cannot be told apart",),
        "mend the JSON there",
        swap('" "2"', '": "2"'),
    ),
    # encodings and archives
    "UTF-16": Broken("rows.jsonl", UTF16, "", ("UTF-16",), "iconv", None, "rows.jsonl"),
    "UTF-16 without a mark": Broken("rows.jsonl", UTF16[2:], "", ("UTF-16",), "iconv", None, "rows.jsonl"),
    "UTF-16, big end first": Broken(
        "rows.jsonl", WHOLE.decode().encode("utf-16-be"), "", ("UTF-16",), "iconv", None, "rows.jsonl"
    ),
    "UTF-32": Broken("rows.jsonl", WHOLE.decode().encode("utf-32"), "", ("UTF-32",), "iconv", None, "rows.jsonl"),
    "an empty file": Broken("rows.jsonl", b"", "", ("file is empty",), "at least one row", lambda data: WHOLE),
    "a mark and nothing else": Broken(
        "rows.jsonl", b"\xef\xbb\xbf\r\n", "", ("file is empty",), "at least one row", lambda data: WHOLE
    ),
    "gzip cut off": Broken(
        "rows.jsonl.gz",
        gzip.compress(WHOLE)[:-9],
        "",
        ("damaged or cut off",),
        "again",
        lambda data: gzip.compress(WHOLE),
    ),
    "gzip with a wrong sum": Broken(
        "rows.jsonl.gz",
        gzip.compress(WHOLE)[:-8] + b"12345678",
        "",
        ("damaged",),
        "again",
        lambda data: gzip.compress(WHOLE),
    ),
    "Zstandard cut off": Broken(
        "rows.jsonl.zst",
        pa.compress(WHOLE, "zstd", asbytes=True)[:-3],
        "",
        ("damaged or cut off",),
        "again",
        lambda data: pa.compress(WHOLE, "zstd", asbytes=True),
    ),
    "bzip2": Broken("rows.jsonl.bz2", bz2.compress(WHOLE), "", ("bzip2",), "bunzip2", None, "rows.jsonl"),
    "xz": Broken("rows.jsonl.xz", lzma.compress(WHOLE), "", ("xz",), "unxz", None, "rows.jsonl"),
    "zip": Broken("rows.zip", zipped(WHOLE), "", ("zip",), "unzip", None, "rows.jsonl"),
    "an archive in an archive": Broken(
        "rows.jsonl.gz",
        gzip.compress(gzip.compress(WHOLE)),
        "",
        ("archive inside an archive",),
        "gunzip",
        gzip.decompress,
    ),
    "Parquet in an archive": Broken(
        "rows.parquet.gz",
        gzip.compress(parquet(PLAIN)),
        "",
        ("Parquet file inside",),
        "unpack it",
        gzip.decompress,
        "rows.parquet",
    ),
    "a tar archive": Broken("rows.tar.gz", tarred(WHOLE), "", ("tar archive",), "tar -xf OLD", untarred, "rows.jsonl"),
    # strangers
    "a database": Broken("rows.sqlite", database(PLAIN), "", ("SQLite",), "sqlite3", None, "rows.csv"),
    "a pickle": Broken(
        "rows.pkl", b"\x80\x04\x95", "", ("pickle", "run code"), "json.dumps", lambda data: WHOLE, "rows.jsonl"
    ),
    "a pointer of Git LFS": Broken(
        "rows.jsonl",
        b"version https://git-lfs.github.com/spec/v1\n",
        "",
        ("Git LFS",),
        "git lfs pull",
        lambda data: WHOLE,
    ),
    "a web page": Broken("rows.jsonl", b"<!DOCTYPE html>\n<html>", "", ("web page",), "resolve", lambda data: WHOLE),
    "prose": Broken(
        "rows.log",
        b"Once upon a time.\n",
        "",
        ("no known kind", "'Once upon"),
        ".jsonl",
        lambda data: WHOLE,
        "rows.jsonl",
    ),
    "a document among questions": Broken(
        "tale.md",
        b"# Once\n\nupon a time.\n",
        ":1",
        ("document", "field 'text'"),
        "data.replay",
        lambda data: b"### Human: a?\n\n### Assistant: b",
        kept=1,
    ),
    # tables in text
    "a comma too many in a table": Broken(
        "rows.csv",
        table("Red, green?,Red."),
        ":3",
        ("ragged row", "3 cell(s), expected 2", "'completion'"),
        "in quotes",
        swap("Red, green?", '"Red, green?"'),
    ),
    "a cell too few": Broken(
        "rows.csv",
        table("Red?"),
        ":3",
        ("ragged row", "1 cell(s)", "field 'completion' is missing"),
        "write every cell",
        swap("Red?", "Red?,Yes."),
    ),
    "a space before a quote": Broken(
        "rows.csv", table('Red?, "Yes, red."'), ":3", ("ragged row",), "remove the space", swap(', "', ',"')
    ),
    "a quote inside a quoted cell": Broken(
        "rows.csv", table('"Say "hi" now.",Hi.'), ":3", ("text follows the closing",), '""yes""', swap('"hi"', '""hi""')
    ),
    "a quote that is never closed": Broken(
        "rows.csv", table('"Red?,Yes.'), ":3", ("never closed",), "close it", swap('"Red?', '"Red?"')
    ),
    "a quote closed rows later": Broken(
        "rows.csv",
        table('"Red?,Yes.', '"Blue, or not?",Yes.'),
        ":3",
        ("ends on line 4", "cannot be told apart"),
        "close the cell",
        swap('"Red?', '"Red?"'),
        kept=4,
    ),
    "a carriage return in a cell": Broken(
        "rows.csv",
        table("Red\rgreen?,Yes."),
        ":3",
        ("carriage return",),
        "in quotes",
        swap("Red\rgreen?", '"Red\rgreen?"'),
    ),
    "a column named twice": Broken(
        "rows.csv",
        table("a?,b").replace(b"completion", b"prompt"),
        ":1",
        ("repeated field", "'prompt'"),
        "rename one",
        swap("prompt,prompt", "prompt,completion"),
    ),
    "a first line alone": Broken(
        "rows.csv",
        b"What is 1 + 1?,2\n",
        ":1",
        ("first line alone",),
        "write the names above it",
        lambda data: b"prompt,completion\n" + data,
        kept=1,
    ),
    "a table without names": Broken(
        "rows.csv",
        table("a?,b").partition(b"\n")[2],
        ":2",
        ("unknown shape", "has fields What is 1 + 1?, 2"),
        "name the fields",
        lambda data: b"prompt,completion\n" + data,
    ),
    "a table in Latin-1": Broken(
        "rows.csv",
        table("café?,Yes.").decode().encode("latin-1"),
        ":3",
        ("field 'prompt' holds byte 0xe9",),
        "iconv -f LATIN1",
        lambda data: data.decode("latin-1").encode(),
    ),
    "lists written by Python": Broken(
        "rows.csv",
        ('messages\n"' + str([U, A]).replace('"', '""') + '"\n').encode(),
        ":2",
        ("field 'messages'", "expected JSON"),
        "map(json.dumps)",
        lambda data: ('messages\n"' + json.dumps([U, A]).replace('"', '""') + '"\n').encode(),
        kept=1,
    ),
    "quotes in a table of tabs": Broken(
        "rows.tsv",
        b'prompt\tcompletion\n"Hi" means?\tHello.\n"a"\tb\n',
        ":2",
        ("expected a tab",),
        "csv.writer(sys.stdout)",
        None,
        "rows.csv",
        kept=2,
    ),
    "a table of a spreadsheet": Broken(
        "rows.csv",
        table("a?,b").decode().replace(",", "\t").encode("utf-16"),
        "",
        ("UTF-16",),
        "iconv",
        None,
        "rows.csv",
    ),
    "an answer left out": Broken(
        "rows.csv",
        table("Red?,"),
        ":3",
        ("empty answer", "field 'completion'"),
        "write the answer",
        swap("Red?,", "Red?,Yes."),
    ),
    # tables in columns
    "Parquet cut off": Broken(
        "rows.parquet", parquet(PLAIN)[:-20], "", ("Parquet file is damaged or cut off",), "again", mended_table(PLAIN)
    ),
    "Parquet that is its start alone": Broken(
        "rows.parquet", b"PAR1", "", ("Parquet file is damaged",), "again", mended_table(PLAIN)
    ),
    "an Arrow stream cut between two rows": Broken(
        "rows.arrow",
        arrow(PLAIN, stream=True)[:-8],
        "",
        ("Arrow file is damaged or cut off", "mark at the end"),
        "again",
        lambda data: data + b"\xff\xff\xff\xff\0\0\0\0",
    ),
    "an Arrow file cut off": Broken(
        "rows.arrow",
        arrow(PLAIN, stream=False)[:-30],
        "",
        ("Arrow file is damaged or cut off",),
        "again",
        lambda data: arrow(PLAIN, stream=False),
    ),
    "a wrong role in a struct": Broken(
        "rows.parquet",
        parquet(TURNS),
        ":row 2",
        ("unknown role", "'messages[1].role' is 'bot'"),
        "write 'assistant' for 'bot'",
        mended_table([TURNS[0], {"messages": [U, A]}, TURNS[2]]),
    ),
    "null in a struct": Broken(
        "rows.parquet",
        parquet([*TURNS[::2], {"messages": [U, {**A, "content": None}]}]),
        ":row 3",
        ("'messages[1].content' is null",),
        "write the text",
        mended_table([*TURNS[::2], {"messages": [U, A]}]),
    ),
    "a list of lists of structs": Broken(
        "rows.parquet",
        parquet([{"messages": [[U, A]]}]),
        ":row 1",
        ("field 'messages[0]' is a list of 2",),
        "content",
        mended_table([{"messages": [U, A]}]),
        kept=1,
    ),
    "numbers for answers": Broken(
        "rows.parquet",
        parquet([{"question": "1 + 1?", "answer": 2}]),
        ":row 1",
        ("field 'answer' is 2",),
        '"2"',
        mended_table([{"question": "1 + 1?", "answer": "2"}]),
        kept=1,
    ),
    "pictures in a column": Broken(
        "rows.parquet",
        parquet([IMAGE]),
        ":row 1",
        ("not text", "field 'image.bytes' holds 5 bytes"),
        "drop_columns(['image'])",
        mended_table([{k: v for k, v in IMAGE.items() if k != "image"}]),
        kept=1,
    ),
    "a Parquet column named twice": Broken(
        "rows.parquet", b"", "", ("repeated field", "'prompt'"), "rename_columns", mended_table(PLAIN)
    ),
}


def twice_named() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table([["a?"], ["b"]], names=["prompt", "prompt"]), file)
    return file.getvalue()


CASES["a Parquet column named twice"] = CASES["a Parquet column named twice"]._replace(data=twice_named())


def run(path: Path, out: Path, **options: Any) -> PrepareReport:
    return prepare([Source(path)], out, **{"val": None, "test": None, "seed": 0, "max_bad": 0, **options})


def refused(path: Path, out: Path) -> tuple[Problem, ...]:
    """What is said about a data set that is refused; nothing is left behind."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(HeedError) as caught:
        run(path, out)
    assert sorted(out.parent.iterdir()) == before, "nothing half-written"
    for problem in caught.value.problems:
        assert problem.mend or "more broken rows" in problem.what
        assert len(str(problem)) < 900, "a message, not the data"
        assert "Traceback" not in problem.what
    return caught.value.problems


def follow(mend: str, path: Path, new: Path) -> None:
    """Run the command that a mend names: OLD is the file, NEW what it becomes."""
    command = re.split(r"; save a sheet", mend.partition("where no cell is quoted: ")[2] or mend.partition(": ")[2])[0]
    tool = command.split()[0]
    if shutil.which(tool) is None and tool != "python":
        pytest.skip(f"{tool} is not installed")
    shown = path.with_name("OLD" + path.suffix) if tool in ("unxz", "bunzip2") else path
    if shown != path:
        path.rename(shown)
    command = command.replace("OLD.tsv", "OLD").replace("NEW.csv", "NEW").replace("OLD", str(shown))
    command = command.replace("python ", f"{sys.executable} ", 1) if tool == "python" else command
    subprocess.run(command, shell=True, check=True, cwd=path.parent)
    made = path.with_name("NEW") if path.with_name("NEW").exists() else path.with_name("OLD")
    path.unlink(missing_ok=True)
    made.rename(new)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_data_set_is_told_its_place_its_field_and_a_mend_that_works(tmp_path, name):
    case = CASES[name]
    path = tmp_path / case.file
    path.write_bytes(case.data)
    problems = refused(path, tmp_path / "out")
    problem = next(one for one in problems if one.where != str(path) or not case.place)
    assert problem.where == f"{path}{case.place}", problems
    for piece in case.says:
        assert piece in problem.what, problem
    assert case.mend in problem.mend, problem
    new = tmp_path / (case.becomes or case.file)
    if case.fix is None:
        follow(problem.mend, path, new)
    else:
        path.unlink()
        new.write_bytes(case.fix(case.data))
    report = run(new, tmp_path / "out")
    assert (report.kept, report.dropped) == (case.kept, {})


def test_there_are_at_least_forty_of_them():
    assert len(CASES) >= 80


def folder_of(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("_", ".")).write_bytes(data)
    return path


def test_a_folder_without_rows_names_the_folder_that_holds_them(tmp_path):
    folder = folder_of(tmp_path / "set", README_md=b"Rows.")
    folder_of(folder / "data", a_jsonl=WHOLE)
    (problem,) = refused(folder, tmp_path / "out")
    assert (problem.where, problem.what) == (str(folder), "folder holds no data file; found README.md, data")
    assert run(Path(problem.mend.rpartition(": ")[2]), tmp_path / "out").kept == 3


def test_a_link_to_itself_is_named_and_not_followed_for_ever(tmp_path):
    link = tmp_path / "loop.jsonl"
    link.symlink_to(link)
    (problem,) = refused(link, tmp_path / "out")
    assert (problem.where, problem.what) == (str(link), "the link leads nowhere")
    (tmp_path / "FILE").write_bytes(WHOLE)
    command = problem.mend.partition(": ")[2].replace("FILE", str(tmp_path / "FILE")).replace("LINK", str(link))
    subprocess.run(command, shell=True, check=True)
    assert run(link, tmp_path / "out").kept == 3


def test_links_that_lead_nowhere_are_not_left_out_of_a_folder_in_silence(tmp_path):
    folder = folder_of(tmp_path / "set", a_jsonl=WHOLE)
    (folder / "b.jsonl").symlink_to(folder / "gone.jsonl")
    (folder / "c.jsonl").symlink_to(folder / "c.jsonl")
    (folder / "again").symlink_to(folder)  # a folder that holds itself
    problems = refused(folder, tmp_path / "out")
    assert [problem.where for problem in problems] == [str(folder / "b.jsonl"), str(folder / "c.jsonl")]
    assert "remove the link" in problems[0].mend
    for name in "bc":
        (folder / f"{name}.jsonl").unlink()
    assert run(folder, tmp_path / "out").kept == 3


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE)
    path.chmod(0)
    if os.geteuid() == 0:  # to whom no file is closed
        opened = Path.open

        def closed(self: Path, *arguments: Any, **options: Any) -> Any:
            if self == path and path.stat().st_mode & 0o400 == 0:
                raise PermissionError(13, "Permission denied", str(self))
            return opened(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", closed)
    (problem,) = refused(path, tmp_path / "out")
    assert (problem.where, problem.what) == (str(path), "cannot be read: Permission denied")
    assert "permissions" in problem.mend
    path.chmod(0o600)
    assert run(path, tmp_path / "out").kept == 3


def test_a_pipe_with_a_name_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    (problem,) = refused(tmp_path / "rows.jsonl", tmp_path / "out")
    assert problem.what == "not a regular file"
    assert "--data -" in problem.mend


def test_a_name_that_is_not_text_is_shown_as_it_can_be(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl"))
    try:
        path.write_bytes(WHOLE)
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    (problem,) = refused(path, tmp_path / "out")
    assert problem.where == f"{tmp_path}/caf\\udce9.jsonl"
    assert "rename" in problem.mend
    path.rename(tmp_path / "cafe.jsonl")
    assert run(tmp_path / "cafe.jsonl", tmp_path / "out").kept == 3


def test_the_output_of_an_earlier_run_is_not_read_with_what_it_dropped(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(WHOLE)
    run(tmp_path / "rows.jsonl", tmp_path / "first")
    (problem,) = refused(tmp_path / "first", tmp_path / "out")
    assert "which also holds rows that were dropped" in problem.what
    assert run(Path(problem.mend.rpartition(" ")[2]), tmp_path / "out").kept == 3


def test_one_file_under_two_names_is_read_once(tmp_path):
    folder = folder_of(tmp_path / "set", a_jsonl=WHOLE)
    (folder / "b.jsonl").symlink_to(folder / "a.jsonl")
    (problem,) = refused(folder, tmp_path / "out")
    assert problem.where == str(folder / "b.jsonl")
    assert problem.mend == "name it once"
    (folder / "b.jsonl").unlink()
    assert run(folder, tmp_path / "out").kept == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("b.jsonl.bz2", "packed as .bz2"),
        ("b.csv.zip", "packed as .zip"),
        ("b.parquet.part", "not fetched to its end"),
        ("b.jsonl.crdownload", "not fetched to its end"),
    ],
)
def test_rows_in_a_folder_are_not_passed_over_in_silence(tmp_path, name, says):
    folder = folder_of(tmp_path / "set", a_jsonl=WHOLE)
    (folder / "notes.bak").write_bytes(b"")
    (folder / name).write_bytes(b"")
    (problem,) = refused(folder, tmp_path / "out")
    assert problem.where == str(folder / name)
    assert says in problem.what
    (folder / name).rename(tmp_path / name)  # moved away, as the mend says
    assert run(folder, tmp_path / "out").kept == 3


def test_parts_of_a_data_set_that_are_not_there_are_named(tmp_path):
    folder = folder_of(tmp_path / "set")
    for number in (0, 2):
        (folder / f"train-{number:05}-of-00003.parquet").write_bytes(parquet(PLAIN[number : number + 1]))
    (problem,) = refused(folder, tmp_path / "out")
    assert (problem.where, problem.what) == (str(folder), "1 of 3 parts are missing: train-00001-of-00003.parquet")
    (folder / "train-00001-of-00003.parquet").write_bytes(parquet(PLAIN[1:2]))
    assert run(folder, tmp_path / "out").kept == 3


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("https://example.org/rows.jsonl", "curl -LO https://example.org/rows.jsonl"),
        ("hf://datasets/owner/name", "hub:owner/name"),
    ],
)
def test_an_address_is_told_how_to_become_a_file(tmp_path, name, mend):
    (problem,) = refused(Path(name), tmp_path / "out")
    assert problem.what == "an address is not a file"
    assert problem.mend.endswith(mend)


@pytest.mark.parametrize("state", [b"{", b"[]", b'{"_data_files": [{"filename": "../../a.arrow"}]}'])
def test_a_saved_dataset_that_lost_a_file_is_refused_and_reads_nothing_outside(tmp_path, state):
    (tmp_path / "a.arrow").write_bytes(arrow(PLAIN, stream=True))
    folder = folder_of(tmp_path / "deep", dataset_info_json=b"{}")
    (folder / "dataset.info.json").rename(folder / "dataset_info.json")
    (folder / "state.json").write_bytes(state)
    (problem,) = refused(folder, tmp_path / "out")
    assert problem.where == str(folder)
    assert "save it again" in problem.mend


def test_all_that_is_wrong_in_all_files_is_said_in_one_pass(tmp_path):
    folder = folder_of(
        tmp_path / "set",
        a_jsonl=lines('{"prompt": 1, "completion": "b"}'),
        b_csv=table("a,b,c", '"x" y,z', "d"),
        c_parquet=parquet(TURNS),
        d_jsonl_gz=gzip.compress(WHOLE)[:-9],
        e_jsonl=UTF16,
    )
    said = {problem.where.removeprefix(f"{folder}/") for problem in refused(folder, tmp_path / "out")}
    assert said == {"a.jsonl:2", "b.csv:3", "b.csv:4", "b.csv:5", "c.parquet:row 2", "d.jsonl.gz", "e.jsonl"}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json", "jsonl.gz", "jsonl.zst", "parquet", "arrow", "feather"])
def test_no_part_of_a_file_is_ever_taken_for_the_whole(tmp_path, kind):
    rows = [{"prompt": f"question {n}?", "completion": f"answer, {n}"} for n in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([list(rows[0]), *(row.values() for row in rows)])
    data = {
        "jsonl": text,
        "csv": written.getvalue().encode(),
        "json": json.dumps(rows, indent=1).encode(),
        "jsonl.gz": gzip.compress(text),
        "jsonl.zst": pa.compress(text, "zstd", asbytes=True),
        "parquet": parquet(rows),
        "arrow": arrow(rows, stream=True),
        "feather": arrow(rows, stream=False),
    }[kind]
    path = tmp_path / f"rows.{kind}"
    path.write_bytes(data)
    assert run(path, tmp_path / "out").kept == 3
    shutil.rmtree(tmp_path / "out")
    ends = {at for at in range(len(data)) if data[:at].endswith((b"\r", b"\n")) or data[at:].startswith((b"\r", b"\n"))}
    ends = ends if kind in ("jsonl", "csv") else set()  # whole rows: nobody can see that others are missing
    cuts = sorted(set(range(len(data) - 1)) - ends)
    for cut in cuts if len(cuts) < 100 else random.Random(0).sample(cuts, 60) + cuts[-8:]:
        path.write_bytes(data[:cut])
        problems = refused(path, tmp_path / "out")
        assert problems[0].where.startswith(str(path)), cut


@pytest.mark.parametrize("kind", ["jsonl", "csv", "jsonl.gz", "jsonl.zst", "parquet", "arrow"])
def test_damaged_bytes_never_end_in_a_traceback(tmp_path, kind):
    rng = random.Random(kind)
    rows = [{"prompt": f"question {n}?", "completion": f'"answer", {n}', "messages": [U, A]} for n in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    data = {
        "jsonl": text,
        "csv": table(*(f'"question {n}?","""answer"", {n}"' for n in range(3))),
        "jsonl.gz": gzip.compress(text),
        "jsonl.zst": pa.compress(text, "zstd", asbytes=True),
        "parquet": parquet(rows),
        "arrow": arrow(rows, stream=True),
    }[kind]
    path = tmp_path / f"rows.{kind}"
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(HeedError):
            run(path, tmp_path / "out", max_bad=1)


def test_at_the_command_line_broken_data_is_a_message_and_not_a_traceback(tmp_path, capfd):
    path = tmp_path / "rows.csv"
    path.write_bytes(table("Red, green?,Red."))
    with pytest.raises(SystemExit) as caught:
        main(["prepare", "--data", str(path), "--run", str(tmp_path / "run")])
    assert caught.value.code == 2
    said = "".join(capfd.readouterr())
    assert f"{path}:3" in said.replace("\n", "")
    assert "ragged row" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "data").exists()
