"""What files hold, before anything is made of them: shapes, lengths, languages, turns, what is broken, what to do next.

Every row is read as `prepare` reads it, and none is kept but a few to show: memory stays flat, however long the file.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from heedlm.data.card import BINS, about, reason_of
from heedlm.data.languages import language
from heedlm.data.licences import Licence
from heedlm.data.row import Row
from heedlm.data.schema import to_examples
from heedlm.data.shapes import TEXT, also_opened, check_mapping, opened_by, shape_of
from heedlm.data.sources import data_files, licence_of, passed_over, read_rows
from heedlm.data.suggest import TRIED, Suggestion, fitting, suggest
from heedlm.data.words import words
from heedlm.errors import HeedError, Problem
from heedlm.messages import Example, Message

_DISTINCT = 1000  # different texts, names or numbers told apart; what comes behind them is counted together
_PLACES = 3  # shown per reason
_EXACT = 10_000  # words up to which lengths are told apart; longer ones to three digits
_LARGE = 20_000  # characters of a row beyond which it is not kept for a mapping
_OTHERS = "(others)"
_MEASURED = ("words asked", "words answered")
_COUNTED = ("languages", "roles", "turns", "systems", "licences", "features", "unused")
_TOLD = ("licence", "license", "turn_fields")  # counted by the card, or told apart


Piece: TypeAlias = "tuple[str, bool]"
"""A stretch of a rendered example, and whether it is learned."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape that rows have. read: of those rows, how many gave an example.   sure: "certain", "likely" or "doubtful"."""

    name: str
    rows: int
    read: int
    sure: str
    why: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Rows that cannot be learnt from, by reason, with the first of them."""

    reason: str
    rows: int
    examples: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in words. bins: (from, to or None, rows) without gaps, empty ones included."""

    rows: int
    min: int
    median: int
    p95: int
    max: int
    mean: float
    bins: tuple[tuple[int, int | None, int], ...]


@dataclass(frozen=True, slots=True)
class FileFound:
    """One file. suggestions: mappings for its rows of no known shape, one for each kind of them.

    templates: names of prompt templates that have words for the columns of such rows.   whole: whether it could be read
    to its end; where not, `prepare` refuses it, whatever else it holds.
    """

    path: str
    rows: int
    broken: int
    shapes: Mapping[str, int]
    suggestions: tuple[Suggestion, ...]
    templates: tuple[str, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    rows: rows read, broken ones included.   examples: made of them.   broken: rows that gave a problem.
    languages: of the last answers; "" where it could not be told.   roles: turns by who speaks.   turns: examples by the
    number of their turns.   systems: system texts -> examples, "" for none.   features: examples with tool calls, and so on.
    unused: fields that no step reads -> rows.   shown: examples to look at.   rendered: the same as a
    model would see it, or with the names of roles.
    next: commands and advice.
    """

    files: tuple[FileFound, ...]
    rows: int
    examples: int
    broken: int
    shapes: tuple[Shape, ...]
    problems: tuple[Trouble, ...]
    lengths: Mapping[str, Lengths]
    languages: Mapping[str, int]
    roles: Mapping[str, int]
    turns: Mapping[int, int]
    systems: Mapping[str, int]
    licences: Mapping[str, int]
    features: Mapping[str, int]
    unused: Mapping[str, int]
    shown: tuple[Example, ...]
    rendered: tuple[tuple[Piece, ...], ...]
    next: tuple[str, ...]


def inspect_files(
    paths: Sequence[Path],
    *,
    mapping: Mapping[str, str] | None = None,
    shown: int = 3,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Inspection:
    """Read every row of the files and folders, and tell what is there.

    mapping: our field name -> the name in the file.   shown: examples to keep.   seed: of their choice.
    on_progress: hears the number of rows read.   Raises HeedError where a file cannot be read at all.
    """
    check_mapping(mapping or {})
    if not paths:
        raise HeedError("No data is named.", "heed data inspect", "name a file: heed data inspect FILE")
    files: list[tuple[Path, Licence | None]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            files += [(file, licence_of(path)) for file in data_files(path)]
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)
    look = _Look(mapping or {}, shown, random.Random(seed))
    found = []
    for file, look.licence in files:
        found.append(_file(file, look, on_progress))
    return look.result(tuple(found), [str(path) for path in paths])


def _file(file: Path, look: _Look, on_progress: Callable[[int], None] | None) -> FileFound:
    """Read one file. What makes the rest of it unreadable is the last of its problems."""
    unknown: list[Mapping[str, Any]] = []
    shapes: Counter[str] = Counter()
    rows = broken = 0
    whole = True
    try:
        for row in read_rows(file):
            rows += 1
            shape = shape_of(row.value, look.mapping) if isinstance(row, Row) else None
            shapes[shape or ""] += 1
            problem = look.see(row, shape)
            broken += problem is not None
            if problem is not None and isinstance(row, Row) and _nameless(problem) and len(unknown) < TRIED:
                unknown += [row.value] if len(str(row.value)) < _LARGE else []
            if on_progress is not None and look.rows % 1000 == 0:
                on_progress(look.rows)
    except HeedError as error:
        for problem in error.problems:
            look.trouble(problem)
        broken += 1
        whole = False
    hints = suggest(unknown) if unknown and not look.mapping else ()
    named = fitting(unknown) if not look.mapping else ()
    return FileFound(str(file), rows, broken, {name: n for name, n in shapes.items() if name}, hints, named, whole)


def _nameless(problem: Problem) -> bool:
    """Whether other names of fields could mend it."""
    return reason_of(problem) in ("unknown shape", "missing field", "document")


@dataclass(slots=True)
class _Look:
    """Everything that is counted while rows go by; nothing in it grows with their number.

    licence: of rows that name none, as far as the folder or dataset that they come from names one.
    """

    mapping: Mapping[str, str]
    keep: int
    rng: random.Random
    licence: Licence | None = None
    rows: int = 0
    examples: int = 0
    broken: int = 0
    by_shape: dict[str, Counter[str]] = field(default_factory=dict)
    first: dict[str, Example] = field(default_factory=dict)
    drawn: list[Example] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[Problem]] = field(default_factory=dict)
    counts: dict[str, Counter[Any]] = field(
        default_factory=lambda: {name: Counter() for name in (*_COUNTED, *_MEASURED)}
    )

    def see(self, row: Row | Problem, shape: str | None) -> Problem | None:
        """Take in one row; the first problem with it, if there is one."""
        self.rows += 1
        if isinstance(row, Problem):
            self.broken += 1
            self.trouble(row)
            return row
        found = to_examples(row, self.mapping)
        bad = next((one for one in found if isinstance(one, Problem)), None)
        about_shape = self.by_shape.setdefault(shape or "", Counter())
        about_shape["rows"] += 1
        about_shape["read"] += any(isinstance(one, Example) for one in found)
        for opener in opened_by(row.value, shape, self.mapping):
            about_shape[f"opened by {opener}"] += 1
        also = also_opened(row.value, shape, self.mapping)
        about_shape["mixed"] += bool(also)
        for name in also:
            about_shape[f"also {name}"] += 1
        for one in found:
            if isinstance(one, Problem):
                self.trouble(one)
            else:
                self._count(one, shape or "", row)
        self.broken += bad is not None
        return bad

    def trouble(self, problem: Problem) -> None:
        """Count a problem under its reason."""
        reason = reason_of(problem)
        reason = reason if reason in self.reasons or len(self.reasons) < _DISTINCT else _OTHERS
        self.reasons[reason] += 1
        places = self.places.setdefault(reason, [])
        if len(places) < _PLACES:
            places.append(problem)

    def _count(self, example: Example, shape: str, row: Row) -> None:
        self.examples += 1
        self.first.setdefault(shape, example)
        place = self.rng.randrange(self.examples)  # each example is as likely as any other to be among those drawn
        if len(self.drawn) < self.keep:
            self.drawn.append(example)
        elif place < self.keep:
            self.drawn[place] = example
        last = example.messages[-1].content
        told = about(example, shape, language(last, words(last)))
        self._add("languages", told.language)
        self._add("systems", told.system)
        licence = told.licence or (self.licence.name if self.licence is not None else None)
        if licence is not None:
            self._add("licences", licence)
        for name, length in zip(_MEASURED, (told.lengths[0], told.lengths[2]), strict=True):
            self.counts[name][_rounded(length)] += 1
        for message in example.messages:
            self._add("roles", message.role)
        self._add("turns", len(example.messages))
        for name in _features(example):
            self._add("features", name)
        own = row.value.get("meta")
        for name in example.meta:
            if name in row.value and name not in _TOLD and not (isinstance(own, dict) and name in own):
                self._add("unused", name)
        for name in told.turn_fields:
            self._add("unused", f"{name} (of turns)")

    def _add(self, counter: str, value: Any) -> None:
        counts = self.counts[counter]
        counts[value if value in counts or len(counts) < _DISTINCT else _OTHERS] += 1

    def result(self, files: tuple[FileFound, ...], named: Sequence[str]) -> Inspection:
        """All of it, told."""
        from heedlm.data.advice import advice

        beside = [line for name in named for line in passed_over(Path(name))]
        shown = [one for _, one in sorted(self.first.items(), key=lambda pair: -self.by_shape[pair[0]]["rows"])]
        shown += [one for one in self.drawn if one not in shown]
        counted = {name: dict(self.counts[name].most_common()) for name in _COUNTED}
        counted["turns"] = dict(sorted(self.counts["turns"].items(), key=lambda pair: str(pair[0]).zfill(9)))
        troubles = tuple(Trouble(reason, n, tuple(self.places[reason])) for reason, n in self.reasons.most_common())
        return Inspection(
            files=files,
            rows=self.rows,
            examples=self.examples,
            broken=self.broken,
            shapes=tuple(_shape(name, counts) for name, counts in self.by_shape.items() if name),
            problems=troubles,
            lengths={name: _lengths(self.counts[name]) for name in _MEASURED if self.counts[name]},
            **counted,
            shown=tuple(shown[: self.keep]),
            rendered=tuple(marked(one) for one in shown[: self.keep]),
            next=(*advice(files, troubles, named, self.rows, self.mapping), *beside),
        )


def marked(example: Example) -> tuple[Piece, ...]:
    """An example with the name of who speaks before each turn: what there is to see without a model."""
    pieces: list[Piece] = []
    turns = [(message.role, message) for message in example.messages]
    for name, message in [*turns, *(("rejected", message) for message in example.rejected)]:
        taught = name == "assistant" and message.weight != 0
        pieces += [(f"[{name}] ", False), (_said(message), taught), ("\n", False)]
    return tuple(pieces)


def _said(message: Message) -> str:
    pieces = [f"<think>{message.reasoning}</think>"] if message.reasoning else []
    pieces += [message.content] if message.content else []
    pieces += [f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in message.tool_calls]
    return "\n".join(pieces)


def _features(example: Example) -> list[str]:
    """What an example holds besides plain turns, by name."""
    turns = example.messages
    found = {
        "tool calls": any(message.tool_calls for message in turns),
        "tool schemas": bool(example.tools),
        "reasoning": any(message.reasoning for message in turns),
        "weights of turns": any(message.weight is not None for message in turns),
        "a worse answer": bool(example.rejected),
        "a group": example.group is not None,
        "values for the template": bool(example.template_kwargs),
        "several answers": sum(message.role == "assistant" for message in turns) > 1,
    }
    return [name for name, there in found.items() if there]


def _shape(name: str, counts: Counter[str]) -> Shape:
    """How sure a shape is: by the rows that could be read as it, and by those that could have been meant otherwise."""
    rows, read, mixed = counts["rows"], counts["read"], counts["mixed"]
    openers = [key.removeprefix("opened by ") for key in counts if key.startswith("opened by ")]
    also = [key.removeprefix("also ") for key in counts if key.startswith("also ")]
    sure = "certain" if read == rows and not mixed else "likely" if read >= 0.9 * rows else "doubtful"
    if name == TEXT:
        return Shape(
            name, rows, 0, "certain", "text in which nothing is asked and nothing answered: documents, not rows"
        )
    why = f"opened by {' or '.join(openers[:3])}; {'all' if read == rows else f'{read:,} of {rows:,}'} could be read"
    if mixed:
        why += f"; {mixed:,} also hold {', '.join(also[:4])}, which is not what was read"
    return Shape(name, rows, read, sure, why)


def _rounded(length: int) -> int:
    """Exact up to ten thousand, then to three digits, so that the number of different lengths is bounded."""
    if length <= _EXACT:
        return length
    scale: int = 10 ** (len(str(length)) - 3)
    return length // scale * scale


def _lengths(counts: Counter[int]) -> Lengths:
    rows = counts.total()
    ranked = sorted(counts)

    def at(place: int) -> int:
        """The length at a place, counted from 0, of all lengths in order."""
        seen = 0
        for length in ranked:
            seen += counts[length]
            if seen > place:
                return length
        return ranked[-1]

    starts = [0, *BINS]
    ends: list[int | None] = [*(start - 1 for start in BINS), None]
    bins = [
        (start, end, sum(counts[length] for length in ranked if length >= start and (end is None or length <= end)))
        for start, end in zip(starts, ends, strict=True)
    ]
    filled = [number for number, (_, _, count) in enumerate(bins) if count]
    mean = sum(length * count for length, count in counts.items()) / rows
    spread = tuple(bins[filled[0] : filled[-1] + 1])
    return Lengths(
        rows, ranked[0], at((rows - 1) // 2), at(round((rows - 1) * 0.95)), ranked[-1], round(mean, 1), spread
    )
