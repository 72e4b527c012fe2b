"""Asking: bounded, within the budget, again where that may help, and never twice what was answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from heedlm.errors import HeedError
from heedlm.generate.remote import Called, RemoteChat
from heedlm.messages import Message, Reply, Request, Sampling
from heedlm.synth.budget import Budget
from heedlm.synth.desk import BUDGET, LOST, REFUSED, SPOILT, Answer, Call, Desk, Manner
from heedlm.synth.journal import Journal, Spent, Tokens
from tests.endpoints import Endpoint, asked, completion, endpoint
from tests.eval.scripted import ScriptedChat

QUICK = Manner(concurrency=4, tries=3, pause=0.01, longest=0.05, patience=5.0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "record" / "journal.jsonl") as opened:
        yield opened


def calls(*texts: str, once: bool = False, **sampling: Any) -> list[Call]:
    return [
        Call(Request(messages=(Message("user", text),)), Sampling(max_tokens=50, **sampling), once) for text in texts
    ]


def desk_of(
    place: Endpoint, journal: Journal, budget: Budget | None = None, manner: Manner = QUICK, **more: Any
) -> Desk:
    chat = RemoteChat(place.url, "tiny", max_retries=0, timeout=more.pop("timeout", 5.0))
    return Desk(chat, journal, budget or Budget(), manner, say=more.pop("say", lambda line: None))


def texts(answers: list[Answer]) -> list[str | None]:
    return [answer.reply.text if answer.reply else None for answer in answers]


def test_nothing_to_ask(journal: Journal) -> None:
    with endpoint(asked) as place:
        assert desk_of(place, journal).ask([]) == []
        assert place.heard == []


def test_answers_come_in_order_bounded_and_once(journal: Journal) -> None:
    def say(body: dict[str, Any]) -> str:
        time.sleep(0.02 if int(asked(body)) % 3 else 0.06)
        return f"to {asked(body)}"

    told: list[tuple[int, int]] = []
    numbers = [str(number) for number in range(12)]
    with endpoint(say) as place:
        desk = desk_of(place, journal)
        answers = desk.ask(calls(*numbers, "3", "5"), lambda done, of, spent: told.append((done, of)))
        assert texts(answers) == [f"to {number}" for number in [*numbers, "3", "5"]]
        assert sorted(place.heard) == sorted(numbers)  # equal calls are one
        assert 2 <= place.most_at_once <= 4
        assert told[0] == (0, 12)
        assert told[-1] == (12, 12)
        assert journal.spent == Spent(12, Tokens(120, 60))
        assert texts(desk.ask(calls("7"))) == ["to 7"]
        assert len(place.heard) == 12
        assert desk.reused == 1


def test_another_seed_is_another_call(journal: Journal) -> None:
    with endpoint(lambda body: str(body["seed"])) as place:
        desk = desk_of(place, journal)
        assert texts(desk.ask([*calls("a", seed=1), *calls("a", seed=2)])) == ["1", "2"]


def test_a_busy_endpoint_is_asked_again_and_costs_nothing_for_it(journal: Journal) -> None:
    failures = [(429, {}, {"error": {"message": "busy"}}), (503, {}, {"error": {"message": "down"}})]
    with endpoint(lambda body: failures.pop(0) if failures else "yes") as place:
        desk = desk_of(place, journal, manner=Manner(concurrency=1, tries=3, pause=0.01))
        assert texts(desk.ask(calls("a"))) == ["yes"]
        assert desk.retried == 2
        assert journal.spent == Spent(3, Tokens(10, 5))


def test_what_keeps_failing_is_given_up_and_asked_again_in_a_later_run(tmp_path: Path) -> None:
    def say(body: dict[str, Any]) -> Any:
        return (500, {}, {"error": {"message": "ill"}}) if ill and asked(body) == "bad" else "yes"

    ill = True
    path = tmp_path / "record" / "journal.jsonl"
    with endpoint(say) as place:
        with Journal(path) as journal:
            good, bad = desk_of(place, journal).ask(calls("good", "bad"))
            assert good.reply == Reply("yes")
            assert (bad.reply, bad.problem) == (None, LOST)
            assert "500: ill (3 times)" in bad.why
            assert place.heard.count("bad") == 3
        ill = False
        with Journal(path) as journal:
            assert texts(desk_of(place, journal).ask(calls("good", "bad"))) == ["yes", "yes"]
        assert place.heard.count("good") == 1


def test_what_others_depend_on_is_given_up_for_good(tmp_path: Path) -> None:
    path = tmp_path / "record" / "journal.jsonl"
    with endpoint(lambda body: (400, {}, {"error": {"message": "too long"}})) as place:
        for _ in range(2):
            with Journal(path) as journal:
                assert desk_of(place, journal).ask(calls("a", once=True))[0].reply is None
        assert len(place.heard) == 1


@pytest.mark.parametrize("header", ["0.4", "date"])
def test_retry_after_is_honoured_by_all(header: str, journal: Journal) -> None:
    from datetime import datetime, timedelta, timezone
    from email.utils import format_datetime

    begun: list[float] = []

    def say(body: dict[str, Any]) -> Any:
        begun.append(time.monotonic())
        if len(begun) == 1:
            later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2), usegmt=True)
            return 429, {"Retry-After": later if header == "date" else header}, {"error": {"message": "slow down"}}
        return "yes"

    with endpoint(say) as place:
        desk = desk_of(place, journal, manner=Manner(concurrency=1, tries=2, pause=0.001))
        assert texts(desk.ask(calls("a", "b"))) == ["yes", "yes"]
    assert begun[1] - begun[0] >= (0.9 if header == "date" else 0.4)


def test_a_wait_beyond_patience_ends_the_run(journal: Journal) -> None:
    with endpoint(lambda body: (429, {"Retry-After": "3600"}, {"error": {"message": "quota"}})) as place:
        with pytest.raises(HeedError, match="3,600 s") as told:
            desk_of(place, journal).ask(calls("a"))
        assert "goes on" in told.value.problems[0].mend


def test_a_timeout_may_have_been_paid_and_counts_so(journal: Journal) -> None:
    first = threading.Event()

    def say(body: dict[str, Any]) -> str:
        if not first.is_set():
            first.set()
            time.sleep(0.8)
        return "yes"

    with endpoint(say) as place:
        desk = desk_of(place, journal, timeout=0.3)
        assert texts(desk.ask(calls("a"))) == ["yes"]
        most = 1 + 64 + 16
        assert journal.spent == Spent(2, Tokens(10 + most, 5 + 50), unsure=1)


def test_a_wrong_key_ends_the_run_when_the_others_are_back(journal: Journal) -> None:
    def say(body: dict[str, Any]) -> Any:
        return (401, {}, {"error": {"message": "no such key"}}) if asked(body) == "3" else "yes"

    with endpoint(say) as place:
        with pytest.raises(HeedError, match="no such key"):
            desk_of(place, journal).ask(calls(*map(str, range(50))))
        assert len(journal) == sum(place.answered.values()) < 50


def test_an_endpoint_that_is_not_there_is_told_at_once(journal: Journal) -> None:
    with endpoint(asked) as place:
        gone = place.url
    chat = RemoteChat(gone, "tiny", max_retries=0)
    begun = time.monotonic()
    with pytest.raises(HeedError, match="cannot be reached"):
        Desk(chat, journal, Budget(), Manner(), say=lambda line: None).ask(calls("a", "b"))
    assert time.monotonic() - begun < 5
    assert journal.spent.tokens == Tokens(0, 0)


def test_refusals_without_end_are_not_the_fault_of_a_call(journal: Journal) -> None:
    with endpoint(lambda body: (400, {}, {"error": {"message": "max_tokens is too large"}})) as place:
        with pytest.raises(HeedError, match=r"20 calls one after the other.*too large"):
            desk_of(place, journal).ask(calls(*map(str, range(500))))
        assert len(place.heard) < 30


def test_an_endpoint_that_is_ill_for_good_is_left_alone(journal: Journal) -> None:
    with endpoint(lambda body: (500, {}, {"error": {"message": "ill"}})) as place:
        with pytest.raises(HeedError, match=r"20 calls had no answer one after the other.*ill"):
            desk_of(place, journal, manner=Manner(tries=2, pause=0.001)).ask(calls(*map(str, range(500))))
        assert len(place.heard) < 60


def test_one_refusal_is_its_own_affair(journal: Journal) -> None:
    with endpoint(lambda body: (400, {}, {"error": {"message": "no"}}) if asked(body) == "b" else "yes") as place:
        answers = desk_of(place, journal).ask(calls("a", "b", "c"))
        assert texts(answers) == ["yes", None, "yes"]
        assert answers[1].problem == REFUSED
        assert journal.spent == Spent(3, Tokens(20, 10))


def test_an_answer_that_cannot_be_used_is_paid_for_once(tmp_path: Path) -> None:
    broken = {"id": "1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}}
    with endpoint(lambda body: broken) as place:
        for _ in range(2):
            with Journal(tmp_path / "record" / "journal.jsonl") as journal:
                answer = desk_of(place, journal).ask(calls("a"))[0]
                assert (answer.reply, answer.problem) == (None, SPOILT)
                assert journal.spent == Spent(1, Tokens(7, 0))
        assert len(place.heard) == 1


# Budgets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "answered"), [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5)])
def test_a_budget_of_requests(limit: int, answered: int, journal: Journal) -> None:
    with endpoint(asked) as place:
        desk = desk_of(place, journal, Budget(requests=limit))
        answers = desk.ask(calls(*"abcde"))
        assert sum(answer.reply is not None for answer in answers) == len(place.heard) == answered
        assert {answer.problem for answer in answers if answer.reply is None} == ({BUDGET} if answered < 5 else set())
        assert desk.stopped == (f"{limit} requests" if answered < 5 else None)


def test_attempts_that_failed_are_requests_too(journal: Journal) -> None:
    with endpoint(lambda body: (503, {}, {"error": {"message": "down"}})) as place:
        desk = desk_of(place, journal, Budget(requests=2), Manner(concurrency=1, tries=9, pause=0.01))
        assert desk.ask(calls("a"))[0].problem == BUDGET
        assert len(place.heard) == 2


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_budget_of_tokens_is_kept_to_the_last_token(over: int, concurrency: int, journal: Journal) -> None:
    """Four calls cost 15 tokens each, and each can cost 1 + 64 + 16 + 50: the fourth fits if 45 + 131 do."""
    limit = 45 + 131 + over
    with endpoint(asked) as place:
        desk = desk_of(place, journal, Budget(tokens=limit), Manner(concurrency=concurrency))
        answers = desk.ask(calls(*"abcd"))
        assert sum(answer.reply is not None for answer in answers) == (4 if over >= 0 else 3)
        assert sum(journal.spent.tokens) <= limit


def test_a_budget_of_money_that_nothing_exceeds(journal: Journal) -> None:
    budget = Budget(money=Decimal("0.001"), price_in=Decimal(1), price_out=Decimal(2))
    with endpoint(lambda body: completion("yes", tokens=(60, 50))) as place:
        desk = desk_of(place, journal, budget)
        desk.ask(calls(*map(str, range(40))))
        assert Decimal("0.0007") < budget.cost(journal.spent.tokens) <= Decimal("0.001")
        assert desk.stopped == "0.001 in money"
        assert len(place.heard) == journal.spent.requests


def test_more_budget_goes_on(tmp_path: Path) -> None:
    with endpoint(asked) as place:
        for limit, had in ((2, 2), (2, 2), (5, 4)):
            with Journal(tmp_path / "record" / "journal.jsonl") as journal:
                answers = desk_of(place, journal, Budget(requests=limit)).ask(calls(*"abcd"))
                assert sum(answer.reply is not None for answer in answers) == had
        assert len(place.heard) == 4


def test_where_tokens_are_not_counted_the_most_is(journal: Journal) -> None:
    with endpoint(asked, tokens=None) as place:
        desk_of(place, journal).ask(calls("a"))
        assert journal.spent == Spent(1, Tokens(81, 50), guessed=1)


# Any other chat -------------------------------------------------------------------------------------------------------


def test_another_chat_is_asked_in_batches(journal: Journal) -> None:
    chat = ScriptedChat(lambda request: request.messages[-1].content.upper())
    desk = Desk(chat, journal, Budget(), Manner(batch=3), say=lambda line: None)
    assert texts(desk.ask([*calls(*"abcdefg"), *calls("h", seed=1), *calls("a")])) == [*"ABCDEFGH", "A"]
    assert chat.calls == [3, 3, 1, 1]
    assert chat.samplings[-1].seed == 1
    assert texts(desk.ask(calls(*"gfe"))) == [*"GFE"]
    assert sum(chat.calls) == 8


@pytest.mark.parametrize(("limit", "sizes"), [(0, []), (2, [2]), (3, [3]), (4, [3, 1])])
def test_a_batch_is_cut_to_the_budget(limit: int, sizes: list[int], journal: Journal) -> None:
    chat = ScriptedChat(lambda request: "yes")
    desk = Desk(chat, journal, Budget(requests=limit), Manner(batch=3), say=lambda line: None)
    answers = desk.ask(calls(*"abcde"))
    assert chat.calls == sizes
    assert [answer.problem for answer in answers] == [""] * limit + [BUDGET] * (5 - limit)


def test_an_error_of_a_chat_is_the_calls_own(journal: Journal) -> None:
    chat = ScriptedChat(lambda r: Reply("too long", stop_reason="error") if r.messages[0].content == "b" else "yes")
    answers = Desk(chat, journal, Budget(), Manner(), say=lambda line: None).ask(calls(*"abc"))
    assert texts(answers) == ["yes", None, "yes"]
    assert (answers[1].problem, answers[1].why) == (REFUSED, "too long")


def test_a_chat_that_breaks_down_leaves_what_was_answered(journal: Journal) -> None:
    def say(request: Request) -> str:
        if request.messages[0].content == "d":
            raise KeyboardInterrupt
        return "yes"

    desk = Desk(ScriptedChat(say), journal, Budget(), Manner(batch=2), say=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        desk.ask(calls(*"abcdef"))
    assert len(journal) == 2
    assert journal.spent.unsure == 2


# Chaos ----------------------------------------------------------------------------------------------------------------


class Weather:
    """An endpoint that answers, refuses, breaks off or is busy, as chance has it; counts what really happened."""

    name = "weather"

    def __init__(self, seed: int) -> None:
        self.chance, self.lock = random.Random(seed), threading.Lock()
        self.sent = 0
        self.paid = Tokens(0, 0)
        self.answered: dict[str, int] = {}

    def reply(self, requests: Any, sampling: Sampling, *, on_text: Any = None) -> list[Reply]:
        raise AssertionError("an endpoint is called one by one")

    def score(self, requests: Any, continuations: Any) -> list[list[float]]:
        raise AssertionError("never asked")

    def call(self, request: Request, sampling: Sampling) -> Called:
        with self.lock:
            self.sent += 1
            kind = self.chance.choice(["paid", "paid", "paid", "spoilt", "unsure", "free", "busy"])
            tokens = Tokens(self.chance.randrange(1, 80), self.chance.randrange(0, sampling.max_tokens + 1))
            text = request.messages[0].content
            if kind in ("paid", "spoilt"):
                self.paid = self.paid.plus(tokens)
                self.answered[text] = self.answered.get(text, 0) + 1
            elif kind == "unsure" and self.chance.random() < 0.5:
                self.paid = self.paid.plus(tokens)
        time.sleep(0.001)
        if kind == "paid":
            return Called(Reply(f"To {text}"), tokens=tokens)
        if kind == "spoilt":
            return Called(Reply("no choice", stop_reason="error"), tokens=tokens)
        return Called(Reply(kind, stop_reason="error"), "unsure" if kind == "unsure" else "free", again=kind != "free")


@pytest.mark.parametrize("seed", range(12))
def test_in_any_weather_the_account_is_true_and_the_budget_kept(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    weather = Weather(seed)
    whole = [str(number) for number in range(40)]
    manner = Manner(concurrency=chance.randrange(1, 9), tries=chance.randrange(1, 5), pause=0.0005, longest=0.001)
    for share in (0.2, 0.5, 0.8, 1.0):
        budget = Budget(requests=int(60 * share), tokens=int(4000 * share))
        with Journal(tmp_path / "record" / "journal.jsonl") as journal:
            before = weather.sent
            answers = Desk(weather, journal, budget, manner, say=lambda line: None).ask(calls(*whole))
            assert [a.reply.text for a in answers if a.reply] == [
                f"To {w}" for w, a in zip(whole, answers, strict=True) if a.reply
            ]
            assert all(answer.reply is not None or answer.problem for answer in answers)
            assert journal.spent.requests == weather.sent <= max(before, int(60 * share))
            assert sum(weather.paid) <= sum(journal.spent.tokens) <= int(4000 * share)
            assert max(weather.answered.values(), default=1) == 1
            kept = journal.spent
        with Journal(tmp_path / "record" / "journal.jsonl") as journal:
            assert journal.spent == kept
