from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.arms import bare, instruct
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.suites import shipped
from heedlm.eval.suites.measure import measure, sentences
from heedlm.eval.suites.read import read_suite
from heedlm.eval.suites.suite import SuiteTask, first_items
from heedlm.messages import Reply, Request, Sampling

from ..scripted import ScriptedChat, example


def tasks(folder: Path, text: str) -> list[SuiteTask]:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return list(read_suite(path).tasks)


FORMATS = """\
tasks:
  t:
    scorer: exact
    templates: {plain: "{{ prompt }}", loud: "{{ prompt | upper }}", marked: "Q: {{ prompt }}"}
    items: [{prompt: "one", target: "1"}, {prompt: "two", target: "2"}]
"""


def test_formats_are_measured_with_the_worst_and_the_spread(tmp_path: Path) -> None:
    said = {"one": "1", "two": "2", "ONE": "1", "TWO": "?", "Q: one": "?", "Q: two": "?"}
    chat = ScriptedChat(lambda request: said[request.messages[-1].content])
    found = tasks(tmp_path, FORMATS)
    items = run_arm([one.task for one in found], Arm("instruct", chat, instruct), Sampling())
    (one,) = measure(found, items)
    assert one.spread is not None
    assert one.spread.by_format == {"plain": 1.0, "loud": 0.5, "marked": 0.0}
    assert (one.spread.mean, one.spread.worst, one.spread.spread) == (0.5, "marked", 1.0)
    assert (one.n, one.items, one.every) == (6, 2, 0.0)
    assert sentences(one)[0] == "3 prompt formats: mean 50 %, worst 0 % (marked), spread 100 points."


CONSISTENT = """\
tasks:
  t:
    scorer: exact
    samples: 2
    temperature: 0.5
    items: [{id: a, prompt: "one", paraphrases: ["eins"], target: "1"}]
"""


def test_agreement_is_of_replies_that_differ_on_one_axis_alone(tmp_path: Path) -> None:
    seen: list[tuple[float, int]] = []

    class Drawing(ScriptedChat):
        def reply(self, requests, sampling, *, on_text=None):  # type: ignore[no-untyped-def]
            seen.append((sampling.temperature, sampling.seed))
            # "one" is answered alike in both samples, "eins" is not.
            return [
                Reply("1" if request.messages[-1].content == "one" or sampling.seed == 0 else "un")
                for request in requests
            ]

    found = tasks(tmp_path, CONSISTENT)
    items = run_arm([one.task for one in found], Arm("instruct", Drawing(lambda request: ""), instruct), Sampling())
    (one,) = measure(found, items)
    assert sorted(seen) == [(0.5, 0), (0.5, 1)]
    assert one.score == 0.75
    assert one.every == 0.0
    # Samples: one/one agree, eins/eins do not. Wordings: sample 1 agrees, sample 2 does not.
    assert {axis: (alike.pairs, alike.verdict, alike.answer) for axis, alike in one.agreement.items()} == {
        "wording": (2, 0.5, 0.5),
        "sample": (2, 0.5, 0.5),
    }


def test_the_same_mistake_agrees_in_its_score_and_another_one_not_in_its_text(tmp_path: Path) -> None:
    said = {"one": "7", "eins": "8"}
    chat = ScriptedChat(lambda request: said[request.messages[-1].content])
    text = 'tasks:\n  t:\n    scorer: exact\n    items: [{prompt: one, paraphrases: [eins], target: "1"}]\n'
    found = tasks(tmp_path, text)
    items = run_arm([one.task for one in found], Arm("instruct", chat, instruct), Sampling())
    alike = measure(found, items)[0].agreement["wording"]
    assert (alike.verdict, alike.answer) == (1.0, 0.0)


def test_fallbacks_and_the_score_of_all_replies_are_counted(tmp_path: Path) -> None:
    text = "tasks:\n  t:\n    scorer: numeric\n    items: [{prompt: one, target: 1}, {prompt: two, target: 2}]\n    baseline: 0.5\n"
    found = tasks(tmp_path, text)
    chat = ScriptedChat(lambda request: {"one": "1", "two": "two"}[request.messages[-1].content])
    (one,) = measure(found, run_arm([one.task for one in found], Arm("i", chat, instruct), Sampling()))
    assert one.fallbacks == {"no number": 1}
    assert sentences(one) == [
        "50 %, not above the baseline of 50 %.",
        "Read in another way than plainly: no number 1 (of 2).",
    ]
    text = "tasks:\n  t:\n    scorer: bleu\n    items: [{prompt: one, target: the cat sat on the mat}]\n"
    found = tasks(tmp_path, text)
    chat = ScriptedChat(lambda request: "the cat sat on the mat")
    (one,) = measure(found, run_arm([one.task for one in found], Arm("i", chat, instruct), Sampling()))
    assert one.corpus is not None
    assert one.corpus[0] == pytest.approx(100.0)


def test_a_choice_is_found_by_likelihood_without_generating(tmp_path: Path) -> None:
    text = (
        "tasks:\n  t:\n    scorer: likelihood\n    plain: true\n"
        "    items: [{prompt: The capital of Italy is, choices: [Paris, Rome], target: Rome}]\n"
    )
    asked: list[tuple[str | None, str]] = []

    class Knowing(ScriptedChat):
        def score(self, requests, continuations):  # type: ignore[no-untyped-def]
            asked.extend((request.text, text) for request, text in zip(requests, continuations, strict=True))
            return [[-0.5, -0.5] if "Rome" in text else [-3.0] for text in continuations]

    chat = Knowing(lambda request: "never asked")
    found = tasks(tmp_path, text)
    for build in (bare, instruct):  # asked alike in every arm
        (item,) = run_arm([one.task for one in found], Arm("a", chat, build), Sampling())
        assert (item.reply, item.score, item.tokens) == ("Rome", 1.0, 0)
    assert asked == [("The capital of Italy is", " Paris"), ("The capital of Italy is", " Rome")] * 2
    assert not chat.calls


def test_a_likelihood_may_be_shared_out_over_tokens(tmp_path: Path) -> None:
    text = "tasks:\n  t:\n    scorer: {type: likelihood, per: PER}\n    items: [{prompt: x, choices: [long one, ab], target: ab}]\n"

    class Long(ScriptedChat):
        def score(self, requests, continuations):  # type: ignore[no-untyped-def]
            return [[-1.0] * 4 if "long" in text else [-3.0] for text in continuations]

    for per, reply in (("text", "ab"), ("token", "long one"), ("byte", "long one")):
        found = tasks(tmp_path, text.replace("PER", per))
        (item,) = run_arm([one.task for one in found], Arm("a", Long(lambda r: ""), instruct), Sampling())
        assert item.reply == reply, per

    class Even(ScriptedChat):
        def score(self, requests, continuations):  # type: ignore[no-untyped-def]
            return [[-1.0] for _ in continuations]

    found = tasks(tmp_path, text.replace("PER", "text"))
    (item,) = run_arm([one.task for one in found], Arm("a", Even(lambda r: ""), instruct), Sampling())
    assert (item.reply, item.score, item.why[:5]) == ("", 0.0, "[tie]")


def test_scored_items_are_read_again_from_the_log(tmp_path: Path) -> None:
    found = tasks(tmp_path, FORMATS)
    chat = ScriptedChat(lambda request: "1")
    how = {"log": tmp_path / "items.jsonl"}
    first = run_arm([one.task for one in found], Arm("instruct", chat, instruct), Sampling(), **how)  # type: ignore[arg-type]
    again = run_arm([one.task for one in found], Arm("instruct", chat, instruct), Sampling(), **how)  # type: ignore[arg-type]
    assert first == again
    assert sum(chat.calls) == 6


def test_cutting_a_task_keeps_whole_items(tmp_path: Path) -> None:
    (one,) = tasks(tmp_path, FORMATS)
    assert len(first_items(one.task, 1).examples) == 3
    assert len(first_items(one.task, 2).examples) == len(first_items(one.task, None).examples) == 6


def test_suites_of_several_names_and_of_the_run_come_together(tmp_path: Path) -> None:
    rows = [example("What?", "It.", id="r", task="own")]
    found = shipped.suite_tasks(["held_out", "forgetting", "held_out"], rows)
    assert [one.task.name for one in found] == ["own", "common_knowledge", "grammar", "patterns"]
    with pytest.raises(HeedError, match="no test rows"):
        shipped.suite_tasks(["held_out"], [])
    with pytest.raises(HeedError) as caught:
        shipped.suite_tasks(["helt_out", "constraint"], rows)
    assert [str(one.mend).split("'")[1] for one in caught.value.problems] == ["held_out", "constraints"]
    path = tmp_path / "own.yaml"
    path.write_text("tasks:\n  grammar: {scorer: stop, items: [{prompt: a}]}\n")
    with pytest.raises(HeedError, match="two tasks are called 'grammar'"):
        shipped.suite_tasks(["forgetting", str(path)], rows)


def test_an_empty_suite_measures_nothing() -> None:
    assert measure([], []) == []


def test_plain_requests_are_no_messages(tmp_path: Path) -> None:
    text = (
        'tasks:\n  t:\n    scorer: exact\n    plain: true\n    stop: "\\n"\n    items: [{prompt: one, target: "1"}]\n'
    )
    chat = ScriptedChat(lambda request: "1")
    found = tasks(tmp_path, text)
    run_arm([one.task for one in found], Arm("a", chat, instruct), Sampling())
    assert chat.asked == [Request(text="one")]
    assert chat.samplings[0].stop == ("\n",)


def test_a_report_says_when_sentences_are_counted_by_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    from heedlm.eval.scorers import ifeval

    text = (
        "tasks:\n  t:\n    scorer: ifeval\n    items:\n"
        '      - {prompt: Greet me., instruction_id_list: ["punctuation:no_comma"], kwargs: [{}]}\n'
    )
    found = tasks(tmp_path, text)
    items = run_arm([one.task for one in found], Arm("i", ScriptedChat(lambda request: "Hello"), instruct), Sampling())
    assert items[0].score == 1.0
    for stands_in in (True, False):
        monkeypatch.setattr(ifeval, "stands_in", lambda answer=stands_in: answer)
        said = sentences(measure(found, items)[0])
        assert bool(said and "untrained" in said[0]) == stands_in
