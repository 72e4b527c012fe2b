"""The linter tells everything at once, each thing where it stands, and nothing of a sound template."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedlm.data.prompts.apply import Prompting
from heedlm.data.prompts.lint import lint, lint_file
from heedlm.data.prompts.located import read_yaml
from heedlm.data.prompts.read import parse_as_far, parse_template
from heedlm.data.prompts.template import Template
from heedlm.data.sources import Row
from heedlm.errors import HeedError

OPEN = """name: t
family: f
columns: {text: x, title: y}
answer: "{{ title }}"
wordings:
  - "One: {{ text }}"
  - WORDING
examples: [{text: Storks are back., title: The birds return}]
"""
CHOICE = """name: t
family: f
columns: {text: x, label: y}
choices: [good, bad]
wordings:
  - "One: {{ text }}"
  - WORDING
examples: [{text: It is fine., label: 0}]
"""
# Template, the wording that stands at line 7, what is told, its line.
FAULTS = {
    "unknown column": (OPEN, '"{{ txt }}"', "undefined variable: 'txt' is no column", 7),
    "in the second line": (OPEN, '|\n    {{ text }}\n    {{ txt }}', "undefined variable: 'txt'", 9),
    "in a system text": (OPEN, '{ask: "{{ text }}", system: {role: "{{ who }}"}}', "undefined variable: 'who'", 7),
    "in turns": (OPEN, "{turns: talk}", "undefined variable: 'talk'", 7),
    "choices without any": (OPEN, '"{{ options }} {{ text }}"', "the template has no choices", 7),
    "broken": (OPEN, '"{% if text %}"', "broken template", 7),
    "unknown filter": (OPEN, '"{{ text | shout }}"', "broken template: No filter named 'shout'", 7),
    "the clock": (OPEN, '"{{ text }} {{ now() }}"', "nondeterminism: 'now'", 7),
    "a cut": (OPEN, '"{{ text[:300] }}"', "truncation: [:300]", 7),
    "a cut answer": (OPEN, '{ask: "{{ text }}", answer: "{{ title | truncate(50) }}"}', "truncation: truncate", 7),
    "the same again": (OPEN, '"One: {{ text }}"', "wording 2 is the same as wording 1", 7),
    "the same in the end": (OPEN, '"{{ \'One\' }}: {{ text }}"', "wordings 1 and 2 make the same conversation", 7),
    "the answer in the question": (OPEN, '"{{ text }} {{ title }}"', "label leaks into the input: wording 2 shows 'title'", 7),
    "a part of it in a filter": (OPEN, '"{{ text }} {{ title | upper }}"', "shows the answer 'The birds return'", 8),
    "empty answer": (OPEN, '{ask: "{{ text }}", answer: "{% if false %}x{% endif %}"}', "empty answer", 8),
    "empty question": (OPEN, '"{{ text[900:] }}"', "empty question", 8),
    "no such element": (OPEN, '"{{ text }} {{ text.x.y }}"', "template cannot be filled: wording 2", 7),
    "the choice in the question": (CHOICE, '"{{ text }} {{ choice }}"', "wording 2 shows 'choice'", 7),
    "its mark in the question": (CHOICE, '"{{ text }} {{ marked }}"', "wording 2 shows 'marked'", 7),
    "the label in the question": (CHOICE, '"{{ text }} {{ label }}"', "wording 2 shows 'label'", 7),
    "the choice in the system text": (CHOICE, '{ask: "{{ text }}", system: "Say {{ choice }}."}', "shows 'choice'", 7),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(FAULTS))
def test_each_fault_is_told_at_its_line(case: str) -> None:
    text, wording, said, line = FAULTS[case]
    problems = lint(parse_template(text.replace("WORDING", wording), "t.yaml"))
    assert [problem.where for problem in problems if said in problem.what] == [f"t.yaml:{line}"], problems
    assert all(problem.mend for problem in problems)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: y}", "title: y, more: z}", "unused column: nothing reads 'more'"),
        ("family: f", "family: f\nwhen: txt != ''", "undefined variable: 'txt'"),
        ("family: f", "family: f\nwhen: text !=", "broken template"),
        ("family: f", "family: f\nwhen: text == 'x'", "no example is taken"),
        ("family: f", "family: f\nchoices: {right: lable, names: [a, b]}", "undefined variable: 'lable'"),
        ("title: The birds return", "titel: x", "missing column"),
        ("The birds return", "storks are back", "label leaks into the input"),
    ],
)
def test_faults_beside_the_wordings(old: str, new: str, said: str) -> None:
    text = OPEN.replace("WORDING", '"Two: {{ text }}"')
    assert old in text
    assert [p for p in lint(parse_template(text.replace(old, new), "t.yaml")) if said in p.what]


@pytest.mark.parametrize(
    "wording",
    [
        '"{{ text }} {{ text | wordcount }}"',
        '{ask: "{{ text }}", answer: "It is called {{ title }}."}',
        '"{{ text[:1] | lower }}{{ text[1:] }}"',
        '"{{ text }} {{ title | length }}"',
        '"{{ text }} {{ [1, 2] | choice }}"',
        '{ask: {task: Do it., text: "{{ text }}"}, system: {role: You name texts.}}',
    ],
)
def test_what_is_sound_is_left_alone(wording: str) -> None:
    assert lint(parse_template(OPEN.replace("WORDING", wording), "t.yaml")) == []


def test_copying_is_allowed_where_the_template_says_so() -> None:
    text = OPEN.replace("WORDING", '"{{ text }} {{ title }}"')
    assert lint(parse_template(text, "t.yaml"))
    assert not lint(parse_template(text.replace("family", "copied: true\nfamily"), "t.yaml"))


def test_inverted_wordings_may_show_the_choice(topic: Template) -> None:
    assert lint(topic) == []


def test_labels_of_the_examples_must_be_choices() -> None:
    text = CHOICE.replace("WORDING", '"Two: {{ text }}"').replace("label: 0", "label: fine")
    (problem,) = lint(parse_template(text, "t.yaml"))
    assert "choice not in list: 'label' is 'fine', expected one of: good, bad" in problem.what
    assert problem.where == "t.yaml:8"


def test_rows_bring_to_light_what_examples_do_not(topic: Template) -> None:
    rows = [Row({"words": "a", "kind": number}, f"rows.csv:{number}") for number in (0, 1, 5, 6, 0)]
    found = lint(topic, rows)
    assert [problem.where for problem in found] == ["rows.csv:0"]
    assert found[0].what.endswith("(and 4 more rows)")
    found = lint(topic, rows, Prompting((), mapping={"text": "words"}))
    assert [(problem.where, "choice not in list" in problem.what) for problem in found] == [
        ("rows.csv:5", True),
        ("rows.csv:6", True),
    ]


def test_the_template_on_the_page_of_the_room_is_sound() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rooms" / "data.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(version: 1\n.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    template = parse_template(shown, "page.yaml")
    assert len(template.wordings) == 4
    assert lint(template) == []


def test_everything_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    wordings = '"{{ txt }}"\n  - "{% if %}"\n  - "{{ text }} {{ choice }}"\n  - 7'
    text = CHOICE.replace("WORDING", wordings).replace("name: t", "name: T T").replace("label: 0", "label: no")
    path.write_text(text)
    problems, number = lint_file(path)
    assert number == 1
    lines = [int(problem.where.rpartition(":")[2]) for problem in problems]
    assert sorted(lines) == [1, 7, 8, 9, 10, 11]
    assert len({problem.what for problem in problems}) == 6


JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(["{{ a }}", "{{ choice }}"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["ask", "answer", "right", "names", "each", "a", "also", "turns"]), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
KEYS = ("name", "family", "columns", "choices", "answer", "check", "when", "group", "styles", "wordings", "inverted", "examples")  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JUNK, min_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_file_holds_it_is_told_and_never_crashes(top: dict[str, object]) -> None:
    sound = {"name": "t", "family": "f", "columns": {"a": None}, "wordings": ["{{ a }}"], "answer": "b", "examples": [{"a": 1}]}  # fmt: skip
    try:
        template, problems = parse_as_far(yaml.safe_dump({**sound, **top}, allow_unicode=True), "t.yaml")
    except HeedError as error:
        problems, template = list(error.problems), None
    problems += lint(template) if template is not None else []
    for problem in problems:
        assert problem.where.startswith("t.yaml")
        assert problem.mend


@given(st.text())
def test_any_text_is_yaml_or_told(text: str) -> None:
    with contextlib.suppress(HeedError):
        read_yaml(text, "t.yaml")
