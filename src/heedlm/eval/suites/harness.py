"""Tasks of lm-eval, by name or from a YAML file of theirs, as tasks of ours: asked and reported like any other."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.eval.scorers.registry import make_scorer
from heedlm.eval.scorers.scorer import Kind, Options, Scorer
from heedlm.eval.suites.items import ASKING
from heedlm.eval.suites.suite import Form, in_form
from heedlm.messages import Example, Message, Reply, Score, Task

_SHOTS_SEED = 1234  # lm-eval's own, so that the examples before a question are the same
_SHARES = ("acc", "exact_match")
_PER = {"acc": "text", "acc_bytes": "byte"}  # of choices: what lm-eval divides a log-probability by


def read_harness(name: str, spec: str, where: str, folder: Path, metric: str | None) -> Task:
    """The task that lm-eval calls `spec`, or that stands in a YAML file, which may lie in `folder`.

    metric: the one to score by; by default the first of the task. Questions are lm-eval's texts with its solved examples,
    asked as plain text in every arm. Raises HeedError at `where`: lm-eval or the data is not there, no such task or
    metric, a task of a sort that is not asked here (perplexity, several inputs, pictures).
    """
    task = _load(spec, where, folder)
    kind = task.OUTPUT_TYPE
    if kind not in ("multiple_choice", "generate_until") or getattr(task, "multiple_input", False):
        mend = "take a task of multiple_choice or generate_until with one input"
        raise HeedError(f"lm-eval's task {spec!r} is of a sort that is not asked here: {kind}", where, mend)
    known = [*task._metric_fn_list]
    chosen = metric or next((one for one in known if kind != "multiple_choice" or one in _PER), known[0])
    if chosen not in known or (kind == "multiple_choice" and chosen not in _PER):
        usable = [one for one in known if kind != "multiple_choice" or one in _PER]
        raise HeedError(
            f"lm-eval's task {spec!r} is not scored by {chosen!r} here", where, f"known: {', '.join(usable)}"
        )
    task.set_fewshot_seed(seed=_SHOTS_SEED)
    docs = list(task.eval_docs)
    made = _choices if kind == "multiple_choice" else _texts
    examples = tuple(in_form(example, Form({})) for example in made(task, docs, f"{where} ({spec})"))
    scorer = (
        make_scorer({"type": "likelihood", "per": _PER[chosen]}) if kind == "multiple_choice" else _scorer(task, chosen)
    )
    return Task(name, name, examples, scorer, False)


def _load(spec: str, where: str, folder: Path) -> Any:
    """One task of lm-eval. Its list of all tasks (thousands) is never read."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import lm_eval.tasks
            from lm_eval.tasks import TaskManager
    except ImportError:
        raise HeedError("A task of lm-eval needs lm-eval.", where, "pip install 'heedlm[eval]'") from None
    is_file = spec.endswith((".yaml", ".yml"))
    path = folder / spec if is_file else _by_name(spec, Path(lm_eval.tasks.__file__).parent)
    if path is None or not path.is_file():
        mend = "give the path of a YAML file of lm-eval, or the exact name of one of its tasks (lm_eval ls tasks)"
        raise HeedError(f"lm-eval has no task {spec!r}", where, mend)
    quiet = logging.getLogger("lm_eval")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns of every default that it takes
    try:
        found = TaskManager(include_defaults=False).load(str(path))
    except Exception as error:  # noqa: BLE001 - a file of the user's, and data that is fetched: anything can go wrong
        what = f"lm-eval cannot load {spec!r}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise HeedError(what, where, "mend the file, or fetch its data where the network is, into the cache") from None
    finally:
        quiet.setLevel(level)
    tasks = list(found["tasks"].values())
    if len(tasks) != 1 or found["groups"]:
        raise HeedError(f"{spec!r} is a group of {len(tasks)} tasks", where, "name one of them")
    return tasks[0]


def _by_name(name: str, folder: Path) -> Path | None:
    """The file of a task that comes with lm-eval: called as the task is, else the one that says so."""
    every = sorted(folder.rglob("*.yaml"))
    for path in [path for path in every if path.stem == name] + every:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if any(line.strip() == f"task: {name}" for line in path.read_text(encoding="utf-8").splitlines()[:40]):
                return path
    return None


def _context(task: Any, doc: Mapping[str, Any]) -> str:
    return str(task.fewshot_context(doc, task.config.num_fewshot or 0))


def _example(task: Any, number: int, question: str, answer: str, source: str, meta: Mapping[str, Any]) -> Example:
    turns = (Message("user", question), Message("assistant", answer))
    return Example(f"{task.task_name}-{number}", turns, source, meta=meta)


def _choices(task: Any, docs: Sequence[Any], where: str) -> Iterator[Example]:
    for number, doc in enumerate(docs):
        choices, gold = [str(one) for one in task.doc_to_choice(doc)], task.doc_to_target(doc)
        right = [
            choices[one] if isinstance(one, int) else str(one) for one in (gold if isinstance(gold, list) else [gold])
        ]
        question = _context(task, doc)
        lead = "" if question[-1:].isspace() else " "
        if task.config.target_delimiter != lead:
            what = f"lm-eval parts question and choices by {task.config.target_delimiter!r} here, and we by {lead!r}"
            raise HeedError(what, where, "give the task target_delimiter: ' '")
        meta = {"choices": choices, "targets": right, ASKING: {"plain": True}}
        yield _example(task, number, question, right[0], where, meta)


def _texts(task: Any, docs: Sequence[Any], where: str) -> Iterator[Example]:
    how = task.config.generation_kwargs or {}
    until = how.get("until") or []
    asking: dict[str, Any] = {"plain": True, "stop": [until] if isinstance(until, str) else list(until)}
    asking |= {"max_tokens": int(how["max_gen_toks"])} if how.get("max_gen_toks") else {}
    asking |= {"temperature": how["temperature"], "seed": 0} if how.get("do_sample") and how.get("temperature") else {}
    for number, doc in enumerate(docs):
        target = task.doc_to_target(doc)
        answer = str(target[0] if isinstance(target, list) and target else target)
        yield _example(task, number, _context(task, doc), answer, where, {"doc": doc, ASKING: asking})


def _scorer(task: Any, metric: str) -> Scorer:
    def judge(example: Example, reply: Reply, options: Options) -> Score:
        """What lm-eval's filters and metric make of the text."""
        from lm_eval.api.instance import Instance

        instance = Instance(request_type="generate_until", doc=example.meta["doc"], arguments=("", {}), idx=0)
        instance.resps = [reply.text]
        ensemble = task._filters[0]
        ensemble.apply([instance])
        found = instance.filtered_resps[ensemble.name]
        value = float(task.process_results(example.meta["doc"], [found])[metric])
        if not 0 <= value <= 1:
            raise ValueError(f"{metric} is {value}, and a score lies between 0 and 1")
        return Score(value, str(found), f"{metric} {value:g}, read {str(found)[:80]!r}")

    about = f"lm-eval's {metric}"
    return Scorer(Kind("lm_eval", about, "accuracy" if metric in _SHARES else metric, judge, target=False), {})
