"""Models behind names, and the ways in which each of them is asked."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from heedlm.data.schema import to_examples
from heedlm.data.sources import read_rows
from heedlm.data.store import read_split
from heedlm.errors import HeedError, Problem
from heedlm.eval import arms
from heedlm.eval.checkpoints import checkpoint_of, is_checkpoint, load_checkpoint, run_behind
from heedlm.eval.evaluate import Arm
from heedlm.eval.grid import WITH, with_system, with_turns
from heedlm.eval.leaks import find_leaks
from heedlm.eval.pairs import Contender
from heedlm.eval.prices import Price
from heedlm.eval.stage import SHOTS, fits_of, known_as
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.generate.remote import RemoteChat
from heedlm.messages import Chat, Example, Message, Sampling, Task
from heedlm.model.load import resolve
from heedlm.model.save import read_card
from heedlm.tokens.tokenizer import load_tokenizer

RETRIES = 4  # of a request to an endpoint, with growing pauses
FRAME, FEW_SHOT = " + frame", " + few-shot"  # behind the name of a base model that is asked so
_SHOWN = 20


class Behind(NamedTuple):
    """An instruction behind every question. name: behind that of a model.   told: for the report.   turns: for a model, what
    makes its turns of those of a question."""

    name: str
    told: str
    turns: Callable[[Chat], Callable[[Sequence[Message]], Sequence[Message]]]


@dataclass(frozen=True, slots=True)
class Beside:
    """Arms that are asked beside the models as they are. system: a text, or an instruction, behind which every model with a
    chat format is asked as well; "" for none.   shots: rows to take solved examples from, for base models; none for no such arms."""

    system: str | Behind = ""
    shots: tuple[Example, ...] = ()


def is_endpoint(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def contenders_of(names: Sequence[str], prices: Mapping[str, Price] | None = None) -> list[Contender]:
    """The models behind the names, none of them loaded yet. prices: of endpoints, by name.

    Raises HeedError for a name twice, and in one go for all names without a model.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        mend = "to ask one model twice: --noise-floor"
        raise HeedError(f"{twice} is named twice, and would be compared with itself.", twice, mend)
    found: list[Contender] = []
    problems: list[Problem] = []
    for name in names:
        try:
            if is_endpoint(name):
                found.append(_endpoint(name, (prices or {}).get(name)))
            else:
                found.append(_checkpoint(name) if is_checkpoint(name) else _local(name))
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)
    return found


def _endpoint(name: str, price: Price | None) -> Contender:
    url, _, model = name.partition("#")

    def opened() -> Arm:
        chat = RemoteChat(url, model or "default", os.environ.get("OPENAI_API_KEY"), max_retries=RETRIES)
        return Arm(name, chat, arms.instruct, url, price=price)

    return Contender(name, opened, "messages")


def _checkpoint(name: str) -> Contender:
    place = checkpoint_of(name)

    def opened() -> Arm:
        chat = load_checkpoint(place, name)
        return Arm(name, chat, arms.bare if place.plain else arms.instruct, known_as(chat))

    how = "plain text, as a base model" if place.plain else "messages, in the chat template it is taught in"
    return Contender(name, opened, f"{how}; weights of step {place.step:,}", place.plain)


def _local(name: str) -> Contender:
    folder = resolve(name)
    # A model without a template was taught none: in whatever format it were asked, it would be a foreign one.
    plain = read_card(folder).get("kind") == "base" or not load_tokenizer(folder).chat_template

    def opened() -> Arm:
        chat = load_chat(folder, name=name)
        return Arm(name, chat, arms.bare if plain else arms.instruct, known_as(chat))

    asked = "plain text, as a base model" if plain else "messages, in its own chat template"
    return Contender(name, opened, asked, plain)


def prompted(plain: Contender, text: str | Behind) -> Contender:
    """The same model behind a system text, or an instruction."""
    name = plain.name + (WITH if isinstance(text, str) else text.name)

    def opened() -> Arm:
        arm = plain.open()
        built = with_system(arm.build, text) if isinstance(text, str) else with_turns(arm.build, text.turns(arm.chat))
        return replace(arm, name=name, build=built)

    told = text.told if isinstance(text, Behind) else f"behind the system text (sha256 {_digest(text)})"
    return Contender(name, opened, f"{plain.asked}, {told}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def beside(
    contenders: Sequence[Contender],
    wanted: Beside,
    tasks: Sequence[Task],
    sampling: Sampling,
    limits: Callable[[Arm], Mapping[str, int]],
    *,
    seed: int = 0,
) -> list[Contender]:
    """The arms that are wanted beside these models. Raises HeedError where none of the models can be asked so, or no row
    solves a task that is asked."""
    found: list[Contender] = []
    if wanted.shots:
        bases = [one for one in contenders if one.plain]
        if not bases:
            what = "None of these models is a base model, and only those are asked behind solved examples."
            mend = "leave --few-shot out, or name the base as well: heed eval BASE RUN --few-shot RUN"
            raise HeedError(what, "--few-shot", mend)
        rows = _unasked(wanted.shots, tasks)
        solved = [task for task in tasks if arms.pick_shots(task, rows, SHOTS, random.Random(seed))]
        if not solved:
            what = "None of these rows solves a task that is asked, without giving an item away."
            raise HeedError(what, "--few-shot", f"rows with meta.task: {', '.join(task.name for task in tasks)}")
        found += [_framed(one, rows, tasks, sampling, limits, 0, seed) for one in bases]
        found += [_framed(one, rows, tasks, sampling, limits, SHOTS, seed, solved) for one in bases]
    if wanted.system:
        tuned = [one for one in contenders if not one.plain]
        if not tuned:
            what = "None of these models has a chat format with a place for a system text."
            raise HeedError(what, "--system", "--grid asks base models behind a system text too")
        found += [prompted(one, wanted.system) for one in tuned]
    return found


def _framed(
    plain: Contender,
    rows: Sequence[Example],
    tasks: Sequence[Task],
    sampling: Sampling,
    limits: Callable[[Arm], Mapping[str, int]],
    num_shots: int,
    seed: int,
    solved: Sequence[Task] = (),
) -> Contender:
    """A base model in the plain frame in which it does best on some of the rows, behind solved examples or alone."""
    name = plain.name + (FEW_SHOT if num_shots else FRAME)

    def opened() -> Arm:
        arm = plain.open()
        assert isinstance(arm.chat, LocalChat), "a base model is one of this machine"
        most = limits(arm)
        fits = fits_of(arm.chat, max(most.values()))
        how = {"num_shots": num_shots, "limits": most, "fits": fits}
        picked = arms.pick_frames(arm.chat, tasks, rows, sampling, random.Random(seed), **how)  # type: ignore[arg-type]
        return replace(arm, name=name, build=arms.fair(picked, fits))

    told = "plain text, in its best frame"
    if num_shots:
        told += f", behind up to {num_shots} solved examples"
        left = [task.name for task in tasks if task not in solved]
        told += f" (none for {', '.join(left)})" if left else ""
    return Contender(name, opened, told)


def _unasked(rows: Sequence[Example], tasks: Sequence[Task]) -> list[Example]:
    """The rows that ask none of the items: a solved example must not give an answer away."""
    asked = find_leaks(rows, [example for task in tasks for example in task.examples], edited=False)
    leaked = {id(leak.item) for leak in asked}
    return [row for row in rows if id(row) not in leaked]


def shots_of(place: str | Path) -> tuple[Example, ...]:
    """The rows of a file, or the training rows of a run. Raises HeedError where there are none, or for broken ones."""
    run = run_behind(place) / "data" / "train.jsonl"
    if run.is_file():
        return tuple(read_split(run))
    found = [one for row in read_rows(Path(place)) for one in ([row] if isinstance(row, Problem) else to_examples(row))]
    problems = [one for one in found if isinstance(one, Problem)]
    if problems:
        raise HeedError.of(problems[:_SHOWN])
    rows = tuple(one for one in found if isinstance(one, Example))
    if not rows:
        raise HeedError("There are no rows to take solved examples from.", str(place), "--few-shot RUN, or FILE")
    return rows
