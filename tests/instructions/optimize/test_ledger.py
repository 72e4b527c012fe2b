"""The ledger: nothing is paid for twice or beyond the budget, and a kill loses nothing that was paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.instructions.bench import Candidate
from heedlm.instructions.layout import Layout
from heedlm.instructions.optimize.ledger import Budget, Exhausted, Journal, Ledger, fingerprint
from tests.instructions.optimize.planted import SEED


class Counting:
    """An evaluator that remembers what it was asked; the score is the item's parity."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        self.asked += [(fingerprint(one), item) for one in candidates for item in items]
        return [[float(item % 2) for item in items] for _ in candidates]


@pytest.mark.parametrize("budget", [(0, None), (-1, None), (10, 0.0), (10, float("nan")), (10, -3.0)])
def test_a_budget_that_buys_nothing_is_refused(budget: tuple[int, float | None]) -> None:
    with pytest.raises(HeedError, match="buys nothing"):
        Budget(*budget)


def test_a_budget_that_only_reaches_for_the_test_is_refused() -> None:
    with pytest.raises(HeedError, match="the sealed test alone takes 20"):
        Ledger(Counting(), Budget(20), reserve=20)


def test_the_same_text_is_paid_for_once_whatever_its_name() -> None:
    model = Counting()
    ledger = Ledger(model, Budget(100))
    first, again = Candidate(SEED), Candidate(SEED.renamed("other"), label="another name")
    assert ledger.scores([first, again], [0, 1, 2]) == [[0, 1, 0]] * 2
    assert ledger.scores([again], [2, 1, 3]) == [[0, 1, 1]]
    assert ledger.calls == len(model.asked) == len(set(model.asked)) == 4


def test_what_a_model_sees_differs_in_the_fingerprint() -> None:
    one = Candidate(SEED)
    others = [
        Candidate(SEED, Layout(notation="xml")),
        Candidate(SEED.with_text("tone", "Be dry.")),
        Candidate(SEED.without("tone")),
        Candidate(SEED.ordered(["tone", "task"])),
        Candidate(SEED.with_block(replace(SEED.block("task"), repeat="end"))),
    ]
    assert len({fingerprint(each) for each in [one, *others]}) == 6
    assert fingerprint(Candidate(SEED.with_variant("role", "clerk"))) != fingerprint(one)


def test_the_budget_holds_to_the_call_and_the_reserve_is_kept() -> None:
    model = Counting()
    ledger = Ledger(model, Budget(14), reserve=4)
    one = Candidate(SEED)
    ledger.scores([one], range(10))  # full
    with pytest.raises(Exhausted):
        ledger.scores([one], range(11))  # one over: nothing is asked
    assert len(model.asked) == 10
    assert ledger.left == 0
    ledger.sealed_scores([one], range(10, 14))
    assert ledger.calls == 14


def test_minutes_end_the_search_but_not_the_sealed_test() -> None:
    now = iter(range(0, 100_000, 30))
    ledger = Ledger(Counting(), Budget(1000, minutes=1.0), reserve=10, clock=lambda: float(next(now)))
    one = Candidate(SEED)
    with pytest.raises(Exhausted, match="minutes"):
        ledger.scores([one], range(300))  # 64 each 30 seconds: over after two batches
    assert ledger.calls == 128
    assert ledger.left == 0
    assert len(ledger.sealed_scores([one], range(400, 410))[0]) == 10


def test_a_journal_is_read_back_and_nothing_is_asked_again(tmp_path: Path) -> None:
    path, head = tmp_path / "deep" / "journal.jsonl", {"model": "m", "stages": ("format",)}
    first = Ledger(Counting(), Budget(300), journal=Journal(path, head))
    first.scores([Candidate(SEED)], range(100))
    model = Counting()
    second = Ledger(model, Budget(300), journal=Journal(path, head))
    assert second.calls == 0
    assert second.scores([Candidate(SEED)], range(100)) == first.scores([Candidate(SEED)], range(100))
    assert model.asked == []
    assert second.calls == 100  # paid for, though not asked again: the budget is that of one search


def test_what_an_earlier_run_with_another_budget_asked_is_counted(tmp_path: Path) -> None:
    path, head = tmp_path / "journal.jsonl", {"model": "m"}
    first, other = Candidate(SEED), Candidate(SEED.without("tone"))
    Ledger(Counting(), Budget(300), journal=Journal(path, head)).scores([first], range(100))
    model = Counting()
    ledger = Ledger(model, Budget(150), journal=Journal(path, head))
    ledger.scores([other], range(50))  # full: 100 and 50
    assert ledger.left == 100
    with pytest.raises(Exhausted, match="asked in earlier runs"):
        ledger.scores([other], range(51))
    assert len(model.asked) == 50
    assert ledger.scores([first], range(100))[0][1] == 1.0  # what is known costs nothing


def test_behind_an_opened_test_nothing_new_is_asked(tmp_path: Path) -> None:
    path, head = tmp_path / "journal.jsonl", {"model": "m"}
    first = Candidate(SEED)
    Ledger(Counting(), Budget(300), journal=Journal(path, head)).scores([first], range(10))
    model = Counting()
    ledger = Ledger(model, Budget(300), reserve=20, journal=Journal(path, head), closed=True)
    ledger.scores([first], range(10))
    with pytest.raises(Exhausted, match="the search is over"):
        ledger.scores([first], range(11))
    assert model.asked == []
    ledger.sealed_scores([first], range(10, 20))  # the rest of the test itself
    assert len(model.asked) == 10


def test_a_line_cut_by_a_kill_costs_that_line_only(tmp_path: Path) -> None:
    path, head = tmp_path / "journal.jsonl", {"model": "m"}
    Ledger(Counting(), Budget(300), journal=Journal(path, head)).scores([Candidate(SEED)], range(130))
    path.write_bytes(path.read_bytes()[:-7])
    model = Counting()
    ledger = Ledger(model, Budget(300), journal=Journal(path, head))
    ledger.scores([Candidate(SEED)], range(130))
    assert [item for _, item in model.asked] == [128, 129]
    assert sum(len(line["items"]) for line in Journal(path, head).lines) == 130


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, {"model": "m", "seed": 0})
    with pytest.raises(HeedError, match="seed differ"):
        Journal(path, {"model": "m", "seed": 1})
