"""Candidates on cases: judged, compared item by item, asked once, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.instructions.asserts import distance, json_in, judge, read_assertion
from heedlm.instructions.bench import Bench, Candidate, empty_of
from heedlm.instructions.cases import Case, Raw, cases_of, common_checks, read_cases
from heedlm.instructions.format import load, parse
from heedlm.instructions.replies import Store
from heedlm.messages import Reply, Request, Sampling

TRIAGE = load("ticket-triage")


class Script:
    """A chat that answers by a function of the whole request, and counts what it was asked."""

    name = "script"

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say
        self.heard: list[str] = []

    def reply(self, requests: Sequence[Request], sampling: Sampling, *, on_text: object = None) -> list[Reply]:
        texts = [one.text or "\n".join(turn.content for turn in one.messages) for one in requests]
        self.heard += texts
        return [Reply(self.say(text)) for text in texts]

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        self.heard += continuations
        return [[-1.0, -float(len(one.messages))] for one in requests]


def triaged(text: str) -> str:
    """Knows the form only where it was told, and the queue always."""
    queue = "shipping" if text.rfind("Where is order") > text.rfind("Billed twice") else "billing"
    return f'{{"queue": "{queue}", "summary": "Ok."}}' if "JSON" in text else f"It goes to {queue}."


def some_cases(n: int = 4) -> list[Case]:
    raws = [
        Raw(
            {
                "vars": {"ticket": f"Where is order {number}?" if number % 2 else f"Billed twice, {number}."},
                "expect": {"queue": "shipping" if number % 2 else "billing"},
                "assert": [{"type": "icontains", "value": "{{ expect.queue }}"}],
            },
            f"cases.jsonl:{number + 1}",
        )
        for number in range(n)
    ]
    return cases_of(raws, [TRIAGE], [{"type": "is-json"}])


def test_instruction_against_empty_and_nothing_is_asked_twice() -> None:
    chat = Script(triaged)
    bench = Bench(chat, some_cases())
    full, empty = Candidate(TRIAGE), Candidate(empty_of(TRIAGE))
    assert bench.scores([full, empty])[1] == [0.0] * 4
    assert bench.calls == len(chat.heard) == 8
    assert sorted(one for one in chat.heard if "\n" not in one) == sorted(
        str(case.values["ticket"]) for case in bench.cases
    ), "the baseline is the value and nothing else"
    again = bench.answers([full, empty, full], items=[0, 2])
    assert bench.calls == 8
    assert bench.cached == 4
    assert [[one.item for one in row] for row in again] == [["case-1", "case-3"]] * 3
    assert "not JSON" in again[1][0].why
    assert bench.tokens(full) > 20 * bench.tokens(empty)


def test_likelihoods_need_a_target() -> None:
    target = cases_of([Raw({"vars": {"ticket": "Where?"}, "target": "shipping"}, "x:1")], [TRIAGE])
    bench = Bench(Script(triaged), target)
    found = bench.likelihoods([Candidate(TRIAGE), Candidate(empty_of(TRIAGE))])
    assert found == [[-1.5], [-1.0]]
    assert bench.likelihoods([Candidate(TRIAGE)]) == [[-1.5]]
    assert bench.calls == 2
    with pytest.raises(HeedError, match="no target"):
        Bench(Script(triaged), some_cases(1)).likelihoods([Candidate(TRIAGE)])


def test_the_store_survives_a_kill_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"

    def stop(calls: int) -> None:
        raise KeyboardInterrupt

    first = Script(triaged)
    Bench(first, some_cases(2), store=Store(path)).scores([Candidate(TRIAGE)])
    with pytest.raises(KeyboardInterrupt):
        Bench(Script(triaged), some_cases(4), store=Store(path), before=stop).scores([Candidate(TRIAGE)])
    with path.open("a") as file:
        file.write('{"key": "abc", "repl')
    store = Store(path)
    assert store.unread == 1
    second = Script(triaged)
    bench = Bench(second, some_cases(4), store=store)
    assert bench.scores([Candidate(TRIAGE)]) == [[1.0] * 4]
    assert len(second.heard) == bench.calls == 2
    assert Store(path).unread == 0, "the torn line is gone"
    other = Bench(Script(triaged), some_cases(4), store=Store(path), identity="other weights")
    other.scores([Candidate(TRIAGE)])
    assert other.calls == 4, "another model answers for itself"


def test_an_answer_that_failed_is_asked_again() -> None:
    class Broken(Script):
        def reply(self, requests: Sequence[Request], sampling: Sampling, *, on_text: object = None) -> list[Reply]:
            self.heard += ["x"] * len(requests)
            return [Reply("out of order", stop_reason="error") for _ in requests]

    bench = Bench(Broken(triaged), some_cases(2))
    row = bench.answers([Candidate(TRIAGE)])[0]
    assert [one.score for one in row] == [0.0, 0.0]
    assert row[0].error == "out of order"
    bench.answers([Candidate(TRIAGE)])
    assert bench.calls == 4


def test_what_does_not_compile_is_told_at_once() -> None:
    odd = cases_of([Raw({"vars": {"ticket": 3.5, "queues": 7}, "target": "x"}, "c:1")], [TRIAGE])
    chat = Script(triaged)
    with pytest.raises(HeedError, match="queues") as caught:
        Bench(chat, odd).scores([Candidate(TRIAGE)])
    assert "c:1" in str(caught.value)
    assert not chat.heard


def test_an_instruction_without_a_data_block_has_a_baseline_all_the_same() -> None:
    text = "---\nname: a\ninputs: [{name: x, kind: string, required: true}]\n---\nuser:\nSum up: {{ x }}\nThanks.\n"
    empty = empty_of(parse(text))
    chat = Script(lambda text: text)
    cases = cases_of([Raw({"x": "Hello", "target": "Hello"}, "c:1")], [parse(text)])
    assert Bench(chat, cases).scores([Candidate(empty)]) == [[1.0]]


@pytest.mark.parametrize(
    ("spec", "right", "wrong"),
    [
        ({"type": "equals", "value": "Rome"}, " Rome\n", "rome"),
        ({"type": "not-contains", "value": "I"}, "Rome", "In Rome"),
        ({"type": "contains-any", "value": ["Rome", "Paris"]}, "to Paris", "to Oslo"),
        ({"type": "icontains-all", "value": "rome, paris"}, "Paris, ROME", "Rome"),
        ({"type": "equals", "value": {"a": 1}}, '{"a": 1.0}', '{"a": 2}'),
        ({"type": "word-count", "value": {"max": 2}}, "so it", "so it is"),
        ({"type": "word-count", "value": 2}, "so it", "so"),
        ({"type": "contains-json"}, 'Here: {"a": [1]} there', "Here: {a}"),
        ({"type": "levenshtein", "value": "Rome", "threshold": 1}, "Rom", "Rm"),
        ({"type": "numeric", "value": 12}, "It is 12.", "It is 13."),
        ({"type": "f1", "value": "the small house", "threshold": 0.5}, "a small house", "a big dog"),
        ({"type": "is-refusal"}, "I cannot help with that.", "Sure."),
        ({"type": "equals", "field": "q", "value": "x"}, '{"q": "x"}', '{"q": "y"}'),
    ],
)
def test_assertions(spec: dict[str, object], right: str, wrong: str) -> None:
    read = read_assertion(spec, "x:1")
    assert not isinstance(read, list), read
    for reply, value in ((right, 1.0), (wrong, 0.0), ("", 0.0)):
        assert judge([read], Reply(reply)).value == value
    opposite = read_assertion({**spec, "type": f"not-{spec['type']}"}, "x:1")
    assert not isinstance(opposite, list)
    assert judge([opposite], Reply(right)).value == 0.0
    assert judge([opposite], Reply(wrong)).value == 1.0


def test_graded_weights_and_thresholds() -> None:
    f1 = read_assertion({"type": "f1", "value": "a b"}, "")
    has = read_assertion({"type": "contains", "value": "a", "weight": 3}, "")
    seen = read_assertion({"type": "contains", "value": "never", "weight": 0}, "")
    assert not isinstance(f1, list)
    assert not isinstance(has, list)
    assert not isinstance(seen, list)
    assert judge([f1, has, seen], Reply("a c")).value == 0.5
    assert judge([f1, has], Reply("b c")).value == 0.0
    assert judge([f1, has], Reply("a c"), threshold=0.8).value == 1.0
    assert judge([f1, has], Reply("b c"), threshold=0.8).value == 0.0
    assert distance("", "abc") == distance("abc", "") == 3
    assert json_in("{[1]} [2]") == ["[1]", "[2]"]


def test_all_problems_of_a_file_in_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(
        "- {vars: {tickt: a}, assert: [{type: contains, value: a}]}\n"
        "- {vars: {ticket: a}, assert: [{type: contain, value: a}]}\n"
        "- {vars: {ticket: a}}\n"
        "- {vars: {ticket: a}, asert: []}\n"
        "- {vars: {ticket: a}, target: x, threshold: 7}\n"
        "- {vars: {ticket: a}, assert: [{type: contains, value: '{{ nobody }}'}]}\n"
        "- {id: a, vars: {ticket: a}, target: x}\n"
        "- {id: a, vars: {ticket: a}, target: x}\n"
        "- {vars: {ticket: a}, assert: [{type: contains, value: a, weight: 0}]}\n"
        "- text\n"
    )
    with pytest.raises(HeedError) as caught:
        read_cases([path], [TRIAGE])
    told = [(one.where.rpartition(":")[2], one.what) for one in caught.value.problems]
    assert {line for line, _ in told} == {"1", "2", "3 and 1 more", "4", "5", "6", "8", "9", "10"}
    assert "did you mean 'ticket'?" in str(caught.value)
    assert "did you mean 'contains'?" in str(caught.value)
    path.write_text("[]")
    with pytest.raises(HeedError, match="no cases"):
        read_cases([path], [TRIAGE])


def test_rows_of_heed_are_cases(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"id": "r", "messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "shipping"}]}\n'
        '{"prompt": "Billed twice.", "completion": "billing"}\n'
    )
    found = read_cases([path], [TRIAGE])
    assert [(one.values["ticket"], one.target) for one in found] == [
        ("Where?", "shipping"),
        ("Billed twice.", "billing"),
    ]
    assert judge(found[0].asserts, Reply("shipping")).value == 1.0


def test_checks_of_one_file_are_not_asked_of_another() -> None:
    other = parse(
        "---\nname: b\n---\nsystem:\n# Task\nGo.\n\nuser:\n{{ ticket }}\n".replace(
            "---\nsystem", "inputs: [{name: ticket, kind: string}]\n---\nsystem"
        )
    )
    assert common_checks([TRIAGE])[0] == list(TRIAGE.checks)
    shared, notes = common_checks([TRIAGE, other])
    assert not shared
    assert "ticket-triage" in notes[0]
