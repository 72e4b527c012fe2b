"""The sealed test: opened once, for one pair, and on record; nothing of it lies in train or dev."""

from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case, Raw, cases_of
from heedlm.instructions.optimize.gate import Sealed, digest_of, gate, refuse_reopened
from heedlm.instructions.optimize.ledger import Budget, Ledger, fingerprint
from heedlm.instructions.optimize.splits import split
from heedlm.runs import read_jsonl
from tests.instructions.optimize.planted import SEED, features

BETTER, OTHER, WORSE = (Candidate(SEED.without(block)) for block in ("tone", "role", "rules"))
ITEMS = range(60)


def ledger() -> Ledger:
    """A model that is right on half of the items, on all without the tone, on a third without the rules."""

    def one(candidate: Candidate, item: int) -> float:
        if features(candidate)["no tone"]:
            return 1.0
        return float(item % 3 == 0) if "rules" not in candidate.instruction.ids else float(item % 2)

    return Ledger(lambda rows, items: [[one(row, item) for item in items] for row in rows], Budget(1000), reserve=900)


def test_what_is_better_passes_and_the_opening_is_on_record_before_the_result(tmp_path: Path) -> None:
    record = tmp_path / "new" / "sealed.jsonl"
    told = gate(ledger(), Candidate(SEED), BETTER, ITEMS, record, "t")
    assert told.passed
    assert (told.seed, told.chosen) == (0.5, 1.0)
    assert [line["what"] for line in read_jsonl(record)] == ["opened", "result"]


def test_what_is_worse_or_no_different_does_not_pass(tmp_path: Path) -> None:
    assert not gate(ledger(), Candidate(SEED), WORSE, ITEMS, tmp_path / "a", "t").passed
    assert not gate(ledger(), Candidate(SEED), OTHER, ITEMS, tmp_path / "b", "t").passed


def test_a_second_opening_for_another_pair_is_refused_and_recorded(tmp_path: Path) -> None:
    record = tmp_path / "sealed.jsonl"
    gate(ledger(), Candidate(SEED), OTHER, ITEMS, record, "t")
    fresh = ledger()
    with pytest.raises(HeedError, match=r"opened on .* for another pair"):
        gate(fresh, Candidate(SEED), BETTER, ITEMS, record, "t")
    assert fresh.calls == 0
    assert [line["what"] for line in read_jsonl(record)] == ["opened", "result", "refused"]
    assert gate(ledger(), Candidate(SEED), BETTER, ITEMS, record, "other cases").passed


def test_after_a_kill_in_between_the_same_pair_goes_on(tmp_path: Path) -> None:
    record = tmp_path / "sealed.jsonl"

    def dead(candidates: object, items: object) -> list[list[float]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate(Ledger(dead, Budget(1000), reserve=900), Candidate(SEED), BETTER, ITEMS, record, "t")
    assert [line["what"] for line in read_jsonl(record)] == ["opened"]
    first = gate(ledger(), Candidate(SEED), BETTER, ITEMS, record, "t")
    assert gate(ledger(), Candidate(SEED), BETTER, ITEMS, record, "t") == first
    assert [line["what"] for line in read_jsonl(record)] == ["opened", "result"]


def test_another_search_may_not_open_the_same_cases_from_another_folder(tmp_path: Path) -> None:
    looked, cases = tmp_path / "cases.jsonl.opened", tickets(60)
    first = Sealed(cases, "m", {"seed": 0}, looked)
    record = tmp_path / "a" / "sealed.jsonl"
    gate(ledger(), Candidate(SEED), OTHER, ITEMS, record, first.test, sealed=first)
    refuse_reopened(record, first)  # the same search goes on
    other = tmp_path / "b" / "sealed.jsonl"
    refuse_reopened(other, Sealed(cases, "another model", {"seed": 1}, looked))
    refuse_reopened(other, Sealed(tickets(60, 100), "m", {"seed": 1}, looked))
    some = Sealed([*tickets(50, 100), *cases[:10]], "m", {"seed": 1}, looked)
    with pytest.raises(HeedError, match="10 of the 60 sealed cases were opened"):
        refuse_reopened(other, some)
    with pytest.raises(HeedError, match="60 of the 60"):
        refuse_reopened(record, Sealed(cases, "m", {"seed": 1}))  # in the folder itself
    assert [line["what"] for line in read_jsonl(looked)] == ["opened", "refused"]
    assert not other.exists()
    fresh = ledger()
    with pytest.raises(HeedError, match="for another pair"):  # the same search, and yet another pair
        gate(fresh, Candidate(SEED), BETTER, ITEMS, other, first.test, sealed=first)
    assert fresh.calls == 0
    assert gate(ledger(), Candidate(SEED), OTHER, ITEMS, other, first.test, sealed=first).difference is not None


def made(rows: list[dict[str, object]], where: str = "data.jsonl") -> list[Case]:
    ready: list[Instruction] = [SEED]
    return cases_of([Raw({"target": "a", **row}, f"{where}:{n}") for n, row in enumerate(rows, 1)], ready)


def tickets(count: int, start: int = 0, **more: object) -> list[Case]:
    rows = [{"id": f"c{n}", "vars": {"ticket": f"ticket {n}"}, **more} for n in range(start, start + count)]
    return made(rows, f"{start}.jsonl")


def test_every_case_is_in_one_part_and_families_stay_together() -> None:
    rows: list[dict[str, object]] = [
        {"id": f"c{n}", "vars": {"ticket": f"ticket {n}"}, "group": str(n // 3)} for n in range(240)
    ]
    rows += [{"id": f"again{n}", "vars": {"ticket": f"TICKET  {n}"}} for n in range(40)]
    rows += [{"id": f"words{n}", "vars": {"ticket": f"words {n}"}, "paraphrase_of": f"c{n}"} for n in range(40)]
    for seed in range(5):
        cases, parts = split(made(rows), seed=seed)
        every = [*parts.pool, *parts.race, *parts.dev, *parts.test]
        assert sorted(every) == list(range(len(cases)))
        home = {item: name for name in ("pool", "race", "dev", "test") for item in getattr(parts, name)}
        by_id = {case.id: home[number] for number, case in enumerate(cases)}
        for n in range(40):
            assert by_id[f"c{n}"] == by_id[f"again{n}"] == by_id[f"words{n}"] == by_id[f"c{n // 3 * 3}"]
        assert len(parts.test) >= 0.3 * len(cases)


def test_a_test_file_that_overlaps_is_refused_with_every_case() -> None:
    sealed = made([{"id": "x", "vars": {"ticket": "ticket  7"}}, {"id": "y", "vars": {"ticket": "new"}}], "test.jsonl")
    with pytest.raises(HeedError, match="'x' overlaps the data") as refused:
        split(tickets(60), [*sealed, *tickets(10, 100)])
    assert [one.where for one in refused.value.problems] == ["test.jsonl:1"]
    assert len(split(tickets(60), tickets(10, 100))[1].test) == 10


def test_too_few_cases_are_refused() -> None:
    for count in (1, 10, 20):
        with pytest.raises(HeedError, match="8 are the fewest"):
            split(tickets(count))
    with pytest.raises(HeedError, match="only 0 cases for test"):
        split(tickets(60), [])


def test_the_digest_of_cases_minds_what_they_ask_and_not_their_order() -> None:
    cases = tickets(5)
    assert digest_of(cases) == digest_of(cases[::-1])
    assert digest_of(cases) != digest_of(cases[:4])
    assert len({fingerprint(one) for one in (BETTER, OTHER, WORSE)}) == 3
