"""The matrix of the playground: what has to be asked, and what the replies show. The page itself asks, as for its grid.

It is the engine of `heed prompt test`: the same rows, assertions, intervals and differences. Nothing is kept here between the
plan and the score; the same matrix gives the same requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heedlm.errors import HeedError, Problem
from heedlm.instructions.bench import Answer, Bench
from heedlm.instructions.blocks import NOTATIONS, Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.compile import Compiled
from heedlm.instructions.frame import FORMATS, Frame
from heedlm.instructions.matrix import matrix_of
from heedlm.instructions.matrix_html import page_of
from heedlm.instructions.matrix_report import Report, told
from heedlm.instructions.matrix_run import Plan, Row, Way, check_plan, rows_of, tried
from heedlm.messages import Reply
from heedlm.serve.playground_instruction import Workshop, body_of
from heedlm.serve.playground_scores import Scored, cases_of_text, scores
from heedlm.serve.playground_seats import Seat, seat, way_name
from heedlm.serve.playground_shapes import MatrixBody, Replied, ScoreBody

MOST_ASKED = 2_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, as the page sends it."""

    path: str
    body: Mapping[str, Any]

    @property
    def key(self) -> str:
        return json.dumps([self.path, self.body], ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Laid:
    """A matrix, laid out: rows, and for each row and case its request."""

    plan: Plan
    rows: Sequence[Row]
    asks: Sequence[_Asked]
    places: Sequence[Sequence[int]]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Matrices:
    """workshop: whose models and files are meant."""

    workshop: Workshop

    def plan(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every request that the matrix needs, each once. Raises HeedError with everything that is wrong."""
        laid = self._laid(body_of(MatrixBody, given))
        rows = [
            {"instruction": row.outcome.instruction, "model": row.outcome.model, "format": row.outcome.format}
            | {"baseline": row.outcome.baseline, "asks": list(places)}
            for row, places in zip(laid.rows, laid.places, strict=True)
        ]
        asks = [{"path": one.path, "body": dict(one.body)} for one in laid.asks]
        return {"cases": [case.id for case in laid.plan.cases], "rows": rows, "asks": asks, "notes": list(laid.notes)}

    def score(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The report of the replies. Raises HeedError where they are not as many as were asked for."""
        body: ScoreBody = body_of(ScoreBody, given)
        laid = self._laid(body)
        if len(body.replies) != len(laid.asks):
            what = f"{len(body.replies):,} replies to {len(laid.asks):,} requests"
            raise HeedError(what, "replies", "one reply for each request of the plan, in its order")
        cases = laid.plan.cases
        pairs = sorted({(ask, item) for places in laid.places for item, ask in enumerate(places)})
        sources = [(one.name, one.source) for one in body.instructions]
        given_ = [Scored(item, _reply(body.replies[ask])) for ask, item in pairs]
        judged = scores(self.workshop.folder, sources, body.cases, cases, given_)
        found = dict(zip(pairs, judged, strict=True))
        outcomes = []
        for row, places in zip(laid.rows, laid.places, strict=True):
            answers = []
            for item, ask in enumerate(places):
                reply, (value, why) = body.replies[ask], found[ask, item]
                error = reply.text if reply.finish == "error" else ""
                answers.append(Answer(cases[item].id, value, why, reply.text, reply.finish, reply.tokens, error))
            bench = _bench(cases)
            outcomes.append(replace(row.outcome, answers=tuple(answers), tokens=bench.tokens(row.candidate)))
        matrix = matrix_of(outcomes, cases, notes=laid.notes)
        about = {"cases": str(len(cases)), "decoding": f"temperature 0, {body.max_tokens} tokens at most"}
        report = Report(matrix, None, len(laid.asks), 0, about)
        return {"report": told(report), "html": page_of(report)}

    def _laid(self, body: MatrixBody) -> _Laid:
        instructions = self._instructions(body)
        cases, notes = cases_of_text(body.cases, instructions)
        by_model: dict[str, list[str]] = {}
        for asked in body.ways:
            by_model.setdefault(asked.model, []).append(asked.format)
        plan = Plan(instructions, list(by_model), cases)
        check_plan(plan)
        problems: list[Problem] = []
        rows: list[Row] = []
        for name, formats in by_model.items():
            ways = _ways(seat(self.workshop.seats, name), formats)
            rows += tried(plan, rows_of(plan, name, ways), problems, notes)
        if problems:
            raise HeedError.of(problems)
        asks: dict[str, int] = {}
        made: list[_Asked] = []
        places = []
        for row in rows:
            compiled = _bench(cases).compiled([row.candidate], range(len(cases)))[0]
            wanted = [_asked(row.outcome.model, one, body.max_tokens) for one in compiled.values()]
            for request in wanted:
                if request.key not in asks:
                    asks[request.key] = len(made)
                    made.append(request)
            places.append([asks[request.key] for request in wanted])
            if len(made) > MOST_ASKED:
                what = f"more than {MOST_ASKED:,} requests"
                raise HeedError(what, "cases", "fewer cases, models or formats here; heed prompt test asks any number")
        return _Laid(plan, rows, made, places, notes)

    def _instructions(self, body: MatrixBody) -> list[Instruction]:
        problems: list[Problem] = []
        found = []
        for one in body.instructions:
            try:
                found.append(self.workshop.whole(one.source, one.name).renamed(one.name))
            except HeedError as error:
                problems += [replace(p, what=f"{one.name}: {p.what}") for p in error.problems]
        if problems:
            raise HeedError.of(problems)
        return found


def _ways(one: Seat, formats: Sequence[str]) -> list[tuple[Way, Frame | None]]:
    """Formats with their frames for a model. Raises HeedError for one that it has not, or that no instruction is written in."""
    found = []
    for asked in dict.fromkeys(formats):
        name, _, notation = asked.partition("/")
        if notation and notation not in NOTATIONS:
            raise HeedError(f"there is no notation {notation[:80]!r}", "ways", f"one of {', '.join(NOTATIONS)}")
        if way_name(one, name) not in FORMATS:
            known = ", ".join(other for other in one.formats if way_name(one, other) in FORMATS)
            raise HeedError(f"no instruction is written in the format {name[:80]!r}", "ways", f"one of {known}")
        found.append((Way(way_name(one, name), notation), one.written(name)))
    return found


def _asked(model: str, compiled: Compiled, max_tokens: int) -> _Asked:
    """A compiled case as a request to this server."""
    request = compiled.request
    if request.text is None:
        turns = [{"role": one.role, "content": one.content} for one in request.messages]
        return _Asked("/v1/chat/completions", {"model": model, "messages": turns, "max_tokens": max_tokens})
    stop = [text for text in (compiled.wire.stop if compiled.wire is not None else ()) if text][:16]
    body: dict[str, Any] = {"model": model, "prompt": request.text, "max_tokens": max_tokens}
    return _Asked("/v1/completions", body | ({"stop": stop} if stop else {}))


def _reply(given: Replied) -> Reply:
    return Reply(given.text, stop_reason=given.finish)


class _Nobody:
    """Stands for a model: the page asks."""

    name = "nobody"


def _bench(cases: Sequence[Case]) -> Bench:
    return Bench(_Nobody(), cases)  # type: ignore[arg-type]
