"""A judge asked about kept replies: logs of evaluations wired to a model, a journal of paid calls and a budget."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heedlm.data.store import read_split
from heedlm.errors import HeedError, nearest
from heedlm.eval.judge.agreement import Label, pairs_agree, points_agree, read_labels
from heedlm.eval.judge.asking import Manner, PairVerdict, PointsVerdict, Told, judge_pairs, judge_points
from heedlm.eval.judge.cases import Case, Gathered, drawn, gather, log_of
from heedlm.eval.judge.files import set_aside, write_judged
from heedlm.eval.judge.rubric import read_rubric
from heedlm.eval.judge.sheet import write_sheet
from heedlm.eval.judge.summary import JudgeReport, sum_pair, sum_points
from heedlm.judge_journal import is_judges, journal_of
from heedlm.messages import Chat, Reply, Request, Sampling
from heedlm.runs import disk_errors, environment

if TYPE_CHECKING:
    from heedlm.synth.desk import Desk
    from heedlm.synth.options import Options
    from heedlm.synth.teacher import Teacher

How = Literal["pairs", "points", "both"]
HOWS: tuple[How, ...] = ("pairs", "points", "both")
HELD_OUT = "held_out"  # what rows without a task of their own are asked as
JUDGED = "runs/judge"  # where verdicts on several evaluations are kept, unless told otherwise
_OPTIONS = (
    *("max_tokens", "temperature", "seed", "concurrency", "batch", "timeout"),
    *("budget_requests", "budget_tokens", "budget_money", "price_in", "price_out"),
)

Hear = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """The report, every verdict, and where they were written: report.json, report.md, report.html, verdicts.jsonl."""

    report: JudgeReport
    verdicts: tuple[PairVerdict | PointsVerdict, ...]
    files: tuple[Path, ...]


def judge(
    *,
    of: str | Path | Sequence[str | Path],
    by: str | Path | Chat,
    how: How = "pairs",
    rubric: str | Path | None = None,
    labels: str | Path | None = None,
    reference: bool = False,
    tasks: Sequence[str] = (),
    items: int | None = None,
    only: Collection[tuple[str, str]] | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    on_progress: Hear = lambda what, done, total: None,
    **options: Any,
) -> Judged:
    """Let a model judge replies that evaluations have kept; nothing is generated again.

    of: a folder of an evaluation, or several, FOLDER or FOLDER#ARM; every contender against the first.   by: the judge: a
    model as in `evaluate`, an endpoint as http://HOST/v1#MODEL, or any `Chat`.   how: pairs, two replies in both orders;
    points, each alone by the rubric's scale; or both.   rubric: a text or YAML file.   labels: what people said of items.
    reference: show the judge the row's own answer.   tasks, items: which of them, and how many of each, drawn by chance.
    only: (task, id) of the items to judge.   out: the folder; by default `judge` beside the log.   options: max_tokens,
    temperature, seed, concurrency, batch, timeout, budget_requests, budget_tokens, budget_money, price_in, price_out, as in
    `synthesise`.   Raises HeedError, and KeyboardInterrupt; what was answered is kept, and the same call goes on.
    """
    chosen = _options(how, items, options)
    manner = Manner(read_rubric(None if rubric is None else Path(rubric)), reference)
    places = [str(place) for place in ([of] if isinstance(of, (str, Path)) else of)]
    found = gather(places, tasks)
    if len(found.names) < (1 if how == "points" else 2):
        raise HeedError("A pair needs two who replied.", ", ".join(places), "name another evaluation, or --how points")
    kept = [case for case in found.cases if only is None or (case.task, case.id) in only]
    cases = drawn(kept, items, chosen.seed)
    told = [] if labels is None else _labels(Path(labels), found, cases, manner.rubric.most)
    folder = _folder(out, places)
    teacher = _judge(by, chosen.timeout)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    beside = _of_suites(places, found.cases) if only is None and not tasks else ""
    if beside:
        say(beside)
    heard = _ask(folder, teacher, chosen, _Wanted(cases, found.names, how, manner), say, on_progress)
    seed = chosen.seed
    report = JudgeReport(
        judge=teacher.chat.name,
        rubric=manner.rubric,
        reference=reference,
        names=tuple(found.names),
        pairs=tuple(sum_pair(one, agreement=pairs_agree(told, one, seed), seed=seed) for one in heard.pairs if one),
        points=tuple(sum_points(heard.points, found.names, manner.rubric, seed=seed)) if heard.points else (),
        points_agreement=points_agree(told, heard.points, seed),
        spent=heard.spent,
        reused=heard.reused,
        stopped=heard.stopped,
        notes=(*_notes(teacher, found), *([beside] if beside else []), *heard.why),
        about=_about(teacher, places),
    )
    if moved := set_aside(report, folder):
        say(f"The report of another judge or question that stood here is in {moved} now.")
    verdicts: list[PairVerdict | PointsVerdict] = [verdict for one in heard.pairs for verdict in one]
    verdicts += heard.points
    return Judged(report, tuple(verdicts), tuple(write_judged(report, verdicts, folder)))


def label_sheet(
    *,
    of: str | Path | Sequence[str | Path],
    out: str | Path,
    tasks: Sequence[str] = (),
    items: int | None = None,
    seed: int = 0,
) -> int:
    """Write pairs of kept replies to a CSV file on which people say which is better, not knowing whose they are; how many.

    of, tasks, items: as in `judge`, which reads the sheet as `labels`.   out: the file.   seed: of the items that are drawn.
    """
    found = gather([str(place) for place in ([of] if isinstance(of, (str, Path)) else of)], tasks)
    if len(found.names) < 2:
        raise HeedError("A pair needs two who replied.", str(of), "name another evaluation")
    return write_sheet(Path(out), drawn(found.cases, items, seed), found.names)


def _options(how: str, items: int | None, options: dict[str, Any]) -> Options:
    from heedlm.synth.options import options_of

    for name in options:
        if name not in _OPTIONS:
            raise HeedError(f"There is no option {name!r}.", "judge", nearest(name, _OPTIONS))
    if how not in HOWS:
        raise HeedError(f"There is no way {how!r} to judge.", "--how", nearest(str(how), HOWS))
    if items is not None and items < 1:
        raise HeedError(f"{items} items of each task are none.", "--items", "--items 100")
    return options_of("answer", options)


class _Wanted(NamedTuple):
    """What is to be judged, and how."""

    cases: list[Case]
    names: list[str]
    how: How
    manner: Manner


class _Heard(NamedTuple):
    """What came of it. why: for each kind of call without an answer one example.   The rest as in JudgeReport."""

    pairs: list[list[PairVerdict]]
    points: list[PointsVerdict]
    why: list[str]
    spent: dict[str, Any]
    reused: int
    stopped: str | None


def _ask(
    folder: Path,
    teacher: Teacher,
    chosen: Options,
    wanted: _Wanted,
    say: Callable[[str], None],
    on_progress: Hear,
) -> _Heard:
    """All calls, by way of the journal in the folder."""
    from heedlm.synth.desk import Desk, resumable
    from heedlm.synth.desk import Manner as Pace
    from heedlm.synth.journal import Journal
    from heedlm.synth.stage import spent_as_json

    with Journal(journal_of(folder, teacher.who)) as journal:
        for note in journal.notes:
            say(note)
        pace = Pace(concurrency=chosen.concurrency, batch=chosen.batch)
        desk = Desk(_each(teacher.chat), journal, chosen.budget, pace, say=say, seed=chosen.seed, who=teacher.who)
        work = _Work(desk, Sampling(chosen.max_tokens, chosen.temperature or 0.0, seed=chosen.seed), on_progress)
        try:
            pairs, points = work.all(wanted)
        except HeedError as error:
            raise resumable(error) if len(journal) else error from None
        spent = spent_as_json(journal.spent, chosen.budget)
    return _Heard(pairs, points, work.why(), spent, desk.reused, desk.stopped)


class _Work:
    """The calls of one judgement, and the first reason of each kind why there was no answer."""

    def __init__(self, desk: Desk, sampling: Sampling, on_progress: Hear) -> None:
        self._desk, self._sampling, self._on_progress = desk, sampling, on_progress
        self._reasons: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def all(self, wanted: _Wanted) -> tuple[list[list[PairVerdict]], list[PointsVerdict]]:
        cases, names, how, manner = wanted
        pairs: list[list[PairVerdict]] = []
        points: list[PointsVerdict] = []
        if how in ("pairs", "both"):
            for name in names[1:]:
                ask = self._ask(f"{name} against {names[0]}")
                pairs.append(judge_pairs(cases, names[0], name, manner, ask))
        if how in ("points", "both"):
            points = judge_points(cases, names, manner, self._ask("points"))
        return pairs, points

    def why(self) -> list[str]:
        """For each kind of call without an answer one example."""
        return [f"{self._counts[kind]:,} calls: {kind}, for example: {why}." for kind, why in self._reasons.items()]

    def _ask(self, what: str) -> Callable[[Sequence[Request]], list[Told]]:
        from heedlm.synth.desk import BUDGET, Call

        def ask(requests: Sequence[Request]) -> list[Told]:
            calls = [Call(request, self._sampling) for request in requests]
            answers = self._desk.ask(calls, lambda done, of, spent: self._on_progress(what, done, of))
            for one in answers:
                if one.reply is None and one.problem != BUDGET:
                    self._reasons.setdefault(one.problem, one.why)
                    self._counts[one.problem] += 1
            return [Told(one.reply, one.problem, one.key) for one in answers]

        return ask


class _Each:
    """A model of this machine: a request that it cannot answer, as one too long, stops no other."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    @property
    def name(self) -> str:
        return self._chat.name

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        try:
            return self._chat.reply(requests, sampling, on_text=on_text)
        except HeedError as error:
            if len(requests) == 1:
                return [Reply(str(error.problems[0].what), stop_reason="error")]
        return [self.reply([request], sampling)[0] for request in requests]

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        return self._chat.score(requests, continuations)


def _each(chat: Chat) -> Chat:
    from heedlm.synth.desk import Metered

    return chat if isinstance(chat, Metered) else _Each(chat)


def _judge(by: str | Path | Chat, timeout: float) -> Teacher:
    from heedlm.synth.teacher import NAMELESS, teacher_of

    if not isinstance(by, (str, Path)):
        return teacher_of(by, NAMELESS, None, timeout)
    place, _, name = str(by).partition("#")
    return teacher_of(place, name or NAMELESS, os.environ.get("OPENAI_API_KEY"), timeout)


def _labels(path: Path, found: Gathered, cases: Sequence[Case], most: int) -> list[Label]:
    ids: dict[str, set[str]] = {}
    for case in found.cases:
        ids.setdefault(case.id, set()).add(case.task)
    kept = {(case.task, case.id) for case in cases}
    labels = read_labels(path, found.names, ids, most)
    return [label for label in labels if any((task, label.id) in kept for task in ids[label.id])]


def _folder(out: str | Path | None, places: Sequence[str]) -> Path:
    """Where verdicts go. Raises HeedError for a folder that is another's, whose report would be lost."""
    beside = log_of(places[0].partition("#")[0]).parent / "judge"
    folder = Path(out) if out is not None else beside if len(places) == 1 else Path(JUDGED)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not is_judges(folder))):
        what = "This is no folder of a judge: its own files could be lost."
        raise HeedError(what, str(folder), f"--out {JUDGED}, or another new folder")
    return folder


def _of_suites(places: Sequence[str], cases: Sequence[Case]) -> str:
    """That suites are judged beside the rows of a run itself, in words; "" where there is nothing to say."""
    files = [log_of(place.partition("#")[0]).parent.parent / "data" / "test.jsonl" for place in places]
    own = {str(row.meta.get("task", HELD_OUT)) for file in files if file.is_file() for row in read_split(file)}
    counts = Counter(case.task for case in cases if case.task not in own)
    if not own or not counts:
        return ""
    told = ", ".join(f"{task} ({count:,})" for task, count in counts.most_common())
    rest = "" if counts.total() < len(cases) else "; the run's own test rows were not asked"
    return f"Judged as well are items of suites that were asked: {told}{rest}. --task NAME judges one task alone."


def _notes(teacher: Teacher, found: Gathered) -> list[str]:
    """What a reader has to know of judge and judged."""
    mine = teacher.weights or (f"{teacher.chat.name} {teacher.endpoint}" if teacher.endpoint else None)
    own = [name for name, model in found.models.items() if mine is not None and mine in model]
    notes = [f"SELF: the judge is {' and '.join(own)} itself, and may like its own replies."] if own else []
    if found.lost:
        notes.append(f"{found.lost:,} replies have no question beside the log, and were not judged.")
    return notes


def _about(teacher: Teacher, places: Sequence[str]) -> dict[str, str]:
    facts = environment()
    who = " ".join(filter(None, (teacher.chat.name, teacher.weights, teacher.endpoint)))
    about = {"judge": who, "of": ", ".join(places), "command": str(facts["command"])}
    return {**about, "machine": str(facts["machine"]), "date": str(facts["started"])}


__all__ = ["HOWS", "JUDGED", "How", "Judged", "judge", "label_sheet"]
