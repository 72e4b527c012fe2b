"""What is looked for in rows that can be read, once all of them are there: repeats, leaks into evaluations, contradictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heedlm.data import near
from heedlm.data.clean.rules import Action, Limits
from heedlm.data.decontaminate import Hit, Items
from heedlm.data.items import Item, item_of, read_items
from heedlm.data.split import SIDES, KeyList, Keys, Side
from heedlm.data.store import from_line
from heedlm.data.words import facts, words
from heedlm.errors import HeedError, Problem

if TYPE_CHECKING:
    from heedlm.config import DataConfig
    from heedlm.data.spool import Spool

Say = Callable[[str, int], None]

_SHORT_ANSWER = 12  # words; longer answers to one question may differ and both be right
_BARE_ANSWER = 3  # words; such answers that differ differ in what they say
_SHOWN = 5
_CUT = 200  # characters of a text in the card
_HITS_PER_ROW = 10  # a row that holds more items of an evaluation than this is known well enough


@dataclass(frozen=True, slots=True)
class Checks:
    """What to look for, and what to do about it; as it stands, nothing.

    clean: rule -> action.   max_words, min_words: for the rule `length`.   near_duplicates: `drop` keeps one of each pair, `flag` keeps
    both, on one side of the split.   similarity: in 0..1.   decontaminate: files of items that may not be trained on.
    contaminated: what happens to a row that holds one.
    """

    clean: Mapping[str, Action] = field(default_factory=dict)
    max_words: int = 20_000
    min_words: int = 0
    near_duplicates: Literal["drop", "flag", "off"] = "off"
    similarity: float = 0.8
    decontaminate: tuple[Path, ...] = ()
    contaminated: Literal["drop", "flag"] = "drop"

    @property
    def limits(self) -> Limits:
        return Limits(self.max_words, self.min_words)

    def settings(self) -> dict[str, Any]:
        """All of it as JSON, for the fingerprint; the files are told by their content there."""
        return {
            "clean": dict(self.clean),
            "max_words": self.max_words,
            "min_words": self.min_words,
            "near_duplicates": self.near_duplicates,
            "similarity": self.similarity,
            "contaminated": self.contaminated,
        }


def checks_of(config: DataConfig) -> Checks:
    """What a recipe asks for."""
    rules = config.clean.model_dump()
    max_words, min_words = rules.pop("max_words"), rules.pop("min_words")
    return Checks(
        clean=rules,
        max_words=max_words,
        min_words=min_words,
        near_duplicates=config.near_duplicates,
        similarity=config.similarity,
        decontaminate=tuple(Path(file) for file in config.decontaminate),
        contaminated=config.contaminated,
    )


class Repeats(NamedTuple):
    """What the search for near-duplicates found. rows: that repeat another.   unsure: compared with some of many only."""

    rows: int
    unsure: int
    examples: list[dict[str, Any]]


def read_evaluations(checks: Checks) -> Items:
    """The items of the evaluation files. Raises HeedError with every file that holds none."""
    items: list[Item] = []
    problems: list[Problem] = []
    for path in checks.decontaminate:
        try:
            items += read_items(path)
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)
    return Items(items)


def find_repeats(spool: Spool, checks: Checks, say: Say) -> Repeats:
    """Near-duplicates: left out of the spool, or, where they are only flagged, put into one group with what they repeat."""
    if checks.near_duplicates == "off":
        return Repeats(0, 0, [])
    say("looking for near-duplicates", len(spool.words))
    if checks.near_duplicates == "drop":
        found = near.representatives(spool.words, checks.similarity, spool.sides)
        for pair in found.pairs:
            what = f"near-duplicate: {pair.similarity:.0%} the same as {spool.where(pair.other)}"
            mend = "nothing to do: one of the two is kept; to keep both: --set data.near_duplicates=flag"
            spool.leave_out(pair.row, Problem(what, spool.where(pair.row), mend))
    else:
        found = near.linked(spool.words, checks.similarity)
        _join_groups(spool.keys, found.pairs)
    examples = [
        {"where": spool.where(pair.row), "like": spool.where(pair.other), "similarity": pair.similarity}
        for pair in found.pairs[:_SHOWN]
    ]
    return Repeats(len({pair.row for pair in found.pairs}), found.unsure, examples)


def _join_groups(keys: KeyList, pairs: Sequence[near.Pair]) -> None:
    """Give all groups that near-duplicates tie together the name of one of them."""
    root: dict[int, int] = {}

    def find(group: int) -> int:
        while (above := root.get(group, group)) != group:
            group = above
        return group

    for pair in pairs:
        one, other = find(keys.groups[pair.row]), find(keys.groups[pair.other])
        root[max(one, other)] = min(one, other)
    if root:
        for index, group in enumerate(keys.groups):
            keys.groups[index] = find(group)


def repeats_across(spool: Spool, checks: Checks, sides: Sequence[Side | None]) -> int | None:
    """Near-duplicates on two sides of the split, counted afresh; None where nobody looked for any."""
    if checks.near_duplicates == "off":
        return None
    return len(near.across(spool.words, checks.similarity, sides).pairs)


def find_leaks(spool: Spool, checks: Checks, evaluations: Items, sides: Sequence[Side | None]) -> list[dict[str, Any]]:
    """Rows that hold an item of an evaluation file, or of a better protected split; one entry per row and item.

    A row with an item of a file is left out where `checks.contaminated` says so; one with an item of this run's own
    validation or test split only where the answer stands there too, since rows from one source often look alike. Rows
    of a val or test file of the user's stay.
    """
    found: list[tuple[Hit, bool]] = []
    if len(evaluations):
        there = _wanted(sides, SIDES)
        short = (Hit(row, item, "prompt", 1.0, item.asked.strip()) for row, item in spool.short if there(row))
        found += [(hit, True) for hit in (*evaluations.find(spool.words, there), *short)]
    for protected in ("val", "test"):
        own = Items(item_of(from_line(line, ""), protected) for line in _lines_of(spool, sides, protected))
        exposed = _wanted(sides, SIDES[: SIDES.index(protected)])
        own.discount(spool.words, exposed)
        found += [(hit, hit.kind == "prompt and answer") for hit in own.find(spool.words, exposed)]
    entries: list[dict[str, Any]] = []
    held: dict[int, int] = {}
    seen: set[tuple[int, str, str]] = set()
    for hit, drop in sorted(found, key=lambda one: (one[0].row, not one[1], one[0].item.of, one[0].item.where)):
        held[hit.row] = held.get(hit.row, 0) + 1
        same = (hit.row, hit.item.of, hit.item.where)
        if held[hit.row] > _HITS_PER_ROW or same in seen:
            continue
        seen.add(same)
        drop = drop and checks.contaminated == "drop" and spool.sides[hit.row] is None
        if drop:
            what = f"contaminated: holds an item of {hit.item.of} ({hit.kind}, {hit.share:.0%} of its words)"
            mend = "nothing to do: the item stays unseen; to keep such rows: --set data.contaminated=flag"
            spool.leave_out(hit.row, Problem(what, spool.where(hit.row), mend))
        entries.append(
            {
                "where": spool.where(hit.row),
                "item_of": hit.item.of,
                "item": hit.item.where,
                "kind": hit.kind,
                "share": hit.share,
                "matched": hit.matched,
                "row": "dropped" if drop else "kept",
            }
        )
    return entries


def _wanted(sides: Sequence[Side | None], exposed: Sequence[Side]) -> Callable[[int], bool]:
    return lambda row: sides[row] in exposed


def _lines_of(spool: Spool, sides: Sequence[Side | None], side: Side) -> Iterator[bytes]:
    if side in sides:
        yield from (line for line, its in zip(spool.lines(), sides, strict=True) if its == side)


class Answers(NamedTuple):
    """Questions with several answers. contradictory: two short ones differ in a number, a name or a negation, or in all.

    Told by their form: whether "Red" and "Blue" are two right answers or one wrong one is for a person to say.
    """

    several: int
    contradictory: int
    examples: list[dict[str, Any]]


class AnswerWatch:
    """Watches rows go by for questions that are answered in different ways; a question is all before the last answer."""

    def __init__(self, keys: Sequence[Keys], sides: Sequence[Side | None]) -> None:
        import numpy as np

        prompts = np.fromiter((key.prompt for key, side in zip(keys, sides, strict=True) if side), np.uint64)
        values, times = np.unique(prompts, return_counts=True)
        self._several = frozenset(values[times > 1].tolist())
        self._heard: dict[int, list[Item]] = {}
        self._against: dict[int, dict[str, Any]] = {}

    def see(self, prompt: int, line: bytes) -> None:
        """One kept row. prompt: the key of its question."""
        if prompt not in self._several:
            return
        item = item_of(from_line(line, ""), "")
        heard = self._heard.setdefault(prompt, [])
        if prompt not in self._against:
            other = next((other for other in heard if _contradict(item.answer, other.answer)), None)
            if other is not None:
                places = [{"where": one.where, "answer": one.answer[:_CUT]} for one in (other, item)]
                self._against[prompt] = {"question": item.asked[:_CUT], "answers": places}
        if len(heard) < _SHOWN:
            heard.append(item)

    def result(self) -> Answers:
        return Answers(len(self._several), len(self._against), list(self._against.values())[:_SHOWN])


def _contradict(one: str, other: str) -> bool:
    """Whether two short answers to one question differ in more than their wording."""
    found, there = words(one), words(other)
    if max(len(found), len(there)) > _SHORT_ANSWER or set(found) <= set(there) or set(there) <= set(found):
        return False
    told, said = facts(one, found), facts(other, there)
    return max(len(found), len(there)) <= _BARE_ANSWER or not (told <= said or said <= told)
