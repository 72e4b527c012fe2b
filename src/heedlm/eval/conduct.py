"""How an arm's replies end, how long they are, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from heedlm.eval.results import Answer, Case
from heedlm.messages import JSON

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words of texts at five shares of them: 5, 25, 50, 75 and 95 % are not longer."""

    p5: int
    p25: int
    median: int
    p75: int
    p95: int


@dataclass(frozen=True, slots=True)
class Conduct:
    """One arm. n: replies.   ended: by the model itself.   cut: at the longest length or a stop text.   failed: no reply.

    empty: of nothing.   lengths: of the replies that there are; None where there is none.   tokens: generated, None where
    it is not known.   seconds: of asking, as the log has them.   prompt_tokens: of what was asked, None where they are not
    counted.   money: by an endpoint's prices, of the replies whose tokens it told; None without prices.
    """

    n: int
    ended: int
    cut: int
    failed: int
    empty: int
    lengths: Lengths | None
    tokens: int | None
    seconds: float
    prompt_tokens: int | None = None
    money: float | None = None


def conduct(cases: Sequence[Case]) -> dict[str, Conduct]:
    """By arm, in the order in which arms are met."""
    by_arm: dict[str, list[Answer]] = {}
    for case in cases:
        for arm, answer in case.answers.items():
            by_arm.setdefault(arm, []).append(answer)
    return {arm: _conduct(answers) for arm, answers in by_arm.items()}


def _conduct(answers: Sequence[Answer]) -> Conduct:
    ended = sum(answer.stop_reason == "stop" for answer in answers)
    failed = sum(answer.stop_reason == "error" for answer in answers)
    there = [answer.text for answer in answers if answer.stop_reason != "error"]
    known = [answer.tokens for answer in answers if answer.tokens is not None]
    read = [answer.prompt_tokens for answer in answers if answer.prompt_tokens is not None]
    money = [answer.money for answer in answers if answer.money is not None]
    return Conduct(
        n=len(answers),
        ended=ended,
        cut=len(answers) - ended - failed,
        failed=failed,
        empty=sum(not reply.strip() for reply in there),
        lengths=lengths(there),
        tokens=sum(known) if len(known) == len(there) and known else None,
        seconds=sum(answer.seconds for answer in answers),
        prompt_tokens=sum(read) if len(read) == len(there) and read else None,
        money=round(math.fsum(money), 9) if money else None,
    )


def lengths(texts: Sequence[str]) -> Lengths | None:
    """How many words texts have; None without texts."""
    counts = sorted(len(text.split()) for text in texts)
    if not counts:
        return None
    return Lengths(*(counts[min(len(counts) - 1, int(share * len(counts)))] for share in _SHARES))


def reference_lengths(cases: Sequence[Case]) -> Lengths | None:
    """The same of the right answers, of the items that have one."""
    return lengths([case.reference for case in cases if case.reference.strip()])


def conduct_json(found: Mapping[str, Conduct]) -> dict[str, JSON]:
    return {arm: {**asdict(one), "seconds": round(one.seconds, 3)} for arm, one in found.items()}
