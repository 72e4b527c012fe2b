"""The gate: the sealed test is opened once, for one pair, and nothing passes that is not better than the seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.eval.log import mend_tail
from heedlm.eval.stats import Difference, paired_difference
from heedlm.instructions.bench import Candidate
from heedlm.instructions.cases import Case
from heedlm.instructions.optimize.ledger import Ledger, fingerprint
from heedlm.runs import append_jsonl, read_jsonl, sync

_MEND = "new test cases with --test, or keep the result of the first opening"


@dataclass(frozen=True, slots=True)
class Gated:
    """What the sealed test said.

    passed: the chosen is better than the seed, by an interval at 95 % above 0 and p < 0.05; else the seed stays.
    difference: chosen minus seed; None where both are the same and the test stayed sealed.   opened: when; "" never.
    """

    passed: bool
    difference: Difference | None
    seed: float | None = None
    chosen: float | None = None
    opened: str = ""


def digest_of(cases: Sequence[Case]) -> str:
    """16 hex digits of what the cases ask and want, whatever their order."""
    told = sorted(
        json.dumps(
            [one.id, dict(one.values), one.target, [check.told for check in one.asserts]], default=str, sort_keys=True
        )
        for one in cases
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Sealed:
    """Sealed cases of one search. model: with what tells its weights apart.   search: all else that decides the pair.

    looked: where the openings of searches in other folders are on record; None for nowhere.
    """

    cases: Sequence[Case]
    model: str
    search: Mapping[str, Any]
    looked: Path | None = None

    @cached_property
    def test(self) -> str:
        return digest_of(self.cases)

    @cached_property
    def marks(self) -> list[str]:
        """8 hex digits of each case, whatever its id is."""
        told = (json.dumps([dict(one.values), one.target], default=str, sort_keys=True) for one in self.cases)
        return sorted({hashlib.sha256(one.encode()).hexdigest()[:8] for one in told})

    def again(self, line: Mapping[str, Any]) -> int:
        """How many of the cases a line of a record says were opened for this model."""
        if line["what"] != "opened" or line.get("model") != self.model:
            return 0
        return len({*self.marks} & {*line.get("cases", ())})


def refuse_reopened(record: Path, sealed: Sealed, now: Callable[[], datetime] | None = None) -> None:
    """Before anything is paid: raises HeedError, and records it, where sealed cases were opened for this model at the end of
    another search, which would choose another pair."""
    for place in filter(None, (record, sealed.looked)):
        mend_tail(place)
        for line in read_jsonl(place):
            count = sealed.again(line)
            if count and line["search"] != json.loads(json.dumps(sealed.search)):
                append_jsonl(place, {"what": "refused", "test": sealed.test, "model": sealed.model, "when": _when(now)})
                raise HeedError(_seen(count, len(sealed.cases), line), str(place), _MEND)


def _seen(count: int, of: int, line: Mapping[str, Any]) -> str:
    return (
        f"{count} of the {of} sealed cases were opened on {line['when']}, for another pair on this model: a second look "
        "would choose by chance"
    )


def _when(now: Callable[[], datetime] | None) -> str:
    return (now() if now is not None else datetime.now(timezone.utc)).isoformat(timespec="seconds")


def gate(
    ledger: Ledger,
    seed: Candidate,
    chosen: Candidate,
    items: Sequence[int],
    record: Path,
    test: str,
    *,
    groups: Sequence[str | int] | None = None,
    sealed: Sealed | None = None,
    now: Callable[[], datetime] | None = None,
) -> Gated:
    """Compare the pair on the sealed items, once.

    record: where openings are written, before anything is asked.   test: `digest_of` the sealed cases.   groups: of the
    items.   sealed: the same cases, for the record of other folders. A kill in between is no second opening: the same pair
    goes on. Raises HeedError, and records it, where the test was opened for another pair.
    """
    pair = [fingerprint(seed), fingerprint(chosen)]
    if pair[0] == pair[1]:
        return Gated(False, None)
    for place in filter(None, (record, sealed.looked if sealed is not None else None)):
        mend_tail(place)
    earlier = [one for one in read_jsonl(record) if one["test"] == test and one["what"] == "opened"]
    when = _when(now)
    _refuse_other(record, [one for one in earlier if one["pair"] != pair], test, pair, when)
    told: dict[str, Any] = {"what": "opened", "test": test, "pair": pair, "when": when}
    if sealed is not None:
        told |= {"model": sealed.model, "search": dict(sealed.search), "cases": sealed.marks}
        if sealed.looked is not None:
            known = [one for one in read_jsonl(sealed.looked) if sealed.again(one)]
            _refuse_other(sealed.looked, [one for one in known if one["pair"] != pair], test, pair, when)
            if not known:
                append_jsonl(sealed.looked, told)
                sync(sealed.looked)
    if earlier:
        when = str(earlier[0]["when"])
    else:
        record.parent.mkdir(parents=True, exist_ok=True)
        append_jsonl(record, told)
        sync(record)
    before, after = ledger.sealed_scores([seed, chosen], items)
    found = paired_difference(before, after, groups=groups)
    passed = found.low > 0 and found.p < 0.05
    result = Gated(passed, found, sum(before) / len(before), sum(after) / len(after), when)
    if not any(one["test"] == test and one["what"] == "result" for one in read_jsonl(record)):
        append_jsonl(record, {"what": "result", "test": test, "pair": pair, "when": when, **asdict(result)})
    return result


def _refuse_other(record: Path, others: Sequence[Mapping[str, Any]], test: str, pair: Sequence[str], when: str) -> None:
    if others:
        append_jsonl(record, {"what": "refused", "test": test, "pair": list(pair), "when": when})
        what = (
            f"the sealed test was opened on {others[0]['when']} for another pair: a second look would choose by chance"
        )
        raise HeedError(what, str(record), _MEND)
