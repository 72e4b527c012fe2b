from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.eval.checks import CHECK_TYPES, example_problems, run_check, score_checks
from heedlm.messages import Example, Message

from .scripted import example

CASES: list[tuple[Mapping[str, object], str, bool]] = [
    ({"type": "equals", "value": "Paris is the capital."}, "  Paris is\n the  capital. ", True),
    ({"type": "equals", "value": "Paris"}, "paris", False),
    ({"type": "equals", "value": "Paris"}, "", False),
    ({"type": "equals", "value": "caf\u00e9"}, "cafe\u0301", True),
    ({"type": "iequals", "value": "Paris"}, "PARIS ", True),
    ({"type": "iequals", "value": "Paris"}, "Paris.", False),
    ({"type": "contains", "value": "Oslo"}, "It is Oslo.", True),
    ({"type": "contains", "value": "Oslo"}, "It is oslo.", False),
    ({"type": "icontains", "value": "Oslo"}, "OSLO!", True),
    ({"type": "icontains", "value": "STRASSE"}, "Hauptstraße", True),
    ({"type": "icontains", "value": "Oslo"}, "Bergen", False),
    ({"type": "contains-all", "values": ["a", "b"]}, "ab", True),
    ({"type": "contains-all", "values": ["a", "b"]}, "ac", False),
    ({"type": "contains-any", "values": ["a", "b"]}, "cb", True),
    ({"type": "contains-any", "values": ["a", "b"]}, "cd", False),
    ({"type": "icontains-all", "values": ["A", "b"]}, "aB", True),
    ({"type": "icontains-all", "values": ["A", "x"]}, "aB", False),
    ({"type": "icontains-any", "values": ["X", "b"]}, "aB", True),
    ({"type": "icontains-any", "values": ["X", "y"]}, "aB", False),
    ({"type": "not-contains", "value": "Oslo"}, "Bergen", True),
    ({"type": "not-contains", "value": "Oslo"}, "Oslo", False),
    ({"type": "not-icontains", "value": "oslo"}, "OSLO", False),
    ({"type": "not-icontains", "value": "oslo"}, "Bergen", True),
    ({"type": "not-is-json"}, "no", True),
    ({"type": "not-is-json"}, "{}", False),
    ({"type": "not-not-contains", "value": "a"}, "a", True),
    ({"type": "starts-with", "value": "Dear"}, "\n Dear Sam,", True),
    ({"type": "starts-with", "value": "Dear"}, "My Dear", False),
    ({"type": "ends-with", "value": "Bye."}, "So long. Bye.\n", True),
    ({"type": "ends-with", "value": "Bye."}, "Bye. So long.", False),
    ({"type": "first-sentence-contains", "value": "LETTER"}, "A letter came. It was blue.", True),
    ({"type": "first-sentence-contains", "value": "blue"}, "A letter came. It was blue.", False),
    ({"type": "last-sentence-contains", "value": "blue"}, "A letter came. It was Blue.", True),
    ({"type": "last-sentence-contains", "value": "letter"}, "A letter came. It was blue.", False),
    ({"type": "last-sentence-contains", "value": "letter"}, "", False),
    ({"type": "regex", "value": r"^\d+$"}, "123", True),
    ({"type": "regex", "value": r"^\d+$"}, "12a", False),
    ({"type": "is-json"}, ' {"a": [1, null]} ', True),
    ({"type": "is-json"}, 'Sure: {"a": 1}', False),
    ({"type": "is-json"}, "NaN", False),
    ({"type": "is-json"}, "[" * 100_000, False),
    ({"type": "is-json"}, "", False),
    ({"type": "json-equals", "value": {"a": 1, "b": [True]}}, '{"b": [true], "a": 1.0}', True),
    ({"type": "json-equals", "value": {"a": 1}}, '{"a": true}', False),
    ({"type": "json-equals", "value": {"a": 1}}, '{"a": 1, "b": 2}', False),
    ({"type": "json-equals", "value": [1, 2]}, "[1]", False),
    ({"type": "json-equals", "value": None}, "null", True),
    ({"type": "json-equals", "value": None}, "nothing", False),
    ({"type": "is-json", "fenced": True}, '```json\n{"a": 1}\n```', True),
    ({"type": "is-json", "fenced": True}, "{}", True),
    ({"type": "is-json", "fenced": True}, 'Sure:\n```json\n{"a": 1}\n```', False),
    ({"type": "is-json"}, '```json\n{"a": 1}\n```', False),
    ({"type": "istarts-with", "value": "Dear Ann"}, " dear ANN, thanks", True),
    ({"type": "istarts-with", "value": "Dear Ann"}, "Oh dear Ann", False),
    ({"type": "iends-with", "value": "Yours"}, "Bye. YOURS \n", True),
    ({"type": "iends-with", "value": "Yours"}, "Yours truly", False),
    ({"type": "lower-case"}, "oslo, 1 time.", True),
    ({"type": "lower-case"}, "oSlo", False),
    ({"type": "lower-case"}, "123", False),
    ({"type": "paragraph-count", "equal": 2}, "One.\nStill one.\n\n\nTwo.", True),
    ({"type": "paragraph-count", "equal": 2}, "# Title\n\nOne.\n\n---\n\nTwo.", True),
    ({"type": "paragraph-count", "equal": 2}, "One.\nStill one.", False),
    ({"type": "paragraph-count", "equal": 2, "separator": "***"}, "One.\n\nStill one.\n***\nTwo.", True),
    ({"type": "paragraph-count", "min": 2, "separator": "***"}, "One.\n\nTwo.", False),
    ({"type": "paragraph-count", "max": 1}, "One.\r\n\r\nTwo.", False),
    ({"type": "keyword-count", "value": "art", "equal": 2}, "Art is art; party is not.", True),
    ({"type": "keyword-count", "value": "art", "min": 1}, "party", False),
    ({"type": "keyword-count", "value": "दिल", "equal": 0}, "दिल्ली", True),
    ({"type": "keyword-count", "value": "art", "min": 1, "inside": True}, "party", True),
    ({"type": "keyword-count", "value": "東京", "equal": 2}, "東京は大きい。私は東京が好き。", True),
    ({"type": "forbidden-words", "values": ["東京"]}, "私は東京が好き。", False),
    ({"type": "forbidden-words", "values": ["cat", "hot dog"]}, "The category is hotdogs.", True),
    ({"type": "forbidden-words", "values": ["cat", "hot dog"]}, "A Hot  Dog.", False),
    ({"type": "word-count", "equal": 2}, "two words", True),
    ({"type": "word-count", "max": 1}, "two words", False),
    ({"type": "sentence-count", "equal": 3}, "A b. C d. E f.", True),
    ({"type": "sentence-count", "min": 2, "max": 3}, "A b.", False),
    ({"type": "line-count", "equal": 2}, "a\n\nb\n", True),
    ({"type": "line-count", "max": 1}, "a\nb", False),
    ({"type": "bullet-count", "equal": 2}, "- a\n* b", True),
    ({"type": "bullet-count", "min": 3}, "- a\n* b", False),
    ({"type": "numbered-count", "min": 2}, "1. a\n2) b", True),
    ({"type": "numbered-count", "min": 2}, "1. a\n3. b", False),
    ({"type": "numbered-count", "min": 1}, "2. a\n3. b", False),
    ({"type": "upper-case"}, "OSLO, 1 TIME.", True),
    ({"type": "upper-case"}, "OSLo", False),
    ({"type": "upper-case"}, "123", False),
    ({"type": "words-from", "text": "The river flooded Dover."}, "Dover: the river flooded, too.", True),
    ({"type": "words-from", "text": "The river flooded Dover."}, "The river froze.", False),
    ({"type": "words-from", "text": "The river", "extra": ["froze"]}, "The river froze.", True),
    ({"type": "words-from", "text": "The river", "extra": "froze over"}, "The river froze.", True),
    ({"type": "words-from", "text": "Tools of Paris"}, "Paris's tools", True),
]


@pytest.mark.parametrize(("check", "reply", "passed"), CASES)
def test_a_check(check: Mapping[str, object], reply: str, passed: bool) -> None:
    verdict = run_check(check, reply)
    assert verdict.passed is passed, verdict.why
    assert verdict.why


def test_every_type_has_a_reply_that_passes_and_one_that_fails() -> None:
    for name in CHECK_TYPES:
        seen = {passed for check, _, passed in CASES if check["type"] == name}
        assert seen == {True, False}, name


@pytest.mark.parametrize(("check", "reply", "passed"), CASES)
def test_not_is_the_negation_of_every_type(check: Mapping[str, object], reply: str, passed: bool) -> None:
    assert run_check({**check, "type": f"not-{check['type']}"}, reply).passed is not passed


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"type": "equal", "value": "a"}, "did you mean 'equals'"),
        ({"type": "not-contain", "value": "a"}, "did you mean 'contains'"),
        ({"type": "nonsense"}, "known: "),
        ({"value": "a"}, "a check is an object with a type"),
        ("equals", "a check is an object with a type"),
        ({"type": "equals"}, "lacks the field 'value'"),
        ({"type": "equals", "value": 3}, "expected a text"),
        ({"type": "contains", "value": ""}, "expected a text"),
        ({"type": "contains-all", "values": "ab"}, "expected a list of texts"),
        ({"type": "contains-all", "values": []}, "expected a list of texts"),
        ({"type": "is-json", "value": "a"}, "has no field 'value'"),
        ({"type": "regex", "value": "("}, "is no pattern"),
        ({"type": "word-count"}, "needs equal"),
        ({"type": "word-count", "equal": 1, "min": 1}, "needs equal"),
        ({"type": "word-count", "equal": True}, "whole number"),
        ({"type": "word-count", "min": -1}, "whole number"),
        ({"type": "word-count", "min": 3, "max": 2}, "above max"),
        ({"type": "word-count", "equals": 2}, "did you mean 'equal'"),
        ({"type": "words-from", "text": "a", "extra": 3}, "expected a text or a list"),
        ({"type": "is-json", "fenced": "yes"}, "expected true or false"),
        ({"type": "keyword-count", "value": "a", "min": 1, "inside": 1}, "expected true or false"),
        ({"type": "paragraph-count", "equal": 1, "separator": " "}, "not empty, for instance ***"),
        ({"type": "keyword-count", "equal": 1}, "lacks the field 'value'"),
        ({"type": "forbidden-words", "values": "cat"}, "expected a list of texts"),
        ({"type": "forbiden-words", "values": ["cat"]}, "did you mean 'forbidden-words'"),
    ],
)
def test_a_broken_check_is_refused_with_what_is_wrong(check: Mapping[str, object], message: str) -> None:
    with pytest.raises(HeedError) as caught:
        run_check(check, "reply")
    assert message in str(caught.value)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_bounds_hold_their_ends(found: int, low: int, more: int) -> None:
    reply = "word " * found
    assert run_check({"type": "word-count", "min": low, "max": low + more}, reply).passed == (
        low <= found <= low + more
    )
    assert run_check({"type": "word-count", "equal": low}, reply).passed == (found == low)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_json_equals_itself(value: object) -> None:
    import json

    assert run_check({"type": "json-equals", "value": value}, json.dumps(value)).passed


def test_all_checks_of_a_row_must_pass() -> None:
    both = [{"type": "contains", "value": "Oslo"}, {"type": "sentence-count", "equal": 1}]
    row = example("Where?", "Oslo.", checks=both)
    assert score_checks(row, "In Oslo.").value == 1.0
    assert score_checks(row, "In Oslo. Yes.").value == 0.0
    assert "sentence-count: 2 sentences" in score_checks(row, "In Oslo. Yes.").why


def test_an_empty_reply_never_passes() -> None:
    row = example("Where?", "Oslo.", checks=[{"type": "not-contains", "value": "Bergen"}])
    assert score_checks(row, "Oslo").value == 1.0
    assert score_checks(row, " \n").value == 0.0


def test_a_row_without_checks_is_refused_with_its_place() -> None:
    row = Example(id="a1", messages=(Message("user", "?"), Message("assistant", "!")), source="rows.jsonl:7")
    with pytest.raises(HeedError, match="no checks") as caught:
        score_checks(row, "!")
    assert "rows.jsonl:7 (id a1)" in str(caught.value)


def test_all_problems_of_a_row_come_in_one_pass() -> None:
    row = example("Where?", "Oslo", checks=[{"type": "equal", "value": "a"}, {"type": "word-count"}])
    assert len(example_problems(row)) == 2
