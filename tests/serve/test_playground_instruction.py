"""The instruction editor and the matrix behind the pages: what is found, compiled, kept and judged; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from heedlm.instructions.bench import Bench, Candidate, empty_of
from heedlm.instructions.cases import read_cases
from heedlm.instructions.format import load, parse
from heedlm.instructions.library import names, source
from heedlm.messages import Reply, Request, Sampling
from heedlm.serve import playground_matrix, playground_scores
from heedlm.serve.playground import Answer, Playground
from heedlm.serve.playground_desk import Desk
from heedlm.serve.playground_instruction import STARTER, Workshop
from heedlm.serve.playground_seats import Seat
from heedlm.serve.playground_shapes import FilesShape, LookShape, PlanShape, ReportShape, SpeakShape
from heedlm.templates.chat import load_template
from tests.instructions.wires import DROPS

HOST = {"host": "127.0.0.1:8000"}
JSON = {**HOST, "content-type": "application/json"}
TRIAGE = source("ticket-triage")[0]
CASE = '{"vars": {"ticket": "Where is it?"}, "assert": [{"type": "contains", "value": "queue"}]}\n'


@pytest.fixture
def pages(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> Playground:
    drops = tmp_path / "drops.jinja"
    drops.write_text(DROPS)
    seats = {
        "tiny": Seat("tiny", tokenizer, load_template("chatml", tokenizer), 512),
        "base": Seat("base", tokenizer, None, 512),
        "deaf": Seat("deaf", tokenizer, load_template(str(drops), tokenizer), 512),
        "far": Seat("far"),
    }
    desk = Desk(tmp_path / "h.jsonl", tmp_path / "c.jsonl", tmp_path / "v.jsonl", tmp_path / "n.yaml")
    return Playground(desk, workshop=Workshop(tmp_path / "prompts", seats))


def post(pages: Playground, name: str, value: Any, headers: dict[str, str] = JSON) -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return pages.answer("POST", f"/ui/api/{name}", headers, body)


def done(pages: Playground, name: str, value: Any) -> dict[str, Any]:
    found = post(pages, name, value)
    assert found.status == 200, found.body
    answer: dict[str, Any] = json.loads(found.body)
    return answer


def refused(pages: Playground, name: str, value: Any) -> dict[str, Any]:
    found = post(pages, name, value)
    assert found.status == 422, found.body
    error: dict[str, Any] = json.loads(found.body)["error"]
    assert error["message"]
    return error


def look(pages: Playground, text: str, **more: Any) -> dict[str, Any]:
    found = done(pages, "instructions/look", {"source": text, **more})
    LookShape.model_validate(found)
    return found


# What is written -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_each_block_is_told_with_the_lines_that_it_stands_in(pages: Playground, name: str) -> None:
    text = source(name)[0]
    lines = text.split("\n")
    found = look(pages, text, name=name, model="tiny")
    assert [one["id"] for one in found["blocks"]] == list(load(name).ids)
    at = 0
    for one in found["blocks"]:
        if one["file"]:
            assert one["lines"] == one["text_lines"] == [0, 0]
            continue
        first, start, end = one["lines"][0], *one["text_lines"]
        assert at <= first <= start <= end == one["lines"][1]
        assert "\n".join(lines[start:end]) == one["text"] or not one["text"]
        assert not one["title"] or lines[first].startswith(f"# {one['title']}")
        at = end
    if found["preview"] is not None:
        assert found["preview"]["total"] == sum(found["preview"]["tokens"].values())


@given(
    st.lists(
        st.sampled_from(
            [
                "system:",
                "user:",
                "# Task",
                "# Rules of it",
                "- One.",
                "",
                "{{ x }}",
                "{{ x",
                "```",
                "---",
                "# Examples {# slot=examples #}",
            ]
        ),
        max_size=14,
    )
)
@settings(max_examples=80, deadline=None)
def test_any_text_is_told_and_its_blocks_can_be_cut_out_and_put_back(parts: list[str]) -> None:
    text = "\n".join(parts)
    found = Workshop().look({"source": text})
    LookShape.model_validate(found)
    lines, at, back = text.split("\n"), 0, list[str]()
    for one in sorted((b for b in found["blocks"] if not b["file"]), key=lambda b: b["text_lines"]):
        start, end = one["text_lines"]
        back += [*lines[at:start], *(one["text"].split("\n") if end > start else [])]
        at = end
    assert "\n".join([*back, *lines[at:]]) == "\n".join(lines)


def test_findings_stand_beside_their_block_with_their_mend(pages: Playground) -> None:
    text = TRIAGE.replace("- If two queues fit,", "- ALWAYS hurry!!! If two queues fit,")
    found = look(pages, text)
    (shouting,) = (one for one in found["findings"] if one["rule"] == "HD203")
    assert shouting["block"] == "rules"
    assert text.split("\n")[shouting["fix"]["line"] - 1] == shouting["fix"]["old"]
    mended = text.replace(shouting["fix"]["old"], shouting["fix"]["new"])
    assert not [one for one in look(pages, mended)["findings"] if one["rule"] == "HD203"]
    assert {one["rule"] for one in look(pages, TRIAGE, model="tiny")["findings"]} - {
        one["rule"] for one in look(pages, TRIAGE)["findings"]
    }
    with_crlf = look(pages, text.replace("\n", "\r\n"))
    assert [one["line"] for one in with_crlf["findings"]] == [one["line"] for one in found["findings"]]


def test_what_cannot_be_read_has_findings_and_no_preview(pages: Playground) -> None:
    found = look(pages, TRIAGE.replace("{{ company }}", "{{ compny }}"))
    assert found["preview"] is None
    assert [(one["rule"], one["block"]) for one in found["findings"] if one["severity"] == "error"] == [
        ("HD401", "role")
    ]
    assert look(pages, "")["blocks"] == []
    assert look(pages, "---\nname: [\n---\nx")["preview"] is None


def test_the_preview_is_what_is_asked(pages: Playground) -> None:
    values = {"ticket": "@/etc/passwd", "company": "Acme", "gone": "x"}
    for model, format_ in (("tiny", "own"), ("tiny", "alpaca"), ("base", "plain"), ("far", "own"), ("", "own")):
        how = {"model": model, "format": format_, "values": values}
        shown = look(pages, TRIAGE, **how)["preview"]
        text = "".join(one["text"] for one in shown["stretches"])
        assert "Acme" in text
        assert "@/etc/passwd" in text, "a value is a text, and no file"
        asked = done(
            pages,
            "instructions/speak",
            {"source": TRIAGE, **how, "messages": [{"role": "user", "content": "@/etc/passwd"}]},
        )
        SpeakShape.model_validate(asked)
        if format_ == "plain":
            assert asked["prompt"] == text
            assert asked["stop"]
        else:
            for turn in asked["messages"]:
                assert turn["content"] in text
        assert bool(shown["tokens"]) == (model not in ("far", ""))


def test_a_template_that_drops_it_is_said_with_the_way_out(pages: Playground) -> None:
    found = look(pages, TRIAGE, model="deaf")
    assert found["preview"] is None
    assert "drops the system text" in found["problems"][0]["what"]
    assert look(pages, TRIAGE, model="deaf", placement="user")["preview"] is not None
    said = {"source": TRIAGE, "model": "deaf", "messages": [{"role": "user", "content": "x"}]}
    assert "--placement user" in refused(pages, "instructions/speak", said)["mend"]
    assert "system" not in {
        one["role"] for one in done(pages, "instructions/speak", {**said, "placement": "user"})["messages"]
    }


def test_a_conversation_is_put_under_it(pages: Playground) -> None:
    turns = [("user", "one"), ("assistant", "two"), ("user", "three")]
    said = {"source": TRIAGE, "model": "tiny", "messages": [{"role": role, "content": text} for role, text in turns]}
    found = done(pages, "instructions/speak", said)["messages"]
    assert [one["role"] for one in found] == ["system", "user", "assistant", "user"]
    assert found[2]["content"] == "two"
    assert "three" in found[3]["content"]
    xml = done(pages, "instructions/speak", {**said, "notation": "xml"})["messages"]
    assert xml[0]["content"].startswith("<role>")


@pytest.mark.parametrize(
    ("name", "given_", "said"),
    [
        ("instructions/look", {}, "'source' is missing"),
        ("instructions/look", {"source": 5}, "valid string"),
        ("instructions/look", {"source": "x", "sorce": 1}, "no field 'sorce'"),
        ("instructions/look", {"source": "x" * 100_001}, "at most 100000"),
        ("instructions/look", {"source": "x", "name": "../x"}, "pattern"),
        ("instructions/look", {"source": "x", "notation": "html"}, "markdown"),
        ("instructions/speak", {"source": TRIAGE, "messages": []}, "at least 1"),
        ("instructions/speak", {"source": TRIAGE, "messages": [{"role": "assistant", "content": "x"}]}, "not the user's"),
        ("instructions/speak", {"source": "# Tsk\nx", "messages": [{"role": "user", "content": "x"}]}, "unknown block"),
        ("instructions/speak", {"source": TRIAGE, "model": "tinny", "messages": [{"role": "user", "content": "x"}]}, "no model 'tinny'"),
        ("instructions/speak", {"source": TRIAGE, "model": "base", "messages": [{"role": "user", "content": "x"}]}, "format 'own'"),
        ("instructions/open", {"name": "nowhere", "origin": "library"}, "no instruction 'nowhere'"),
        ("instructions/open", {"name": "nowhere", "origin": "folder"}, "no such file"),
        ("instructions/open", {"name": "../../etc/passwd", "origin": "folder"}, "pattern"),
        ("instructions/save", {"name": "a/b", "source": "x"}, "pattern"),
        ("instructions/save", {"name": "..", "source": "x"}, "pattern"),
        ("matrix/plan", {"instructions": [], "ways": [], "cases": ""}, "at least 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_words(pages: Playground, name: str, given_: Any, said: str) -> None:
    error = refused(pages, name, given_)
    assert said in " ".join([error["message"], *(one["what"] for one in error["problems"])])


def test_a_model_that_is_not_there_is_said_beside_the_findings(pages: Playground) -> None:
    found = look(pages, TRIAGE, model="tinny")
    assert "did you mean 'tiny'" in found["problems"][0]["mend"]
    assert found["blocks"]


# Files -----------------------------------------------------------------------------------------------------------------


def test_files_are_listed_opened_and_saved(pages: Playground, tmp_path: Path) -> None:
    found = json.loads(pages.answer("GET", "/ui/api/instructions", HOST).body)
    FilesShape.model_validate(found)
    assert [one["name"] for one in found["library"]] == names()
    assert all(one["about"] for one in found["library"])
    assert found["saved"] == []
    parse(found["starter"])
    assert not [one for one in look(pages, STARTER)["findings"] if one["severity"] == "error"]
    assert done(pages, "instructions/open", {"name": "ticket-triage", "origin": "library"})["source"] == TRIAGE
    done(pages, "instructions/save", {"name": "mine", "source": TRIAGE + "\n\n"})
    assert (tmp_path / "prompts" / "mine.prompty").read_text() == TRIAGE
    error = refused(pages, "instructions/save", {"name": "mine", "source": "x"})
    assert "is there already" in error["message"]
    done(pages, "instructions/save", {"name": "mine", "source": "x", "replace": True})
    assert done(pages, "instructions/open", {"name": "mine", "origin": "folder"})["source"] == "x\n"
    listed = json.loads(pages.answer("GET", "/ui/api/instructions", HOST).body)["saved"]
    assert [one["name"] for one in listed] == ["mine"]


def test_nothing_leads_out_of_the_folder(pages: Playground, tmp_path: Path) -> None:
    folder, secret = tmp_path / "prompts", tmp_path / "secret.prompty"
    folder.mkdir()
    secret.write_text("# Task\nThe password is xyzzy.\n")
    (tmp_path / "secret.jsonl").write_text('{"text": "xyzzy", "output": "xyzzy"}\n')
    (folder / "link.prompty").symlink_to(secret)
    (folder / "chain.prompty").write_text("---\nheed: {use: [../secret.prompty]}\n---\n# Goal\nBe good.\n")
    (folder / "parts.prompty").write_text("# Goal\nBe good.\n")
    front = "---\ninputs:\n  - {{name: text, kind: string, required: true}}\nheed: {}\n---\n# Task\nDo it.\n\n# Examples {{# slot=examples #}}\n\nuser:\n{{{{ text }}}}\n"
    for use in (
        "{use: [../secret.prompty]}",
        f"{{use: [{secret}]}}",
        "{use: [link.prompty]}",
        "{use: [chain.prompty]}",
        "{examples: {from: ../secret.jsonl}}",
        f"{{examples: {{from: {tmp_path}/secret.jsonl}}}}",
    ):
        found = look(pages, front.format(use))
        assert "xyzzy" not in json.dumps(found), use
        assert any("outside the folder" in one["what"] for one in found["findings"]), use
    good = look(pages, front.format("{use: [parts.prompty, 'heed:house-blocks#untrusted']}"))
    assert {"goal", "untrusted"} <= {one["id"] for one in good["blocks"]}
    assert "outside the folder" in refused(pages, "instructions/open", {"name": "link", "origin": "folder"})["message"]
    assert (
        "outside the folder"
        in refused(pages, "instructions/save", {"name": "link", "source": "x", "replace": True})["message"]
    )
    assert "xyzzy" in secret.read_text()


def test_a_folder_that_cannot_be_written_is_told(pages: Playground, tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("a file in its place")
    found = post(pages, "instructions/save", {"name": "mine", "source": "x"})
    assert found.status in (422, 500)
    assert json.loads(found.body)["error"]["message"]


def test_other_sites_and_strangers_are_kept_out(pages: Playground) -> None:
    for headers in (
        {**JSON, "origin": "http://evil.example"},
        {"host": "evil.example", "content-type": "application/json"},
        HOST,
    ):
        assert post(pages, "instructions/look", {"source": "x"}, headers).status == 403
    assert pages.answer("GET", "/ui/api/instructions/look", HOST).status == 405


# Matrix ----------------------------------------------------------------------------------------------------------------

WAYS = [{"model": "tiny", "format": "own"}, {"model": "base", "format": "plain"}, {"model": "far", "format": "own"}]


def matrix(cases: str = CASE, ways: Any = WAYS, **more: Any) -> dict[str, Any]:
    return {"instructions": [{"name": "triage", "source": TRIAGE}], "ways": ways, "cases": cases, **more}


def test_every_request_is_planned_once_and_scored_as_the_engine_does(
    pages: Playground, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    cases = "".join(CASE.replace("it", f"order {number}") for number in range(10)) + CASE.replace("it", "order 0")
    plan = done(pages, "matrix/plan", matrix(cases))
    PlanShape.model_validate(plan)
    assert len(plan["cases"]) == 11
    assert [(one["instruction"], one["model"], one["format"]) for one in plan["rows"]] == [
        ("empty", "tiny", "chat"), ("triage", "tiny", "chat"),
        ("empty", "base", "completion"), ("triage", "base", "completion"),
        ("empty", "far", "messages"), ("triage", "far", "messages"),
    ]  # fmt: skip
    assert len(plan["asks"]) == 6 * 10, "equal requests are asked once"
    assert {one["path"] for one in plan["asks"]} == {"/v1/chat/completions", "/v1/completions"}

    def answer(text: str) -> str:
        return '{"queue": "shipping", "summary": "Asks."}' if "JSON" in text else "Hello."

    def said(ask: dict[str, Any]) -> str:
        body = ask["body"]
        return answer(body.get("prompt") or body["messages"][0]["content"])

    replies = [{"text": said(one), "finish": "stop", "tokens": 3} for one in plan["asks"]]
    found = done(pages, "matrix/score", {**matrix(cases), "replies": replies})
    ReportShape.model_validate(found)
    assert [one["score"] for one in found["report"]["cells"]] == [0.0, 1.0] * 3
    assert all(one["sure"] == 1 for one in found["report"]["cells"] if one["baseline"])
    assert "What the instructions gain" in found["html"]

    class Told:
        name = "told"

        def reply(self, requests: list[Request], sampling: Sampling, **_: Any) -> list[Reply]:
            return [Reply(answer(one.text or one.messages[0].content)) for one in requests]

    file = tmp_path / "cases.jsonl"
    file.write_text(cases)
    triage = load("ticket-triage")
    bench = Bench(Told(), read_cases([file], [triage], triage.checks))  # type: ignore[arg-type]
    scores = bench.scores([Candidate(empty_of(triage)), Candidate(triage)])
    cells = found["report"]["cells"]
    assert [sum(one) / len(one) for one in scores] == [cells[0]["score"], cells[1]["score"]]


def test_failed_and_cut_answers_are_told_apart(pages: Playground) -> None:
    ways = WAYS[2:]
    plan = done(pages, "matrix/plan", matrix(ways=ways))
    assert len(plan["asks"]) == 2
    replies = [{"text": "gone", "finish": "error"}, {"text": '{"queue": "x"', "finish": "length"}]
    cells = done(pages, "matrix/score", {**matrix(ways=ways), "replies": replies})["report"]["cells"]
    assert [(one["errors"], one["cut"], one["score"]) for one in cells] == [(1, 0, 0.0), (0, 1, 0.0)]


def test_notations_and_several_instructions_are_rows_of_their_own(pages: Playground) -> None:
    given_ = matrix(ways=[{"model": "tiny", "format": one} for one in ("own", "own/xml", "alpaca/label")])
    given_["instructions"].append({"name": "other", "source": TRIAGE.replace("ticket-triage", "x")})
    rows = done(pages, "matrix/plan", given_)["rows"]
    assert [(one["instruction"], one["format"]) for one in rows] == [
        (name, way) for way in ("chat", "chat/xml", "alpaca/label") for name in ("empty", "triage", "other")
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one | {"cases": ""}, "no cases"),
        (lambda one: one | {"cases": "{"}, "cases"),
        (lambda one: one | {"cases": CASE.replace("contains", "contain")}, "contain"),
        (lambda one: one | {"ways": [{"model": "tinny", "format": "own"}]}, "no model 'tinny'"),
        (lambda one: one | {"ways": [{"model": "base", "format": "own"}]}, "format 'own'"),
        (lambda one: one | {"ways": [{"model": "tiny", "format": "own/html"}]}, "no notation 'html'"),
        (lambda one: one | {"ways": [{"model": "tiny", "format": "base"}]}, "no instruction is written"),
        (lambda one: one | {"ways": [{"model": "deaf", "format": "own"}]}, "drops the system text"),
        (lambda one: one | {"instructions": one["instructions"] * 2}, "two instructions are named"),
        (lambda one: one | {"instructions": [{"name": "empty", "source": TRIAGE}]}, "named 'empty'"),
        (lambda one: one | {"instructions": [{"name": "x", "source": "# Tsk\nx"}]}, "unknown block"),
        (lambda one: one | {"replies": []}, "no field 'replies'"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_refused(
    pages: Playground, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    error = refused(pages, "matrix/plan", change(matrix()))
    assert said in " ".join(f"{one['what']} {one['where']}" for one in error["problems"])


def test_too_many_requests_and_too_few_replies_are_refused(pages: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        "replies to 6 requests" in refused(pages, "matrix/score", {**matrix(), "replies": [{"text": "x"}]})["message"]
    )
    monkeypatch.setattr(playground_matrix, "MOST_ASKED", 5)
    assert "heed prompt test" in refused(pages, "matrix/plan", matrix())["mend"]


def test_patterns_are_judged_apart_and_one_without_an_end_is_given_up(
    pages: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = WAYS[2:]
    monkeypatch.setattr(playground_scores, "PATIENCE", 600.0)
    good = matrix(CASE.replace('"contains", "value": "queue"', '"regex", "value": "qu.ue"'), ways)
    replies = [{"text": "no"}, {"text": '{"queue": "shipping", "summary": "Asks."}'}]
    cells = done(pages, "matrix/score", {**good, "replies": replies})["report"]["cells"]
    assert [one["score"] for one in cells] == [0.0, 1.0]
    monkeypatch.setattr(playground_scores, "PATIENCE", 3.0)
    endless = matrix(CASE.replace('"contains", "value": "queue"', '"regex", "value": "(a+)+$"'), ways)
    error = refused(pages, "matrix/score", {**endless, "replies": [{"text": "a" * 60 + "b"}] * 2})
    assert "has not come to an end" in error["message"]
