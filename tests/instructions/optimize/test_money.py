"""Money: what an endpoint can be owed stays within the budget, whatever it tells, however it fails, after any kill."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from heedlm.errors import HeedError
from heedlm.instructions.bench import Bench, Candidate
from heedlm.instructions.cases import Case, Raw, cases_of
from heedlm.instructions.optimize.ledger import Exhausted
from heedlm.instructions.optimize.money import Metered, Price, Purse, Till, read_price
from heedlm.messages import Message, Request, Sampling
from heedlm.runs import read_jsonl
from heedlm.synth.budget import most_tokens
from tests.endpoints import completion, endpoint
from tests.instructions.optimize.planted import SEED

REQUEST = Request(messages=(Message("user", "How many? Order 7"),))
SAMPLING = Sampling(max_tokens=8)
PRICE = Price(100_000, 400_000)  # a tenth and two fifths for each token


def cases(count: int) -> list[Case]:
    return cases_of([Raw({"vars": {"ticket": f"Order {n}"}, "target": "a"}, f"c:{n}") for n in range(count)], [SEED])


@pytest.mark.parametrize("text", ["", "x", "-1", "1,-2", "nan", "inf", "1,2,3", "1;2", ","])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(HeedError, match="no price"):
        read_price(text, "--price")


def test_a_price_is_of_a_million_tokens() -> None:
    assert read_price("0.15,0.60", "--price") == Price(0.15, 0.60)
    assert read_price("2", "--price") == Price(2, 2)
    assert Price(1, 3).of(1_000_000, 2_000_000) == 7


def test_many_hands_take_no_more_than_there_is(tmp_path: Path) -> None:
    purse = Purse(5.0, tmp_path / "spent.jsonl")
    most_seen, refused = [0.0], []

    def hand(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(20):
            most = draw.uniform(0.01, 0.4)
            try:
                number = purse.take(most)
            except Exhausted:
                refused.append(seed)
                continue
            most_seen.append(purse.spent)
            purse.settle(number, most * draw.random(), None)

    hands = [threading.Thread(target=hand, args=(seed,)) for seed in range(8)]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    assert max(most_seen) <= 5.0 + 1e-9
    assert refused
    assert Purse(5.0, tmp_path / "spent.jsonl").spent == pytest.approx(purse.spent)


def test_a_call_that_a_kill_cut_off_counts_at_its_dearest(tmp_path: Path) -> None:
    path = tmp_path / "spent.jsonl"
    first = Purse(1.0, path)
    first.settle(first.take(0.25), 0.125, None)
    first.take(0.5)
    again = Purse(1.0, path)
    assert again.spent == 0.625
    with pytest.raises(Exhausted):
        again.take(0.5)
    again.settle(again.take(0.375), 0.25, None)  # what just fits
    assert Purse(1.0, path).spent == 0.875
    path.write_bytes(path.read_bytes()[:-5])  # the last line cut: the call counts at its dearest again
    assert Purse(1.0, path).spent == 1.0


def test_an_answer_costs_what_the_endpoint_tells_and_the_most_where_it_does_not() -> None:
    dearest = PRICE.of(*most_tokens(REQUEST, SAMPLING))
    for tokens, cost in (((10, 5), 3.0), (None, dearest)):
        with endpoint(lambda body: "seven", tokens=tokens) as server:
            purse = Purse(1000.0)
            Metered(server.url, "m", purse, PRICE).call(REQUEST, SAMPLING)
            assert purse.spent == pytest.approx(cost)


def test_attempts_are_paid_one_by_one_and_never_beyond_the_limit() -> None:
    said: list[Any] = [500, 429, completion("seven")]
    slept: list[float] = []
    with endpoint(lambda body: said.pop(0)) as server:
        purse = Purse(1000.0)
        called = Metered(server.url, "m", purse, PRICE, sleep=slept.append).call(REQUEST, SAMPLING)
    assert called.reply.text == "seven"
    assert purse.spent == pytest.approx(3.0)  # what was refused costs nothing
    assert len(slept) == 2
    with endpoint(lambda body: {"no": "choices"}) as server:  # worked on, and of no use
        purse = Purse(2.5 * PRICE.of(*most_tokens(REQUEST, SAMPLING)))
        metered = Metered(server.url, "m", purse, PRICE, sleep=slept.append)
        with pytest.raises(Exhausted):
            for _ in range(9):
                metered.call(REQUEST, SAMPLING)
        assert len(server.heard) == 2
    assert purse.limit is not None
    assert purse.spent <= purse.limit


def test_an_endpoint_that_is_not_there_costs_nothing() -> None:
    purse = Purse(1000.0)
    called = Metered("http://127.0.0.1:9/v1", "m", purse, PRICE, sleep=lambda seconds: None).call(REQUEST, SAMPLING)
    assert called.refused is not None
    assert purse.spent == 0.0


@pytest.mark.parametrize("tokens", [(30, 2), (75, 8), None])
@pytest.mark.parametrize("fails", [0, 3])
def test_the_bill_of_the_endpoint_stays_within_the_money(
    tmp_path: Path, tokens: tuple[int, int] | None, fails: int
) -> None:
    """What the endpoint would write on its bill: of each answer what it told, else all that it can have counted."""
    heard, lock = count(1), threading.Lock()

    def say(body: Any) -> Any:
        with lock:
            return 400 if fails and next(heard) % fails == 0 else "a"

    limit, path = 400.0, tmp_path / "spent.jsonl"
    with endpoint(say, tokens=tokens) as server:
        for run in range(4):  # each time the money of all runs together is the same
            purse = Purse(limit, path)
            chat = Metered(server.url, "m", purse, PRICE, sleep=lambda seconds: None)
            bench = Bench(chat, cases(64), sampling=SAMPLING)
            with pytest.raises(Exhausted):
                for number in range(50):
                    candidate = Candidate(SEED.with_text("tone", f"Be of mood {number}, run {run}."))
                    bench.answers([candidate], range(64))
            answered = sum(server.answered.values())
            bill = answered * (PRICE.of(*tokens) if tokens is not None else PRICE.of(60, 1))
            assert bill <= limit
            assert purse.spent <= limit + 1e-6
    assert any("most" in line for line in read_jsonl(path))


def test_the_search_leaves_enough_for_the_sealed_test() -> None:
    with endpoint(lambda body: "a", tokens=(40, 1)) as server:
        purse = Purse(2500.0)
        bench = Bench(Metered(server.url, "m", purse, PRICE), cases(80), sampling=SAMPLING)
        till = Till(bench, PRICE, purse, range(60, 80))
        long = [Candidate(SEED.with_text("tone", "Be merry. " * number)) for number in range(1, 30)]
        last = long[0]
        with pytest.raises(Exhausted):
            for one in long:
                till.before(one, range(16))
                bench.answers([one], range(16))
                last = one
        assert last is not long[0]
        till.unseal()
        bench.answers([long[0], last], range(60, 80))  # raises where the money does not reach
    assert purse.spent <= 2500.0


def test_what_is_answered_already_needs_no_money() -> None:
    with endpoint(lambda body: "a", tokens=(40, 1)) as server:
        purse = Purse(10_000.0)
        bench = Bench(Metered(server.url, "m", purse, PRICE), cases(40), sampling=SAMPLING)
        bench.answers([Candidate(SEED)], range(40))
        purse.limit = purse.spent
        till = Till(bench, PRICE, purse, range(20, 40))
        till.before(Candidate(SEED), range(20))
        with pytest.raises(Exhausted):
            till.before(Candidate(SEED.without("tone")), range(1))


def test_dense_tokens_make_what_is_kept_larger() -> None:
    told: Callable[[Purse, float], None] = lambda purse, each: [  # noqa: E731
        purse.settle(purse.take(0.0), 0.0, each) for _ in range(16)
    ].clear()
    fresh, thin, dense = Purse(), Purse(), Purse()
    told(thin, 0.2)
    told(dense, 0.9)
    assert fresh.density == 1.0
    assert thin.density == pytest.approx(0.25)
    assert dense.density == 1.0
