"""Baking in Python, the same words as on the command line: the teacher asked, the one training loop, what it came to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm import api
from heedlm.config import Recipe
from heedlm.errors import HeedError
from heedlm.launch import launched
from heedlm.recipe_file import Settings, setting_lines
from heedlm.runs import Run
from heedlm.wiring import wire_of

if TYPE_CHECKING:
    from heedlm.generate.chat import LocalChat
    from heedlm.instructions.bake.job import Job, Learned, Places
    from heedlm.instructions.bake.measure import Hear, Measured, Scores
    from heedlm.instructions.bake.report import Baked
    from heedlm.instructions.bake.sides import Parted
    from heedlm.train.stage import Observer

# What differs from any other training: rows are answers of one model to requests that look alike, and none is a repeat.
_OWN = ("model.method=lora", "data.near_duplicates=off")


def bake(
    *,
    instruction: str | Path,
    model: str | Path,
    requests: Sequence[str | Path],
    run: str | Path,
    replay: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    replay_test: Sequence[str | Path] = (),
    held_out: float = 0.2,
    seed: int = 0,
    settings: Settings = (),
    observer: Observer | None = None,
    on_progress: Hear = lambda what, done, of: None,
    **how: Any,
) -> Baked:
    """Put what an instruction's text brings about into an adapter of the model: `run`/model needs the text no more.

    requests: cases or rows whose questions the teacher is asked.   replay: rows of other tasks, whose plain answers are learned
    so that the rest stays.   test, replay_test: what is held out of both; a share of them without.   how: method, samples,
    temperature, top, replay_share, max_tokens, as in `instructions.bake.job.Job`.
    The same call goes on with what was interrupted. Raises HeedError for what cannot be baked.
    """
    from heedlm.eval.contenders import is_endpoint
    from heedlm.eval.task import tasks_from
    from heedlm.instructions.bake.job import Job, Places, check_recipe, check_same_job
    from heedlm.instructions.bake.lessons import without_cue
    from heedlm.instructions.bake.report import Baked, write_report
    from heedlm.instructions.bake.sides import part
    from heedlm.instructions.format import load
    from heedlm.model.load import resolve

    if is_endpoint(str(model)):
        what = "An endpoint cannot be trained: its weights are not here."
        raise HeedError(what, str(model), "--model FOLDER, RUN or hub id")
    if launched().size > 1:
        what = "Baking asks and trains in one process, and several were started."
        raise HeedError(what, "torchrun", "start it without torchrun")
    resolve(model)
    job = Job(without_cue(load(str(instruction))), str(model), held_out=held_out, seed=seed, **how)
    files = [[Path(one) for one in many] for many in (requests, test, replay, replay_test)]
    parted = part(job.instruction, *files, held_out=held_out, seed=seed)
    tasks_from(parted.others)  # what is wrong with them is told before anything is asked
    folder = Run(Path(run))
    places = Places.of(folder)
    lines = [*_OWN, f"data.test={json.dumps(str(places.test))}", *setting_lines(settings)]
    recipe = api.make_recipe(model=model, data=places.train, seed=seed, settings=lines)
    check_recipe(recipe)
    Run.create(run)
    check_same_job(folder, job, parted)
    told = observer or api.silent()
    learned = _lessons(job, recipe, parted, places, on_progress)
    told.say(learned.words())
    report = api.train(run=run, recipe=recipe, observer=told, workshop=_workshop(job, places, recipe, on_progress))
    shutil.rmtree(places.targets, ignore_errors=True)  # the trained model stands; nothing is left to resume
    found = _measured(job, recipe, parted, folder, places, on_progress)
    facts = {name: getattr(report, name) for name in ("steps", "rows", "tokens", "best_loss", "seconds")}
    return Baked(folder.model, learned, found, write_report(folder, places.root, job, learned, found, facts))


def _chat(job: Job, recipe: Recipe) -> LocalChat:
    """The model as it is, in the format in which it will be trained."""
    from heedlm.generate.chat import load_chat

    chat = load_chat(job.model, recipe.templates.chat, name=job.model, device=_device(recipe))
    return chat.under(wire_of(recipe, []).template)


def _device(recipe: Recipe) -> str:
    from heedlm.model.load import pick_device

    return str(pick_device(recipe.train.device))


def _lessons(job: Job, recipe: Recipe, parted: Parted, places: Places, hear: Hear) -> Learned:
    """Rows to learn and to test on, in the folder of the bake."""
    from heedlm.eval.stage import known_as
    from heedlm.instructions.bake.job import lessons_of, write_test
    from heedlm.instructions.bake.lessons import sides_of
    from heedlm.instructions.bake.measure import frame_behind
    from heedlm.instructions.bake.teacher import replies
    from heedlm.instructions.replies import Store
    from heedlm.messages import Sampling
    from heedlm.wiring import DEFAULT_MAX_TOKENS

    chat = _chat(job, recipe)
    limit = recipe.tokens.max_tokens or chat.context or DEFAULT_MAX_TOKENS
    learned = lessons_of(job, parted, chat, places, limit, hear)
    sides = sides_of(job.instruction, parted.held, frame_behind(chat))
    greedy = Sampling(max_tokens=job.max_tokens)
    store = Store(places.answers)
    turns = [one.teacher for one in sides]
    said = replies(chat, known_as(chat), turns, greedy, store, on_progress=lambda done, of: hear("held out", done, of))
    write_test(places, job, sides, [row[0] for row in said], parted)
    return learned


def _workshop(job: Job, places: Places, recipe: Recipe, hear: Hear) -> Callable[..., Any] | None:
    """Where a run is trained towards its teacher's distributions; None where the usual workshop trains on its words."""
    if job.method == "sft":
        return None
    from heedlm.instructions.bake.sides import read_examples
    from heedlm.instructions.bake.workshop import Distilling, Taught

    taught = Taught(
        read_examples([places.teachers]) if places.teachers.stat().st_size else [],
        lambda rows: wire_of(recipe, rows).template,
        job.top,
        places.targets,
        lambda done, of: hear("teacher's distributions", done, of),
    )
    return partial(Distilling, taught=taught)


def _measured(job: Job, recipe: Recipe, parted: Parted, run: Run, places: Places, hear: Hear) -> Measured:
    """Plain model, baked model and doses between and beyond, each loaded once."""
    from heedlm.eval.task import tasks_from
    from heedlm.generate.chat import LocalChat, load_chat
    from heedlm.instructions.bake.measure import DOSES, at_scale, measured, prompt_tokens, scores_of

    tasks = tasks_from(parted.others)

    def asked(chat: LocalChat, name: str, dose: float = 1.0) -> Scores:
        return scores_of(
            chat,
            job.instruction,
            parted.held,
            tasks,
            places.root,
            job.max_tokens,
            with_text=dose == 1,
            name=name,
            dose=dose,
            hear=hear,
        )

    baked = asked(load_chat(run.model, name=run.root.name, device=_device(recipe)), "baked")
    chat = _chat(job, recipe)
    plain = asked(chat, "plain")
    doses: dict[float, Scores] = {}
    for scale in DOSES:
        with at_scale(chat.model, run.adapter, scale) as model:
            weighed = LocalChat(model, chat.tokenizer, chat.template, name=job.model)
            doses[scale] = asked(weighed, f"dose {scale:g}", scale)
    tokens = prompt_tokens(chat, job.instruction, parted.held)
    return measured(plain, baked, doses, parted.held, tasks, tokens, seed=job.seed)


__all__ = ["bake"]
