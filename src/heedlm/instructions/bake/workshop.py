"""Training towards a teacher: the workshop of `heed train` with another objective, and adapters that are off for the teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heedlm.config import Recipe
from heedlm.data.store import read_split
from heedlm.errors import HeedError
from heedlm.instructions.bake.lessons import encoded, learned
from heedlm.instructions.bake.objective import divergence_from
from heedlm.instructions.bake.targets import Targets, targets_of
from heedlm.messages import Encoded, Example
from heedlm.runs import Run
from heedlm.templates.chat import ChatTemplate
from heedlm.tokens.loader import Loader
from heedlm.tokens.store import open_split, read_index
from heedlm.train.ranks import Ranks
from heedlm.train.sft import Trainee
from heedlm.train.stage import Observer, Plan
from heedlm.train.watch import NOTHING, Watch
from heedlm.train.workshop import Bench


@dataclass(frozen=True, slots=True)
class Taught:
    """Who teaches. rows: what the teacher sees, by the id of the row, where it is not what the student sees.

    template: the one that the rows are rendered in.   top: likeliest tokens that are kept of each place.
    folder: where its log-probabilities are kept.   on_progress: hears sequences done, and all.
    """

    rows: Sequence[Example]
    template: Callable[[Sequence[Example]], ChatTemplate]
    top: int
    folder: Path
    on_progress: Callable[[int, int], None] = lambda done, of: None


class Distilling(Bench):
    """The workshop of a run that learns what its own base says behind an instruction."""

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        observer: Observer,
        ranks: Ranks,
        watch: Watch = NOTHING,
        *,
        taught: Taught,
    ) -> None:
        super().__init__(recipe, run, observer, ranks, watch)
        self._taught = taught

    def plan(self, sequences: Sequence[Encoded], trainee: Trainee) -> tuple[Plan, Loader]:
        plan, loader = super().plan(sequences, trainee)
        self._ranks.on_first(lambda: len(self._targets(sequences, trainee, plan)))
        return replace(plan, objective=divergence_from(Targets(self._taught.folder))), loader

    def _targets(self, sequences: Sequence[Encoded], trainee: Trainee, plan: Plan) -> Targets:
        taught, others = self._taught, self._beginnings()
        told = "".join(repr(one.messages) for one in taught.rows)
        key = [read_index(self._run.tokens)["key"], hashlib.sha256(told.encode("utf8", "replace")).hexdigest()]
        return targets_of(
            taught.folder,
            "/".join([*key, self._recipe.model.path, str(plan.precision)]),
            sequences,
            lambda number: _checked(number, others.get(number), sequences[number]),
            trainee.model,
            trainee.packing,
            plan.precision,
            top=taught.top,
            micro_tokens=self._recipe.train.micro_tokens,
            on_progress=taught.on_progress,
        )

    def _beginnings(self) -> dict[int, Encoded]:
        """What the teacher sees in the place of a training sequence, by its number, where that is something else."""
        train = open_split(self._run.tokens, "train")
        assert train is not None, "a token store holds the training split"
        rows = list(read_split(self._run.data / "train.jsonl"))
        by_id = {one.id: one for one in self._taught.rows}
        asked = {number: rows[train.row_of(number)].id for number in range(len(train))}
        found = {number: by_id[id_] for number, id_ in asked.items() if id_ in by_id}
        template = self._taught.template(rows)
        # A teacher's row may be as long as the model can see: what it learns to do without is not what it may hold.
        made = encoded(list(found.values()), template, self._tokenizer, 2**31)
        return {number: made[place] for place, number in enumerate(found)}


def _checked(number: int, teacher: Encoded | None, student: Encoded) -> Encoded:
    """The teacher's sequence; the student's own where both see the same. Raises HeedError where other tokens are learned."""
    if teacher is not None and learned(teacher) != learned(student):
        what = f"Row {number + 1:,} is other tokens behind the instruction than without it."
        raise HeedError(what, f"sequence {number}", "remove the run folder, and bake anew")
    return teacher or student
