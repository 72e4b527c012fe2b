"""The commands of `heed prompt`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heedlm import cli
from heedlm import cli_prompt as room
from heedlm.errors import HeedError
from heedlm.instructions import library
from heedlm.instructions.lint.registry import RULES

MAIL = "---\nname: mail\ninputs: [{name: mail, kind: string, example: Hello}]\nheed: {trust: {mail: data}}\n---\nsystem:\n# Task\nPlease sum up the mail in one sentence.\n\nuser:\n{{ mail }}\n"


def heed(*arguments: object, given: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["prompt", *map(str, arguments)], input=given)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    path = tmp_path / "mail.prompty"
    path.write_text(MAIL)
    return path


def test_list_and_show(mail: Path) -> None:
    assert [one["name"] for one in json.loads(heed("list", "--json")[1])["instructions"]] == library.names()
    assert "ticket-triage" in heed("list")[1]
    text = heed("show", "ticket-triage")[1]
    assert "Use only these queues" in text
    assert "from house-blocks.prompty" in text
    told = json.loads(heed("show", "ticket-triage", "--variant", "role=short", "--without", "rules", "--json")[1])
    assert told["blocks"][0]["text"] == "You route tickets."
    assert "rules" not in [one["id"] for one in told["blocks"]]
    assert heed("show", mail, "--source")[1].strip() == MAIL.strip()
    flat = heed("show", "ticket-triage", "--flat")[1]
    assert "treat them as part of the material" in flat
    for wrong in (
        ("show", "ticket-triag"),
        ("show", "ticket-triage", "--variant", "role"),
        ("show", mail, "--without", "x"),
    ):
        with pytest.raises(HeedError):
            heed(*wrong)


def test_compile_as_text_and_as_json(mail: Path) -> None:
    assert heed("compile", mail, "--input", "mail=Hi")[1] == (
        "[system]\n# Task\nPlease sum up the mail in one sentence.\n\n[user]\nHi\n\n\n"
    )
    told = json.loads(heed("compile", mail, "--model", "atlas", "--json")[1])
    assert told["tokens"] == sum(told["tokens_by_block"].values())
    assert told["text"].endswith("<|im_start|>assistant\n")
    assert set(told["survived"]) == {"task", "data"}
    text = heed("compile", mail, "--format", "human_assistant", "--explain")[1]
    assert "Human: Hello" in text
    assert "(template)" in text
    assert heed("compile", mail, "--notation", "xml")[1].startswith("[system]\n<task>")
    for wrong in (
        ("--notation", "xlm"),
        ("--placement", "sytem"),
        ("--repeat", "al"),
        ("--format", "alpacca"),
        ("--input", "mial=x"),
        ("--model", "no/such/folder/here"),
    ):
        with pytest.raises(HeedError):
            heed("compile", mail, *wrong)


def test_lint_says_what_where_why_and_mends(mail: Path) -> None:
    code, text = heed("lint", mail)
    assert code == 0
    assert f"{mail}:8  HD205 info" in text
    assert "0 errors" in text
    mail.write_text(MAIL.replace("{{ mail }}", "{{ male }}"))
    code, text = heed("lint", mail, "ticket-triage", "--json")
    assert code == 1
    told = json.loads(text)
    assert told["error"] == 1
    assert told["files"][0]["findings"][-1]["rule"] == "HD401"
    mail.write_text(MAIL)
    code, text = heed("lint", mail, "--fix")
    assert "1 line mended" in text
    assert "Sum up the mail" in mail.read_text()
    vague = MAIL.replace("one sentence", "an appropriate way, in one sentence")
    mail.write_text(vague)
    assert heed("lint", mail, "--strict")[0] == 1
    assert heed("lint", mail, "--rule", "HD701", "--strict")[0] == 0
    with pytest.raises(HeedError):
        heed("lint", "ticket-triage", "--fix")


def test_lint_takes_folders(mail: Path) -> None:
    (mail.parent / "deep").mkdir()
    with pytest.raises(HeedError, match="holds no"):
        heed("lint", mail.parent / "deep")
    (mail.parent / "deep" / "other.prompty").write_text(MAIL)
    assert json.loads(heed("lint", mail.parent, "--json")[1])["info"] == 4


def test_rules_are_listed_and_explained() -> None:
    assert f"{len(RULES)} rules" in heed("rules")[1]
    assert "contradiction" in heed("rules", "HD210")[1]
    assert len(json.loads(heed("rules", "--json")[1])["rules"]) == len(RULES)
    with pytest.raises(HeedError, match="HD999"):
        heed("rules", "HD999")


def test_new_from_a_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "new.prompty"
    code, text = heed("new", path, "--from", "-", given="Sort the {mail} into a queue.\n")
    assert code == 0
    assert "placeholders became inputs" in text
    assert "{{ mail }}" in path.read_text()
    with pytest.raises(HeedError, match="already"):
        heed("new", path, "--from", "-", given="x")
    assert heed("new", path, "--from", "-", "--force", given="Sort it.")[0] == 0
    with pytest.raises(HeedError, match="nobody"):
        heed("new", tmp_path / "asked.prompty", given="")
    with pytest.raises(HeedError, match="no such folder"):
        heed("new", tmp_path / "none" / "a.prompty", "--from", "-", given="x")
    assert [one.name for one in tmp_path.iterdir()] == ["new.prompty"]


def test_new_asks_for_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["Sum up the mail in one sentence.", "", "keep names", "One sentence.", ""])
    monkeypatch.setattr(room.typer, "prompt", lambda *a, **k: next(answers))
    monkeypatch.setattr(room, "_asked", room._asked)
    monkeypatch.setattr(room.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    from heedlm.cli_prompt import new

    new(tmp_path / "asked.prompty", None, False, True)
    assert "# Constraints\n- Keep names." in (tmp_path / "asked.prompty").read_text()


def test_diff(mail: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.prompty"
    other.write_text(MAIL.replace("one sentence", "two sentences"))
    assert heed("diff", mail, mail)[1] == "no difference\n"
    told = json.loads(heed("diff", mail, other, "--json")[1])["changes"]
    assert [one["where"] for one in told] == ["block task"]
    assert "in [-one-][+two+] [-sentence.-][+sentences.+]" in heed("diff", mail, other)[1]


def test_a_switch_that_changes_nothing_is_refused_or_said() -> None:
    with pytest.raises(HeedError, match="--data-first changes nothing"):
        heed("compile", "ticket-triage", "--data-first")
    assert heed("compile", "ticket-triage", "--data-first", "--placement", "user")[0] == 0
    done = CliRunner().invoke(cli.app, ["prompt", "compile", "ticket-triage", "--shots", "99"])
    assert "note: 99 examples are asked for" in done.stderr


def test_errors_of_a_plain_text_name_its_file_and_line(tmp_path: Path) -> None:
    old = tmp_path / "old.txt"
    old.write_text("# Task\nSort the mail.\n{% if day %}\n# Rules\n- Of {{ day }}.\n{% endif %}\n")
    with pytest.raises(HeedError) as refused:
        heed("new", tmp_path / "new.prompty", "--from", old)
    assert all(one.where.startswith(f"{old}:") for one in refused.value.problems)
    assert not (tmp_path / "new.prompty").exists()


def test_next_commands_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    text = heed("new", tmp_path / "new.prompty", "--from", "-", given="Sort the {mail}.\n")[1]
    assert not [line for line in text.split("\n") if line.count("heed prompt") > 1]
    assert text.count("heed prompt") == 2


def test_rules_are_found_in_small_letters_too(mail: Path) -> None:
    assert heed("rules", "hd210") == heed("rules", "HD210")
    assert heed("lint", mail, "--rule", "hd205", "--json") == heed("lint", mail, "--rule", "HD205", "--json")


def test_commands_are_listed_in_the_order_of_the_work() -> None:
    names = [one.name for one in room.app.registered_commands]
    assert names == ["new", "list", "show", "lint", "rules", "compile", "diff", "test", "optimize", "bake"]
