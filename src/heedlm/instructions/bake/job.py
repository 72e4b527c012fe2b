"""One bake: what was asked for, what the teacher said, what was learned of it; each part is found again after a stop."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from heedlm.config import Recipe
from heedlm.errors import HeedError
from heedlm.eval.stage import known_as
from heedlm.generate.chat import LocalChat
from heedlm.instructions.bake.lessons import (
    CUT,
    SHARE_TOLD,
    Lesson,
    Sides,
    asks,
    fitting,
    refusal,
    sides_of,
    write_lessons,
)
from heedlm.instructions.bake.measure import Hear, frame_behind
from heedlm.instructions.bake.sides import Parted
from heedlm.instructions.bake.teacher import replies
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.replies import Store
from heedlm.instructions.write import write
from heedlm.messages import Example, Message, Reply, Sampling
from heedlm.runs import Run, write_json, write_text
from heedlm.train.earlier import how_anew, taken

VERSION = 1
Method = Literal["kl", "sft"]
METHODS: tuple[Method, ...] = ("kl", "sft")


@dataclass(frozen=True, slots=True)
class Job:
    """What to bake, and how.

    samples, temperature: of the teacher's answers to each request.   top: likeliest tokens that `kl` keeps of each place.
    replay_share: of what is learned, plain answers to other rows.
    """

    instruction: Instruction
    model: str
    method: Method = "kl"
    samples: int = 1
    temperature: float = 0.0
    top: int = 64
    replay_share: float = 0.7
    max_tokens: int = 256
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise HeedError(f"There is no method {self.method!r}.", "--method", "kl, or sft")
        if self.samples > 1 and self.temperature <= 0:
            what = "Several answers to one request are the same answer where nothing is drawn."
            raise HeedError(what, "--samples", "--temperature 0.7, or --samples 1")
        if not 0 <= self.replay_share < 1:
            raise HeedError(f"The share of replay is {self.replay_share:g}.", "--replay-share", "0 to 0.9")

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a bake keeps what is its own, in the folder `bake` of its run."""

    root: Path

    @classmethod
    def of(cls, run: Run) -> Places:
        return cls(run.root / "bake")

    @property
    def answers(self) -> Path:
        return self.root / "answers.jsonl"

    @property
    def train(self) -> Path:
        return self.root / "train.jsonl"

    @property
    def test(self) -> Path:
        return self.root / "test.jsonl"

    @property
    def teachers(self) -> Path:
        return self.root / "teacher.jsonl"

    @property
    def targets(self) -> Path:
        return self.root / "targets"

    @property
    def instruction(self) -> Path:
        return self.root / "instruction.prompty"


@dataclass(frozen=True, slots=True)
class Learned:
    """What is learned, and why the rest is not.

    asked: answers that the teacher gave behind the instruction; kept: those of them that are learned.   told: requests that are
    learned with the text as well.   plain: plain answers to other rows, of those wanted.   dropped: answers that are not
    learned, by reason.
    """

    lessons: tuple[Lesson, ...]
    asked: int
    kept: int
    told: int
    plain: int
    wanted: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def words(self) -> str:
        """In one line, for a person."""
        why = "; ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        left = f" (left out: {why})" if why else ""
        more = f"{self.told:,} of them with the text as well, {self.plain:,} plain answers to other rows"
        more += f" (all there is; {self.wanted:,} were asked for)" if self.plain < self.wanted else ""
        return f"teacher: {self.kept:,} of {self.asked:,} answers are learned{left}; {more}"


def check_same_job(run: Run, job: Job, parted: Parted) -> None:
    """Note what is baked; where a training was begun on something else, refuse with what differs."""
    path = Places.of(run).root / "job.json"
    now = {
        "version": VERSION,
        "instruction": _digest(write(job.instruction)),
        "requests": _digest([[one.id, dict(one.values)] for one in parted.requests]),
        "replay": _digest([[_turns(one.messages)] for one in parted.replay]),
        "model": job.model,
        "method": job.method,
        "samples": job.samples,
        "temperature": job.temperature,
        "top": job.top,
        "replay_share": job.replay_share,
        "max_tokens": job.max_tokens,
        "seed": job.seed,
    }
    before: dict[str, Any] = json.loads(path.read_text("utf8")) if path.is_file() else {}
    if taken(run) and before != now:
        names = ", ".join(key for key in now if before.get(key) != now[key]) if before else "it is no bake"
        raise HeedError(f"This run was begun with something else: {names}.", str(run.root), how_anew(run))
    write_json(path, now)
    write_text(Places.of(run).instruction, write(job.instruction))


def lessons_of(job: Job, parted: Parted, chat: LocalChat, places: Places, max_tokens: int, hear: Hear) -> Learned:
    """Ask the teacher, check its answers, and make rows of those that are kept. max_tokens: of a row.

    Raises HeedError where no answer is kept.
    """
    store, identity = Store(places.answers), known_as(chat)
    sides = sides_of(job.instruction, parted.requests, frame_behind(chat))

    def asked(turns: Sequence[tuple[Message, ...]], sampling: Sampling, what: str, samples: int) -> list[list[Reply]]:
        def told(done: int, of: int) -> None:
            hear(what, done, of)

        return replies(chat, identity, turns, sampling, store, samples=samples, on_progress=told)

    said = asked([one.teacher for one in sides], job.sampling, "teacher", job.samples)
    dropped = Counter[str]()
    taught: list[Lesson] = []
    for case, side, drawn in zip(parted.requests, sides, said, strict=True):
        for number, reply in enumerate(drawn):
            why = refusal(reply, case.asserts)
            dropped.update([why] if why else [])
            if not why:
                name = f"asked/{case.id}" if job.samples == 1 else f"asked/{case.id}/{number}"
                taught.append(Lesson(name, "asked", side.student, side.teacher, reply, group_of_request(case)))
    kept, more = fitting(taught, chat.template, chat.tokenizer, max_tokens)
    dropped += more
    if not kept:
        raise HeedError(*_nothing(job, dropped, sum(map(len, said))))
    told = [_told(one) for one in kept[:: round(1 / SHARE_TOLD)]]
    wanted = round((len(kept) + len(told)) * job.replay_share / (1 - job.replay_share))
    plain, more = _plain(job, parted.replay, wanted, asked, chat, max_tokens)
    dropped += Counter({f"{why} (other rows)": count for why, count in more.items()})
    lessons = [*kept, *told, *plain]
    write_lessons(places.train, places.teachers, lessons)
    numbers = (sum(map(len, said)), len(kept), len(told), len(plain), wanted)
    return Learned(tuple(lessons), *numbers, dict(dropped.most_common()))


def _told(lesson: Lesson) -> Lesson:
    return Lesson(f"told/{lesson.id}", "told", lesson.teacher, lesson.teacher, lesson.reply, lesson.group)


def _plain(
    job: Job,
    rows: Sequence[Example],
    wanted: int,
    asked: Callable[[Sequence[tuple[Message, ...]], Sampling, str, int], list[list[Reply]]],
    chat: LocalChat,
    max_tokens: int,
) -> tuple[list[Lesson], Counter[str]]:
    """What the model says by itself to other rows, greedily: as many of them as are needed, drawn."""
    order = list(range(len(rows)))
    random.Random(f"{job.seed}/replay").shuffle(order)
    chosen = [rows[number] for number in sorted(order[:wanted])]
    turns = [tuple(row.messages[:-1]) for row in chosen]
    said = asked(turns, Sampling(max_tokens=job.max_tokens), "other rows", 1)
    dropped = Counter[str]()
    made: list[Lesson] = []
    for number, (row, before, (reply,)) in enumerate(zip(chosen, turns, said, strict=True)):
        why = refusal(reply, ())
        dropped.update([why] if why else [])
        if not why:
            made.append(Lesson(f"plain/{number}/{row.id}", "plain", before, before, reply, group_of_row(row)))
    kept, more = fitting(made, chat.template, chat.tokenizer, max_tokens)
    return kept, dropped + more


def _nothing(job: Job, dropped: Mapping[str, int], asked: int) -> tuple[str, str, str]:
    reasons = sorted(dropped.items(), key=lambda one: -one[1])
    why = "; ".join(f"{count:,} {reason}" for reason, count in reasons)
    what = f"Of {asked:,} answers that the model gave behind {job.instruction.name} none can be learned: {why}."
    mend = "what a model does not do with the text cannot be baked: see `heed prompt test`"
    longer = f"--max-tokens {2 * job.max_tokens}; or " if reasons[0][0] == CUT else ""
    return what, job.model, longer + mend


def write_test(places: Places, job: Job, sides: Sequence[Sides], said: Sequence[Reply], parted: Parted) -> None:
    """The held-out requests without the text, and the other rows, as `heed eval RUN` asks them."""
    plain = [dict(check) for check in job.instruction.checks if not {"field", "schema"} & check.keys()]
    whole = len(plain) == len(job.instruction.checks)
    lines = []
    for case, side, reply in zip(parted.held, sides, said, strict=True):
        if not asks(side.student):
            continue
        meta: dict[str, Any] = {"task": f"baked_{job.instruction.name}", "kind": "instruction"}
        meta |= {"checks": plain} if whole else {}
        answer = {"role": "assistant", "content": reply.text.strip() or "?"}
        lines.append({"id": f"held/{case.id}", "messages": [*_turns(side.student), answer], "meta": meta})
        lines[-1]["group"] = group_of_request(case)
    for row in parted.others:
        told: dict[str, Any] = {"id": row.id, "messages": _turns(row.messages), "meta": dict(row.meta)}
        told["group"] = group_of_row(row)
        lines.append(told)
    write_text(places.test, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def group_of_request(case: Case) -> str:
    """The group of what is asked. Requests and other rows are parted each for themselves, so no group spans both."""
    return f"request {case.group or case.id}"


def group_of_row(row: Example) -> str:
    """The group of another row."""
    return f"row {row.group or row.id}"


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{"role": one.role, "content": one.content} for one in messages]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_recipe(recipe: Recipe) -> None:
    """Raises HeedError for what baking cannot do: the teacher is the model with its adapters off, so they are all that trains."""
    model, lora = recipe.model, recipe.model.lora
    if model.method != "lora":
        what = f"Baking trains adapters, and model.method is {model.method}: the teacher is the model without them."
        raise HeedError(what, "model.method", "--set model.method=lora")
    if lora.tokens or lora.modules_to_save:
        what = "Baking trains adapters alone: a dose of them is no dose of whole modules or rows."
        raise HeedError(what, "model.lora", "leave tokens and modules_to_save out")
    if recipe.data.replay or recipe.data.mixture:
        what = "What is learned here is what the model itself said: documents and mixtures are none of it."
        raise HeedError(what, "data", "--replay FILE gives rows whose plain answers are learned")
