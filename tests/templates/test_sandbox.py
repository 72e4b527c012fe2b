"""Texts that people write are filled with what is given, and with nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.templates.sandbox import (
    DRAWS,
    FillError,
    bare_names,
    chance_in,
    cuts_in,
    either,
    fill,
    names_in,
    names_of,
    value_of,
)

# What a template must not be able to do, whoever wrote it.
ATTACKS = [
    "{{ ''.__class__.__mro__ }}",
    "{{ x.__init__.__globals__ }}",
    "{{ [].append(1) }}",
    "{{ d.update({'a': 1}) }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 'a'.center(1000000000) }}",
    "{{ '{:>1000000000}'.format('a') }}",
    "{{ '%1000000000d' | format(1) }}",
    "{% for i in range(100000000) %}a{% endfor %}",
    "{% for i in range(2000) %}{% for j in range(2000) %}aaaaaaaaaa{% endfor %}{% endfor %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{% include 'x' %}",
    "{% import 'os' as os %}",
    "{{ lipsum() }}",
    "{{ now() }}",
    "{{ missing }}",
    "{{ d.missing }}",
    "{{ items | nothing }}",
    "{% if x %}",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_what_a_template_may_not_do(text: str) -> None:
    with pytest.raises(FillError) as refused:
        fill(text, {"x": "value", "d": {}, "items": [1]})
    assert refused.value.what
    assert "\n" not in refused.value.what


@given(st.text())
def test_a_value_is_a_value_and_never_a_template(value: str) -> None:
    assert fill("<{{ x }}>", {"x": value}) == f"<{value}>"
    assert fill("{{ x }}", {"x": "{{ y }}{% if %}", "y": 1}) == "{{ y }}{% if %}"


def test_loose_templates_may_build_lists_and_meet_gaps_but_not_reach_out() -> None:
    grows = "{% set found = [] %}{{ found.append(1) or '' }}{{ found | length }}{{ d.gone }}"
    assert fill(grows, {"d": {}}, loose=True) == "1"
    for text in ATTACKS[:2] + ATTACKS[4:10]:
        with pytest.raises(FillError):
            fill(text, {"x": "value", "d": {}, "items": [1]}, loose=True)


def test_chance_is_handed_in() -> None:
    text = "{{ [1, 2, 3, 4, 5, 6] | choice }}{{ [1, 2, 3] | random }}"
    one, again = (fill(text, {DRAWS: random.Random(4)}) for _ in range(2))
    assert one == again
    assert len({fill(text, {DRAWS: random.Random(seed)}) for seed in range(20)}) > 5
    with pytest.raises(FillError, match="nothing may be drawn"):
        fill(text, {})
    with pytest.raises(FillError, match="nothing to choose"):
        fill("{{ [] | choice }}", {DRAWS: random.Random(0)})


def test_json_keeps_the_order_and_the_letters() -> None:
    assert fill("{{ d | tojson }}", {"d": {"b": "नमस्ते", "a": "<i>"}}) == '{"b": "नमस्ते", "a": "<i>"}'


@pytest.mark.parametrize(
    ("values", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")]
)
def test_either(values: list[str], text: str) -> None:
    assert either(values) == text


def test_most_frequent_is_a_list_as_promptsource_has_it() -> None:
    assert fill("{{ (['a', 'b', 'b'] | most_frequent)[0] }}{{ [] | most_frequent }}", {}) == "b[]"


def test_names() -> None:
    assert names_in("{{ a }}{% for b in c %}{{ b }}{% endfor %}{{ range(2) | list }}") == {"a", "c"}
    assert names_of("label not in (1, other)") == {"label", "other"}
    assert bare_names("{{ a }} {{ b | trim }} {{ c | upper }} {{ d.e }}") == ["a", "b"]
    assert bare_names("{% if %}") == []
    with pytest.raises(FillError, match="filter"):
        names_in("{{ a | nothing }}")


def test_expressions() -> None:
    assert value_of("a[0] + 1", {"a": [1]}) == 2
    with pytest.raises(FillError, match="has no element"):
        value_of("a[3]", {"a": [1]})
    with pytest.raises(FillError):
        value_of("a +", {"a": 1})


def test_chance_and_cuts_are_told_with_their_line() -> None:
    assert chance_in("a\n{{ now() }}\n{{ x | shuffle }}{{ x | random }}") == [("now", 2), ("shuffle", 3)]
    assert cuts_in("{{ a[:1] }}\n{{ a[:200] }}{{ a | truncate(5) }}", 20) == [("truncate", 2), ("[:200]", 2)]
    assert chance_in("{% if %}") == cuts_in("{% if %}", 1) == []
