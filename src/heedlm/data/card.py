"""The data card: what went in, what came out, and why the rest did not, as card.json and card.md."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedlm.data.fields import show
from heedlm.errors import Problem
from heedlm.messages import Example

VERSION = 1
KIND = "heed data card"
_SHOWN = 3  # examples kept per reason
_DISTINCT = 1000  # texts told apart per source; rows beyond them are counted as others
_TEXT_SHOWN = 200  # characters of a system text
LENGTHS = ("prompt_words", "prompt_characters", "answer_words", "answer_characters")


@dataclass(slots=True)
class SourceTally:
    """What one file gave. rows: rows read, broken ones included.   systems: effective system text -> examples."""

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    turn_fields: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class SplitTally:
    """What one split holds; `lengths` has one list per name in LENGTHS."""

    rows: int = 0
    groups: int = 0
    lengths: tuple[array[int], ...] = field(default_factory=lambda: tuple(array("L") for _ in LENGTHS))


@dataclass(slots=True)
class Tally:
    """Counts kept while rows go by."""

    sources: dict[str, SourceTally] = field(default_factory=dict)
    splits: dict[str, SplitTally] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    renamed: int = 0

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources.values())


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


def count_kept(tally: Tally, file: str, example: Example, shape: str) -> tuple[int, int, int, int]:
    """Count an example that stays; returns its lengths in the order of LENGTHS."""
    source = tally.sources[file]
    source.kept += 1
    source.shapes[shape] += 1
    system = example.messages[0].content if example.messages[0].role == "system" else ""
    _count_text(source.systems, system)
    licence = next((example.meta[name] for name in ("licence", "license") if name in example.meta), None)
    if licence is not None:
        _count_text(source.licences, licence if isinstance(licence, str) else show(licence))
    for extra in (
        example.meta.get("turn_fields", {}).values() if isinstance(example.meta.get("turn_fields"), dict) else ()
    ):
        source.turn_fields.update(list(extra) if isinstance(extra, dict) else ())
    prompt = [message.content for message in example.messages if message.role != "assistant"]
    answers = [message.content for message in example.messages if message.role == "assistant"]
    return (*_lengths(prompt), *_lengths(answers))


def _lengths(texts: Sequence[str]) -> tuple[int, int]:
    return sum(len(text.split()) for text in texts), sum(map(len, texts))


def _count_text(counter: Counter[str], text: str) -> None:
    counter[text if text in counter or len(counter) < _DISTINCT else "(others)"] += 1


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
    fingerprint: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
    proof: Mapping[str, int],
    notes: Sequence[str],
) -> dict[str, Any]:
    """The card as a JSON object; the same data and settings give the same object, to the last byte."""
    return {
        "version": VERSION,
        "kind": KIND,
        "rows_in": tally.rows,
        "kept": sum(split.rows for split in tally.splits.values()),
        "dropped": {
            reason: {"count": count, "examples": tally.shown[reason]} for reason, count in tally.dropped.most_common()
        },
        "duplicates": tally.dropped["duplicate"],
        "renamed_ids": tally.renamed,
        "proof": dict(proof),
        "splits": {name: _split_json(split, files[name]) for name, split in tally.splits.items()},
        "sources": {file: _source_json(source) for file, source in tally.sources.items()},
        "notes": list(notes),
        "files": {name: dict(file) for name, file in files.items()},
        "fingerprint": dict(fingerprint),
    }


def _split_json(split: SplitTally, file: Mapping[str, Any]) -> dict[str, Any]:
    lengths = {name: summary(values) for name, values in zip(LENGTHS, split.lengths, strict=True)}
    return {"file": file["name"], "rows": split.rows, "groups": split.groups, "lengths": lengths}


def _source_json(source: SourceTally) -> dict[str, Any]:
    systems = [
        {"text": text[:_TEXT_SHOWN], "examples": count} for text, count in source.systems.most_common(10) if text
    ]
    return {
        "rows": source.rows,
        "kept": source.kept,
        "dropped": source.dropped,
        "shapes": dict(source.shapes.most_common()),
        "licences": dict(source.licences.most_common()) or "unknown",
        "without_system_text": source.systems[""],
        "system_texts": systems,
        "distinct_system_texts": sum(1 for text in source.systems if text),
        "turn_fields_kept_in_meta": dict(source.turn_fields.most_common(20)),
    }


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    lines = ["# Data card", ""]
    proof = card["proof"]
    dropped = sum(entry["count"] for entry in card["dropped"].values())
    lines += [
        f"{card['rows_in']:,} rows in, {card['kept']:,} examples kept, {dropped:,} dropped "
        f"({card['duplicates']:,} of them exact duplicates).",
        f"Proof of the split: {proof['groups_on_two_sides']} of {proof['groups']:,} groups "
        f"and {proof['prompts_on_two_sides']} prompts on two sides.",
        "",
    ]
    lines += [f"- {note}" for note in card["notes"]] + ([""] if card["notes"] else [])
    lines += _table(
        ("split", "rows", "groups", "words asked: median, 95 %, most", "words answered: median, 95 %, most"),
        [
            (
                name,
                f"{split['rows']:,}",
                f"{split['groups']:,}",
                _three(split["lengths"]["prompt_words"]),
                _three(split["lengths"]["answer_words"]),
            )
            for name, split in card["splits"].items()
        ],
    )
    if card["dropped"]:
        lines += ["## Dropped", ""]
        lines += _table(
            ("reason", "rows", "for example"),
            [
                (reason, f"{entry['count']:,}", "; ".join(example["where"] for example in entry["examples"]))
                for reason, entry in card["dropped"].items()
            ],
        )
    lines += ["## Sources", ""]
    for file, source in card["sources"].items():
        lines += _source_lines(file, source)
    return "\n".join(lines).rstrip() + "\n"


def _source_lines(file: str, source: Mapping[str, Any]) -> list[str]:
    licences = source["licences"]
    named = (
        licences if isinstance(licences, str) else ", ".join(f"{name} ({count:,})" for name, count in licences.items())
    )
    lines = [f"### `{file}`", ""]
    lines.append(f"- {source['rows']:,} rows, {source['kept']:,} kept, {source['dropped']:,} dropped")
    lines.append(
        "- shapes: " + (", ".join(f"{shape} ({count:,})" for shape, count in source["shapes"].items()) or "none")
    )
    lines.append(f"- licence: {named}")
    without, distinct = source["without_system_text"], source["distinct_system_texts"]
    lines.append(f"- system text: {without:,} examples without, {distinct:,} distinct texts")
    lines += [f"  - {entry['examples']:,} x {_inline(entry['text'])}" for entry in source["system_texts"]]
    if source["turn_fields_kept_in_meta"]:
        names = ", ".join(f"{name} ({count:,})" for name, count in source["turn_fields_kept_in_meta"].items())
        lines.append(f"- fields of turns that no chat template sees: {names}")
    return [*lines, ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def cells(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"

    return [cells(head), "|" + "---|" * len(head), *map(cells, rows), ""]


def _three(lengths: Mapping[str, float]) -> str:
    return ", ".join(f"{lengths[name]:,}" for name in ("median", "p95", "max")) if lengths else "none"


def _inline(text: str) -> str:
    """Text on one line that Markdown does not take for its own marks."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"
