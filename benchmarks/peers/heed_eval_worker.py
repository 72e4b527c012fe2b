"""heed's run of some tasks of a suite: the seconds in which it asks, scores and logs, and every item's figures.

Specification: model (folder), tasks {name: anything}, suite, threads, work, out. Report: {"seconds": {task: s}, "items":
{task: [{"prompt", "sums", "reply", "score"}]}}.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from meter import read_spec, write_report

from heedlm.eval.arms import bare
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.suites.read import read_suite
from heedlm.generate.chat import load_chat
from heedlm.messages import Sampling


def main() -> None:
    spec = read_spec()
    torch.set_num_threads(spec["threads"])
    tasks = [one.task for one in read_suite(Path(spec["suite"])).tasks if one.task.name in spec["tasks"]]
    chat = load_chat(spec["model"], device="cpu")
    sums: dict[str, list[float]] = {}
    score = chat.score

    def remembered(requests: Any, continuations: Any) -> Any:
        found = score(requests, continuations)
        for request, one in zip(requests, found, strict=True):
            sums.setdefault(str(request.text), []).append(math.fsum(one))
        return found

    chat.score = remembered  # type: ignore[method-assign]
    work = Path(spec["work"])
    shutil.rmtree(work, ignore_errors=True)
    seconds: dict[str, float] = {}
    items: dict[str, list[dict[str, Any]]] = {}
    for warm, task in enumerate([replace(tasks[0], examples=tasks[0].examples[:1]), *tasks]):
        sums.clear()
        began = time.perf_counter()
        answered = run_arm([task], Arm("heed", chat, bare), Sampling(), log=work / f"{warm}.jsonl")
        seconds[task.name] = time.perf_counter() - began
        items[task.name] = [
            {"prompt": item.prompt, "sums": sums.get(item.prompt, []), "reply": item.reply, "score": item.score}
            for item in answered
        ]
    write_report(spec, {"seconds": seconds, "items": items})


if __name__ == "__main__":
    main()
