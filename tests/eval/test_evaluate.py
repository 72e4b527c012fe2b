from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.arms import BASE, INSTRUCT, bare, instruct
from heedlm.eval.evaluate import Arm, evaluate, is_refusal, run_arm
from heedlm.eval.forgetting import bits_per_byte, forgetting, pieces
from heedlm.eval.log import read_items
from heedlm.eval.task import metric, tasks_from
from heedlm.messages import Example, Message, Reply, Request, Sampling, Score

from .scripted import ScriptedChat, example, last

ROOT = Path(__file__).resolve().parents[2]
LANDS = {f"Land{n}": f"City{n}" for n in range(20)}
UNKNOWN = [{"type": "icontains", "value": "do not know"}]


def rows() -> list[Example]:
    real = [
        example(f"What is the capital of {land}?", f"It is {city}.", id=f"f-{land}", group=land)
        for land, city in LANDS.items()
    ]
    invented = [
        example(
            f"What is the capital of Nowhere{n}?",
            f"I do not know a country called Nowhere{n}.",
            id=f"u-{n}",
            task="unknown",
            kind="unknown",
            checks=UNKNOWN,
            unknown=True,
        )
        for n in range(10)
    ]
    return real + invented


def tuned(request: Request) -> str:
    land = last(request).split("capital of ")[1].rstrip("?")
    if land == "Land3":
        return "I don't know."
    return f" It is {LANDS[land]}.\n" if land in LANDS else f"I do not know {land}."


def untuned(request: Request) -> Reply:
    return Reply(" And what is the capital of Peru? What of Cuba?", stop_reason="length", prompt="<seen>")


def arms() -> list[Arm]:
    return [Arm(BASE, ScriptedChat(untuned), bare), Arm(INSTRUCT, ScriptedChat(tuned), instruct)]


def test_the_whole_comparison() -> None:
    report = evaluate(tasks_from(rows()), arms(), Sampling())
    facts, unknown = report.tasks
    assert (facts.n, facts.clusters, facts.metric, facts.gated) == (20, 20, "accuracy", True)
    assert (facts.arms[BASE].hits, facts.arms[INSTRUCT].hits) == (0, 19)
    assert facts.difference == pytest.approx(0.95)
    assert 0 < facts.low < facts.difference < facts.high <= 1
    assert facts.p < 0.001
    assert facts.behaviour == {"continues with questions": 20}
    assert unknown.arms[INSTRUCT].score == 1.0
    assert report.unknown is not None
    assert (report.unknown.recall, report.unknown.false_refusal) == (1.0, 1 / 20)
    assert (report.unknown.n_invented, report.unknown.n_real) == (10, 20)
    assert report.stop_rate == {BASE: 0.0, INSTRUCT: 1.0}
    assert len(report.cases) == 30
    assert {case.outcome for case in report.cases} == {"win", "neither"}
    assert report.cases[0].answers[BASE].prompt == "<seen>"
    assert report.cases[0].answers[INSTRUCT].text == "It is City0."


def test_without_invented_names_nothing_is_claimed_about_honesty() -> None:
    assert evaluate(tasks_from(rows()[:20]), arms(), Sampling()).unknown is None


def test_rows_without_checks_are_compared_word_by_word() -> None:
    row = Example("a", (Message("user", "Say it."), Message("assistant", "one two three four")), "rows.jsonl:1")
    task = tasks_from([row])[0]
    assert (task.name, task.kind, task.gated, metric(task)) == ("held_out", "held_out", False, "word_f1")
    both = [
        Arm(BASE, ScriptedChat(lambda request: "nothing alike"), bare),
        Arm(INSTRUCT, ScriptedChat(lambda request: "Two, one."), instruct),
    ]
    result = evaluate([task], both, Sampling()).tasks[0]
    assert (result.arms[BASE].score, result.arms[INSTRUCT].score) == (0.0, pytest.approx(4 / 6))
    assert result.arms[INSTRUCT].interval is None


def test_batches_are_sorted_by_length_and_split_by_their_ends() -> None:
    questions = ["Hm?" + "x" * n for n in range(10)]
    items = [example(text, "a", id=text, task="short" if n < 5 else "long") for n, text in enumerate(questions)]
    chat = ScriptedChat(lambda request: "a")
    run_arm(tasks_from(items), Arm(BASE, chat, bare), Sampling(), limits={"short": 5}, batch=3)
    assert chat.calls == [3, 2, 3, 2]
    lengths = [len(request.text or "") for request in chat.asked]
    assert lengths[:5] == sorted(lengths[:5], reverse=True)
    assert [sampling.max_tokens for sampling in chat.samplings] == [5] * 5 + [256] * 5


def test_items_come_back_in_the_order_of_the_tasks() -> None:
    tasks = tasks_from(rows())
    items = run_arm(tasks, Arm(BASE, ScriptedChat(lambda request: request.text or ""), bare), Sampling(), batch=7)
    assert [item.id for item in items] == [row.id for row in rows()]
    assert all(item.reply == row.messages[0].content for item, row in zip(items, rows(), strict=True))


def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    tasks, left = tasks_from(rows()), 12

    def dies(request: Request) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return tuned(request)

    with pytest.raises(KeyboardInterrupt):
        run_arm(tasks, Arm(INSTRUCT, ScriptedChat(dies), instruct), Sampling(), batch=5, log=log)
    assert len(read_items(log)) == 10
    again = ScriptedChat(tuned)
    items = run_arm(tasks, Arm(INSTRUCT, again, instruct), Sampling(), batch=5, log=log)
    assert len(again.asked) == 20
    assert len(items) == len(read_items(log)) == 30
    once_more = ScriptedChat(tuned)
    assert run_arm(tasks, Arm(INSTRUCT, once_more, instruct), Sampling(), log=log) == items
    assert once_more.asked == []


@pytest.mark.parametrize("change", ["model", "sampling", "question", "identity"])
def test_another_question_or_model_is_asked_again(tmp_path: Path, change: str) -> None:
    log = tmp_path / "log.jsonl"
    tasks = tasks_from(rows())
    run_arm(tasks, Arm(INSTRUCT, ScriptedChat(tuned), instruct), Sampling(), log=log)
    chat = ScriptedChat(tuned, name="other" if change == "model" else "scripted")
    arm = Arm(INSTRUCT, chat, bare if change == "question" else instruct, "v2" if change == "identity" else "")
    run_arm(tasks, arm, Sampling(max_tokens=9 if change == "sampling" else 256), log=log)
    assert len(chat.asked) == 30


def test_old_replies_are_scored_by_todays_checks(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    row = example("What is the capital of Land1?", "It is City1.")
    run_arm(tasks_from([row]), Arm(INSTRUCT, ScriptedChat(tuned), instruct), Sampling(), log=log)
    stricter = replace(row, meta={**row.meta, "checks": [{"type": "upper-case"}]})
    items = run_arm(tasks_from([stricter]), Arm(INSTRUCT, ScriptedChat(tuned), instruct), Sampling(), log=log)
    assert (items[0].score, items[0].reply) == (0.0, "It is City1.")
    assert read_items(log) == items


def test_one_refused_item_does_not_stop_the_others_and_is_asked_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"

    def refuses(request: Request) -> str:
        if "Land7" in last(request):
            raise HeedError("too long")
        return tuned(request)

    tasks = tasks_from(rows())
    items = run_arm(tasks, Arm(INSTRUCT, ScriptedChat(refuses), instruct), Sampling(), log=log)
    assert [item.id for item in items if item.stop_reason == "error"] == ["f-Land7"]
    assert "too long" in next(item.why for item in items if item.id == "f-Land7")
    chat = ScriptedChat(tuned)
    run_arm(tasks, Arm(INSTRUCT, chat, instruct), Sampling(), log=log)
    assert len(chat.asked) == 1


def test_items_that_fail_late_stop_nothing_even_when_they_are_a_whole_batch() -> None:
    """Batches are sorted by length, so that what a model cannot take comes together."""
    questions = [f"Hm{'x' * n}?" for n in range(8)]

    def refuses(request: Request) -> str:
        if len(last(request)) < 7:
            raise RuntimeError("out of memory")
        return "a"

    tasks = tasks_from([example(text, "a", id=text) for text in questions])
    items = run_arm(tasks, Arm(INSTRUCT, ScriptedChat(refuses), instruct), Sampling(), batch=2)
    assert [item.error for item in items] == ["out of memory"] * 4 + [""] * 4
    assert [item.score for item in items] == [0.0] * 4 + [1.0] * 4


def test_the_reason_of_a_model_is_no_answer(tmp_path: Path) -> None:
    """LocalChat says why it has no reply in the text of the reply; it must not be scored, or read as one."""
    chat = ScriptedChat(lambda request: Reply("It is City0.", stop_reason="error"))
    items = run_arm(tasks_from(rows()[:1]), Arm(INSTRUCT, chat, instruct), Sampling())
    assert (items[0].reply, items[0].score, items[0].error) == ("", 0.0, "It is City0.")
    report = evaluate(tasks_from(rows()[:1]), [arms()[0], Arm(INSTRUCT, chat, instruct)], Sampling())
    assert (report.tasks[0].arms[INSTRUCT].errors, report.tasks[0].arms[BASE].errors) == (1, 0)


def test_a_scorer_that_fails_on_one_reply_stops_nothing(tmp_path: Path) -> None:
    def picky(row: Example, reply: str) -> Score:
        if "City7" in reply:
            raise RecursionError("deep")
        return Score(1.0, reply, "fine")

    task = replace(tasks_from(rows()[:20])[0], scorer=picky)
    log = tmp_path / "log.jsonl"
    items = run_arm([task], Arm(INSTRUCT, ScriptedChat(tuned), instruct), Sampling(), log=log)
    (failed,) = [item for item in items if item.error]
    assert (failed.id, failed.score, failed.stop_reason) == ("f-Land7", 0.0, "stop")
    assert "the scorer failed: RecursionError: deep" in failed.why
    chat = ScriptedChat(tuned)
    mended = replace(task, scorer=lambda row, reply: Score(1.0, reply, "fine"))
    again = run_arm([mended], Arm(INSTRUCT, chat, instruct), Sampling(), log=log)
    assert not chat.asked
    assert [item.error for item in again] == [""] * 20


def test_the_log_says_who_answered_and_with_how_many_tokens(tmp_path: Path) -> None:
    chat = ScriptedChat(lambda request: Reply("It is City0.", ids=(1, 2, 3), reasoning="hm"))
    log = tmp_path / "log.jsonl"
    run_arm(tasks_from(rows()[:1]), Arm(INSTRUCT, chat, instruct, "v1"), Sampling(), log=log)
    (item,) = read_items(log)
    assert (item.model, item.tokens, item.reasoning, len(item.question)) == ("scripted v1", 3, "hm", 16)


def test_a_model_that_refuses_everything_stops_the_run() -> None:
    def refuses(request: Request) -> str:
        raise HeedError("no answer at all")

    with pytest.raises(HeedError, match="no answer at all"):
        run_arm(tasks_from(rows()), Arm(BASE, ScriptedChat(refuses), bare), Sampling())


def test_a_report_from_a_log_equals_the_one_made_on_the_way(tmp_path: Path) -> None:
    from heedlm.eval.evaluate import compare

    log = tmp_path / "log.jsonl"
    tasks = tasks_from(rows())
    report = evaluate(tasks, arms(), Sampling(), log=log)
    assert compare(tasks, read_items(log)) == report
    heard: list[tuple[str, int, int]] = []
    evaluate(tasks, arms(), Sampling(), log=log, on_progress=lambda *news: heard.append(news))
    assert heard == [(BASE, 30, 30), (INSTRUCT, 30, 30)]


def test_all_broken_rows_are_named_at_once() -> None:
    broken = [
        replace(rows()[0], messages=rows()[0].messages[:-1]),
        replace(rows()[1], meta={"task": "facts", "kind": "facts"}),
        replace(rows()[2], meta={**rows()[2].meta, "kind": "guide"}),
        rows()[3],
        rows()[3],
    ]
    with pytest.raises(HeedError) as caught:
        tasks_from(broken)
    said = str(caught.value)
    for what in ("ends with the answer", "no checks", "two kinds: facts, guide", "is there twice"):
        assert what in said


def test_no_rows_make_no_tasks_and_an_empty_report() -> None:
    assert tasks_from([]) == []


@pytest.mark.parametrize(
    ("reply", "refused"), [("I don’t know.", True), ("Sorry, I DO NOT KNOW it", True), ("Oslo", False)]
)
def test_refusals(reply: str, refused: bool) -> None:
    assert is_refusal(reply) is refused


def test_bits_per_byte_by_hand() -> None:
    """One nat per character; "ä" is one character and two bytes."""
    chat = ScriptedChat(lambda request: "", nats=-math.log(2))
    assert bits_per_byte(chat, ["abcd", ""]) == pytest.approx(1.0)
    assert bits_per_byte(chat, ["ä" * 3]) == pytest.approx(0.5)
    assert bits_per_byte(chat, ["a", "ää"], batch=1) == pytest.approx(3 / 5)
    found = forgetting(chat, ScriptedChat(lambda request: "", nats=-2 * math.log(2)), ["ab"], ["ää"]).bits
    assert (found.before, found.after, found.other_before, found.other_after) == pytest.approx((1, 2, 0.5, 1))


def test_pieces_lose_nothing_and_keep_their_size() -> None:
    for text in ("", "short", "a few words " * 50, "ä" * 100, "x" * 99 + " y", " " * 40):
        for size in (4, 7, 64):
            cut = list(pieces(text, size))
            assert "".join(cut) == text
            assert all(0 < len(piece.encode()) <= size for piece in cut)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_greedy_answers_do_not_depend_on_their_company(family: str) -> None:
    """fp32: batches of 1, 4 and 16 give the same replies, scores and stop reasons."""
    from heedlm.generate.chat import LocalChat
    from heedlm.templates.chat import load_template
    from heedlm.tokens.tokenizer import train_tokenizer
    from tests.families import TEXTS, VOCABULARY, build

    tokenizer = train_tokenizer(TEXTS, VOCABULARY)
    chat = LocalChat(build(family), tokenizer, load_template("human_assistant", tokenizer))
    items = [
        example("water " * (n % 5) + f"{n}?", "a", id=str(n), checks=[{"type": "icontains", "value": "e"}])
        for n in range(21)
    ]
    found = [
        [
            (item.reply, item.score, item.stop_reason, item.tokens)
            for item in run_arm(tasks_from(items), Arm(BASE, chat, bare), Sampling(max_tokens=9), batch=batch)
        ]
        for batch in (1, 4, 16)
    ]
    assert found[0] == found[1] == found[2]
    assert len({reply for reply, *_ in found[0]}) > 5


_SLOW = """
import sys, time
from pathlib import Path
from heedlm.eval.arms import INSTRUCT, instruct
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.task import tasks_from
from heedlm.messages import Reply, Sampling
from tests.eval.scripted import ScriptedChat
from tests.eval.test_evaluate import rows

def slow(request):
    time.sleep(0.05)
    return Reply("It is ...", ids=(1,))

print("ready", flush=True)
run_arm(tasks_from(rows()), Arm(INSTRUCT, ScriptedChat(slow), instruct), Sampling(), batch=3, log=Path(sys.argv[1]))
"""


def test_a_process_that_is_killed_loses_and_repeats_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while (not log.is_file() or log.stat().st_size < 2000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    with log.open("ab") as file:
        file.write(b'{"id": "f-La')  # what a kill inside a write leaves
    kept = {item.id for item in read_items(log)}
    assert 0 < len(kept) < 30
    chat = ScriptedChat(tuned)
    items = run_arm(tasks_from(rows()), Arm(INSTRUCT, chat, instruct), Sampling(), batch=3, log=log)
    assert len(chat.asked) == 30 - len(kept)
    assert [item.id for item in items] == [row.id for row in rows()]
    assert sorted(item.id for item in read_items(log)) == sorted(row.id for row in rows())
