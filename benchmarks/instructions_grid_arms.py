"""The arms of the grid: two sizes of the built-in model, and what searching, baking and teaching make of one instruction."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import common
import instructions_world as world
from common import say
from instructions_bake import FACTS, evenly

if TYPE_CHECKING:
    from heedlm.instructions.bench import Bench, Candidate
    from heedlm.instructions.blocks import Instruction
    from heedlm.instructions.cases import Case

# What an answer has to be before it is learned from the teacher: its form, which the instruction asks for.
FORMS: dict[str, Mapping[str, Any]] = {
    "name": {"type": "word-count", "max": 4},
    "capitals": {"type": "upper-case"},
    "record": {"type": "is-json"},
    "array": {"type": "is-json"},
    "month": {"type": "regex", "value": r"\d"},
    "trend": {"type": "regex", "value": r"\d"},
    "list": {"type": "bullet-count", "min": 2},
}
ASK_FACTS = ("name", "capitals", "record")  # whose requests are questions about countries
LONGEST = 160  # tokens of an answer that baking learns: replayed rows are of all tasks
MIX = {"geography": 0.34, "papers": 0.2, "echo": 0.05, "figures": 0.08, "forms": 0.15, "briefs": 0.06, "desks": 0.12}
# A quarter of the parameters of the built-in model, in one part instead of five.
SMALL = {
    "seed": 0,
    "corpus": {"source": "atlas", "documents": 8000, "mix": MIX},
    "shape": {"hidden": 128, "layers": 3, "heads": 2, "kv_heads": 1, "intermediate": 352},
    "train": {
        "max_steps": 5000,
        "tokens_per_step": 2048,
        "micro_tokens": 2048,
        "lr": 3e-3,
        "warmup": 0.02,
        "weight_decay": 0.05,
    },
}


def toy(hidden: int) -> dict[str, Any]:
    """A recipe that learns nothing, in seconds."""
    shape = {"hidden": hidden, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate": 64}
    train = {"max_steps": 3, "tokens_per_step": 512, "micro_tokens": 512}
    return {"corpus": {"source": "atlas", "documents": 24}, "shape": shape, "train": train}


class Scale(NamedTuple):
    """families: asked.   rows: sealed rows of each.   cases: rows of the tuning side to choose and search on.   spread: sealed
    rows on which notations are compared.   taught: requests of baking and of teaching.   replay: rows of other tasks beside
    them.   budget: calls of a search.   tuning: rows of the built-in tuning.   least: what an instruction has to gain on rows of
    the tuning side for there to be anything to bake.   settings: of every training but pretraining."""

    families: Sequence[str]
    rows: int
    cases: int
    spread: int
    taught: int
    replay: int
    budget: int
    tuning: int
    least: float = 0.05
    settings: tuple[str, ...] = ()


FULL = Scale(("name", "record", "array", "capitals", "month"), 300, 240, 150, 240, 480, 2500, 22_500)
QUICK = Scale(("name",), 10, 60, 4, 16, 24, 80, 60, settings=("train.max_steps=2",))


class Size(NamedTuple):
    """base, tuned: as `heed prompt test` names models."""

    name: str
    base: str
    tuned: str


def pretrained(recipe: Mapping[str, Any], run: Path) -> str:
    """A base model of a shape, trained once and kept."""
    from heedlm import api
    from heedlm.pretrain_config import PretrainRecipe

    if not (run / "model" / "heed.json").is_file():
        say(f"pretraining, kept in {run}")
        api.pretrain(recipe=PretrainRecipe.model_validate(recipe), run=run)
    return str(run / "model")


def is_trained(run: Path) -> bool:
    held = run / "run.json"
    return held.is_file() and "train_result" in json.loads(held.read_text("utf8"))


def trained(run: Path, **recipe: Any) -> str:
    """A training run, done once. recipe: as `api.make_recipe` takes it."""
    from heedlm import api

    if not is_trained(run):
        say(f"training, kept in {run}")
        api.train(run=run, recipe=api.make_recipe(**recipe))
    return str(run)


def tuned(base: str, run: Path, scale: Scale) -> str:
    """A base tuned as `heed demo` tunes the built-in one: the same recipe and rows."""
    from importlib import resources

    from heedlm.atlas.tasks import write_files

    if is_trained(run):
        return str(run)
    files = write_files(run / "rows", 0, scale.tuning)
    lines = [f"data.sources=[{json.dumps(str(files.train))}]", f"data.test={json.dumps(str(files.test))}"]
    lines += [f"data.replay=[{json.dumps(str(files.replay))}]", f"model.path={json.dumps(base)}", *scale.settings]
    with resources.as_file(resources.files("heedlm.atlas").joinpath("demo.yaml")) as recipe:
        return trained(run, recipe=recipe, seed=0, settings=lines)


def sizes(given: argparse.Namespace, scale: Scale, folder: Path) -> list[Size]:
    """The smaller model first. With --quick both are toys."""
    if given.quick:
        bases = [pretrained(toy(hidden), folder / f"toy-{hidden}-base") for hidden in (32, 64)]
        runs = [tuned(base, Path(base).parents[1] / f"toy-{number}-tuned", scale) for number, base in enumerate(bases)]
        return [Size(name, *pair) for name, *pair in zip(("small", "built-in"), bases, runs, strict=True)]
    small = given.small or Path(tuned(pretrained(SMALL, folder / "small-base"), folder / "small-tuned", scale))
    whole = given.model or Path(tuned("atlas", folder / "built-in-tuned", scale))
    return [Size("small", base_of(small), str(small)), Size("built-in", base_of(whole), str(whole))]


def base_of(run: Path) -> str:
    """What a run was tuned from."""
    import yaml

    return str(yaml.safe_load((run / "recipe.yaml").read_text("utf8"))["model"]["path"])


class Asked:
    """One model: loaded when it is first asked, its answers kept in the folder."""

    def __init__(self, name: str, folder: Path) -> None:
        from heedlm.eval.contenders import contenders_of
        from heedlm.instructions.frame import COMPLETION, OWN, frame_for
        from heedlm.instructions.replies import Store

        (contender,) = contenders_of([name])
        self.name, self.arm = name, contender.open()
        self.frame = frame_for(name, COMPLETION if contender.plain else OWN)
        self.store = Store(folder / "answers" / f"{digest(self.arm.identity)}.jsonl")

    def bench(self, cases: Sequence[Case], limit: int) -> Bench:
        """limit: tokens of an answer."""
        from heedlm.instructions.bench import Bench
        from heedlm.messages import Sampling

        sampling = Sampling(max_tokens=limit)
        return Bench(self.arm.chat, cases, identity=self.arm.identity, store=self.store, sampling=sampling)

    def candidate(self, instruction: Instruction, **layout: Any) -> Candidate:
        from heedlm.instructions.bench import Candidate
        from heedlm.instructions.layout import Layout

        return Candidate(instruction, Layout(**layout), self.frame)


class Family(NamedTuple):
    """A task. written: instructions by hand, by style.   start: with wordings of its blocks to choose among, for the search; None
    where nobody wrote one.   seen: cases of the tuning side.   sealed: what every arm answers.

    raw: rows of the tuning side as the world writes them: those of `seen`, and behind them the requests of baking."""

    name: str
    written: Mapping[str, Instruction]
    start: Instruction | None
    seen: Sequence[Case]
    sealed: Sequence[Case]
    raw: Sequence[Mapping[str, Any]]

    @property
    def limit(self) -> int:
        return world.LIMITS[self.name]


def family(name: str, scale: Scale, seed: int) -> Family:
    from heedlm.instructions.cases import Raw, cases_of
    from heedlm.instructions.format import load

    written = {style: load(str(world.PROMPTS / f"{name}-{style}.prompty")) for style in world.STYLES}
    raw = world.rows(name, "train", scale.cases + scale.taught, seed)
    sealed = world.rows(name, "test", scale.rows, seed)
    seen, hidden = (
        cases_of([Raw(row, f"{side}:{number}") for number, row in enumerate(rows, 1)], list(written.values()))
        for side, rows in (("train", raw[: scale.cases]), ("test", sealed))
    )
    choices = world.PROMPTS / f"{name}-search.prompty"
    start = load(str(choices)) if choices.is_file() else None
    return Family(name, written, start, seen, hidden, raw)


def digest(*told: object) -> str:
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:10]


def searched(asked: Asked, one: Family, hand: Instruction, scale: Scale, folder: Path, seed: int) -> tuple[Any, str]:
    """The best candidate of heed's search from the one written by hand, after the search's own gate, and the verdict.

    The folder is named by all that decides the search, its program included: a search is gone on with, never mixed.
    """
    import heedlm.instructions.optimize as room
    from heedlm.instructions.optimize.ledger import Budget
    from heedlm.instructions.optimize.run import Job, optimize
    from heedlm.instructions.write import write
    from heedlm.messages import Sampling

    program = common.sha(sorted(Path(str(room.__file__)).parent.glob("*.py")))
    ids = [case.id for case in one.seen]
    key = digest(asked.arm.identity, asked.frame.format, write(hand), ids, scale.budget, seed, program)
    job = Job(
        hand,
        asked.name,
        one.seen,
        folder / "searches" / f"{one.name}-{key}",
        Budget(scale.budget),
        seed=seed,
        sampling=Sampling(max_tokens=one.limit),
    )
    done = optimize(job)
    return done.best, done.verdict


def questions(rows: Sequence[Mapping[str, Any]], file: Path, *, answered: bool) -> Path:
    """Cases without assertions, or rows of conversations with the right answers."""
    lines = []
    for row in rows:
        (asked,) = row["vars"].values()
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": row["target"]}]
        kept = {"group": row["group"]} if "group" in row else {}
        lines.append({"id": row["id"], **kept, **({"messages": turns} if answered else {"vars": row["vars"]})})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf8")
    return file


def _lessons(scale: Scale) -> tuple[Any, ...]:
    """What of a scale decides what is learned."""
    return scale.cases, scale.taught, scale.replay, scale.settings


def replayed(one: Family, scale: Scale, seed: int) -> list[dict[str, Any]]:
    """Rows of the built-in tuning, as many of each task: what a model should go on doing.

    Bare questions about countries are left out where those are the requests: nothing in them would tell which answer is wanted.
    """
    from heedlm.atlas.tasks import rows

    found = [
        row
        for row in rows("train", seed, 6_000)
        if one.name not in ASK_FACTS or not row["meta"]["task"].startswith(FACTS)
    ]
    return evenly(found, scale.replay, random.Random(f"{seed}/grid"))


def baked(asked: Asked, one: Family, text: Instruction, scale: Scale, folder: Path, seed: int) -> str:
    """The run of the tuned model with an instruction baked in. Requests are rows that no search saw."""
    from heedlm.baking import bake
    from heedlm.instructions.write import write

    kept = replace(text, checks=(FORMS[one.name],))
    place = folder / "bakes" / f"{one.name}-{digest(asked.arm.identity, write(kept), _lessons(scale), seed)}"
    run = place / "run"
    if (run / "bake" / "report.json").is_file():
        return str(run)
    source, replay = place / f"{one.name}.prompty", place / "replay.jsonl"
    requests = questions(one.raw[scale.cases :], place / "requests.jsonl", answered=False)
    source.write_text(write(kept), "utf8")
    replay.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in replayed(one, scale, seed)), "utf8")
    bake(
        instruction=source,
        model=asked.name,
        requests=[requests],
        replay=[replay],
        run=run,
        seed=seed,
        settings=scale.settings,
        max_tokens=LONGEST,
    )
    return str(run)


def taught(asked: Asked, one: Family, scale: Scale, folder: Path, seed: int) -> str:
    """The run of the tuned model trained on right answers to the requests of baking, the same rows replayed with theirs."""
    place = folder / "taught" / f"{one.name}-{digest(asked.arm.identity, _lessons(scale), seed)}"
    rows = questions(one.raw[scale.cases :], place / "rows.jsonl", answered=True)
    with rows.open("a", encoding="utf8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in replayed(one, scale, seed))
    settings = ["model.method=lora", "data.near_duplicates=off", *scale.settings]
    return trained(place / "run", model=asked.name, data=rows, seed=seed, settings=settings)
