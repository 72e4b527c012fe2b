"""What judges may spend: each by itself, also behind `heed eval`; and what is judged is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import heedlm
from heedlm.errors import HeedError
from heedlm.eval.prices import prices_of
from heedlm.judge_after import Judging, check_judging, endpoints_of
from heedlm.judge_journal import journal_of
from tests.endpoints import endpoint, served
from tests.eval.judge.logs import by_truth, chat, evaluated, prefers
from tests.eval.scripted import ScriptedChat


def right(number: int) -> str:
    return f"Answer {number}."


def wrong(number: int) -> str:
    return f"No idea, {number}."


def judge_of(name: str) -> ScriptedChat:
    say = prefers(by_truth)
    return ScriptedChat(lambda request: say(request.messages[-1].content), name)


def test_a_budget_counts_the_calls_of_its_judge_alone(tmp_path: Path) -> None:
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=10)
    first = heedlm.judge(of=place, by=judge_of("one"), budget_requests=20)
    assert (first.report.spent["requests"], first.report.stopped) == (20, None)
    other = judge_of("other")
    second = heedlm.judge(of=place, by=other, budget_requests=20)
    assert (second.report.spent["requests"], second.report.stopped, len(other.asked)) == (20, None, 20)
    assert second.report.pairs[0].all is not None
    assert second.report.pairs[0].all.n == 10
    again = judge_of("one")
    third = heedlm.judge(of=place, by=again, budget_requests=20)
    assert (third.report.spent["requests"], third.report.reused, len(again.asked)) == (20, 20, 0)
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Is it short?")
    fourth = heedlm.judge(of=place, by=judge_of("one"), rubric=rubric, budget_requests=21)
    assert (fourth.report.spent["requests"], fourth.report.stopped) == (21, "21 requests")


def test_an_older_journal_of_several_judges_is_shared_out(tmp_path: Path) -> None:
    """What was paid stays paid, for whoever asked it; what nobody knows counts for each."""
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=10)
    folder = tmp_path / "judge"
    for name in ("one", "other"):
        heedlm.judge(of=place, by=judge_of(name))
    own = {name: journal_of(folder, name) for name in ("one", "other")}
    lines = [path.read_text() for path in own.values()]
    lost = '{"heed_synth": 1, "event": "sent", "key": "aa", "attempt": 99, "most": [5, 7], "time": "2026-01-01T00:00:00Z"}\n'
    torn = '{"heed_synth": 1, "event": "se'
    shutil.rmtree(folder)
    folder.mkdir()
    # Attempts are numbered over the whole file, as they were when judges shared it.
    second = lines[1]
    for number in range(20, 0, -1):
        second = second.replace(f'"attempt": {number},', f'"attempt": {number + 20},')
    (folder / "journal.jsonl").write_text(lines[0] + second + lost + torn)
    judge = judge_of("other")
    done = heedlm.judge(of=place, by=judge, budget_requests=21)
    assert (len(judge.asked), done.report.reused) == (0, 20)
    assert (done.report.spent["requests"], done.report.spent["unsure_requests"]) == (21, 1)
    third = judge_of("third")
    assert heedlm.judge(of=place, by=third).report.spent["requests"] == 21  # its own 20, and the one of nobody
    assert (folder / "journal.jsonl").read_text() == lines[0] + second + lost + torn  # left as it was


def test_a_damaged_older_journal_is_named(tmp_path: Path) -> None:
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=2)
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "journal.jsonl").write_text("nonsense\n")
    with pytest.raises(HeedError, match="damaged line") as caught:
        heedlm.judge(of=place, by=judge_of("one"))
    assert "journal.jsonl:1" in caught.value.problems[0].where


def test_money_of_a_judge_behind_an_endpoint(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=4)
    sound = prefers(by_truth)
    with served(sound) as server:
        done = heedlm.judge(of=place, by=f"{server.url}#j", price_in="1.5", price_out=2)
    assert done.report.spent["prompt_tokens"] == 80  # ten for each of eight calls, says the endpoint
    assert float(done.report.spent["money"]) == pytest.approx((80 * 1.5 + 40 * 2) / 1e6)
    for name in ("report.md", "report.html"):
        assert "in money" in (done.files[0].parent / name).read_text()


def test_suites_that_are_judged_as_well_are_said(tmp_path: Path) -> None:
    """The log of a run holds the items of every suite that was asked: none of them is judged in silence."""
    replies = {"base": wrong, "instruct": right}
    evaluated(tmp_path / "run" / "eval", replies, n=3, task="own")
    (tmp_path / "run" / "run.json").write_text('{"version": 1}')
    (tmp_path / "run" / "data").mkdir()
    row = {"heed_version": 1, "id": "own-0", "source": "rows:1", "meta": {"task": "own"}}
    row["messages"] = [{"role": "user", "content": "Question 0?"}, {"role": "assistant", "content": "Answer 0."}]
    (tmp_path / "run" / "data" / "test.jsonl").write_text(json.dumps(row) + "\n")
    heard: list[str] = []
    done = heedlm.judge(of=tmp_path / "run", by=chat(prefers(by_truth)), say=heard.append)
    assert heard == []
    assert done.report.notes == ()
    evaluated(tmp_path / "run" / "eval", replies, n=5, task="guides")
    done = heedlm.judge(of=tmp_path / "run", by=chat(prefers(by_truth)), say=heard.append)
    (said,) = heard
    assert "items of suites that were asked: guides (5). --task NAME" in said
    assert said in done.report.notes
    heedlm.judge(of=tmp_path / "run", by=chat(prefers(by_truth)), tasks=["own"], say=heard.append)
    assert len(heard) == 1  # who names tasks knows them


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Judging(requests=3), ("budget in requests", "--budget-requests")),
        (Judging(rubric="x", tokens=1), ("A rubric is for a judge", "budget in tokens")),
        (Judging("http://h/v1#m", money="1"), ("needs the prices", "--price 'http://h/v1#m=IN,OUT'")),
        (Judging("http://h/v1#m", requests=-1, rubric="missing.txt"), ("--budget-requests", "missing.txt")),
    ],
)
def test_what_a_budget_lacks_is_told_before_anything_is_asked(wanted: Judging, words: tuple[str, ...]) -> None:
    with pytest.raises(HeedError) as caught:
        check_judging(wanted, None)
    assert all(word in str(caught.value) for word in words)


def test_prices_by_name() -> None:
    names = ["http://h/v1#a", "http://h/v1#b"]
    found = prices_of([f"{names[0]}=0.15,0.60"], names)
    assert found[names[0]].money(1_000_000, 500_000) == pytest.approx(0.45)
    assert found[names[0]].money(10, None) is None
    assert prices_of({names[1]: (1, 2.5)}, names)[names[1]].money(2, 2) == pytest.approx(7e-6)
    assert prices_of((), []) == {}
    assert endpoints_of(["runs/mine", names[0]], names[1]) == names
    assert endpoints_of([names[0]], names[0]) == names[:1]
    with pytest.raises(HeedError) as caught:
        prices_of([f"{names[0]}=1", "nonsense", f"{names[0]}=1,nan", "http://h/v1#c=1,2", f"{names[1]}=1,-2"], names)
    assert [problem.what for problem in caught.value.problems] == [
        *["This is no price."] * 3,
        "http://h/v1#c is no endpoint that is asked.",
        "This is no price.",
    ]
    with pytest.raises(HeedError, match="has two prices"):
        prices_of([f"{names[0]}=1,2", f"{names[0]}=1,3"], names)
    with pytest.raises(HeedError, match="leave it out"):
        prices_of(["runs/mine=1,2"], [])


def test_tokens_that_an_endpoint_does_not_count_cost_the_most_they_can(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    place = evaluated(tmp_path, {"base": wrong, "instruct": right}, n=2)
    with endpoint(lambda body: prefers(by_truth)(body["messages"][-1]["content"]), tokens=None) as server:
        done = heedlm.judge(of=place, by=f"{server.url}#j", price_in=1, price_out=1, max_tokens=50)
    assert done.report.spent["completion_tokens"] == 200
    assert float(done.report.spent["money"]) > 200 / 1e6
