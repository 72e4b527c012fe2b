"""What an evaluation costs: items per second against lm-eval with the same figures, and a report of a large log.

    .venv/bin/python benchmarks/eval.py            135M, 5 solved examples before each question, fp32
    .venv/bin/python benchmarks/eval.py --quick    a smoke run on a tiny model

Both sides ask tasks of lm-eval's own kind (its YAML, its texts, its solved examples): four choices by likelihood, and
answers generated up to 24 tokens. Once the solved examples are the same before every question (sampler `first_n`, as in
MMLU), once they are drawn for each (lm-eval's default). lm-eval runs at the best of its batch sizes, found on a part of the
items; timed is what asks the model, for heed with its log and its scores. Figures are compared item by item, on the model
that is timed and on the built-in base model, which knows some of the answers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
from common import Failed, say
from rows import model_folder

SHOTS = 5
KINDS = ("choice", "generate")
SAMPLERS = ("first_n", "default")
TASK = """\
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: "FOLDER/items.jsonl", shots: "FOLDER/shots.jsonl"}}
test_split: test
fewshot_split: shots
num_fewshot: 5
fewshot_config: {sampler: SAMPLER}
doc_to_text: "Passage: {{passage}}\\nQuestion: {{question}}\\nAnswer:"
"""
CHOICE = """\
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
GENERATE = """\
output_type: generate_until
doc_to_target: "{{sentence}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 24, do_sample: false}
filter_list: [{name: stripped, filter: [{function: remove_whitespace}, {function: take_first}]}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
"""


class Size(NamedTuple):
    """items: of each task.   searched: of those with choices, for the best batch size.   known: items for the built-in base model.
    logged: lines of the log that a report is made of."""

    shape: str
    items: int
    searched: int
    known: int
    batches: tuple[int, ...]
    runs: int
    logged: int


WHOLE = Size("135m", 32, 8, 96, (1, 8, 32), 3, 10_000)
SMOKE = Size("tiny", 6, 3, 4, (2,), 1, 60)


def write_tasks(folder: Path, count: int, seed: int) -> dict[str, Path]:
    """Questions about countries behind a passage that tells something of them, as tasks of lm-eval by their names."""
    from heedlm.atlas.facts import ASKED, countries, fact_sentence

    rng = random.Random(seed)
    every = list(countries())
    rng.shuffle(every)
    asks = {
        "capital": "What is the capital",
        "currency": "What is the currency",
        "language": "What is the official language",
    }
    rows = []
    for country in every:
        for attribute in ("capital", "currency", "language"):
            told = [fact_sentence(country, one) for one in ASKED if one != attribute]
            half = rng.random() < 0.5  # so that the answer stands in the passage of some items
            sentences = [*told[:2], fact_sentence(country, attribute)] if half else told
            others = sorted({one.value(attribute) for one in every} - {country.value(attribute)})
            choices = [country.value(attribute), *rng.sample(others, 3)]
            rng.shuffle(choices)
            rows.append(
                {
                    "passage": " ".join(rng.sample(sentences, len(sentences))),
                    "question": f"{asks[attribute]} of {country.inner}?",
                    "choices": choices,
                    "label": choices.index(country.value(attribute)),
                    "answer": country.value(attribute),
                    "sentence": fact_sentence(country, attribute),
                }
            )
    rng.shuffle(rows)
    shots, items = rows[:40], rows[40 : 40 + count]
    if len(items) < count:
        raise Failed(f"there are only {len(items)} items of {count}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in (("shots", shots), ("items", items)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), "utf8")
    found = {}
    for kind, rest in zip(KINDS, (CHOICE, GENERATE), strict=True):
        for sampler in SAMPLERS:
            name = f"{kind}_{sampler}"
            text = TASK.replace("NAME", name).replace("FOLDER", str(folder)).replace("SAMPLER", sampler) + rest
            (folder / f"{name}.yaml").write_text(text, "utf8")
            found[name] = folder / f"{name}.yaml"
    lines = [f"  {name}: {{lm_eval: {path.name}}}\n" for name, path in found.items()]
    (folder / "suite.yaml").write_text("about: Tasks of a benchmark.\ntasks:\n" + "".join(lines), "utf8")
    return found


def ask(side: str, model: Path, tasks: Mapping[str, Path], threads: int, **more: Any) -> dict[str, Any]:
    """One side's seconds and figures, from a process of its own."""
    spec = {"model": str(model), "tasks": {name: str(path) for name, path in tasks.items()}, **more}
    return common.run_worker(Path(sys.executable), f"{side}_eval_worker.py", spec, threads=threads, name=f"eval-{side}")


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """How far the figures of both sides are apart. Raises Failed where they were not asked the same."""
    score = likelihood = 0.0
    unlike = replies = 0
    for name, their_items in theirs["items"].items():
        our_items = ours["items"][name]
        if [one["prompt"] for one in their_items] != [one["prompt"] for one in our_items]:
            raise Failed(f"the sides were not asked the same in {name}")
        mean = [statistics.fmean(one["score"] for one in items) for items in (their_items, our_items)]
        score = max(score, abs(mean[0] - mean[1]))
        for their, our in zip(their_items, our_items, strict=True):
            likelihood = max([likelihood, *(abs(a - b) for a, b in zip(their["sums"], our["sums"], strict=True))])
            if not their["sums"]:
                replies += 1
                unlike += their["reply"].strip() != our["reply"].strip()
    return {"score": score, "likelihood": likelihood, "replies": replies, "unlike": unlike}


def best_batches(model: Path, tasks: Mapping[str, Path], size: Size, threads: int) -> dict[str, int]:
    """The batch size at which lm-eval is fastest, for each kind of task."""
    searched = {name: path for name, path in tasks.items() if name.endswith(SAMPLERS[0])}
    limits = {name: size.searched if name.startswith("choice") else size.items for name in searched}
    seconds: dict[str, dict[int, float]] = {name: {} for name in searched}
    for batch in size.batches:
        report = ask("lm", model, searched, threads, batch_size=batch, limits=limits)
        for name, taken in report["seconds"].items():
            seconds[name][batch] = taken
        say(f"  lm-eval, batches of {batch}: " + ", ".join(f"{k} {v:.1f} s" for k, v in report["seconds"].items()))
    best = {name.partition("_")[0]: min(taken, key=lambda batch: taken[batch]) for name, taken in seconds.items()}
    return {name: best[name.partition("_")[0]] for name in tasks}


def speed(size: Size, folder: Path, threads: int, seed: int) -> dict[str, Any]:
    from heedlm.model.load import resolve

    model = model_folder(size.shape)
    tasks = write_tasks(folder / "timed", size.items, seed)
    batches = best_batches(model, tasks, size, threads)
    seconds: dict[str, dict[str, list[float]]] = {name: {"lm": [], "heed": []} for name in tasks}
    apart = []
    for number in range(size.runs):
        reports: dict[str, dict[str, Any]] = {"lm": {"seconds": {}, "items": {}}}
        for batch in sorted(set(batches.values())):  # one process for the tasks that share a batch size
            some = {name: tasks[name] for name in tasks if batches[name] == batch}
            found = ask("lm", model, some, threads, batch_size=batch)
            for key in ("seconds", "items"):
                reports["lm"][key] |= found[key]
        reports["heed"] = ask("heed", model, tasks, threads, suite=str(folder / "timed" / "suite.yaml"))
        apart.append(differences(reports["lm"], reports["heed"]))
        for side, report in reports.items():
            for name in tasks:
                seconds[name][side].append(report["seconds"][name])
        say(
            f"  run {number + 1}: "
            + ", ".join(f"{n} {s['lm'][-1]:.1f} and {s['heed'][-1]:.1f} s" for n, s in seconds.items())
        )
    known = write_tasks(folder / "known", size.known, seed + 1)
    base = Path(resolve("atlas"))
    theirs = ask("lm", base, known, threads, batch_size=size.batches[-1])
    ours = ask("heed", base, known, threads, suite=str(folder / "known" / "suite.yaml"))
    apart.append(differences(theirs, ours))
    middle = {
        name: {side: statistics.median(taken) for side, taken in sides.items()} for name, sides in seconds.items()
    }
    ratio = {name: round(found["lm"] / found["heed"], 3) for name, found in middle.items()}
    rows = [
        (name, batches[name], f"{size.items / found['lm']:.2f}", f"{size.items / found['heed']:.2f}", ratio[name])
        for name, found in middle.items()
    ]
    print(common.table(("task", "lm-eval's batch", "lm-eval items/s", "heed items/s", "ratio"), rows))
    scores = {name: round(statistics.fmean(one["score"] for one in found), 4) for name, found in ours["items"].items()}
    return {
        "ratio_choice": ratio["choice_first_n"],
        "ratio_generate": ratio["generate_first_n"],
        "score_difference": max(one["score"] for one in apart),
        "likelihood_difference": max(one["likelihood"] for one in apart),
        "ratio_choice_drawn": ratio["choice_default"],
        "ratio_generate_drawn": ratio["generate_default"],
        "replies": sum(one["replies"] for one in apart),
        "replies_unlike": sum(one["unlike"] for one in apart),
        "scores_of_the_base": scores,
        "batches": batches,
        "seconds_of": {
            name: {side: [round(x, 2) for x in taken] for side, taken in sides.items()}
            for name, sides in seconds.items()
        },
        "items": size.items,
        "shots": SHOTS,
        "shape": size.shape,
        "lm_eval": theirs["version"],
        "rows_sha": common.sha([folder / "timed" / "items.jsonl", folder / "known" / "items.jsonl"]),
    }


def report_of(count: int, folder: Path, seed: int) -> dict[str, Any]:
    """Seconds and bytes of a report made from a log of `count` lines: read, scored again, compared, written."""
    from heedlm.config import EvalConfig
    from heedlm.eval import arms
    from heedlm.eval.evaluate import compare
    from heedlm.eval.report import write_report
    from heedlm.eval.stage import rescore_run, tasks_of
    from heedlm.runs import Run

    run = Run.create(folder / "logged")
    rng = random.Random(seed)
    names = (arms.BASE, arms.BASE_FAIR, arms.INSTRUCT, arms.WRONG_FORMAT)
    write_rows(run.data, count // len(names), rng)
    items = [item for task in tasks_of(run, EvalConfig()) for item in replies(task, names, rng)]
    if len(items) < count:
        raise Failed(f"the log has {len(items)} lines of {count}")
    from heedlm.eval.log import append_items

    append_items(run.eval / "items.jsonl", items)
    write_report(compare(tasks_of(run, EvalConfig()), items, seed=seed), run.root)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        done = rescore_run(run, EvalConfig(), seed=seed)
        taken.append(time.perf_counter() - began)
    sizes = {path.suffix.removeprefix("."): path.stat().st_size for path in done.files}
    return {
        "report_seconds": round(statistics.median(taken), 2),
        "report_bytes": sizes["html"],
        "report_bytes_json": sizes["json"],
        "report_bytes_md": sizes["md"],
        "logged": len(items),
    }


def write_rows(folder: Path, count: int, rng: random.Random) -> None:
    """Test rows of eight tasks: some right or wrong, some scored by shared words, some in groups."""
    from heedlm.data.store import write_split
    from heedlm.messages import Example, Message

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        task = number % 8
        answer = words(rng, 5, 60)
        meta: dict[str, Any] = {"task": f"task_{task}", "kind": f"kind_{task % 4}"}
        meta |= {"checks": [{"type": "icontains", "value": answer.split()[0]}]} if task < 5 else {}
        turns = (Message("user", words(rng, 10, 90)), Message("assistant", answer))
        group = f"group {number // 24}" if task % 2 else None
        rows.append(Example(f"row-{number}", turns, f"rows.jsonl:{number + 1}", group, meta=meta))
    write_split(folder / "test.jsonl", rows)


def words(rng: random.Random, low: int, high: int) -> str:
    letters = "etaoinshrdlu"
    return " ".join("".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(rng.randint(low, high)))


def replies(task: Any, names: Sequence[str], rng: random.Random) -> list[Any]:
    """A reply of every arm to every item: some right, some near, some wide of it."""
    from heedlm.eval.evaluate import scored
    from heedlm.eval.log import Item

    found = []
    for example in task.examples:
        for place, arm in enumerate(names):
            right = rng.random() < 0.3 + 0.15 * place
            reply = example.messages[-1].content if right else words(rng, 5, 80)
            prompt = example.messages[0].content
            item = Item(example.id, task.name, arm, prompt, reply, "stop", 0.0, "", 0.01, model=f"model {arm}")
            found.append(scored(item, task, example))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smoke run on a tiny model; nothing is claimed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, help="runs of each side (default 3)")
    parser.add_argument("--items", type=int, help="items of each task (default 32)")
    parser.add_argument("--shape", choices=sorted(common.SHAPES), help="another model than the usual one")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    size = SMOKE if given.quick else WHOLE
    size = size._replace(runs=given.runs or size.runs, items=given.items or size.items, shape=given.shape or size.shape)
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = speed(size, Path(folder), given.threads, given.seed)
            result |= report_of(size.logged, Path(folder), given.seed) | {"runs": size.runs}
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    first = (
        "ratio_choice",
        "ratio_generate",
        "score_difference",
        "likelihood_difference",
        "report_seconds",
        "report_bytes",
    )
    ordered = {key: result[key] for key in (*first, "runs")} | result
    common.finish("eval", ordered, began=began, threads=given.threads, smoke=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
