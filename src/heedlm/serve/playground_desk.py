"""What people write in the playground, checked and kept: mended answers, saved cases, votes."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from heedlm.data import human
from heedlm.data.events import Event, append, read_events, to_line
from heedlm.data.split import normalise
from heedlm.errors import HeedError, Problem
from heedlm.eval.checks import CHECK_FIELDS, check_problems
from heedlm.eval.leaks import TAUGHT
from heedlm.messages import JSON
from heedlm.runs import disk_errors, write_text
from heedlm.serve.playground_judge import Item, judge
from heedlm.serve.playground_loop import REGRESSION, next_recipe, next_steps, write_suite
from heedlm.templates.chat import BUILT_IN

VERSION = 1
_ROLES = ("system", "user", "assistant")
_VOTE_FIELDS = ("model", "format", "system", "question", "reply", "note", "answer")
_FORMAT_NAMES = {
    "chatml": "ChatML",
    "llama3": "Llama 3",
    "human_assistant": "Human / Assistant",
    "alpaca": "Alpaca",
    "dolly": "Dolly",
    "base": "Plain turns",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """Where what people write is kept.

    store: rows of people, as `heed data add` keeps them.   keep_cases: rows with checks, one per line.   keep_votes: events.
    recipe: the recipe of the next training; what is missing in it is added.   run: the run that is served, whose
    recipe the next one begins with; None where a model without one is served.   model: what is tuned then; "" where all are
    of other servers.
    """

    store: Path = Path("human.jsonl")
    keep_cases: Path = Path("cases.jsonl")
    keep_votes: Path = Path("votes.jsonl")
    recipe: Path = Path("next.yaml")
    run: Path | None = None
    model: str = "atlas"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def about(self) -> dict[str, Any]:
        """What the page has to know before it asks anything."""
        checks = [
            {"type": name, "needs": list(needs), "takes": list(takes)} for name, (needs, takes) in CHECK_FIELDS.items()
        ]
        formats = [{"id": name, "name": _FORMAT_NAMES.get(name, name)} for name in BUILT_IN]
        files = {"store": str(self.store), "cases": str(self.keep_cases), "votes": str(self.keep_votes)}
        author = os.environ.get("HEED_AUTHOR", "")
        return {"version": VERSION, "checks": checks, "formats": formats, "files": files, "author": author}

    # Mended answers --------------------------------------------------------------------------------------------------

    def fix(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write a mended answer as a row of a person, and as a case that the next model is judged by.

        given: `messages` up to the question, the `reply` of a `model`, the right `answer`, `author`, `licence`, `consent`,
        and the `checks` that tell the one from the other. Nothing is written unless all of it can be. A question that was
        mended before is mended anew: two answers to one question would teach neither.
        """
        messages, answer = _messages(given), _text(given, "answer", needed=True)
        reply, model = _text(given, "reply"), _text(given, "model")
        about = human.About(
            _text(given, "author", needed=True), _text(given, "licence") or None, _text(given, "consent") or None
        )
        human.check_about(about)
        row = {"messages": [*messages, {"role": "assistant", "content": answer}]}
        corrects = human.Corrected(reply, model or None) if reply.strip() else None
        human.check_row(row, corrects.text if corrects else None, "the mended answer")
        checks = _checks(given)
        case = _case(row["messages"], checks, about.author, reply=reply, model=model)
        with self._cases_locked() as kept:
            _refuse_damaged(kept)
            recipe = next_recipe(self.recipe, self.run, self.model, self.store, self.keep_cases)
            before = self._mended(kept, messages)
            if before is None:
                written = human.add(self.store, row, about, corrects=corrects)
            else:
                written = human.edit(self.store, before, row, about, corrects=corrects)
                kept = [one for one in kept if isinstance(one.value, Problem) or one.value.get("row") != before]
            for other in kept:  # what asks the same is taught from now on, and no leak
                if not isinstance(other.value, Problem) and _question(other.value) == _question(case):
                    other.value[TAUGHT] = True
            self._keep(kept, {**case, "row": written.id, TAUGHT: True})
            write_text(self.recipe, recipe)
        told = {"id": written.id, "where": written.where, "anew": before is not None}
        return {"row": told, "case": case["id"], "next": next_steps(self.recipe, self.run, self.model)}

    def _mended(self, kept: Sequence[Event], messages: Sequence[Mapping[str, str]]) -> str | None:
        """The row of an earlier mend of the very same turns, unless it was withdrawn since."""
        if not self.store.is_file():
            return None
        cases = [one.value for one in kept if not isinstance(one.value, Problem)]
        rows = {row.id for row in human.read_human(self.store)[0]}
        found = [case["row"] for case in cases if case.get("row") in rows and _shown(case)["messages"] == messages]
        return str(found[-1]) if found else None

    # Cases -----------------------------------------------------------------------------------------------------------

    def cases(self) -> dict[str, Any]:
        """The saved cases in the order of their writing, and the lines that are not to be read."""
        kept = self._cases()
        return {
            "cases": [_shown(one.value) for one in kept if not isinstance(one.value, Problem)],
            "problems": [one.value for one in kept if isinstance(one.value, Problem)],
        }

    def add_case(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Save a question with the checks that a right answer passes; a right `answer` is kept where one is given."""
        answer = _text(given, "answer")
        messages = [*_messages(given), *([{"role": "assistant", "content": answer}] if answer.strip() else [])]
        author = _text(given, "author", needed=True)
        human.check_about(human.About(author))
        case = _case(messages, _checks(given), author, reply="", model="")
        with self._cases_locked() as kept:
            _refuse_damaged(kept)
            store = self.store if self.store.is_file() else None
            recipe = next_recipe(self.recipe, self.run, self.model, store, self.keep_cases)
            self._keep(kept, case)
            write_text(self.recipe, recipe)
        return {"case": case["id"]}

    def remove_case(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take a case out of the file. Raises HeedError where there is none."""
        name = _text(given, "id", needed=True)
        if not self.keep_cases.is_file():
            raise HeedError(f"There is no case {name!r}.", str(self.keep_cases), "load the page again")
        with self._cases_locked() as kept:
            rest = [one for one in kept if isinstance(one.value, Problem) or one.value.get("id") != name]
            if len(rest) == len(kept):
                raise HeedError(f"There is no case {name!r}.", str(self.keep_cases), "load the page again")
            self._write(rest)
        return {"removed": name}

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Judge replies: each of `items` has `checks` and a `reply`."""
        items = given.get("items")
        if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
            raise HeedError("items is no list of objects.", "items", '[{"checks": [...], "reply": "..."}]')
        return {"results": judge([Item(_checks(one), _text(one, "reply")) for one in items])}

    @contextmanager
    def _cases_locked(self) -> Iterator[list[Event]]:
        """The lines of the file of cases as they are; nobody else writes meanwhile, no other server either."""
        import fcntl  # not on Windows, where a playground can be read all the same

        with self.lock, disk_errors(self.keep_cases):
            self.keep_cases.parent.mkdir(parents=True, exist_ok=True)
            with self.keep_cases.with_name(f".{self.keep_cases.name}.lock").open("w") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield self._cases()

    def _cases(self) -> list[Event]:
        return read_events(self.keep_cases) if self.keep_cases.is_file() else []

    def _keep(self, kept: Sequence[Event], case: Mapping[str, Any]) -> None:
        """Write a case behind the others; one that asks and checks the same takes the place of the older one."""
        older = [one.value for one in kept if not isinstance(one.value, Problem) and one.value.get("id") == case["id"]]
        others = [one for one in kept if one.value not in older]
        self._write([*others, Event(0, 0, {**(older[-1] if older else {}), **case})])
        write_suite(self.keep_cases)

    def _write(self, kept: Sequence[Event]) -> None:
        _refuse_damaged(kept)
        lines = [to_line(one.value) for one in kept if not isinstance(one.value, Problem)]
        write_text(self.keep_cases, b"".join(lines).decode("utf-8"))

    # Votes -----------------------------------------------------------------------------------------------------------

    def vote(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write down what a person thinks of an answer: `vote` 1, -1, or 0 for none, and a `note`. The last one counts."""
        value = given.get("vote")
        if isinstance(value, bool) or value not in (-1, 0, 1):
            raise HeedError(f"vote is {value!r}, expected 1, 0 or -1", "vote", "1 for a good answer, -1 for a bad one")
        said = {name: _text(given, name, needed=name in ("answer", "model")) for name in _VOTE_FIELDS}
        sampling = given.get("sampling")
        event = {"heed_vote": VERSION, "time": _now(), "vote": value, **said}
        event |= {"sampling": sampling} if isinstance(sampling, dict) else {}
        append(self.keep_votes, lambda place, before: event)
        return {"kept": str(self.keep_votes)}

    def votes(self) -> dict[str, Any]:
        """How often each way to ask was found good and bad, and the notes; each answer counted as it was judged last."""
        events = read_events(self.keep_votes) if self.keep_votes.is_file() else []
        last = {str(one.value.get("answer")): one.value for one in events if not isinstance(one.value, Problem)}
        tally: dict[tuple[str, str, str], dict[str, Any]] = {}
        for vote in last.values():
            key = (str(vote.get("model")), str(vote.get("format")), str(vote.get("system")))
            found = tally.setdefault(
                key, {"model": key[0], "format": key[1], "system": key[2], "good": 0, "bad": 0, "notes": []}
            )
            found["good"] += vote.get("vote") == 1
            found["bad"] += vote.get("vote") == -1
            if vote.get("note"):
                found["notes"].append({name: vote.get(name) for name in ("question", "reply", "note", "vote")})
        problems = [one.value for one in events if isinstance(one.value, Problem)]
        return {"tally": list(tally.values()), "answers": len(last), "problems": problems}


def _messages(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """The turns up to the question. Raises HeedError where they are none."""
    found = given.get("messages")
    turns = found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []
    if not turns or any(one.get("role") not in _ROLES or not isinstance(one.get("content"), str) for one in turns):
        raise HeedError("messages is no list of turns.", "messages", '[{"role": "user", "content": "..."}]')
    if turns[-1]["role"] != "user":
        raise HeedError("The last turn is not the user's.", "messages", "end with what is asked")
    return [{"role": one["role"], "content": one["content"]} for one in turns]


def _text(given: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    value = given.get(name)
    value = "" if value is None else value
    if not isinstance(value, str):
        raise HeedError(f"{name} is no text: {value!r:.60}", name, f'{{"{name}": "..."}}')
    if needed and not value.strip():
        raise HeedError(f"{name} is missing.", name, f'{{"{name}": "..."}}')
    return value


def _checks(given: Mapping[str, Any]) -> list[dict[str, JSON]]:
    """The checks of a case. Raises HeedError for none, and with everything that is wrong with them."""
    found = given.get("checks")
    if not isinstance(found, list) or not found:
        raise HeedError("There are no checks.", "checks", '[{"type": "icontains", "value": "..."}]')
    problems = [one for number, check in enumerate(found, 1) for one in check_problems(check, f"check {number}")]
    if problems:
        raise HeedError.of(problems)
    return [dict(check) for check in found]


def _refuse_damaged(kept: Sequence[Event]) -> None:
    """A line that is not to be read may hold the work of a person: it is not lost by writing the others."""
    damaged = [one.value for one in kept if isinstance(one.value, Problem)]
    if damaged:
        raise HeedError.of(damaged)


def _case(
    messages: Sequence[Mapping[str, str]], checks: list[dict[str, JSON]], author: str, *, reply: str, model: str
) -> dict[str, Any]:
    """A line of the file of cases, an item of a suite. Raises HeedError for checks that the right answer fails."""
    answered = messages[-1]["role"] == "assistant"
    judged = judge([Item(checks, messages[-1]["content"])])[0] if answered else None
    if judged is not None and not judged["passed"]:
        why = next(one["why"] for one in judged["verdicts"] if not one["passed"])
        raise HeedError("The right answer does not pass its own checks.", "checks", why)
    asked = messages[:-1] if answered else messages
    content = json.dumps([asked, checks], sort_keys=True, ensure_ascii=False)
    name = "case-" + hashlib.blake2b(content.encode(), digest_size=6).hexdigest()
    case = {"id": name, "messages": [dict(one) for one in messages], "checks": checks, "task": REGRESSION}
    case |= {"by": "human", "author": author, "written": _now()}
    return {**case, **({"corrects": {"text": reply, "model": model}} if reply else {})}


def _question(case: Mapping[str, Any]) -> list[str]:
    """What the user says in a case, as questions are compared."""
    return [normalise(str(turn.get("content", ""))) for turn in _shown(case)["messages"] if turn.get("role") == "user"]


def _shown(case: Mapping[str, Any]) -> dict[str, Any]:
    """A case as the page wants it; one that was written by hand may lack what the page can do without."""
    given = case.get("messages")
    turns = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    if not turns and isinstance(case.get("prompt"), str):
        turns = [{"role": "user", "content": case["prompt"]}]
    answered = bool(turns) and turns[-1].get("role") == "assistant"
    return {
        "id": str(case.get("id", "")),
        "messages": turns[:-1] if answered else turns,
        "answer": turns[-1].get("content", "") if answered else "",
        "checks": case.get("checks", []),
        "author": case.get("author", ""),
        "corrects": case.get("corrects"),
    }


def _now() -> str:
    return datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
