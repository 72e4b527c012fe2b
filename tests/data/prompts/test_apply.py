"""Rows become conversations, the same ones every time, wherever the row stands."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.prompts.apply import NOT_MEANT, Prompted, Prompting, group_columns, prompt_rows, prompted, row_name
from heedlm.data.prompts.read import parse_template
from heedlm.data.prompts.template import Template
from heedlm.data.sources import Row
from heedlm.data.split import keys_of
from heedlm.data.store import to_line
from heedlm.errors import Problem
from tests.data.prompts.conftest import TOPIC

Made = Callable[..., list[Prompted]]


def rows(number: int) -> list[dict[str, Any]]:
    return [{"text": f"Animal {one} is here.", "label": one % 2} for one in range(number)]


def test_a_row_becomes_a_conversation(topic: Template, made: Made) -> None:
    (one,) = made({"text": "It swims.", "label": 0, "id": 7, "licence": "CC0"}, Prompting((topic,), seed=3))
    example = one.example
    assert example.messages[-2].role == "user"
    assert "It swims." in example.messages[-2].content
    assert "fish" in example.messages[-1].content
    assert example.source == "rows.csv:2"
    assert example.id == "7-topic"
    assert example.meta["licence"] == "CC0"
    assert example.meta["checks"] == [{"type": "iequals", "value": example.messages[-1].content}]
    assert (example.meta["task"], example.meta["kind"]) == ("topic", "classification")
    assert one.shape == "template topic"


def test_what_is_drawn_depends_on_seed_and_row_alone(topic: Template, made: Made) -> None:
    how = Prompting((topic,), seed=1, per_row=2, inverted=0.3, notation="mix")
    first = {row["text"]: [to_line(one.example) for one in made(row, how)] for row in rows(30)}
    for row in reversed(rows(30)):
        assert first[row["text"]] == [to_line(one.example) for one in made(dict(reversed(row.items())), how)]
    other = dataclasses.replace(how, seed=2)
    assert sum(first[row["text"]] != [to_line(one.example) for one in made(row, other)] for row in rows(30)) > 20


def test_another_process_with_another_hash_seed_draws_the_same(topic: Template, made: Made) -> None:
    code = (
        "import json, sys\nfrom heedlm.data.prompts.apply import Prompting, prompt_rows\n"
        "from heedlm.data.prompts.read import parse_template\nfrom heedlm.data.sources import Row\n"
        "how = Prompting((parse_template(sys.stdin.read(), 'topic.yaml'),), seed=1, notation='mix')\n"
        "rows = [{'text': f'Animal {n} is here.', 'label': n % 2} for n in range(20)]\n"
        "print(json.dumps([prompt_rows(Row(r, 'x'), how)[0].example.messages[-2].content for r in rows]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=TOPIC,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "9"},
    )
    how = Prompting((topic,), seed=1, notation="mix")
    assert json.loads(done.stdout) == [made(row, how)[0].example.messages[-2].content for row in rows(20)]


def test_what_is_drawn_is_a_promise(topic: Template, made: Made) -> None:
    """The same seed gives the same rows in every version; whoever changes this changes everybody's data."""
    drawn = [made(row, Prompting((topic,), seed=0, notation="mix"))[0].example for row in rows(6)]
    told = [" ".join([value for key, value in one.meta["prompt"].items() if key != "template"]) for one in drawn]
    assert told == ["2 1)", "3 labels", "2 A)", "1", "3 labels", "2 1."]
    assert drawn[0].id == "89ffcb330d07ba86-topic"


def test_wordings_are_drawn_evenly_and_templates_too(topic: Template, made: Made) -> None:
    short = parse_template(TOPIC.replace("name: topic", "name: short").split("  - ask: \"{{ text }}\\n")[0] + TOPIC[TOPIC.index("examples"):], "short.yaml")  # fmt: skip
    assert len(short.wordings) == 1
    counted = Counter(
        (one.example.meta["prompt"]["template"], one.example.meta["prompt"]["wording"])
        for row in rows(1200)
        for one in made(row, Prompting((topic, short)))
    )
    assert 500 < counted["short", "1"] < 700
    assert all(150 < counted["topic", name] < 250 for name in "123")


def test_a_wording_that_is_added_moves_only_the_rows_it_takes(topic: Template, made: Made) -> None:
    wider = parse_template(TOPIC.replace("inverted:", '  - "New: {{ text }}"\ninverted:'), "topic.yaml")
    kept = 0
    for row in rows(300):
        before, after = (made(row, Prompting((one,)))[0].example for one in (topic, wider))
        if after.meta["prompt"]["wording"] != "4":
            assert before == after
            kept += 1
    assert 180 < kept < 270


def test_several_conversations_of_a_row_differ_and_stay_together(topic: Template, made: Made) -> None:
    for row in rows(20):
        found = made(row, Prompting((topic,), per_row=3))
        assert len({one.example.meta["prompt"]["wording"] for one in found}) == 3
        assert len({one.example.id for one in found}) == 3
        assert len({keys_of(one.example).group for one in found}) == 1


def test_rows_about_the_same_stay_together_whatever_their_label(topic: Template, made: Made) -> None:
    one, other, third = (
        made(row, Prompting((topic,)))[0].example.group
        for row in (
            {"text": "a b", "label": 0},
            {"text": " A  b.", "label": 1, "note": ""},
            {"text": "a c", "label": 0},
        )
    )
    assert one == other != third
    assert group_columns(topic) == ("text", "note")
    own = made({"text": "a", "label": 0, "group": 5}, Prompting((topic,)))[0].example
    assert own.group == "5"
    mapped = Prompting((topic,), mapping={"group": "doc"})
    assert made({"text": "a", "label": 0, "doc": "d1"}, mapped)[0].example.group == "d1"


def test_two_templates_group_by_what_both_ask_about(topic: Template, made: Made) -> None:
    text = (
        TOPIC.replace("name: topic", "name: other").replace("{{ note }}", "").replace("  note: {optional: true}\n", "")
    )
    both = Prompting((topic, parse_template(text, "other.yaml")), per_row=6)
    found = made({"text": "a", "label": 0, "note": "n"}, both)
    assert {one.example.meta["prompt"]["template"] for one in found} == {"topic", "other"}
    assert len({one.example.group for one in found}) == 1


def test_inverted_conversations_ask_for_the_input(topic: Template, made: Made) -> None:
    found = [one for row in rows(300) for one in made(row, Prompting((topic,), inverted=0.4))]
    inverted = [one for one in found if one.inverted]
    assert 80 < len(inverted) < 160
    for one in inverted:
        assert one.example.messages[0].content in ("Write about a fish.", "Write about a bird.")
        assert one.example.messages[1].content.startswith("Animal")
        assert "checks" not in one.example.meta
        assert one.example.meta["task"] == "topic-inverted"


def test_columns_by_mapping_by_name_by_other_names_and_paths(topic: Template, made: Made) -> None:
    def asked(value: dict[str, Any], **mapping: str) -> str:
        return made({**value, "label": 0}, Prompting((topic,), mapping=mapping))[0].example.messages[-2].content

    assert "one" in asked({"body": "one"})
    assert "one" in asked({"doc": {"text": "one"}})
    assert "one" in asked({"doc.text": "one"})
    assert "own" in asked({"text": "own", "body": "other"})
    assert "filled" in asked({"text": None, "body": "filled"})
    assert "two" in asked({"text": "one", "mine": {"x": ["one", "two"]}}, text="mine.x.1")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"label": 0}, "missing column: topic needs 'text' (or body, doc.text), missing or empty here; found label"),
        ({"text": "a"}, "missing column: topic needs 'label' (or kind), missing or empty here; found text"),
        ({}, "topic needs 'text' (or body, doc.text), 'label' (or kind), missing or empty here; found no fields"),
        ({"text": "", "label": 0}, "missing column"),
        ({"text": float("nan"), "label": 0}, "missing column"),
        ({"text": [], "label": 0}, "missing column"),
        ({"text": "a", "label": "cow"}, "choice not in list: 'label' is 'cow', expected one of: 0, salmon, 1"),
        ({"text": "a\ud800", "label": 0}, "not UTF-8"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_once(value: dict[str, Any], said: str, topic: Template) -> None:
    (problem,) = prompt_rows(Row(value, "rows.csv:9"), Prompting((topic,), per_row=3))
    assert isinstance(problem, Problem)
    assert said in problem.what
    assert problem.where == "rows.csv:9"
    assert problem.mend


def template(text: str) -> Template:
    head = "name: t\nfamily: f\ncolumns: {a: x, b: {optional: true}}\nexamples: [{a: 1}]\n"
    return parse_template(head + text, "t.yaml")


def only(value: dict[str, Any], text: str, **options: Any) -> Any:
    (found,) = prompt_rows(Row(value, "x:1"), Prompting((template(text),), **options))
    return found


def test_a_row_that_a_template_leaves_out_is_not_broken_and_another_template_takes_it(topic: Template) -> None:
    text = 'answer: "{{ a }}"\nwhen: a != "-1"\nwordings: ["Q {{ b }}"]'
    assert only({"a": "-1"}, text).what.startswith(NOT_MEANT)
    assert only({"a": "1"}, text).example.messages[1].content == "1"
    how = Prompting((template(text), topic))
    for number in range(20):
        found = prompt_rows(Row({"a": "-1", "text": f"t{number}", "label": 0}, "x:1"), how)
        assert [one.example.meta["task"] for one in found if isinstance(one, Prompted)] == ["topic"]


@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        ({"a": "x"}, 'wordings: [{ask: "Q", answer: "{{ b }}"}]', "empty answer"),
        ({"a": "x"}, 'wordings: [{ask: "{{ b }}", answer: "{{ a }}"}]', "empty question"),
        ({"a": "x"}, 'wordings: [{ask: "{{ a[5] }}", answer: y}]', "template cannot be filled: t, wording 1"),
        ({"a": "x"}, 'wordings: [{ask: "{{ c }}", answer: y}]', "'c' is undefined"),
        ({"a": "x"}, "check: json-equals\nwordings: [{ask: q, answer: '{{ a }}'}]", "answer is not JSON"),
        ({"a": "x"}, "wordings: [{turns: a}]", "wrong type: the turns are 'x'"),
        ({"a": ["x"]}, "wordings: [{turns: a}]", "wrong type: the turns are a list of 1"),
        ({"a": ["x", " "]}, "wordings: [{turns: a}]", "empty answer: a turn is empty"),
        ({"a": ["x", 1]}, "wordings: [{turns: a}]", "wrong type"),
    ],
)
def test_what_cannot_be_filled(value: dict[str, Any], text: str, said: str) -> None:
    assert said in only(value, text).what


def test_a_list_or_an_object_may_stand_in_the_cell_of_a_table() -> None:
    text = "name: t\nfamily: f\ncolumns: {a: {structure: true}}\nexamples: [{a: 1}]\n"
    how = Prompting((parse_template(text + "wordings: [{ask: q, answer: '{{ a | tojson }}'}]", "t.yaml"),))

    def said(value: Any) -> str:
        (found,) = prompt_rows(Row({"a": value}, "x:1"), how)
        return found.what if isinstance(found, Problem) else found.example.messages[1].content

    assert said(' {"b": [1]}') == said({"b": [1]}) == '{"b": [1]}'
    assert said("[1, null]") == "[1, null]"
    for value in ("b", "7", "[1", "[" * 100_000, '["x", NaN]'):
        assert said(value).startswith("wrong type: field 'a")


def test_turns_and_checks() -> None:
    talk = only({"a": ["Hi", "Hello", "Bye", "Goodbye", "?"]}, "wordings: [{turns: a, system: Be kind.}]").example
    assert [message.role for message in talk.messages] == ["system", *("user", "assistant") * 2]
    assert talk.messages[-1].content == "Goodbye"
    found = only({"a": {"k": 1}}, "check: json-equals\nwordings: [{ask: q, answer: '{{ a | tojson }}'}]").example
    assert found.meta["checks"] == [{"type": "json-equals", "value": {"k": 1}}]


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip))
def test_a_value_is_handed_on_as_it_is_and_opens_nothing(value: str) -> None:
    text = "wordings: [{ask: {task: Do., data: 'x{{ a }}x'}, answer: 'x{{ a }}x'}]"
    messages = only({"a": value}, text, notation="xml").example.messages
    assert [message.role for message in messages] == ["user", "assistant"]
    assert messages[1].content == f"x{value}x"
    assert messages[0].content == f"<task>\nDo.\n</task>\n\n<data>\nx{value}x\n</data>"


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=3))
def test_a_row_has_a_name_by_its_content(value: dict[str, Any]) -> None:
    value.pop("id", None)
    assert row_name(value) == row_name(dict(reversed(value.items())))
    assert row_name({**value, "id": "mine"}) == "mine"


def test_every_wording_of_a_row_can_be_asked_for(topic: Template) -> None:
    row = Row({"text": "a", "label": 1}, "x:1")
    for wording in topic.wordings:
        one = prompted(row, "n", topic, wording, Prompting((topic,), notation="labels"))
        assert one.example.meta["prompt"]["wording"] == wording.name
        assert one.inverted == wording.inverted
    system = prompted(row, "n", topic, topic.wordings[2], Prompting((topic,), notation="labels")).example.messages[0]
    assert system.content.startswith("ROLE: You know animals.\n\nRULES:\n- One word.\n- Say ")
    assert Path(topic.at(*topic.wordings[2].path)).name.startswith("topic.yaml:")
