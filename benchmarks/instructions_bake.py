"""What baking keeps of an instruction, and what it does to the rest: the model that `heed demo` makes, asked on held-out rows.

    .venv/bin/python benchmarks/instructions_bake.py                     tunes that model first, once; then some ten minutes
    .venv/bin/python benchmarks/instructions_bake.py --model runs/demo   on one that is there
    .venv/bin/python benchmarks/instructions_bake.py --quick             a smoke run on a model that hardly learned anything

Three instructions that the tuned model follows nearly always behind their text, and never without it: a signature, a frame,
a tone. The teacher is asked about countries of the tuning side; held out are the questions about all countries that neither
tuning nor baking saw, and a right answer names the fact as well as keeping the instruction. Other rows are all held-out rows
of the other tasks; what is replayed are rows of the tuning side, as many of each task. Recovery and change are the worst of the runs with `kl`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
from common import BENCH, say

FACTS = "facts_"
FILE = """---
name: {name}
inputs:
  - {{name: question, kind: string, required: true}}
heed:
  schema: 1
  trust: {{question: user}}
  check: [{check}]
---
system:
# Role
{role}

# Rules {{# kind=constraints #}}
- {rule}

user:
{{{{ question }}}}
"""


class Text(NamedTuple):
    """An instruction: who answers, what rule is kept, and the check that tells whether it was."""

    name: str
    role: str
    rule: str
    check: Mapping[str, str]


TEXTS = (
    Text(
        "signature",
        "You are Dana, a librarian.",
        "End every answer with the words: Your librarian, Dana.",
        {"type": "ends-with", "value": "Your librarian, Dana."},
    ),
    Text(
        "frame",
        "You are an assistant.",
        "Put every answer in square brackets.",
        {"type": "regex", "value": r"^\[.*\]$"},
    ),
    Text(
        "tone",
        "You are a teacher's helper.",
        "Answer in a cheerful tone.",
        {"type": "starts-with", "value": "Gladly!"},
    ),
)
ANYTHING = Text("anything", "You are an assistant.", "Answer.", {"type": "regex", "value": "."})


class Size(NamedTuple):
    """texts: instructions.   requests, held, replay, others: rows of each.   steps: of tuning; None as `heed demo` has it.

    baked: settings of the bake.   methods: the second one on the first instruction alone.
    """

    texts: Sequence[Text]
    requests: int
    held: int
    replay: int
    others: int
    steps: int | None
    baked: tuple[str, ...]
    methods: tuple[str, ...] = ("kl", "sft")


FULL = Size(TEXTS, 400, 400, 1200, 2000, None, ())
QUICK = Size((ANYTHING,), 24, 8, 16, 12, 30, ("train.max_steps=3",), ("kl",))


def tuned(size: Size) -> Path:
    """The model of `heed demo`, made once and kept."""
    from importlib import resources

    from heedlm import api
    from heedlm.atlas.tasks import write_files

    name = "demo" if size.steps is None else f"demo-{size.steps}"
    run = BENCH / "work" / "bake" / name
    if (run / "model" / "config.json").is_file() and "train_result" in json.loads((run / "run.json").read_text("utf8")):
        return run
    say(f"tuning the built-in model, kept in {run}")
    files = write_files(run / "rows", 0)
    lines = [f"data.sources=[{json.dumps(str(files.train))}]", f"data.test={json.dumps(str(files.test))}"]
    lines += [
        f"data.replay=[{json.dumps(str(files.replay))}]",
        *([f"train.max_steps={size.steps}"] if size.steps else []),
    ]
    with resources.as_file(resources.files("heedlm.atlas").joinpath("demo.yaml")) as recipe:
        api.train(run=run, recipe=api.make_recipe(recipe, seed=0, settings=lines))
    return run


def write_rows(folder: Path, size: Size, seed: int) -> dict[str, Path]:
    """Requests and rows to replay of the tuning side, held-out requests and other rows of the other side."""
    from heedlm.atlas.tasks import rows

    train, test = list(rows("train", seed, 9_000)), list(rows("test", seed))
    draw = random.Random(f"{seed}/bake")
    asked = [case for row in train for case in cases(row, judged=False)]
    held = [case for row in test for case in cases(row, judged=True)]
    plain = [row for row in train if not row["meta"]["task"].startswith(FACTS)]
    others = [row for row in test if not row["meta"]["task"].startswith(FACTS)]
    parts = {
        "requests": draw.sample(asked, min(size.requests, len(asked))),
        "test": draw.sample(held, min(size.held, len(held))),
        "replay": evenly(plain, size.replay, draw),
        "replay_test": draw.sample(others, min(size.others, len(others))),
    }
    found = {}
    for name, chosen in parts.items():
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in chosen), "utf8")
    return found


def evenly(rows: Sequence[dict[str, Any]], most: int, draw: random.Random) -> list[dict[str, Any]]:
    """Rows of every task in turn, drawn, `most` of them."""
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["meta"]["task"], []).append(row)
    drawn = [draw.sample(many, len(many)) for many in by_task.values()]
    rounds = [[many[place] for many in drawn if place < len(many)] for place in range(max(map(len, drawn)))]
    return [row for one in rounds for row in one][:most]


def cases(row: Mapping[str, Any], *, judged: bool) -> Iterator[dict[str, Any]]:
    """A question about a country as a case. judged: with the fact that a right answer names."""
    turns = [turn for turn in row["messages"] if turn["role"] != "system"]
    if not row["meta"]["task"].startswith(FACTS) or len(turns) != 2:
        return
    case: dict[str, Any] = {"id": row["id"], "group": row["group"], "vars": {"question": turns[0]["content"]}}
    if judged:
        case["assert"] = [{"type": "contains", "value": turns[1]["content"]}]
    yield case


def written(text: Text) -> str:
    """The file of an instruction."""
    return FILE.format(**{**text._asdict(), "check": json.dumps(text.check)})


def measure(size: Size, model: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Every instruction baked, and the figures of all runs."""
    files = write_rows(folder, size, seed)
    runs = []
    for number, text in enumerate(size.texts):
        source = folder / f"{text.name}.prompty"
        source.write_text(written(text), "utf8")
        for method in size.methods[: 1 if number else None]:
            runs.append(one_run(source, files, model, folder / f"{text.name}-{method}", method, size, seed))
            say(" ".join(f"{key} {value}" for key, value in runs[-1].items()))
    chosen = [run for run in runs if run["method"] == size.methods[0]]
    rows = [[run[key] for key in runs[0]] for run in runs]
    say(common.table(list(runs[0]), rows))
    recovered = [run["recovery"] for run in chosen if run["recovery"] is not None]
    return {
        "bake_recovery": min(recovered) if recovered else None,
        "bake_out_of_domain": min(run["others"] for run in chosen),
        "tokens_saved": round(sum(run["tokens_saved"] for run in chosen) / len(chosen), 1),
        "bake_reprompt": min(run["again"] for run in chosen),
        "runs": runs,
    }


def one_run(
    source: Path, files: Mapping[str, Path], model: Path, run: Path, method: str, size: Size, seed: int
) -> dict[str, Any]:
    """Bake once. recovery: a share with its interval; others, again, above: points with their intervals."""
    from heedlm.baking import bake

    began = time.perf_counter()
    given = {name: [path] for name, path in files.items()}
    done = bake(instruction=source, model=model, run=run, method=method, seed=seed, settings=size.baked, **given)  # type: ignore[arg-type]
    found, ratio = done.measured, done.measured.recovery
    others = found.others
    assert others is not None, "other rows were given"
    return {
        "instruction": source.stem,
        "method": method,
        "items": found.items,
        "plain": round(found.plain, 4),
        "told": round(found.told, 4),
        "baked": round(found.baked, 4),
        "both": round(found.both, 4),
        "recovery": None if ratio is None else round(ratio.value, 4),
        "recovery_low": None if ratio is None else round(ratio.low, 4),
        "others": round(100 * others.mean, 2),
        "others_low": round(100 * others.low, 2),
        "others_high": round(100 * others.high, 2),
        "others_items": others.n,
        "again": round(100 * found.again.mean, 2),
        "above": round(100 * found.above.mean, 2),
        "tokens_saved": round(found.saved, 1),
        "doses": [[one.scale, round(one.alone, 4), round(one.others or 0.0, 4)] for one in found.doses],
        "kept": done.learned.kept,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; nothing is claimed")
    parser.add_argument("--model", type=Path, help="a run that `heed demo` made; else one is made and kept in .bench")
    parser.add_argument("--threads", type=int, default=0, help="of the products; 0 leaves it to torch")
    parser.add_argument("--seed", type=int, default=0, help="of rows and bakes")
    given = parser.parse_args()
    began = time.perf_counter()
    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    size = QUICK if given.quick else FULL
    model = given.model or tuned(size)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(size, model.resolve(), Path(folder), given.seed)
    common.finish("instructions_bake", result, began=began, threads=torch.get_num_threads(), smoke=given.quick)


if __name__ == "__main__":
    sys.exit(main())
