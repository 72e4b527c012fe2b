"""The step between data and training: every split rendered, encoded, fitted, proved and stored; or found as it was."""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from heedlm.errors import HeedError, Problem
from heedlm.messages import Encoded, Example
from heedlm.templates.chat import ChatTemplate, fingerprint, stop_ids
from heedlm.templates.system import default_system
from heedlm.tokens.documents import encode_documents
from heedlm.tokens.encode import ids_of
from heedlm.tokens.flat import Flat, flat_of
from heedlm.tokens.journal import Journal, Stretch
from heedlm.tokens.mixture import Mixed, Mixture, Stock, mix
from heedlm.tokens.mixture import told as told_by_source
from heedlm.tokens.proof import Proof, joined
from heedlm.tokens.rows import Overflow, Rows, fit_rows, require_rows
from heedlm.tokens.store import read_index
from heedlm.tokens.write import Split, sweep, workshop, write_store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAIN, REPLAY = "train", "replay"
CHUNK = 1024  # rows encoded and proved at once
T = TypeVar("T")
ALL = Mixture()  # every row of every source, once


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
    mixture: Mixture = ALL,
    pages: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda index: {},
) -> dict[str, Any]:
    """Make the token store in `folder` and return its index; what is there already is used when nothing it depends on changed.

    splits: examples by name, `train` among them.   documents: plain texts to draw replay from.   frozen: a run was begun
    on the tokens that are there, so others are refused.   mixture: how much of each source one epoch of `train` holds.
    pages: from the index to files for people, by name, that stand beside it.
    Raises HeedError when a row cannot be proved, nothing is left to learn from, or no token is learned.
    """
    parts = _parts(template, tokenizer, splits, documents, limits, mixture)
    key = hashlib.sha256("".join(parts.values()).encode()).hexdigest()
    why = _changed(folder, parts)
    if not why:
        index = read_index(folder)
        say("tokens: as before, nothing they depend on has changed")
        sweep(folder)
        _say(say, index["counts"], index.get("sources", {}))
        return index
    if frozen and folder.is_dir():
        what = f"What this run learns from is not what it was begun with: {why}."
        raise HeedError(what, str(folder), "put it back, or name another --run folder")
    if folder.is_dir():
        say(f"tokens: made again, {why}")
    with workshop(folder, _work_key(parts)) as place:
        made = {
            name: _made(Journal(place, name), name, rows, template, tokenizer, limits, say)
            for name, rows in splits.items()
            if rows
        }
        _require_something(made, splits, limits)
        mixed = _mixed(made[TRAIN], splits[TRAIN], mixture, limits.seed)
        times = [mixed.times[row] for row in made[TRAIN].flat.rows]
        counts = {name: _counts(one) for name, one in made.items()}
        counts[TRAIN] |= _seen(mixed, times)
        stored = {name: Split(one.flat, times if name == TRAIN else None) for name, one in made.items()}
        if documents and limits.replay_share:
            wanted = round(counts[TRAIN]["tokens"] * limits.replay_share / (1 - limits.replay_share))
            pieces = _replay(documents, tokenizer, wanted, limits)
            stored[REPLAY] = Split(flat_of(place, REPLAY, pieces, [-1] * len(pieces)))
            counts[REPLAY] = _replayed(stored[REPLAY].sequences, wanted)
        _say(say, counts, mixed.accounts)
        facts = {
            "parts": parts,
            "template": {
                "name": template.name,
                "grade": template.grade,
                "fingerprint": fingerprint(template, tokenizer),
                "source": template.source,
                "stop_ids": list(stop_ids(template, tokenizer)),
                "system": default_system(template, tokenizer),
            },
            "counts": counts,
            "sources": mixed.accounts,
            "dropped": [str(problem) for one in made.values() for problem in one.dropped],
        }
        write_store(folder, key, facts, stored, pages(facts))
    return read_index(folder)


@dataclass(frozen=True, slots=True)
class Made:
    """A split as sequences. kept: rows that fit.   dropped: those that do not.   shortened: that lost their oldest turns."""

    flat: Flat
    kept: int
    proof: Proof
    dropped: tuple[Problem, ...]
    shortened: int


def _made(
    journal: Journal,
    name: str,
    examples: Sequence[Example],
    template: ChatTemplate,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    say: Callable[[str], None],
) -> Made:
    """Encode, fit and prove a split, some rows at a time; what is made of them goes to the disk at once, and is found there
    by who comes after a killed process. Raises HeedError."""
    flat, there = journal.flat, journal.rows
    how = {"overflow": limits.overflow, "learn_reasoning": limits.learn_reasoning, "max_tokens": limits.max_tokens}

    def fitted(start: int) -> tuple[int, Rows]:
        return start, fit_rows(template, tokenizer, examples[start : start + CHUNK], **how)  # type: ignore[arg-type]

    if there:
        say(f"tokens: going on, {there:,} of {len(examples):,} rows of {name} are done")
    ids_of(tokenizer, ["."])  # turns off what its file may say about cutting and padding, while no other thread reads
    for start, rows in _side_by_side(fitted, range(there, len(examples), CHUNK)):
        for row, sequence in zip(rows.row_of, rows.sequences, strict=True):
            flat.add(start + row, sequence)
        end = min(start + CHUNK, len(examples))
        journal.note(Stretch(end, len(rows.examples), rows.shortened, rows.proof, rows.dropped))
    done = journal.done
    proof, dropped = joined(one.proof for one in done), tuple(problem for one in done for problem in one.dropped)
    require_rows(dropped, proof, limits.overflow)
    return Made(flat, sum(one.kept for one in done), proof, dropped, sum(one.shortened for one in done))


def _side_by_side(make: Callable[[int], T], starts: Iterable[int]) -> Iterator[T]:
    """What is made of each, in order, two at a time: while one is in the tokenizer, which lets go of Python, another renders."""
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(2) as pool:
        try:
            for start in starts:
                pending.append(pool.submit(make, start))
                if len(pending) > 2:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _require_something(made: Mapping[str, Made], splits: Mapping[str, Sequence[Example]], limits: Limits) -> None:
    train = made.get(TRAIN)
    if train is None or not len(train.flat):
        where = train.dropped[0].where if train and train.dropped else "train.jsonl"
        mend = f"raise tokens.max_tokens (now {limits.max_tokens:,}), or give more rows"
        raise HeedError("There is nothing to learn from: no training row is left.", where, mend)
    if train.proof.learned_tokens == 0:
        where = splits[TRAIN][train.flat.rows[0]].source
        raise HeedError("No token of the training rows is learned.", where, "give an assistant turn a weight above 0")


def _mixed(made: Made, examples: Sequence[Example], mixture: Mixture, seed: int) -> Mixed:
    """The draws of one epoch, `times` by row of `examples`; 0 for a row that is too long."""
    tokens, learned = array("q", bytes(8 * len(examples))), array("q", bytes(8 * len(examples)))
    for row, length, taught in zip(made.flat.rows, made.flat.lengths, made.flat.learned, strict=True):
        tokens[row] += length
        learned[row] += taught
    stock = Stock(seed)
    for row, example in enumerate(examples):
        if tokens[row]:
            stock.add(mixture.source(example.source), example.id, tokens[row], learned[row])
    for problem in made.dropped:
        stock.leave_out(mixture.source(problem.where))
    mixed = mix(stock, mixture)
    drawn = iter(mixed.times)
    return mixed._replace(times=[next(drawn) if held else 0 for held in tokens])


def _seen(mixed: Mixed, times: Sequence[int]) -> dict[str, int]:
    """What one epoch holds, repeats counted; `rows` are different ones."""
    accounts = mixed.accounts.values()
    return {
        "rows": sum(one["taken"] for one in accounts),
        "sequences": sum(times),
        "tokens": sum(one["seen_tokens"] for one in accounts),
        "learned_tokens": sum(one["seen_learned_tokens"] for one in accounts),
        "left_out": sum(left["rows"] for one in accounts for left in one["left_out"].values()),
    }


def _say(say: Callable[[str], None], counts: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
    for name, of in counts.items():
        say(_told(name, of))
        if name == TRAIN:
            for line in told_by_source(sources):
                say(line)


def _counts(made: Made) -> dict[str, int]:
    return {
        "rows": made.kept,
        "sequences": len(made.flat),
        "tokens": made.proof.tokens,
        "learned_tokens": made.proof.learned_tokens,
        "too_long": len(made.dropped),
        "shortened": made.shortened,
        "control_tokens_typed": made.proof.sanitized,
    }


def _replayed(pieces: Flat, wanted: int) -> dict[str, int]:
    tokens = sum(pieces.lengths)
    return {
        "rows": len(pieces),
        "sequences": len(pieces),
        "tokens": tokens,
        "learned_tokens": tokens - len(pieces),
        "wanted": wanted,
    }


def _told(name: str, counts: Mapping[str, int]) -> str:
    if name == REPLAY:
        short = "" if counts["tokens"] >= counts["wanted"] else f" (all there is; {counts['wanted']:,} were asked for)"
        return f"replay: {counts['rows']:,} pieces of plain documents, {counts['tokens']:,} tokens mixed in{short}"
    extra = f"; {left:,} left out by the mixture" if (left := counts.get("left_out")) else ""
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
    mixture: Mixture,
) -> dict[str, str]:
    """What the tokens depend on, each under a name that can be said."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return {
        "the tokenizer": _hash(vocabulary),
        "the chat template": _hash(template.source),
        "the limits": _hash(repr(limits)),
        "the rows": _hash_of_rows(splits),
        "the documents to replay": _hash("\0".join(documents)),
        **({"the mixture": _hash(asked)} if (asked := mixture.settings()) else {}),
    }


def _work_key(parts: Mapping[str, str]) -> str:
    """All that what is being made depends on: mixture and documents come later, and other versions may make other tokens."""
    from importlib.metadata import version

    from heedlm import __version__

    own = ("the tokenizer", "the chat template", "the limits", "the rows")
    made_by = [__version__, *(f"{name} {version(name)}" for name in ("transformers", "tokenizers", "jinja2"))]
    return _hash("\n".join([*(parts[name] for name in own), *made_by]))


def _changed(folder: Path, parts: Mapping[str, str]) -> str:
    """Why what is in the folder cannot be used; empty when it can."""
    try:
        before = read_index(folder).get("parts", {})
    except (HeedError, ValueError):
        return "there were none of this version"
    changed = [name for name in {**parts, **before} if parts.get(name) != before.get(name)]
    return f"{' and '.join(changed)} changed" if changed else ""


def _hash_of_rows(splits: Mapping[str, Sequence[Example]]) -> str:
    """The hash of `repr(sorted(splits.items()))`, made row by row: the whole of it takes as much memory as the rows."""
    found = hashlib.sha256(b"[")
    for number, (name, examples) in enumerate(sorted(splits.items())):
        found.update(f"{', ' if number else ''}({name!r}, [".encode())
        for place, example in enumerate(examples):
            found.update(f"{', ' if place else ''}{example!r}".encode("utf8", "surrogatepass"))
        found.update(b"])")
    found.update(b"]")
    return found.hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf8", "surrogatepass")).hexdigest()
