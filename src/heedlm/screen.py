"""Where a command writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from heedlm.launch import launched

if TYPE_CHECKING:
    from heedlm.train.stage import Observer


class Screen:
    """One command's output. as_json: the result as one JSON object.   quiet: the result and nothing else.

    speaks: whether anything is written; of several processes only the first one does, unless told otherwise.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False, speaks: bool | None = None) -> None:
        self.speaks = launched().first if speaks is None else speaks
        self.out = Console(highlight=False, quiet=not self.speaks)
        self.err = Console(stderr=True, highlight=False, quiet=not self.speaks)
        self.as_json = as_json
        self.quiet = quiet

    def say(self, line: str) -> None:
        if not self.quiet:
            self.err.print(Text(line, style="dim"), soft_wrap=not self.err.is_terminal)

    def warn(self, line: str) -> None:
        """What nobody may miss, quiet or not: a run that was finished before, a checkpoint that was passed over."""
        self.err.print(Text(line, style="yellow"), soft_wrap=True)

    def refuse(self, *problems: object) -> None:
        """Problems, unbroken: paths and commands in them are there to be copied."""
        for problem in problems:
            self.err.print(Text(str(problem), style="red"), soft_wrap=True)

    def result(self, value: Any, *shown: Any) -> None:
        """`value` as one JSON object, or what is `shown` to people; text that must not be wrapped stays in one piece."""
        if not self.speaks:
            return
        if self.as_json:
            sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False) + "\n")
        else:
            for one in shown:
                self.out.print(one, soft_wrap=isinstance(one, Text) and (bool(one.no_wrap) or not self.out.is_terminal))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),  # last: it is what a narrow terminal can do without
        )
        hidden = self.quiet or not self.speaks or not self.err.is_terminal  # in a pipe bars are nothing but empty lines
        with Progress(*columns, console=self.err, transient=True, disable=hidden) as bars:
            yield bars

    @contextmanager
    def observer(self, title: str) -> Iterator[Observer]:
        """Live progress of training: loss, speed and the time that is left."""
        from heedlm.train.meter import Meter
        from heedlm.train.stage import Observer

        with self.progress() as bars:
            task = bars.add_task(title, total=None, note="")
            scores: list[float] = []  # of the model in the making, where it is scored

            def hear(record: Mapping[str, Any]) -> None:
                if record["kind"] == "score":
                    scores.append(record["score"])

            def step(number: int, of: int, report: Any) -> None:
                speed = report.tokens / max(report.seconds, 1e-9)
                score = f"  score {scores[-1]:.3f}" if scores else ""
                note = f"step {number:,}/{of:,}  loss {report.loss:.3f}{score}  {speed:,.0f} tokens/s"
                bars.update(task, completed=number, total=of, note=note)

            def panel(number: int, answers: Sequence[Any]) -> None:
                for answer in answers:
                    prompt, reply, target = _cut(answer.prompt, 50), _cut(answer.reply, 70), _cut(answer.target, 70)
                    self.say(f"  {answer.split:<5} {prompt!r} -> {reply!r} (row: {target!r})")

            yield Observer(self.say, step, panel, self.warn, sinks=(hear,), gauge=Meter)


def _cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def bar_per_arm(bars: Progress) -> Callable[[str, int, int], None]:
    """One progress bar per arm, made when the arm is first heard of."""
    tasks: dict[str, Any] = {}

    def hear(arm: str, done: int, of: int) -> None:
        if arm not in tasks:
            from heedlm.eval.words import arm_name

            tasks[arm] = bars.add_task(f"asking {arm_name(arm)}", total=of, note="")
        bars.update(tasks[arm], completed=done, total=of)

    return hear


def _plain(value: Any) -> Any:
    """Dataclasses, named tuples and paths as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(inner) for key, inner in asdict(value).items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: _plain(inner) for key, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
