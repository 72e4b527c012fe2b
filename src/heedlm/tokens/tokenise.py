"""The step between data and training: every split rendered, encoded, fitted, proved and stored; or found as it was."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError
from heedlm.messages import Encoded, Example
from heedlm.templates.chat import ChatTemplate, fingerprint, stop_ids
from heedlm.tokens.documents import encode_documents
from heedlm.tokens.rows import Overflow, Rows, make_rows
from heedlm.tokens.store import read_index, write_store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAIN, REPLAY = "train", "replay"


@dataclass(frozen=True, slots=True)
class Limits:
    """max_tokens: longest sequence.   overflow: what happens to a longer one.   learn_reasoning: teach thinking as well.

    replay_share: share of the training tokens that plain documents make up.
    """

    max_tokens: int
    overflow: Overflow
    learn_reasoning: bool
    replay_share: float
    seed: int


def tokenise(
    folder: Path,
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    splits: Mapping[str, Sequence[Example]],
    documents: Sequence[str],
    limits: Limits,
    say: Callable[[str], None],
    frozen: bool = False,
) -> dict[str, Any]:
    """Make the token store in `folder` and return its index; what is there already is used when nothing it depends on changed.

    splits: examples by name, `train` among them.   documents: plain texts to draw replay from.   frozen: a run was begun
    on the tokens that are there, so others are refused.
    Raises HeedError when a row cannot be proved, nothing is left to learn from, or no token is learned.
    """
    parts = _parts(template, tokenizer, splits, documents, limits)
    key = hashlib.sha256("".join(parts.values()).encode()).hexdigest()
    why = _changed(folder, parts)
    if not why:
        index = read_index(folder)
        say("tokens: as before, nothing they depend on has changed")
        for name, counts in index["counts"].items():
            say(_told(name, counts))
        return index
    if frozen and folder.is_dir():
        what = f"What this run learns from is not what it was begun with: {why}."
        raise HeedError(what, str(folder), "put it back, or name another --run folder")
    if folder.is_dir():
        say(f"tokens: made again, {why}")
    made = {name: _rows(name, examples, template, tokenizer, limits) for name, examples in splits.items() if examples}
    _require_something(made, limits)
    counts = {name: _counts(rows) for name, rows in made.items()}
    stored: dict[str, tuple[Sequence[Encoded], Sequence[int]]] = {
        n: (rows.sequences, rows.row_of) for n, rows in made.items()
    }
    if documents and limits.replay_share:
        wanted = round(counts[TRAIN]["tokens"] * limits.replay_share / (1 - limits.replay_share))
        replay = _replay(documents, tokenizer, wanted, limits)
        tokens = sum(len(piece.ids) for piece in replay)
        counts[REPLAY] = {
            "rows": len(replay),
            "sequences": len(replay),
            "tokens": tokens,
            "learned_tokens": tokens - len(replay),
            "wanted": wanted,
        }
        stored[REPLAY] = (replay, [-1] * len(replay))
    for name, of in counts.items():
        say(_told(name, of))
    facts = {
        "parts": parts,
        "template": {
            "name": template.name,
            "grade": template.grade,
            "fingerprint": fingerprint(template, tokenizer),
            "source": template.source,
            "stop_ids": list(stop_ids(template, tokenizer)),
        },
        "counts": counts,
        "dropped": [str(problem) for rows in made.values() for problem in rows.dropped],
    }
    write_store(folder, key, facts, stored)
    return read_index(folder)


def _rows(
    name: str, examples: Sequence[Example], template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, limits: Limits
) -> Rows:
    return make_rows(
        template,
        tokenizer,
        examples,
        max_tokens=limits.max_tokens,
        overflow=limits.overflow,
        learn_reasoning=limits.learn_reasoning,
    )


def _require_something(made: Mapping[str, Rows], limits: Limits) -> None:
    train = made.get(TRAIN)
    if train is None or not train.sequences:
        where = train.dropped[0].where if train and train.dropped else "train.jsonl"
        mend = f"raise tokens.max_tokens (now {limits.max_tokens:,}), or give more rows"
        raise HeedError("There is nothing to learn from: no training row is left.", where, mend)
    if train.proof.learned_tokens == 0:
        raise HeedError(
            "No token of the training rows is learned.",
            train.examples[0].source,
            "give an assistant turn a weight above 0",
        )


def _counts(rows: Rows) -> dict[str, int]:
    return {
        "rows": len(rows.examples),
        "sequences": len(rows.sequences),
        "tokens": rows.proof.tokens,
        "learned_tokens": rows.proof.learned_tokens,
        "too_long": len(rows.dropped),
        "shortened": rows.shortened,
        "control_tokens_typed": rows.proof.sanitized,
    }


def _told(name: str, counts: Mapping[str, int]) -> str:
    if name == REPLAY:
        short = "" if counts["tokens"] >= counts["wanted"] else f" (all there is; {counts['wanted']:,} were asked for)"
        return f"replay: {counts['rows']:,} pieces of plain documents, {counts['tokens']:,} tokens mixed in{short}"
    extra = ""
    if counts["too_long"]:
        extra += f"; {counts['too_long']:,} too long and dropped"
    if counts["shortened"]:
        extra += f"; {counts['shortened']:,} without their oldest turns"
    if counts["control_tokens_typed"]:
        extra += f"; {counts['control_tokens_typed']:,} control tokens typed in messages kept as text"
    return f"{name}: {counts['rows']:,} rows, {counts['tokens']:,} tokens, {counts['learned_tokens']:,} learned; every row proved{extra}"


def _replay(documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, wanted: int, limits: Limits) -> list[Encoded]:
    """Documents of about `wanted` tokens together, drawn without putting back, as far as they reach."""
    order = list(documents)
    random.Random(f"{limits.seed}/replay").shuffle(order)
    chosen: list[Encoded] = []
    held = 0
    for text in order:
        if held >= wanted:
            break
        pieces = encode_documents(tokenizer, [text], limits.max_tokens)
        chosen += pieces
        held += sum(len(piece.ids) for piece in pieces)
    return chosen


def _parts(
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    splits: Mapping[str, Sequence[Example]],
    documents: Sequence[str],
    limits: Limits,
) -> dict[str, str]:
    """What the tokens depend on, each under a name that can be said."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return {
        "the tokenizer": _hash(vocabulary),
        "the chat template": _hash(template.source),
        "the limits": _hash(repr(limits)),
        "the rows": _hash(repr(sorted(splits.items()))),
        "the documents to replay": _hash("\0".join(documents)),
    }


def _changed(folder: Path, parts: Mapping[str, str]) -> str:
    """Why what is in the folder cannot be used; empty when it can."""
    try:
        before = read_index(folder).get("parts", {})
    except (HeedError, ValueError):
        return "there were none of this version"
    changed = [name for name in parts if parts[name] != before.get(name)]
    return f"{' and '.join(changed)} changed" if changed else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf8", "surrogatepass")).hexdigest()
