"""What stands around an evaluation: the data, the training, the commands and the hashes that a run folder tells of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heedlm.runs import Run

_STAGES = ("prepare", "train")  # what the evaluation itself was called with stands in `about`
_HASHED = ("recipe.yaml", "eval/items.jsonl")  # small enough to be read again for each report


@dataclass(frozen=True, slots=True)
class Data:
    """The data card, for a reader. splits: name -> rows, groups, median words of prompt and answer.   sources: name ->
    rows kept, licence, languages.   dropped, flagged: rows by reason.   apart: whether no group and no prompt stands on
    two sides; None where the card does not say."""

    rows: int
    kept: int
    splits: Mapping[str, tuple[int, int, float, float]]
    sources: Mapping[str, tuple[int, str, str]]
    dropped: Mapping[str, int]
    flagged: Mapping[str, int]
    notes: tuple[str, ...]
    apart: bool | None


@dataclass(frozen=True, slots=True)
class Around:
    """commands: by stage, as typed.   hashes: of what went in, and of the log.   training: name -> text, what train did.

    tokens: that training read, over all epochs.   data: None where a run has no readable card.
    """

    commands: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, str] = field(default_factory=dict)
    tokens: int | None = None
    data: Data | None = None


def around(run: Run) -> Around:
    """What a run folder tells; parts that are not there, or not as expected, are left out."""
    info = run.info()
    card = _json(run.data / "card.json")
    done = info.get("train_result", {})
    hashes = {f"data/{one['name']}": f"blake2 {one['blake2']}" for one in _files(card)}
    hashes |= {"token store": str(info["tokens"])} if "tokens" in info else {}
    for name in _HASHED:
        path = run.root / name
        if path.is_file():
            hashes[name] = f"sha256 {_sha256(path)}"
    return Around(
        commands={stage: str(info[stage]["command"]) for stage in _STAGES if "command" in info.get(stage, {})},
        hashes=hashes,
        training=_training(done),
        tokens=done.get("tokens"),
        data=_data(card),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _files(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = card.get("files")
    every = found.values() if isinstance(found, dict) else ()
    return [one for one in every if isinstance(one, dict) and {"name", "blake2"} <= set(one)]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _training(done: Mapping[str, Any]) -> dict[str, str]:
    """What train did, in words. done: `train_result` of run.json."""
    count = {
        "rows": "rows",
        "steps": "steps",
        "tokens": "tokens read",
        "learned_tokens": "tokens learned",
        "parameters": "parameters",
        "trainable_parameters": "of them trained",
        "dropped": "rows left out",
    }
    found = {title: f"{done[key]:,}" for key, title in count.items() if isinstance(done.get(key), int) and done[key]}
    if isinstance(done.get("best_loss"), float):
        found["validation loss"] = f"{done['best_loss']:.4f}, the best, at step {done.get('best_step', 0):,}"
    if isinstance(done.get("best_score"), float):
        found["task score"] = f"{done['best_score']:.3f}, by which the weights were chosen"
    if isinstance(done.get("tokens_per_second"), int | float):
        found["speed"] = f"{done['tokens_per_second']:,.0f} tokens a second"
    return found | {key: str(done[key]) for key in ("template", "packing") if done.get(key)}


def _data(card: Mapping[str, Any]) -> Data | None:
    try:
        proof = card.get("proof", {})
        return Data(
            rows=int(card["rows_in"]),
            kept=int(card["kept"]),
            splits={name: _split(one) for name, one in card["splits"].items()},
            sources={name: _source(one) for name, one in card["sources"].items()},
            dropped={reason: int(one["count"]) for reason, one in card.get("dropped", {}).items()},
            flagged={reason: int(one["count"]) for reason, one in card.get("flagged", {}).items()},
            notes=tuple(map(str, card.get("notes", ()))),
            apart=not (proof["groups_on_two_sides"] or proof["prompts_on_two_sides"]) if proof else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # a card of another version: the page goes without it


def _split(one: Mapping[str, Any]) -> tuple[int, int, float, float]:
    lengths = one.get("lengths", {})
    middle = [float(lengths.get(f"{side}_words", {}).get("median", 0)) for side in ("prompt", "answer")]
    return int(one["rows"]), int(one["groups"]), middle[0], middle[1]


def _source(one: Mapping[str, Any]) -> tuple[int, str, str]:
    spoken = sorted(one.get("languages", {}).items(), key=lambda pair: -pair[1])[:4]
    licence = one.get("licences") or one.get("licence") or "unknown"
    said = ", ".join(licence) if isinstance(licence, dict) else str(licence)
    return int(one["kept"]), said, ", ".join(f"{name} {count:,}" for name, count in spoken)
