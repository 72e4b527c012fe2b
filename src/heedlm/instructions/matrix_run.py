"""Run a matrix: every instruction in every format on every case, one model after the other, each loaded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval.contenders import contenders_of, is_endpoint
from heedlm.eval.pairs import Contender
from heedlm.instructions.bench import EMPTY, Bench, Candidate, empty_of
from heedlm.instructions.blocks import NOTATIONS, Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.frame import COMPLETION, FORMATS, MESSAGES, OWN, Frame, frame_for
from heedlm.instructions.layout import Layout
from heedlm.instructions.matrix import Matrix, Outcome, matrix_of
from heedlm.instructions.replies import Store
from heedlm.messages import Sampling

_SHOWN = 40  # problems told at once
Progress = Callable[[str, int, int], None]


class Way(NamedTuple):
    """One format, as it was asked for: `chat`, `chat/xml`, `completion`."""

    format: str
    notation: str = ""

    @property
    def name(self) -> str:
        return f"{self.format}/{self.notation}" if self.notation else self.format


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked. formats: as people write them; none: each model's own.   against: the baseline, `empty` or the name of
    one of the instructions.   ablate: every instruction again without each of its blocks."""

    instructions: Sequence[Instruction]
    models: Sequence[str]
    cases: Sequence[Case]
    formats: Sequence[str] = ()
    against: str = EMPTY
    ablate: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1


class Done(NamedTuple):
    """A matrix with what it is made of. calls: requests made; cached: answers that were there already."""

    matrix: Matrix
    outcomes: tuple[Outcome, ...]
    calls: int
    cached: int


def ways_of(formats: Sequence[str]) -> list[Way]:
    """Formats as people write them. Raises HeedError with every problem."""
    found, problems = [], []
    for one in formats:
        name, sign, notation = one.partition("/")
        if name not in FORMATS:
            problems.append(Problem(f"there is no format {name!r}", "--format", nearest(name, FORMATS)))
        elif sign and notation not in NOTATIONS:
            problems.append(Problem(f"there is no notation {notation!r}", "--format", nearest(notation, NOTATIONS)))
        else:
            found.append(Way(name, notation))
    if problems:
        raise HeedError.of(problems)
    return list(dict.fromkeys(found))


def run_matrix(plan: Plan, store: Store, *, notes: Sequence[str] = (), on_progress: Progress | None = None) -> Done:
    """Ask everything that is not in the store, and say what it shows. Raises HeedError, before a model is loaded, for
    names that are not there, formats that a model has not, values that do not fit."""
    check_plan(plan)
    ways = ways_of(plan.formats)
    contenders = contenders_of(plan.models)
    told = list(notes)
    problems: list[Problem] = []
    made = []
    for one in contenders:
        try:
            chosen = ways or [Way(MESSAGES if is_endpoint(one.name) else COMPLETION if one.plain else OWN)]
            rows = rows_of(plan, one.name, [(way, _frame(one, way)) for way in chosen])
            made.append((one, tried(plan, rows, problems, told)))
        except HeedError as error:
            problems += [found for found in error.problems if found not in problems]
    if problems:
        raise HeedError.of(problems[:_SHOWN])
    outcomes: list[Outcome] = []
    calls = cached = 0
    for contender, rows in made:
        arm = contender.open()
        hear = None if on_progress is None else _heard(on_progress, contender.name)
        bench = Bench(
            arm.chat,
            plan.cases,
            identity=arm.identity,
            store=store,
            sampling=plan.sampling,
            samples=plan.samples,
            on_progress=hear,
        )
        answers = bench.answers([row.candidate for row in rows])
        for row, found in zip(rows, answers, strict=True):
            outcomes.append(replace(row.outcome, answers=tuple(found), tokens=bench.tokens(row.candidate)))
        calls, cached = calls + bench.calls, cached + bench.cached
        del arm, bench  # one model at a time is in memory
    return Done(matrix_of(outcomes, plan.cases, samples=plan.samples, notes=told), tuple(outcomes), calls, cached)


class Row(NamedTuple):
    """One cell to be: what is asked, and where its answers will stand."""

    candidate: Candidate
    outcome: Outcome


def check_plan(plan: Plan) -> None:
    """Raises HeedError for names that collide, a baseline that is not there, samples that would be all the same."""
    names = [one.name for one in plan.instructions]
    problems = [
        Problem(f"two instructions are named {name!r}", "heed prompt test", "give one another name in its file")
        for name in dict.fromkeys(names)
        if names.count(name) > 1 or name == EMPTY
    ]
    if plan.against != EMPTY and plan.against not in names:
        problems.append(
            Problem(f"there is no instruction {plan.against!r}", "--against", nearest(plan.against, [EMPTY, *names]))
        )
    elif plan.against != EMPTY and len(names) == 1:
        problems.append(
            Problem("an instruction is compared with itself", "--against", "name two files, or --against empty")
        )
    problems += [
        Problem(f"{name} is named twice", "--model", "name each model once")
        for name in dict.fromkeys(plan.models)
        if plan.models.count(name) > 1
    ]
    if plan.samples > 1 and plan.sampling.temperature == 0:
        mend = "--temperature 0.7, or one sample"
        problems.append(Problem("several samples of greedy answers are all the same", "--samples", mend))
    if problems:
        raise HeedError.of(problems)


def _heard(on_progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, of: on_progress(name, done, of)


def rows_of(plan: Plan, model: str, ways: Sequence[tuple[Way, Frame | None]]) -> list[Row]:
    """Everything that one model is asked. ways: formats, each with its frame for this model; None for messages."""
    rows: list[Row] = []
    for way, frame in ways:
        layout = Layout(notation=way.notation or None)  # type: ignore[arg-type]
        empties: dict[str, Instruction] = {}

        def row(
            one: Instruction,
            baseline: str,
            label: str,
            without: str = "",
            *,
            frame: Frame | None = frame,
            layout: Layout = layout,
            way: Way = way,
        ) -> Row:
            outcome = Outcome(label, model, way.name, (), baseline, without)
            return Row(Candidate(one, layout, frame, label), outcome)

        for one in plan.instructions:
            baseline = plan.against if plan.against != one.name else ""
            if plan.against == EMPTY:
                empty = empty_of(one)
                baseline = next((name for name, other in empties.items() if _same(other, empty)), "")
                if not baseline:
                    baseline = f"{EMPTY} ({one.name})" if empties else EMPTY
                    empties[baseline] = empty
                    rows.append(row(empty, "", baseline))
            rows.append(row(one, baseline, one.name))
            if plan.ablate:
                rows += [row(left_out(one, id_), "", one.name, id_) for id_ in ablated(one)]
    return rows


def _same(a: Instruction, b: Instruction) -> bool:
    return [(one.role, one.text) for one in a.blocks] == [(one.role, one.text) for one in b.blocks]


def ablated(instruction: Instruction) -> list[str]:
    """The blocks that can be tried without: all but those that hold the data, and only where another one is left."""
    found = [block.id for block in instruction.blocks if block.kind != "data"]
    return found if len(instruction.blocks) > 1 else []


def left_out(instruction: Instruction, id_: str) -> Instruction:
    """The instruction without a block; with the block of the examples its examples go as well."""
    rest = instruction.without(id_)
    return rest.with_shots(()) if instruction.block(id_).slot == "examples" else rest


def _frame(contender: Contender, way: Way) -> Frame | None:
    if is_endpoint(contender.name):
        if way.format in (MESSAGES, OWN):
            return None
        what = f"an endpoint is asked with messages; it has no format {way.format!r} for us to write"
        raise HeedError(what, contender.name, "--format messages, or messages/xml; or load the model itself")
    return frame_for(contender.name, OWN if way.format == MESSAGES else way.format)


class _Nobody:
    """Stands for a model while nothing is asked."""

    name = "nobody"


def tried(plan: Plan, rows: Sequence[Row], problems: list[Problem], notes: list[str]) -> list[Row]:
    """The rows that compile with every case, before anything is loaded or asked. What does not adds to the problems; an
    instruction that cannot do without a block is not tried without it, and a note says so."""
    bench = Bench(_Nobody(), plan.cases)  # type: ignore[arg-type]
    kept = []
    for row in rows:
        try:
            bench.compiled([row.candidate], range(len(plan.cases)))
            kept.append(row)
        except HeedError as error:
            if row.outcome.without:
                what = f"{row.candidate.name}, {row.outcome.format}: not tried without {row.outcome.without!r}"
                notes.append(f"{what}: {error.problems[0].what}")
            else:
                problems += [one for one in error.problems if one not in problems]
    return kept
