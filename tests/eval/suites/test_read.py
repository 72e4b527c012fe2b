from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.suites.asked import wanted_tokens
from heedlm.eval.suites.read import read_suite
from heedlm.eval.suites.suite import Suite


def write(folder: Path, suite: str, items: list[object] | str | None = None) -> Path:
    path = folder / "mine.yaml"
    path.write_text(suite, encoding="utf-8")
    if items is not None:
        lines = items if isinstance(items, str) else "".join(json.dumps(item) + "\n" for item in items)
        (folder / "items.jsonl").write_text(lines, encoding="utf-8")
    return path


def read(folder: Path, suite: str, items: list[object] | str | None = None) -> Suite:
    return read_suite(write(folder, suite, items))


def problems(folder: Path, suite: str, items: list[object] | str | None = None) -> list[str]:
    with pytest.raises(HeedError) as caught:
        read(folder, suite, items)
    return [f"{Path(one.where).name if one.where else ''}: {one.what} ({one.mend})" for one in caught.value.problems]


CAPITALS = """\
about: Capitals in one word.
tasks:
  capitals:
    kind: facts
    items: items.jsonl
    template: "What is the capital of {{ land }}?"
    target: "{{ city }}"
    system: Answer in one word.
    scorer: {type: normalised}
    baseline: 0.1
    max_tokens: 8
    gated: true
"""
LANDS: list[object] = [
    {"land": "Italy", "city": "Rome", "id": "it", "group": "europe"},
    {"land": "Peru", "city": "Lima"},
]


def test_a_suite_is_read_with_all_it_says(tmp_path: Path) -> None:
    suite = read(tmp_path, CAPITALS, LANDS)
    assert (suite.name, suite.about) == ("mine", "Capitals in one word.")
    (one,) = suite.tasks
    assert (one.baseline, wanted_tokens(one.task), one.num_items) == (0.1, 8, 2)
    assert (one.task.name, one.task.kind, one.task.gated) == ("capitals", "facts", True)
    italy, peru = one.task.examples
    assert [(turn.role, turn.content) for turn in italy.messages] == [
        ("system", "Answer in one word."),
        ("user", "What is the capital of Italy?"),
        ("assistant", "Rome"),
    ]
    assert (italy.id, italy.group, italy.source) == ("it", "europe", f"{tmp_path / 'items.jsonl'}:1")
    assert peru.source.endswith(":2")
    assert one.task.scorer(italy, "rome.").value == 1.0


def test_an_item_without_an_id_has_the_same_one_each_time(tmp_path: Path) -> None:
    first, second = (read(tmp_path, CAPITALS, LANDS).tasks[0].task.examples[1].id for _ in range(2))
    assert first == second != ""


def test_items_may_stand_in_the_suite_itself(tmp_path: Path) -> None:
    suite = read(
        tmp_path,
        'tasks:\n  sums:\n    scorer: numeric\n    items:\n      - {prompt: "1+1?", target: 2}\n      - {prompt: "2+2?", target: 4}\n',
    )
    examples = suite.tasks[0].task.examples
    assert [example.messages[-1].content for example in examples] == ["2", "4"]
    assert [Path(example.source).name for example in examples] == ["mine.yaml:5", "mine.yaml:6"]


def test_choices_are_shown_as_options_and_their_chance_is_the_baseline(tmp_path: Path) -> None:
    text = 'tasks:\n  t:\n    scorer: choice\n    template: "{{ prompt }}\\n{{ options }}"\n    items: items.jsonl\n'
    rows: list[object] = [
        {"prompt": "Italy?", "choices": ["Rome", "Lima"], "target": "Rome"},
        {"prompt": "Peru?", "choices": ["Rome", "Lima", "Oslo", "Bern"], "target": "B"},
    ]
    (one,) = read(tmp_path, text, rows).tasks
    assert one.baseline == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert one.task.examples[0].messages[0].content == "Italy?\nA. Rome\nB. Lima"


def test_each_item_is_asked_in_every_format_wording_and_sample(tmp_path: Path) -> None:
    text = (
        "tasks:\n  t:\n    scorer: exact\n    items: items.jsonl\n    samples: 2\n    temperature: 0.7\n"
        '    templates: {plain: "{{ prompt }}", q: "Q: {{ prompt }}"}\n'
    )
    rows: list[object] = [{"id": "a", "prompt": "One?", "paraphrases": ["Eins?", "Un?"], "target": "1"}]
    (one,) = read(tmp_path, text, rows).tasks
    assert one.num_items == 1
    examples = one.task.examples
    assert len(examples) == len({example.id for example in examples}) == 2 * 3 * 2
    assert {example.group for example in examples} == {"a"}
    assert examples[0].id == "a/format=plain/wording=1/sample=1"
    assert examples[-1].messages[0].content == "Q: Un?"
    assert examples[-1].meta["asking"] == {"temperature": 0.7, "seed": 1}


def test_a_conversation_is_asked_at_each_of_its_answers(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "2"},
    ]
    text = "tasks:\n  t: {scorer: exact, items: items.jsonl, turns: true, system: Be short.}\n"
    first, second = read(tmp_path, text, [{"id": "a", "messages": turns}]).tasks[0].task.examples
    assert (first.id, second.id) == ("a/turn=1", "a/turn=2")
    assert [len(first.messages), len(second.messages)] == [3, 5]
    assert second.messages[-1].content == "2"


def test_an_item_of_checks_needs_no_target(tmp_path: Path) -> None:
    text = "tasks:\n  t: {scorer: checks, items: items.jsonl}\n"
    rows: list[object] = [{"prompt": "Two words?", "checks": [{"type": "word-count", "equal": 2}]}]
    (example,) = read(tmp_path, text, rows).tasks[0].task.examples
    assert example.messages[-1].content == ""


def test_several_targets_are_all_right(tmp_path: Path) -> None:
    text = "tasks:\n  t: {scorer: exact, items: items.jsonl}\n"
    task = read(tmp_path, text, [{"prompt": "Two?", "target": ["2", "two"]}]).tasks[0].task
    assert [task.scorer(task.examples[0], said).value for said in ("2", "two", "3")] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ("", "mine.yaml:1: a suite is a mapping"),
        ("- a", "mine.yaml:1: a suite is a mapping"),
        ("about: x\n", "mine.yaml:1: the suite has no tasks"),
        ("tasks: {}\n", "mine.yaml:1: the suite has no tasks"),
        ("task: {}\n", "did you mean 'tasks'?"),
        ("rows: train\n", "rows is 'train', expected test or val"),
        ("rows: test\ntasks: {t: {}}\n", "not both"),
        ("tasks:\n  t: 3\n", "mine.yaml:2: task 't' is no mapping"),
        ("tasks:\n  t: {items: items.jsonl}\n", "has no scorer"),
        (
            "tasks:\n  t:\n    items: items.jsonl\n    scorer: exakt\n",
            "mine.yaml:4: unknown scorer 'exakt' (did you mean 'exact'?",
        ),
        ("tasks:\n  t: {scorer: exact}\n", "the task has no items"),
        ("tasks:\n  t: {scorer: exact, items: []}\n", "there are no items"),
        ("tasks:\n  t: {scorer: exact, items: [1]}\n", "an item is a mapping"),
        ("tasks:\n  t: {scorer: exact, items: itms.jsonl}\n", "no such file"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, tempalte: x}\n", "did you mean 'template'?"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, template: ''}\n", "template is ''"),
        (
            "tasks:\n  t:\n    scorer: exact\n    items: items.jsonl\n    template: '{{ promt }}'\n",
            "mine.yaml:5: no item has the field 'promt' (did you mean 'prompt'?",
        ),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, template: '{{ prompt'}\n", "the text is broken"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, template: 'a', templates: {b: c}}\n", "not both"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, templates: [a]}\n", "is a mapping from names"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, baseline: 2}\n", "baseline is 2"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, max_tokens: 0}\n", "a whole number of 1 or more"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, gated: 1}\n", "true or false"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, samples: 3}\n", "are all the same"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, samples: 101, temperature: 1}\n", "at most 100"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, temperature: -1}\n", "a number of 0 or more"),
        ("tasks:\n  t: {scorer: exact, items: items.jsonl, stop: 3}\n", "`stop` is a text"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said_with_its_line(tmp_path: Path, suite: str, said: str) -> None:
    found = problems(tmp_path, suite, [{"prompt": "One?", "target": "1"}])
    assert any(said in one for one in found), found


@pytest.mark.parametrize(("item", "said"), [
    ({"prompt": "One?"}, "items.jsonl:1 (id"),
    ({"prompt": "One?"}, "has no target"),
    ({"prompt": "One?", "target": ""}, "has no target"),
    ({"prompt": "One?", "target": {"a": 1}}, "the target is"),
    ({"prompt": "One?", "target": True}, "the target is"),
    ({"prompt": "One?", "target": "1", "asking": {"seed": 1}}, "'asking' is taken"),
    ({"target": "1"}, "has no prompt"),
    ({"prompt": " ", "target": "1"}, "the question is empty"),
    ({"prompt": "One?", "target": "1", "paraphrases": "Eins?"}, "list of texts"),
    ({"messages": [], "target": "1"}, "is a list of turns"),
    ({"messages": "hello", "target": "1"}, "is a list of turns"),
    ({"messages": [{"role": "usr", "content": "a"}], "target": "1"}, "usr"),
])  # fmt: skip
def test_what_is_wrong_with_an_item_is_said_with_its_line(tmp_path: Path, item: dict[str, object], said: str) -> None:
    found = problems(tmp_path, "tasks:\n  t: {scorer: exact, items: items.jsonl}\n", [item])
    assert any(said in one for one in found), found


def test_all_problems_of_a_suite_come_in_one_pass(tmp_path: Path) -> None:
    suite = "tasks:\n  a: {scorer: exakt, items: items.jsonl, gated: x}\n  b: {scorer: numeric, items: items.jsonl}\n"
    rows: list[object] = [{"prompt": "One?", "target": "one"}, {"prompt": "Two?"}, {"target": "3"}]
    found = "\n".join(problems(tmp_path, suite, rows))
    for said in ("unknown scorer 'exakt'", "gated is 'x'", "has no prompt", "holds no number", "has no target"):
        assert said in found


def test_broken_lines_are_told_with_the_others(tmp_path: Path) -> None:
    lines = '{"prompt": "One?", "target": "1"}\n{"prompt": \n["a"]\n{"prompt": "Two?", "target": "2"}\n'
    found = problems(tmp_path, "tasks:\n  t: {scorer: exact, items: items.jsonl}\n", lines)
    assert {one.split(": ")[0] for one in found} == {"items.jsonl:2", "items.jsonl:3"}


def test_an_item_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "One?", "target": "1"}
    found = problems(tmp_path, "tasks:\n  t: {scorer: exact, items: items.jsonl}\n", [row, row])
    assert "is there twice" in found[0]


def test_an_empty_file_and_a_missing_suite_are_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "tasks:\n  t: {scorer: exact, items: items.jsonl}\n", "")
    with pytest.raises(HeedError, match="cannot be read"):
        read_suite(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"about: caf\xe9\n")
    with pytest.raises(HeedError, match="UTF-8"):
        read_suite(tmp_path / "latin.yaml")
