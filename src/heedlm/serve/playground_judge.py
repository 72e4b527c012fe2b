"""Replies judged by checks while people write them: a pattern that never comes to an end stops nobody else.

Python's regular expressions cannot be interrupted, and nothing else of a process runs meanwhile. What holds a pattern is
therefore judged in a process of its own, and given up after a while.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from heedlm.errors import HeedError
from heedlm.eval.checks import run_check
from heedlm.messages import JSON

LONGEST = 20_000  # characters of a reply that are looked at
PATIENCE = 10.0  # seconds, of which starting a process takes one where it is slow
_CHILD = """\
import json, sys
from heedlm.serve.playground_judge import Item, judge_here
print(json.dumps([judge_here(Item(*one)) for one in json.load(sys.stdin)]))
"""


class Item(NamedTuple):
    """A reply and the checks that it is to pass; the checks themselves are sound."""

    checks: Sequence[Mapping[str, JSON]]
    reply: str


def judge(items: Sequence[Item], patience: float = PATIENCE) -> list[dict[str, Any]]:
    """For each item whether it `passed`, and one of its `verdicts` for each check.

    Raises HeedError where a pattern has not come to an end after `patience` seconds.
    """
    apart = [at for at, item in enumerate(items) if any(_is_pattern(check) for check in item.checks)]
    found = {at: judge_here(item) for at, item in enumerate(items) if at not in apart}
    found |= zip(apart, _judge_apart([items[at] for at in apart], patience), strict=True)
    return [found[at] for at in range(len(items))]


def judge_here(item: Item) -> dict[str, Any]:
    """One item, in this process. An empty reply passes nothing, as in an evaluation."""
    if not item.reply.strip():
        return {"passed": False, "verdicts": [{"passed": False, "why": "the reply is empty"} for _ in item.checks]}
    verdicts = [run_check(check, item.reply[:LONGEST]) for check in item.checks]
    return {"passed": all(one.passed for one in verdicts), "verdicts": [one._asdict() for one in verdicts]}


def _is_pattern(check: Mapping[str, JSON]) -> bool:
    return str(check.get("type")).endswith("regex")


def _judge_apart(items: Sequence[Item], patience: float) -> list[dict[str, Any]]:
    if not items:
        return []
    command = [sys.executable, "-c", _CHILD]
    try:
        done = subprocess.run(
            command, input=json.dumps(items).encode(), capture_output=True, timeout=patience, check=True
        )
    except subprocess.TimeoutExpired:
        what = f"A pattern has not come to an end after {patience:g} seconds."
        raise HeedError(what, "checks", "write it without a repeat inside a repeat, such as (a+)+") from None
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
