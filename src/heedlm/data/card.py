"""The data card: what went in, what came out, why the rest did not, and what was found on the way, as card.json."""

from __future__ import annotations

import json
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from heedlm.data.clean.rules import RULES
from heedlm.data.fields import show
from heedlm.errors import Problem
from heedlm.messages import Example

VERSION = 3
KIND = "heed data card"
LICENCES = ("licence", "license")  # where a row says under which licence it stands
_SHOWN = 3  # examples kept per reason
_DISTINCT = 1000  # texts told apart per source; rows beyond them are counted as others
_TEXT_SHOWN = 200  # characters of a system text
LENGTHS = ("prompt_words", "prompt_characters", "answer_words", "answer_characters")
BINS = (1, 3, 6, 11, 21, 51, 101, 201, 501, 1001, 2001, 5001)  # words, where the bars of a histogram begin
_EXAMPLES = 2  # rows of a split that are shown
_SAID_SHOWN = 600  # characters of a turn of theirs


@dataclass(slots=True)
class SourceTally:
    """What one file gave. rows: rows read, broken ones included.   splits: examples by side.   systems: effective system text -> examples.

    languages: of the last answer -> examples; "" where it could not be told.   authors, consents: as rows of people say.
    licence_by: who names the licence of rows that name none.
    """

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    licence_by: str = ""
    authors: Counter[str] = field(default_factory=Counter)
    consents: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    turn_fields: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class SplitTally:
    """What one split holds; `lengths` has one list per name in LENGTHS.   drawn: rows to show, as (their draw, line)."""

    rows: int = 0
    groups: int = 0
    drawn: list[tuple[int, bytes]] = field(default_factory=list)
    lengths: tuple[array[int], ...] = field(default_factory=lambda: tuple(array("L") for _ in LENGTHS))


@dataclass(slots=True)
class Tally:
    """Counts kept while rows go by."""

    sources: dict[str, SourceTally] = field(default_factory=dict)
    splits: dict[str, SplitTally] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    flagged: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    flags_shown: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    renamed: int = 0

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources.values())


def draw(split: SplitTally, line: bytes) -> None:
    """Keep a row to show if its content draws a small number: any row is as likely as another, whatever its place."""
    number = zlib.crc32(line)
    if len(split.drawn) < _EXAMPLES or number < split.drawn[-1][0]:
        split.drawn = sorted([*split.drawn, (number, line)])[:_EXAMPLES]


def reason_of(problem: Problem) -> str:
    """What a problem is counted under: the words before its first colon."""
    return problem.what.partition(":")[0]


def count_dropped(tally: Tally, file: str, problem: Problem) -> None:
    """Count a row that is left out."""
    reason = reason_of(problem)
    tally.sources[file].dropped += 1
    tally.dropped[reason] += 1
    shown = tally.shown.setdefault(reason, [])
    if len(shown) < _SHOWN:
        shown.append({"where": problem.where, "what": problem.what})


def count_flag(tally: Tally, rule: str, where: str, what: str, *, masked: bool) -> None:
    """Count what a rule found in a row that stays."""
    (tally.masked if masked else tally.flagged)[rule] += 1
    shown = tally.flags_shown.setdefault(rule, [])
    if len(shown) < _SHOWN:
        shown.append({"where": where, "what": what})


class About(NamedTuple):
    """What is counted of an example. language: of its last answer, "" where it cannot be told.   lengths: as LENGTHS."""

    shape: str
    language: str
    system: str
    licence: str | None
    turn_fields: tuple[str, ...]
    lengths: tuple[int, int, int, int]
    author: str | None = None
    consent: str | None = None


def about(example: Example, shape: str, spoken: str | None) -> About:
    """What is counted of an example.   spoken: the language of its last answer."""
    licence, author, consent = (
        next((example.meta[name] for name in names if name in example.meta), None)
        for names in (LICENCES, ("author",), ("consent",))
    )
    extras = example.meta.get("turn_fields")
    fields = [extra for extra in extras.values() if isinstance(extra, dict)] if isinstance(extras, dict) else []
    prompt = [message.content for message in example.messages if message.role != "assistant"]
    answers = [message.content for message in example.messages if message.role == "assistant"]
    return About(
        shape,
        spoken or "",
        example.messages[0].content if example.messages[0].role == "system" else "",
        licence if licence is None or isinstance(licence, str) else show(licence),
        tuple(name for extra in fields for name in extra),
        (*_lengths(prompt), *_lengths(answers)),
        *(one if one is None or isinstance(one, str) else show(one) for one in (author, consent)),
    )


def count_kept(tally: Tally, file: str, kept: About, by: int = 1) -> None:
    """Count an example that stays.   by: -1 takes back what was counted when it was read."""
    source = tally.sources[file]
    source.kept += by
    source.shapes[kept.shape] += by
    source.languages[kept.language] += by
    _count_text(source.systems, kept.system, by)
    for counter, text in (
        (source.licences, kept.licence),
        (source.authors, kept.author),
        (source.consents, kept.consent),
    ):
        if text is not None:
            _count_text(counter, text, by)
    for name in kept.turn_fields:
        source.turn_fields[name] += by


def _lengths(texts: Sequence[str]) -> tuple[int, int]:
    return sum(len(text.split()) for text in texts), sum(map(len, texts))


def _count_text(counter: Counter[str], text: str, by: int) -> None:
    counter[text if text in counter or len(counter) < _DISTINCT else "(others)"] += by


def summary(values: Sequence[int]) -> dict[str, float]:
    """Smallest, middle, 95th percentile, largest, mean; empty where there is nothing."""
    if not values:
        return {}
    ranked = sorted(values)
    last = len(ranked) - 1
    return {
        "min": ranked[0],
        "median": ranked[last // 2],
        "p95": ranked[round(last * 0.95)],
        "max": ranked[-1],
        "mean": round(sum(ranked) / len(ranked), 1),
    }


def card_json(
    tally: Tally,
    *,
    files: Mapping[str, Mapping[str, Any]],
    proof: Mapping[str, int | None],
    notes: Sequence[str],
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """The card as a JSON object, all but its fingerprint; the same data and settings give the same, to the last byte.

    found: what was found about rows together: "near_duplicates", "answers", "contamination".
    """
    rules = sorted({*tally.flagged, *tally.masked}, key=lambda rule: -tally.flagged[rule] - tally.masked[rule])
    return {
        "version": VERSION,
        "kind": KIND,
        "rows_in": tally.rows,
        "kept": sum(split.rows for split in tally.splits.values()),
        "dropped": {
            reason: {"count": count, "examples": tally.shown[reason]} for reason, count in tally.dropped.most_common()
        },
        "flagged": {
            rule: {
                "count": tally.flagged[rule],
                "masked": tally.masked[rule],
                "finds": RULES[rule],
                "examples": tally.flags_shown[rule],
            }
            for rule in rules
        },
        "duplicates": tally.dropped["duplicate"],
        **found,
        "renamed_ids": tally.renamed,
        "proof": dict(proof),
        "splits": {name: _split_json(split, files[name]) for name, split in tally.splits.items()},
        "licences": dict(licences_of(tally).most_common()),
        "sources": {file: _source_json(source) for file, source in tally.sources.items()},
        "notes": list(notes),
        "files": {name: dict(file) for name, file in files.items()},
    }


def licences_of(tally: Tally) -> Counter[str]:
    """Kept examples by licence; "unknown" where nobody names one."""
    found: Counter[str] = Counter()
    for source in tally.sources.values():
        found += source.licences
        found["unknown"] += source.kept - (+source.licences).total()
    return +found


def _split_json(split: SplitTally, file: Mapping[str, Any]) -> dict[str, Any]:
    lengths = {name: summary(values) for name, values in zip(LENGTHS, split.lengths, strict=True)}
    bins = {
        name: histogram(values) for name, values in zip(LENGTHS, split.lengths, strict=True) if name.endswith("words")
    }
    told = {"file": file["name"], "rows": split.rows, "groups": split.groups, "lengths": lengths, "histograms": bins}
    return {**told, "examples": [_shown(json.loads(line)) for _, line in split.drawn]}


def histogram(values: Iterable[int]) -> list[dict[str, int | None]]:
    """How many values lie between each two of BINS (from, to, rows), without empty bins at the ends."""
    starts = (0, *BINS)
    counts = Counter(bisect_right(starts, value) - 1 for value in values)
    ends = (*(start - 1 for start in BINS), None)
    filled = range(min(counts, default=0), max(counts, default=-1) + 1)
    return [{"from": starts[number], "to": ends[number], "rows": counts[number]} for number in filled]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the card shows it."""
    turns = []
    for turn in row["messages"]:
        calls = [f"{call['function']['name']}(...)" for call in turn.get("tool_calls", ())]
        said = " ".join([turn["content"], *calls]).strip()
        turns.append({"role": turn["role"], "text": said[:_SAID_SHOWN] + ("..." if len(said) > _SAID_SHOWN else "")})
    return {"id": row["id"], "where": row["source"], "turns": turns}


def _source_json(source: SourceTally) -> dict[str, Any]:
    systems = [
        {"text": text[:_TEXT_SHOWN], "examples": count} for text, count in (+source.systems).most_common(10) if text
    ]
    return {
        "rows": source.rows,
        "kept": source.kept,
        "dropped": source.dropped,
        "splits": dict(source.splits),
        "shapes": dict((+source.shapes).most_common()),
        "languages": {name or "not told": count for name, count in (+source.languages).most_common()},
        "licences": dict((+source.licences).most_common()) or "unknown",
        "licence_by": source.licence_by,
        "authors": dict((+source.authors).most_common(20)),
        "distinct_authors": len(+source.authors),
        "consents": dict((+source.consents).most_common(20)),
        "without_system_text": source.systems[""],
        "system_texts": systems,
        "distinct_system_texts": sum(1 for text in +source.systems if text),
        "turn_fields_kept_in_meta": dict((+source.turn_fields).most_common(20)),
    }
