"""Where a run's numbers go besides metrics.jsonl: TensorBoard, if it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from heedlm.errors import HeedError
from heedlm.runs import Run
from heedlm.train.stage import Observer


@contextmanager
def behind(observer: Observer, name: Literal["tensorboard"] | None, run: Run) -> Iterator[Observer]:
    """The observer with the sink of this name behind its own; TensorBoard's files are in `run`/tensorboard.

    Raises HeedError where its package is not installed.
    """
    if name is None:
        yield observer
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        mend = "pip install 'heedlm[tensorboard]', or leave train.sink out"
        raise HeedError("TensorBoard is not installed.", "train.sink", mend) from None
    writers: list[Any] = []

    def sink(record: Mapping[str, Any]) -> None:
        if not writers:  # a run that goes on hides what was logged after its checkpoint
            writers.append(SummaryWriter(str(run.root / "tensorboard"), purge_step=record["step"]))
        for key, value in _numbers(record):
            writers[0].add_scalar(f"{record['kind']}/{key}", value, record["step"])

    try:
        yield replace(observer, sinks=(*observer.sinks, sink))
    finally:
        for writer in writers:
            writer.close()


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record with their names, those of a mapping inside it as name/key."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}/{name}", number) for name, number in _numbers(value))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            yield key, value
