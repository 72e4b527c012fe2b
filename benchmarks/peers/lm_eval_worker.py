"""lm-eval's own run of some tasks: the seconds in which it asks the model, and every item's figures.

Specification: model (folder), tasks {name: YAML}, batch_size, limits {task: items} (absent: all), threads, out. Report: {"seconds":
{task: s}, "items": {task: [{"prompt", "sums", "reply", "score"}]}, "version"}.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import torch
from meter import read_spec, write_report


def main() -> None:
    spec = read_spec()
    torch.set_num_threads(spec["threads"])
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=spec["model"], device="cpu", dtype="float32", batch_size=spec["batch_size"])
    taken: list[float] = []

    def timed(method: Any) -> Any:
        def run(*given: Any, **how: Any) -> Any:
            began = time.perf_counter()
            found = method(*given, **how)
            taken.append(time.perf_counter() - began)
            return found

        return run

    model.loglikelihood = timed(model.loglikelihood)
    model.generate_until = timed(model.generate_until)
    seconds, items = {}, {}
    for warm, (name, path) in enumerate([next(iter(spec["tasks"].items())), *spec["tasks"].items()]):
        taken.clear()
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[path],
            task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=0,
            limit=spec.get("limits", {}).get(name) if warm else 1,  # the first pass warms up
        )
        samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
        seconds[name], items[name] = sum(taken), [item(sample) for sample in samples]
    write_report(spec, {"seconds": seconds, "items": items, "version": version("lm_eval")})


def item(sample: dict[str, Any]) -> dict[str, Any]:
    choice = "acc" in sample
    return {
        "prompt": sample["arguments"][0][0],
        "sums": [float(found[0][0]) for found in sample["resps"]] if choice else [],
        "reply": "" if choice else str(sample["resps"][0][0]),
        "score": float(sample["acc"] if choice else sample["exact_match"]),
    }


if __name__ == "__main__":
    main()
