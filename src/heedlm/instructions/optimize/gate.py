"""The gate: the sealed test is opened once, for one pair, and nothing passes that is not better than the seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from heedlm.errors import HeedError
from heedlm.eval.stats import Difference, paired_difference
from heedlm.instructions.bench import Candidate
from heedlm.instructions.cases import Case
from heedlm.instructions.optimize.ledger import Ledger, fingerprint
from heedlm.runs import append_jsonl, read_jsonl, sync


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


def gate(
    ledger: Ledger,
    seed: Candidate,
    chosen: Candidate,
    items: Sequence[int],
    record: Path,
    test: str,
    *,
    groups: Sequence[str | int] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Gated:
    """Compare the pair on the sealed items, once.

    record: where openings are written, before anything is asked.   test: `digest_of` the sealed cases.   groups: of the
    items. A kill in between is no second opening: the same pair goes on. Raises HeedError, and records it, where the test was opened
    for another pair.
    """
    pair = [fingerprint(seed), fingerprint(chosen)]
    if pair[0] == pair[1]:
        return Gated(False, None)
    earlier = [one for one in read_jsonl(record) if one["test"] == test and one["what"] == "opened"]
    other = next((one for one in earlier if one["pair"] != pair), None)
    when = now().isoformat(timespec="seconds")
    if other is not None:
        append_jsonl(record, {"what": "refused", "test": test, "pair": pair, "when": when})
        what = f"the sealed test was opened on {other['when']} for another pair: a second look would choose by chance"
        raise HeedError(what, str(record), "new test cases with --test, or keep the result of the first opening")
    if earlier:
        when = str(earlier[0]["when"])
    else:
        record.parent.mkdir(parents=True, exist_ok=True)
        append_jsonl(record, {"what": "opened", "test": test, "pair": pair, "when": when})
        sync(record)
    before, after = ledger.sealed_scores([seed, chosen], items)
    found = paired_difference(before, after, groups=groups)
    passed = found.low > 0 and found.p < 0.05
    told = Gated(passed, found, sum(before) / len(before), sum(after) / len(after), when)
    if not any(one["test"] == test and one["what"] == "result" for one in read_jsonl(record)):
        append_jsonl(record, {"what": "result", "test": test, "pair": pair, "when": when, **asdict(told)})
    return told
