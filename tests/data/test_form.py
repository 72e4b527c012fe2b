"""A form is filled in by a person: read back as it was meant, refused where nothing is said, and never lost."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data import human
from heedlm.data.form import CORRECTED, empty_form, from_form, to_form
from heedlm.errors import HeedError
from tests.data.test_shapes import talks
from tests.typed import Heed

# Lines that a form could take for its own, among ordinary ones.
LINES = st.sampled_from(["--- user ---", "---system---", "\\--- user ---", "--- x", "# a", "", "  b", "---", "a --- b"])
SAID = (
    st.lists(LINES | st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=4)
    .map(lambda lines: "\n".join(lines))
    .filter(lambda text: text.strip() and text.split("\n")[0].strip() and text.split("\n")[-1].strip())
    .filter(lambda text: "<think>" not in text)
)


@given(turns=talks(SAID), corrected=st.none() | SAID)
def test_a_row_comes_back_from_its_form(turns: list[Any], corrected: str | None) -> None:
    row = {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}
    corrected = None if corrected is None else f"not {corrected}{turns[-1].content}"
    filled = from_form(to_form(row, corrected), "row.txt")
    assert filled.row == row
    assert filled.corrected == corrected


def test_windows_line_ends_and_a_mark_of_the_byte_order_are_no_part_of_a_row() -> None:
    form = "\ufeff" + empty_form(correction=False).replace("--- user ---\n", "--- user ---\nHi\n")
    form = form.replace("--- assistant ---\n", "--- assistant ---\nHello\n").replace("\n", "\r\n")
    assert from_form(form, "x").row["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]


@pytest.mark.parametrize(
    ("form", "says", "where"),
    [
        ("", "Nothing was written", "row.txt"),
        (empty_form(correction=False), "Nothing was written", "row.txt"),
        (empty_form(correction=True), "Nothing was written", "row.txt"),
        ("--- user ---\nHi\n--- assistant ---\n \n", "empty answer: 'section 2' is empty", "row.txt:3"),
        ("--- user ---\n\n--- assistant ---\nHi", "empty question: 'section 1' is empty", "row.txt:1"),
        ("--- user ---\nHi\n", "no assistant turn", "row.txt:1"),
        ("--- user ---\nHi\n--- user ---\nHo\n--- assistant ---\nHi", "role order: turn 'section 2'", "row.txt:3"),
        ("Hi\n--- user ---\nHi", "before the first section", "row.txt:1"),
        ("--- user ---\nHi\n--- asistant ---\nHo", "no section 'asistant'", "row.txt:3"),
        (
            f"--- user ---\nHi\n--- {CORRECTED} ---\nHo\n--- assistant ---\nHo ",
            "says the same as the reply",
            "row.txt:5",
        ),
        (f"--- {CORRECTED} ---\na\n--- {CORRECTED} ---\nb\n--- user ---\nc", "second section", "row.txt:3"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_with_its_line(form: str, says: str, where: str) -> None:
    with pytest.raises(HeedError) as caught:
        from_form(form, "row.txt")
    problem = caught.value.problems[0]
    assert says in problem.what
    assert problem.where == where
    assert problem.mend


@pytest.fixture
def heed(heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heed:
    monkeypatch.chdir(tmp_path)
    for name in ("VISUAL", "EDITOR", "HEED_AUTHOR"):
        monkeypatch.delenv(name, raising=False)
    return heed


FORM = "--- system ---\n--- user ---\nWhy?\n--- assistant ---\nBecause.\n"
FIXED = FORM.replace("--- assistant", f"--- {CORRECTED} ---\nNo idea.\n--- assistant")


def test_add_list_edit_withdraw_and_prepare(heed: Heed, tmp_path: Path) -> None:
    Path("row.txt").write_text(FORM)
    Path("fixed.txt").write_text(FIXED.replace("Why?", "Why not?"))
    code, out, _ = heed("data", "add", "--author", "Ann", "--licence", "CC0-1.0", "--file", "row.txt", "--json")
    assert code == 0
    name = json.loads(out)["id"]
    assert Path("human.jsonl").is_file()
    assert heed("data", "add", "--author", "Bob", "--file", "fixed.txt", "--model", "atlas")[0] == 0
    code, out, _ = heed("data", "list", "--json")
    first, second = json.loads(out)["rows"]
    assert (first["id"], first["meta"]["author"], first["meta"]["licence"]) == (name, "Ann", "CC0-1.0")
    assert (second["rejected"][0]["content"], second["meta"]["corrected_model"]) == ("No idea.", "atlas")
    Path("row.txt").write_text(FORM.replace("Because.", "Because it is so."))
    assert heed("data", "edit", name, "--author", "Ann", "--file", "row.txt")[0] == 0
    code, out, _ = heed("data", "list", "--author", "Ann", "--json")
    (row,) = json.loads(out)["rows"]
    assert row["messages"][-1]["content"] == "Because it is so."
    assert (row["edits"], row["meta"]["licence"]) == (1, "CC0-1.0"), "what is not said again stays"
    code, out, _ = heed("data", "list")
    assert "Bob" in out
    assert "atlas" in out
    assert "2 row(s) of 2 author(s)" in out
    assert heed("data", "withdraw", name, "--author", "Ann", "--why", "mine")[0] == 0
    assert heed("data", "withdraw", name, "--author", "Ann")[0] == 2
    code, out, _ = heed("prepare", "--data", "human.jsonl", "--run", "run", "--set", "data.val=null")
    assert code == 0
    assert "1 rows in, 1 kept" in out
    code, out, _ = heed("data", "inspect", "human.jsonl", "--json")
    assert json.loads(out)["features"] == {"a worse answer": 1}


def editor(folder: Path, code: str) -> str:
    """A program that does with the form what `code` says."""
    script = folder / "an editor.py"
    script.write_text(f"import sys, pathlib\nform = pathlib.Path(sys.argv[1])\n{code}\n")
    return f'"{sys.executable}" "{script}"'


def test_the_editor_is_opened_with_a_form(heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = "form.write_text(form.read_text().replace('--- user ---\\n', '--- user ---\\nHi\\n') + 'Hello\\n')"
    monkeypatch.setenv("EDITOR", editor(tmp_path, fill))
    monkeypatch.setenv("HEED_AUTHOR", "Ann")
    assert heed("data", "add", "--consent", "training")[0] == 0
    (row,) = human.read_human(Path("human.jsonl"))[0]
    assert [turn["content"] for turn in row.row["messages"]] == ["Hi", "Hello"]
    assert row.about == human.About("Ann", None, "training")
    monkeypatch.setenv("VISUAL", editor(tmp_path, "form.write_text(form.read_text().replace('Hello', 'Good day'))"))
    assert heed("data", "edit", row.id)[0] == 0
    assert human.find(Path("human.jsonl"), row.id).row["messages"][1]["content"] == "Good day"
    code, _, err = heed("data", "edit", row.id)
    assert (code, "the form is as it was" in err) == (2, True)


def test_what_was_written_is_not_lost_when_it_is_refused(
    heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "form.write_text('--- user ---\\nAn hour of work\\n')"))
    code, _, err = heed("data", "add", "--author", "Ann")
    assert code == 2
    assert "no assistant turn" in err
    kept = Path(err.rpartition("--file ")[2].strip())
    assert "An hour of work" in kept.read_text()
    kept.write_text(kept.read_text() + "--- assistant ---\nAnd done.\n")
    assert heed("data", "add", "--author", "Ann", "--file", kept)[0] == 0
    monkeypatch.setenv("EDITOR", editor(tmp_path, "form.write_text('x'); sys.exit(3)"))
    code, _, err = heed("data", "add", "--author", "Ann")
    assert (code, "code 3" in err, "is kept" in err) == (2, True, True)
    assert len(human.read_human(Path("human.jsonl"))[0]) == 1


def test_what_was_written_is_not_lost_when_the_store_cannot_be_written(
    heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, f"form.write_text({FORM!r})"))
    Path("folder").mkdir()
    code, _, err = heed("data", "add", "--author", "Ann", "--store", "folder")
    assert (code, "cannot be written" in err) == (2, True)
    kept = err.rpartition("--file ")[2].strip()
    assert heed("data", "add", "--author", "Ann", "--file", kept)[0] == 0
    monkeypatch.setenv(
        "EDITOR",
        editor(
            tmp_path, "import os, signal; os.kill(os.getppid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)"
        ),
    )
    code, _, err = heed("data", "add", "--author", "Ann")
    assert (code, "The editor ended with code" in err) == (2, True), "Ctrl-C is for the editor alone"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("data", "add", "--file", "row.txt"), "--author"),
        (("data", "add", "--author", "Ann", "--file", "none.txt"), "No such file"),
        (("data", "add", "--author", "Ann", "--licence", " ", "--file", "row.txt"), "licence is no plain line"),
        (("data", "add", "--author", "Ann", "--model", "atlas", "--file", "row.txt"), "no reply of it is corrected"),
        (("data", "add", "--author", "Ann"), "There is no editor"),
        (("data", "list"), "heed data add"),
        (("data", "edit", "x", "--author", "Ann"), "no such file"),
        (("data", "withdraw", "x", "--author", "Ann"), "no such file"),
    ],
)
def test_mistakes_are_told(heed: Heed, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    Path("row.txt").write_text(FORM)
    code, out, err = heed(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert not Path("human.jsonl").exists()


def test_an_editor_that_is_not_there_and_a_form_that_is_not_utf8(heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "no-such-editor --wait")
    code, _, err = heed("data", "add", "--author", "Ann")
    assert (code, "does not start" in err) == (2, True)
    Path("row.txt").write_bytes(b"--- user ---\ncaf\xe9")
    assert "UTF-8" in heed("data", "add", "--author", "Ann", "--file", "row.txt")[2]


def test_a_form_may_come_through_a_pipe(heed: Heed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(FORM.encode())))
    assert heed("data", "add", "--author", "Ann", "--file", "-")[0] == 0


def test_a_row_with_calls_of_tools_is_not_squeezed_into_a_form(heed: Heed, tmp_path: Path) -> None:
    call = {"name": "f", "arguments": {}}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "b"},
    ]
    made = human.add(Path("human.jsonl"), {"messages": turns}, human.About("Ann"))
    code, _, err = heed("data", "edit", made.id, "--author", "Ann")
    assert (code, "more than plain turns (tool_calls)" in err) == (2, True)


def test_a_torn_line_is_told_when_rows_are_listed(heed: Heed) -> None:
    human.add(Path("human.jsonl"), from_form(FORM, "x").row, human.About("Ann"))
    with Path("human.jsonl").open("ab") as file:
        file.write(b'{"heed')
    code, out, err = heed("data", "list")
    assert (code, "1 row(s)" in out) == (0, True)
    assert "the last line was torn" in err
    assert heed("data", "list")[2] == ""
    with Path("human.jsonl").open("ab") as file:
        file.write(b'{"heed\n')
    code, out, err = heed("data", "list")
    assert (code, "1 row(s)" in out) == (1, True)
    assert "human.jsonl:2" in err
