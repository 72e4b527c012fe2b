"""Templates and rows for these tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from heedlm.data.prompts.apply import Prompted, Prompting, prompt_rows
from heedlm.data.prompts.read import parse_template
from heedlm.data.prompts.template import Template
from heedlm.data.sources import Row
from heedlm.errors import Problem

TOPIC = """
name: topic
family: classification
columns:
  text: {also: [body, doc.text]}
  label: {also: [kind]}
  note: {optional: true}
choices: {right: label, names: {fish: [0, salmon], bird: [1]}}
wordings:
  - "{{ text }} {{ note }} Is it {{ choices | either }}?"
  - ask: "{{ text }}\\n{{ options }}"
    answer: "{{ marked }}"
  - system: {role: "You know animals.", rules: [One word., "Say {{ choices | either }}."]}
    ask: "{{ text }}"
inverted:
  - {ask: "Write about a {{ choice }}.", answer: "{{ text }}"}
examples: [{text: It swims., label: 0}]
"""


@pytest.fixture
def topic() -> Template:
    return parse_template(TOPIC, "topic.yaml")


@pytest.fixture
def made() -> Callable[..., list[Prompted]]:
    """The conversations of a row; none may be refused."""

    def make(value: dict[str, Any], how: Prompting) -> list[Prompted]:
        found = prompt_rows(Row(value, "rows.csv:2"), how)
        assert not [one for one in found if isinstance(one, Problem)], found
        return [one for one in found if not isinstance(one, Problem)]

    return make
