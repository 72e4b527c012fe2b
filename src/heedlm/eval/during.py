"""Scores of a model in the making: a small suite asked now and then, and what follows from it.

The clock decides when there is time for it, and a clock says something else when a run is repeated. So every decision is
on the disk before anything follows from it, and a run that goes on reads it there: it ends in the same weights.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError
from heedlm.eval import arms
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.suites.asked import answer_limit
from heedlm.messages import Sampling, Task
from heedlm.model.identity import identity
from heedlm.runs import append_jsonl, cut_jsonl, read_jsonl, sync
from heedlm.train.stage import Verdict
from heedlm.train.watch import Judged

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from heedlm.templates.chat import ChatTemplate

VERSION = 1
ITEMS, SHARE = 32, 0.1  # what null stands for in a recipe


@dataclass(frozen=True, slots=True)
class Rules:
    """share: of the time that scoring may take, from its second time on.   chooses: whether the best score says which
    weights are kept.   patience: scores in a row without a better one that end the run; None never does."""

    share: float = SHARE
    chooses: bool = False
    patience: int | None = None


@dataclass(frozen=True, slots=True)
class Exam:
    """The suite of one run; see `train.watch.Exam`.

    notes: a line for each evaluation, what was found or why it was left out.   log: a line for each item of each.
    Lines of `notes` stay when a run goes on from an earlier step; the last one of a step counts.
    """

    tasks: Sequence[Task]
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    notes: Path
    log: Path
    rules: Rules = Rules()
    max_tokens: int = 256
    batch_size: int = 64

    @property
    def chooses(self) -> bool:
        return self.rules.chooses

    def begin(self, *, anew: bool) -> str:
        """Make notes and log ready; what will be done, in words."""
        if anew:
            self.notes.unlink(missing_ok=True)
            self.log.unlink(missing_ok=True)
        cut_jsonl(self.notes, sys.maxsize)  # a line that a kill left without its end
        count = sum(len(task.examples) for task in self.tasks)
        named = ", ".join(task.name for task in self.tasks[:6]) + (", ..." if len(self.tasks) > 6 else "")
        words = f"scores on the way: {count:,} items ({named}) at every evaluation"
        words += f", in at most {self.rules.share:.0%} of the time" if self.rules.share < 1 else ""
        words += "; the best score chooses the model" if self.rules.chooses else ""
        patience = self.rules.patience
        return words + (f"; {patience} in a row without a better one end the run" if patience else "")

    def left_out(self, step: int, seconds: float) -> str:
        """Why the model is not scored at this step, after so many seconds of training; "" where it is."""
        noted = self._noted()
        if step in noted:
            return str(noted[step].get("left_out", ""))
        taken = [float(line["seconds"]) for at, line in noted.items() if at < step and "score" in line]
        whole = sum(taken) + taken[-1] if taken else 0.0
        if whole <= self.rules.share * (seconds + whole):
            return ""
        share = (
            f"{whole / (seconds + whole):.0%} of the time would go into it, train.score_share is {self.rules.share:g}"
        )
        self._note({"step": step, "left_out": share})
        return share

    def ask(self, model: PreTrainedModel, step: int, *, keep: bool) -> dict[str, Any]:
        """Scores of the weights as they are. A failure of all of it is told and stops nothing."""
        from heedlm.generate.chat import LocalChat

        began = time.perf_counter()
        chat = LocalChat(model, self.tokenizer, self.template, name="in the making", batch_size=self.batch_size)
        weights = identity(model, self.template.source) if keep else ""
        arm = Arm(f"step {step}", chat, arms.instruct, weights)
        limits = {task.name: answer_limit(task, self.tokenizer, self.max_tokens) for task in self.tasks}
        how: dict[str, Any] = {"limits": limits, "batch": self.batch_size, "log": self.log if keep else None}
        try:
            items = run_arm(self.tasks, arm, Sampling(max_tokens=self.max_tokens), **how)
        except (HeedError, RuntimeError) as error:  # RuntimeError: a device that has no memory left beside the training
            failed = " ".join(str(error).split())[:300]
            return {"failed": failed, "seconds": round(time.perf_counter() - began, 3)}
        scores = {task.name: [item.score for item in items if item.task == task.name] for task in self.tasks}
        means = {name: sum(found) / len(found) for name, found in scores.items()}
        return {
            "score": round(sum(means.values()) / len(means), 6),
            "tasks": {name: round(mean, 6) for name, mean in means.items()},
            "items": len(items),
            "errors": sum(bool(item.error) for item in items),
            "weights": weights,
            "seconds": round(time.perf_counter() - began, 3),
        }

    def judge(self, step: int, figures: Mapping[str, Any]) -> Judged:
        """What follows from the figures of a step, beside those of the steps before it."""
        if "failed" in figures:
            words = f"step {step:,}: could not be scored: {figures['failed']}"
            self._note({"step": step, "left_out": f"it failed: {figures['failed']}"})
            return Judged(words, Verdict(chooses=self.chooses))
        noted = self._noted()
        again = noted.get(step, {})
        if again.get("weights") != figures["weights"] or not figures["weights"]:
            again = self._note({"step": step, **figures})
        score = float(again["score"])
        before = {at: float(line["score"]) for at, line in noted.items() if at < step and "score" in line}
        best = max(before, key=lambda at: before[at]) if before else step  # of equals the first
        better = score > before.get(best, -1.0)
        since = 0 if better else 1 + sum(at > best for at in before)
        enough = self.rules.patience is not None and since >= self.rules.patience
        words = f"step {step:,}: score {score:.3f} ({_parts(again)})"
        if not better:
            words += f"; the best so far is {before[best]:.3f}, at step {best:,}"
        if enough:
            times = "1 score was" if since == 1 else f"{since} scores in a row were"
            words += f". The run ends here: {times} not above it (train.patience)"
        shown = {key: value for key, value in again.items() if key not in ("version", "step", "weights")}
        return Judged(words, Verdict(shown, self.chooses, score if self.chooses else None, enough))

    def _noted(self) -> dict[int, dict[str, Any]]:
        """Every decision by its step, in the order of steps."""
        kept = read_jsonl(self.notes)
        if other := [line.get("version") for line in kept if line.get("version") != VERSION]:
            what = f"These notes of scores have version {other[0]}, this heed reads {VERSION}."
            raise HeedError(what, str(self.notes), "go on with the heed that wrote them, or name another --run folder")
        found = {int(line["step"]): line for line in kept}
        return dict(sorted(found.items()))

    def _note(self, line: Mapping[str, Any]) -> dict[str, Any]:
        whole = {"version": VERSION, **line}
        append_jsonl(self.notes, whole)
        sync(self.notes)
        return whole


def _parts(figures: Mapping[str, Any]) -> str:
    """The scores of the tasks where there are several, and what stands behind the figure."""
    tasks = figures["tasks"]
    by_task = ", ".join(f"{name} {score:.2f}" for name, score in list(tasks.items())[:6]) if len(tasks) > 1 else ""
    more = f" and {len(tasks) - 6} more" if len(tasks) > 6 else ""
    errors = f", {figures['errors']} without an answer" if figures["errors"] else ""
    return f"{by_task}{more}{'; ' if by_task else ''}{figures['items']} items{errors}, {figures['seconds']:.1f} s"
