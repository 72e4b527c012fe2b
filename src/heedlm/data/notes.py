"""What a person should know of prepared data before training on it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heedlm.data.card import licences_of
from heedlm.data.split import sizes_of

if TYPE_CHECKING:
    from heedlm.data.split import Side
    from heedlm.data.spool import Spool


def notes_of(spool: Spool, asked: Sequence[str], found: Mapping[str, Any], sides: Sequence[Side | None]) -> list[str]:
    """What a person should know before training on this. asked: the splits that were to get a share."""
    notes = []
    sizes = sizes_of(spool.keys, (index for index in range(len(spool.keys)) if _divided(spool, index, sides)))
    examples = sum(sizes)
    for name in asked:
        if name not in spool.tally.splits:
            notes.append(
                f"{name} is empty: the {examples:,} examples form {len(sizes):,} group(s), too few to share; "
                "add rows, or give them a 'group' field"
            )
    largest = max(sizes)
    if examples >= 20 and largest > examples / 2:
        notes.append(
            f"one group holds {largest:,} of {examples:,} examples and stands on one side as a whole; "
            "examples that open with the same question are one group unless they have a 'group' field"
        )
    leaks = sum(spool.tally.dropped[f"also in {side}"] for side in ("val", "test"))
    if leaks:
        notes.append(
            f"{leaks:,} example(s) were left out because a better protected split asks the same or holds their group"
        )
    if spool.tally.renamed:
        notes.append(
            f"{spool.tally.renamed:,} example(s) had the id of another example; a part of their content was added to it"
        )
    flags = spool.tally.flagged + spool.tally.masked
    if flags:
        listed = ", ".join(f"{count:,} {rule}" for rule, count in flags.most_common())
        notes.append(f"rows that a rule found something in: {listed}; they are in flagged.jsonl, with what was found")
    if found["answers"]["contradictory"]:
        notes.append(
            f"{found['answers']['contradictory']:,} question(s) have short answers that may contradict each other: see the card"
        )
    leaked, dropped = found["contamination"]["rows"], found["contamination"]["dropped"]
    if leaked:
        notes.append(
            f"{leaked:,} row(s) hold an item of an evaluation file, or of this run's own val or test ({dropped:,} of them "
            "dropped); they are in contamination.jsonl"
        )
    licences = licences_of(spool.tally)
    if licences.keys() - {"unknown"}:
        notes.append("licences: " + ", ".join(f"{name} {rows:,}" for name, rows in licences.most_common()))
    return notes


def _divided(spool: Spool, index: int, sides: Sequence[Side | None]) -> bool:
    """Whether an example came as far as the division: it stands on a side, or leaked from one."""
    problem = spool.left_out.get(index)
    return sides[index] is not None or (problem is not None and problem.what.startswith("also in"))
