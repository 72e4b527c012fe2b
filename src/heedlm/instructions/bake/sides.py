"""What is taught and what is held out: requests and other rows, parted so that nothing stands on both sides."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from heedlm.data.schema import to_examples
from heedlm.data.sources import read_rows
from heedlm.errors import HeedError, Problem
from heedlm.instructions.asserts import Assertion, read_assertion
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case, read_cases
from heedlm.messages import Example

FEWEST = 8  # held-out requests below which nothing can be said
_SHOWN = 20

T = TypeVar("T")


class Parted(NamedTuple):
    """requests: taught.   held: requests on which recovery is measured.   replay: rows whose plain answers are taught.

    others: rows on which it is measured whether the rest stayed.
    """

    requests: list[Case]
    held: list[Case]
    replay: list[Example]
    others: list[Example]


def part(
    instruction: Instruction,
    requests: Sequence[Path],
    test: Sequence[Path],
    replay: Sequence[Path],
    replay_test: Sequence[Path],
    *,
    held_out: float,
    seed: int,
) -> Parted:
    """Read all files and part them. Raises HeedError with all that is wrong in them.

    test, replay_test: files of what is held out; without them a share of the others is, group by group. Requests that no
    file of cases judges are judged by the instruction's own checks alone.
    """
    _require_checks(instruction)
    taught = [_judged(case, instruction) for case in read_cases(list(requests), [instruction], instruction.checks)]
    if test:
        held = read_cases(list(test), [instruction], instruction.checks)
        _refuse_overlap(taught, held)
    else:
        taught, held = halves(taught, _family, held_out, seed)
    if len(held) < FEWEST or not taught:
        what = f"There are {len(taught)} requests to learn from and {len(held)} held out; {FEWEST} of these are the fewest."
        raise HeedError(what, ", ".join(map(str, requests)), "more --requests, or --test FILE")
    plain, others = read_examples(replay), read_examples(replay_test)
    if not replay_test:
        plain, others = halves(plain, lambda one: one.group or one.id, held_out, seed)
    others = [replace(one, id=f"other/{number}/{one.id}") for number, one in enumerate(others)]
    return Parted(taught, held, plain, others)


def halves(items: Sequence[T], family: Callable[[T], Hashable], share: float, seed: int) -> tuple[list[T], list[T]]:
    """Items to keep and about `share` of them held out, in their order; those of one family stay together."""
    names = list(dict.fromkeys(family(item) for item in items))
    random.Random(f"{seed}/held out").shuffle(names)
    sizes: dict[Hashable, int] = {}
    for item in items:
        sizes[family(item)] = sizes.get(family(item), 0) + 1
    out: set[Hashable] = set()
    held = 0
    for name in names:
        if held + sizes[name] / 2 <= share * len(items):
            out.add(name)
            held += sizes[name]
    return [one for one in items if family(one) not in out], [one for one in items if family(one) in out]


def read_examples(files: Iterable[Path]) -> list[Example]:
    """The conversations of files, each with an answer at its end. Raises HeedError with every row that is none."""
    found: list[Example] = []
    problems: list[Problem] = []
    for file in files:
        for row in read_rows(file):
            for one in [row] if isinstance(row, Problem) else to_examples(row):
                problem = one if isinstance(one, Problem) else _unusable(one)
                if problem is not None:
                    problems.append(problem)
                elif isinstance(one, Example):
                    found.append(one)
    if problems:
        raise HeedError.of(problems[:_SHOWN])
    return found


def _unusable(row: Example) -> Problem | None:
    if len(row.messages) < 2 or row.messages[-1].role != "assistant":
        return Problem("a row ends with the answer of the assistant", row.source, "add the answer")
    if row.tools or any(turn.role == "tool" or turn.tool_calls for turn in row.messages):
        return Problem("a row with tools cannot be replayed", row.source, "leave the row out")
    return None


def _require_checks(instruction: Instruction) -> None:
    if not instruction.checks:
        what = f"{instruction.name} has no checks: nothing tells an answer that keeps it from one that does not."
        mend = "heed: {check: [{type: ends-with, value: ...}]} in the file"
        raise HeedError(what, instruction.file or instruction.name, mend)


def _judged(case: Case, instruction: Instruction) -> Case:
    """A request as a case that the instruction's checks alone judge. Raises HeedError for a check that cannot be read."""
    asserts: list[Assertion] = []
    for check in instruction.checks:
        read = read_assertion(check, instruction.file or instruction.name, case.values, instruction.outputs)
        if isinstance(read, list):
            raise HeedError.of(read)
        asserts.append(read)
    return Case(case.id, case.values, tuple(asserts), group=case.group, source=case.source)


def _family(case: Case) -> str:
    return f"group {case.group}" if case.group is not None else _words(case)


def _words(case: Case) -> str:
    told = json.dumps(case.values, sort_keys=True, default=str)
    return " ".join(told.split()).casefold()


def _refuse_overlap(taught: Sequence[Case], held: Sequence[Case]) -> None:
    known = {key: one for one in taught for key in (_family(one), _words(one))}
    problems = [
        Problem(
            f"the test case {one.id!r} is among the requests: {known[key].id!r} has its values or its group",
            one.source,
            "take it out of one of the two files",
        )
        for one in held
        if (key := next((key for key in (_family(one), _words(one)) if key in known), "")) != ""
    ]
    if problems:
        raise HeedError.of(problems[:_SHOWN])
