from __future__ import annotations

import random

import pytest

from heedlm.errors import HeedError
from heedlm.eval.match import score_words
from heedlm.eval.scorers.registry import KINDS, judged, make_scorer, read_scorer
from heedlm.messages import Example, Message, Reply, Task, ToolCall

from .items import item


def shown(name: str) -> tuple[Example, str]:
    """The example that a scorer gives of itself."""
    _, row, reply = KINDS[name].example
    target = str(row.get("target", ""))
    meta = {key: value for key, value in row.items() if key not in ("prompt", "target")}
    return item(target, row["prompt"], **meta), reply


@pytest.mark.parametrize("name", KINDS)
def test_the_example_of_a_scorer_is_right_and_its_empty_reply_is_not(name: str) -> None:
    row, reply = shown(name)
    scorer = make_scorer(KINDS[name].example[0])
    assert not scorer.item_problems(row)
    assert scorer(row, reply).value == pytest.approx(1.0), scorer(row, reply).why
    if name not in ("stop", "length"):
        assert scorer(row, "").value == 0.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exakt", "did you mean 'exact'"),
        ("rouge", "did you mean 'rouge_l'"),
        ("nonsense", "known: "),
        (3, "is a name, or an object with a type"),
        ({"tolerance": 1}, "is a name, or an object with a type"),
        ({"type": "numeric", "tolerence": 1}, "did you mean 'tolerance'"),
        ({"type": "numeric", "tolerance": -1}, "expected a number of 0 or more"),
        ({"type": "numeric", "tolerance": True}, "expected a number of 0 or more"),
        ({"type": "numeric", "tolerance": float("nan")}, "expected a number of 0 or more"),
        ({"type": "numeric", "which": "middle"}, "expected one of marked"),
        ({"type": "exact", "case": "no"}, "expected true or false"),
        ({"type": "stop", "case": True}, "stop has no options"),
        ("regex", "add pattern"),
        ({"type": "regex", "pattern": ""}, "a text that is not empty"),
    ],
)
def test_a_broken_spec_is_refused_with_what_is_wrong(spec: object, message: str) -> None:
    with pytest.raises(HeedError) as caught:
        make_scorer(spec, "suite.yaml:3")
    assert message in str(caught.value)
    assert "suite.yaml:3" in str(caught.value)


def test_all_problems_of_a_spec_come_in_one_pass() -> None:
    found = read_scorer({"type": "numeric", "tolerance": -1, "which": "x", "more": 1})
    assert found.scorer is None
    assert len(found.problems) == 3


def test_a_missing_library_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HeedError) as caught:
        make_scorer("bleu")
    assert "pip install 'heedlm[eval]'" in str(caught.value)


def test_a_task_is_judged_without_the_reasoning() -> None:
    task = Task("t", "t", (), make_scorer("exact"))
    assert judged(task, item("Rome"), Reply("<think>Italy</think> Rome")).value == 1.0
    plain = Task("t", "t", (), score_words)
    assert judged(plain, item("Rome"), Reply("<think>Italy</think> Rome")).value == 1.0
    only = judged(task, item("Rome"), Reply("<think>Italy"))
    assert (only.value, only.why.split("]")[0]) == (0.0, "[only reasoning")


def test_a_scorer_sees_more_than_the_text() -> None:
    call = ToolCall("time", {})
    task = Task("t", "t", (), make_scorer("tool_call"))
    row = Example("i", (Message("user", "?"), Message("assistant", "", tool_calls=(call,))), "rows.jsonl:1")
    assert judged(task, row, Reply("<think>so</think>", tool_calls=(call,))).value == 1.0
    assert judged(task, row, Reply("<think>so</think>")).value == 0.0


def test_loose_checks_forgive_a_first_line_and_say_so() -> None:
    row = item(checks=[{"type": "word-count", "equal": 2}])
    assert make_scorer("checks")(row, "Sure:\nGood morning").value == 0.0
    loose = make_scorer({"type": "checks", "loose": True})(row, "Sure:\nGood morning")
    assert (loose.value, loose.why[:7]) == (1.0, "[loose]")
    assert not make_scorer({"type": "checks", "loose": True})(row, "Good morning").why.startswith("[")


def test_no_reply_breaks_a_scorer() -> None:
    rng = random.Random(3)
    letters = "aB1.,-/()[]{}<>\"'`\\$ \n\t*#é।\u200d\ud800😀"
    for name in KINDS:
        row, _ = shown(name)
        scorer = make_scorer(KINDS[name].example[0])
        for length in (0, 1, 7, 40, 300):
            for _ in range(8):
                score = scorer(row, "".join(rng.choice(letters) for _ in range(length)))
                assert 0.0 <= score.value <= 1.0
