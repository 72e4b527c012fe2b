"""A synthesis from its inputs to a folder of rows: the same call goes on where an earlier one ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from heedlm.data.events import to_line
from heedlm.data.store import write_split
from heedlm.errors import HeedError
from heedlm.messages import Chat, Example
from heedlm.runs import disk_errors, sync, write_json
from heedlm.synth import made
from heedlm.synth.answer import answer
from heedlm.synth.backtranslate import backtranslate
from heedlm.synth.best_of import best_of
from heedlm.synth.budget import Budget
from heedlm.synth.desk import Desk, Manner, resumable
from heedlm.synth.inputs import read_prompts, read_texts
from heedlm.synth.journal import Journal, Spent
from heedlm.synth.made import Drop, Made, Origin
from heedlm.synth.options import Mode, Options, options_of
from heedlm.synth.self_instruct import self_instruct
from heedlm.synth.teacher import named, teacher_of
from heedlm.synth.work import Progress, Work

VERSION = 1
ROWS, SETUP = "rows.jsonl", "setup.json"
RECORD = "record"  # beside the rows, so that the folder itself is a source of rows and nothing else


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What became of a synthesis. rows: in `file`.   dropped, flagged: counts by reason.   examples: of each
    reason, where and why.   stopped: the limit that was reached.

    spent: requests, tokens and money in all runs over the folder.   reused: calls that the journal answered this time.
    """

    mode: str
    model: str
    file: Path
    rows: int
    dropped: dict[str, int]
    examples: dict[str, str]
    flagged: dict[str, int]
    spent: dict[str, Any]
    reused: int
    retried: int
    stopped: str | None
    facts: dict[str, Any]
    notes: tuple[str, ...]
    seconds: float


def synthesise(
    mode: str,
    *,
    data: str | Path | Sequence[str | Path],
    model: str | Path | Chat,
    out: str | Path,
    api_key: str | None = None,
    manner: Manner | None = None,
    say: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> Synthesis:
    """Rows in `out`/rows.jsonl, made of `data` by `model`, with their account in `out`/record.

    mode: self-instruct, backtranslate, answer, best-of.   model: a folder, a run, a hub id, `atlas`, the address of an
    endpoint (http://HOST/v1#MODEL), where a key may be needed, or any `Chat`.   options: those of `Options` that the
    mode heeds.   manner: how to ask, over what the options say.   Raises HeedError, and KeyboardInterrupt; then what was
    answered is kept, and the same call goes on.
    """
    chosen = options_of(mode, options)
    kind: Mode = mode  # type: ignore[assignment] # options_of has refused all others
    budget = chosen.budget
    paths = [Path(path) for path in ([data] if isinstance(data, (str, Path)) else data)]
    began = time.perf_counter()
    inputs, broken = read_texts(paths) if kind == "backtranslate" else read_prompts(paths)
    teacher = teacher_of(*named(model), api_key, chosen.timeout)
    chat, folder = teacher.chat, Path(out)
    origin = Origin(mode, chat.name, teacher.endpoint, chosen.licence, teacher.weights)
    known_as = chat.name if teacher.weights else teacher.who
    setup = {"mode": mode, "model": known_as, "data": [str(path) for path in paths]}
    _check_same(folder, setup)
    _make(folder / RECORD)
    with Journal(folder / RECORD / "journal.jsonl") as journal:
        for note in journal.notes:
            say(note)
        if not (folder / RECORD / SETUP).is_file():
            write_json(folder / RECORD / SETUP, {"version": VERSION, **setup})
        asked = manner or Manner(concurrency=chosen.concurrency, batch=chosen.batch)
        desk = Desk(chat, journal, budget, asked, say=say, seed=chosen.seed, who=teacher.who)
        work = Work(kind, desk, chosen, origin, on_progress)
        try:
            found = _MAKERS[kind](work, inputs)
        except HeedError as error:
            raise resumable(error) if len(journal) else error from None
        found.drops[:0] = broken
        return _write(folder, work, found, journal, budget, time.perf_counter() - began)


_MAKERS: dict[Mode, Callable[[Work, Any], Made]] = {
    "self-instruct": self_instruct,
    "backtranslate": backtranslate,
    "answer": answer,
    "best-of": best_of,
}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"The folder cannot be made: {error.strerror or error}."
        raise HeedError(what, str(folder), "choose another folder: --out FOLDER") from error


def _check_same(folder: Path, setup: dict[str, Any]) -> None:
    """Raises HeedError where the folder holds another synthesis, or rows that none has written."""
    rows, known = folder / ROWS, _read_setup(folder / RECORD / SETUP)
    other = [
        f"{key} {known[key]!r} instead of {value!r}" for key, value in setup.items() if known.get(key, value) != value
    ]
    if other:
        what = f"The folder holds another synthesis: {'; '.join(other)}."
        raise HeedError(what, str(folder), "choose another folder: --out FOLDER")
    if rows.exists() and _sum(rows) not in known.get("rows", []):
        what = "The rows there were changed since" if known else "There are rows there that heed synth has not written"
        raise HeedError(
            f"{what}, and would be lost.", str(rows), "move them away, or choose another folder: --out FOLDER"
        )


def _read_setup(path: Path) -> dict[str, Any]:
    known: Any = None
    if path.is_file():
        with suppress(ValueError):
            known = json.loads(path.read_text("utf8"))
    return known if isinstance(known, dict) else {}


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_rows(folder: Path, rows: Sequence[Example]) -> None:
    """The rows, whole or not at all. Their sum is noted before they get their name, the one before is still known."""
    fresh, setup = folder / RECORD / "rows.new", folder / RECORD / SETUP
    write_split(fresh, rows)
    known = _read_setup(setup)
    write_json(setup, {**known, "rows": [*known.get("rows", [])[-1:], _sum(fresh)]})
    fresh.replace(folder / ROWS)
    sync(folder)


def _write(folder: Path, work: Work, found: Made, journal: Journal, budget: Budget, seconds: float) -> Synthesis:
    """Rows, drops and card, each whole or not at all; the card last."""
    record = folder / RECORD
    counts = Counter(drop.reason for drop in found.drops)
    first = {drop.reason: f"{drop.where}: {drop.why}" for drop in reversed(found.drops)}
    with disk_errors(record):
        _write_rows(folder, found.rows)
        _write_drops(record / "dropped.jsonl", found.drops)
    report = Synthesis(
        mode=work.mode,
        model=work.origin.model,
        file=folder / ROWS,
        rows=len(found.rows),
        dropped=dict(counts.most_common()),
        examples={reason: first[reason] for reason, _ in counts.most_common()},
        flagged=made.flags(found.rows),
        spent=spent_as_json(journal.spent, budget),
        reused=work.desk.reused,
        retried=work.desk.retried,
        stopped=work.desk.stopped,
        facts=found.facts,
        notes=_notes(journal.spent, budget),
        seconds=round(seconds, 2),
    )
    told = {field.name: getattr(report, field.name) for field in fields(report)}
    options = {field.name: getattr(work.options, field.name) for field in fields(Options)}
    write_json(
        record / "card.json",
        {"version": VERSION, "kind": "heed synth card", **_plain(told), "options": _plain(options)},
    )
    return report


def _write_drops(path: Path, drops: Sequence[Drop]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        for drop in drops:
            file.write(to_line({"version": VERSION, **drop._asdict()}))
    partial.replace(path)


def spent_as_json(spent: Spent, budget: Budget) -> dict[str, Any]:
    """What was spent, with money where there is a price."""
    told: dict[str, Any] = {"requests": spent.requests, "prompt_tokens": spent.tokens.prompt}
    told |= {"completion_tokens": spent.tokens.completion, "unsure_requests": spent.unsure}
    told |= {"guessed_requests": spent.guessed}
    return told | ({"money": str(budget.cost(spent.tokens))} if budget.priced else {})


def _notes(spent: Spent, budget: Budget) -> tuple[str, ...]:
    notes = []
    if spent.unsure:
        what = f"{spent.unsure:,} request(s) were sent and their answers lost; they count with all they can have cost."
        notes.append(what)
    if spent.guessed and (budget.priced or budget.tokens is not None):
        notes.append(
            f"The tokens of {spent.guessed:,} answer(s) were not counted by the model: they count with the most."
        )
    return tuple(notes)


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(told, default=str))  # type: ignore[no-any-return]
