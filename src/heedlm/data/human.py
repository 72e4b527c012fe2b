"""Rows written by people: who wrote them, when, under which licence and with what consent; and how they changed.

The store is a file of events that only grows (`data.events`). An edit or a withdrawal is an event too: what is read are the
rows as they are now, without those that were withdrawn.

    {"heed_human": 1, "event": "add", "id": "...", "time": "2026-01-31T12:00:00Z", "author": "...", "licence": "...",
     "consent": "...", "row": {"messages": [...]}, "corrects": {"text": "...", "model": "..."}}

`licence`, `consent` and `corrects` stand only where they are known. An `edit` has the same fields, a `withdraw` has `why`
instead of a row. The messages stand inside `row`, so that no reader of plain rows takes a withdrawn one for a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from heedlm.data.events import Appended, Event, append, read_events
from heedlm.data.row import Row
from heedlm.data.schema import to_example
from heedlm.errors import HeedError, Problem, nearest
from heedlm.messages import Example

VERSION = 1
MARK = b'{"heed_human"'  # what a store begins with
_LONGEST = 200  # characters of an author, a licence, a consent


@dataclass(frozen=True, slots=True)
class About:
    """Who vouches for a row. licence: under which it may be used.   consent: what the author agreed to, in words."""

    author: str
    licence: str | None = None
    consent: str | None = None


@dataclass(frozen=True, slots=True)
class Corrected:
    """The reply of a model that a row corrects.   model: its name."""

    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class HumanRow:
    """A row as it is now. row: its `messages`, and `tools` where it has some.   about: who wrote it first, and what holds now.

    added, changed: UTC.   where: file:line of the last change.   editors: others who changed it.
    """

    id: str
    row: Mapping[str, Any]
    about: About
    corrects: Corrected | None
    added: str
    changed: str
    where: str
    edits: int = 0
    editors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What was written. where: file:line.   notes: what had to be repaired before."""

    id: str
    time: str
    where: str
    notes: tuple[str, ...]


def add(
    store: Path,
    row: Mapping[str, Any],
    about: About,
    *,
    corrects: Corrected | None = None,
    now: datetime | None = None,
) -> Written:
    """Write a new row, with `messages`, and `tools` where it has some.

    Raises HeedError where the row cannot be learnt from, author, licence or consent are no plain lines, or the file cannot
    be written.
    """
    content = _content(row, about, corrects)
    time = _utc(now)

    def make(place: int, before: Iterator[Event]) -> dict[str, Any]:
        made = hashlib.blake2b(json.dumps([content, time, place], sort_keys=True).encode(), digest_size=6).hexdigest()
        return {"heed_human": VERSION, "event": "add", "id": made, "time": time, **content}

    return _written(store, append(store, make))


def edit(
    store: Path,
    name: str,
    row: Mapping[str, Any],
    about: About,
    *,
    corrects: Corrected | None = None,
    now: datetime | None = None,
) -> Written:
    """Write what a row is from now on. Raises HeedError as `add`, and where there is no such row."""
    content = _content(row, about, corrects)
    return _change(store, "edit", name, content, _utc(now))


def withdraw(store: Path, name: str, about: About, *, why: str = "", now: datetime | None = None) -> Written:
    """Take a row back: it is read no more. Raises HeedError as `edit`."""
    content = {"author": _vouched(about)["author"], **({"why": why} if why else {})}
    return _change(store, "withdraw", name, content, _utc(now))


def read_human(store: Path) -> tuple[list[HumanRow], list[Problem]]:
    """The rows of a store as they are now, in the order of their first writing, and the lines that are not to be read."""
    return _now(read_events(store), store)


def find(store: Path, name: str) -> HumanRow:
    """One row as it is now. Raises HeedError where there is none, or it was withdrawn."""
    rows, _ = read_human(store)
    return _found(name, rows, store)


def check_about(about: About) -> None:
    """Raises HeedError where author, licence or consent are no plain lines of text, with all of them at once."""
    _vouched(about)


def check_row(row: Mapping[str, Any], corrected: str | None, where: str) -> Example:
    """The example of a row, as `prepare` would make it. Raises HeedError where it cannot be learnt from."""
    reply = {} if corrected is None else {"rejected": [{"role": "assistant", "content": corrected}]}
    found = to_example(Row({**row, **reply}, where))
    if isinstance(found, Problem):
        raise HeedError.of([found])
    if corrected is not None and corrected.strip() == found.messages[-1].content.strip():
        raise HeedError(
            "The answer says the same as the reply that it corrects.", where, "write what it should have been"
        )
    return found


def human_rows(store: Path, name: Path) -> Iterator[Row | Problem]:
    """The same as rows that `prepare` reads: messages, a worse answer where a reply was corrected, the rest in `meta`.

    name: what addresses say. Lines that are not to be read come last.
    """
    rows, problems = _now(read_events(store), name)
    for one in rows:
        yield Row(as_row(one), one.where)
    yield from problems


def as_row(one: HumanRow) -> dict[str, Any]:
    """A row as any tool reads it, with who wrote it, when, and what was agreed to in `meta`."""
    meta: dict[str, Any] = {"by": "human", "author": one.about.author, "written": one.changed}
    meta |= {"edited_by": list(one.editors)} if one.editors else {}
    meta |= {} if one.about.licence is None else {"licence": one.about.licence}
    meta |= {} if one.about.consent is None else {"consent": one.about.consent}
    value: dict[str, Any] = {"id": one.id, **one.row}
    if one.corrects is not None:  # what came before the reply is given, so the last answer alone is taught
        value["messages"] = [_given(turn) for turn in one.row["messages"][:-1]] + [one.row["messages"][-1]]
        value["rejected"] = [{"role": "assistant", "content": one.corrects.text}]
        meta |= {} if one.corrects.model is None else {"corrected_model": one.corrects.model}
    return {**value, "meta": meta}


def _given(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"weight": 0, **turn} if turn.get("role") == "assistant" and "train" not in turn else turn


def is_store(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a store."""
    return start.startswith(MARK)


def _now(events: list[Event], name: Path) -> tuple[list[HumanRow], list[Problem]]:
    rows: dict[str, HumanRow] = {}
    gone: set[str] = set()
    problems: list[Problem] = []
    for event in events:
        where = f"{name}:{event.line}"
        if isinstance(event.value, Problem):
            problems.append(replace(event.value, where=where))
            continue
        wrong = _apply(event.value, where, rows, gone)
        if wrong is not None:
            problems.append(wrong)
    return list(rows.values()), problems


def _apply(event: Mapping[str, Any], where: str, rows: dict[str, HumanRow], gone: set[str]) -> Problem | None:
    """Take one event in; what is wrong with it, if something is."""
    mend = "take the line as it was from a copy of the file; `heed data` writes lines, hands do not"
    version = event.get("heed_human")
    if version != VERSION:
        what = f"unknown version: the line has version {version!r}, this heed reads {VERSION}"
        return Problem(what, where, "read it with the heed that wrote it, or a newer one")
    kind, name, time, author = (event.get(field) for field in ("event", "id", "time", "author"))
    if not all(isinstance(text, str) and text for text in (name, time, author)):
        return Problem("damaged event: id, time or author is missing", where, mend)
    assert isinstance(name, str)
    if kind == "withdraw" and (name in rows or name in gone):
        gone.add(name)
        rows.pop(name, None)
        return None
    row = event.get("row")
    known = (kind == "add" and name not in rows and name not in gone) or (kind == "edit" and name in rows)
    if not known or not isinstance(row, dict) or not _plain(row):
        if kind == "edit" and name in gone:
            return None  # two people at once: who takes back what is theirs has the last word
        return Problem(f"damaged event: {kind!r} of row {name!r} does not fit what stands before it", where, mend)
    before = rows.get(name)
    corrects = event.get("corrects")
    first = before.about.author if before else str(author)
    others = dict.fromkeys([*(before.editors if before else ()), str(author)])
    rows[name] = HumanRow(
        id=name,
        row=row,
        about=About(first, _text(event.get("licence")), _text(event.get("consent"))),
        corrects=Corrected(str(corrects.get("text")), _text(corrects.get("model")))
        if isinstance(corrects, dict)
        else None,
        added=before.added if before else str(time),
        changed=str(time),
        where=where,
        edits=before.edits + 1 if before else 0,
        editors=tuple(one for one in others if one != first),
    )
    return None


def _plain(row: Mapping[str, Any]) -> bool:
    """Whether a row holds a list of turns, which is all that is asked here: `prepare` looks closer."""
    turns = row.get("messages")
    return isinstance(turns, list) and bool(turns) and all(isinstance(t, dict) for t in turns) and "meta" not in row


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _change(store: Path, kind: str, name: str, content: Mapping[str, Any], time: str) -> Written:
    if not store.is_file():
        raise HeedError("no such file", str(store), "name the store: --store FILE")

    def make(place: int, before: Iterator[Event]) -> dict[str, Any]:
        _found(name, _now(list(before), store)[0], store)
        return {"heed_human": VERSION, "event": kind, "id": name, "time": time, **content}

    return _written(store, append(store, make))


def _found(name: str, rows: Sequence[HumanRow], store: Path) -> HumanRow:
    found = next((row for row in rows if row.id == name), None)
    if found is None:
        near = nearest(name, [row.id for row in rows[-20:]]) if rows else "it holds no row"
        raise HeedError(f"There is no row {name!r}, or it was withdrawn.", str(store), near)
    return found


def _written(store: Path, done: Appended) -> Written:
    return Written(str(done.value["id"]), str(done.value["time"]), f"{store}:{done.line}", done.notes)


def _vouched(about: About) -> dict[str, str]:
    """Author, licence and consent as they are written down, those that are known."""
    problems = []
    found = {}
    for name, value in (("author", about.author), ("licence", about.licence), ("consent", about.consent)):
        if value is None:
            continue
        text = value.strip()
        if not text or len(text) > _LONGEST or not text.isprintable():
            mend = f"--{name} with a few words, for example " + {"author": "Ann", "licence": "CC-BY-4.0"}.get(
                name, "training"
            )
            problems.append(Problem(f"The {name} is no plain line of text: {value[:40]!r}.", f"--{name}", mend))
        found[name] = text
    if problems:
        raise HeedError.of(problems)
    return found


def _content(row: Mapping[str, Any], about: About, corrects: Corrected | None) -> dict[str, Any]:
    """What an event says of a row, once all of it was looked at."""
    vouched = _vouched(about)
    if set(row) - {"messages", "tools"}:
        more = ", ".join(sorted(set(row) - {"messages", "tools"}))
        raise HeedError(f"A row of people has messages and tools, and nothing else: {more}.", "row", "leave them out")
    check_row(row, corrects.text if corrects is not None else None, "row")
    content: dict[str, Any] = {**vouched, "row": dict(row)}
    if corrects is not None:
        content["corrects"] = {"text": corrects.text, **({} if corrects.model is None else {"model": corrects.model})}
    return content


def _utc(now: datetime | None) -> str:
    """A time as it is written down, to the second; now where none is given."""
    time = (now or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return time.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
