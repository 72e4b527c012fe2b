"""One thread that decodes for many callers.

Callers of any thread hand in jobs and take them back; the thread owns the models and their running batches. Models that
share weights (adapters on one base) are lanes of their own: the weights are switched between two passes, never in one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from heedlm.generate.engine import Engine, Job
from heedlm.generate.passes import serving

Ended = Callable[[BaseException | None], None]


@dataclass(slots=True, eq=False)
class Lane:
    """A running batch, and what makes its model ready for a pass.

    ready: called before a pass that follows one of another lane.
    """

    engine: Engine
    ready: Callable[[], None] = lambda: None
    jobs: dict[int, tuple[Job, Ended]] = field(default_factory=dict)  # by the identity of the job


class Worker:
    """A thread at work for `lanes`; between `start` and `close`.

    after_pass: called in the thread after every pass, and whenever jobs have ended.
    """

    def __init__(self, lanes: Sequence[Lane], after_pass: Callable[[], None] = lambda: None) -> None:
        self._lanes = list(lanes)
        self._after_pass = after_pass
        self._orders: deque[Callable[[], None]] = deque()
        self._tasks: deque[tuple[Lane, Callable[[], None]]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="heed-decode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, lane: Lane, job: Job, ended: Ended) -> None:
        """Decode a job. ended(None) is called in the thread when it is done, ended(error) when a pass failed."""

        def order() -> None:
            lane.jobs[id(job)] = (job, ended)
            lane.engine.add(job)

        self._give(order)

    def cancel(self, lane: Lane, job: Job) -> None:
        """Take a job out; its place is free at the next pass. Its `ended` is not called any more."""

        def order() -> None:
            if lane.jobs.pop(id(job), None) is not None:
                lane.engine.drop(job)

        self._give(order)

    def run(self, lane: Lane, task: Callable[[], None]) -> None:
        """Do something else with a lane's model, between two passes. The task raises nothing."""
        self._give(lambda: self._tasks.append((lane, task)))

    def close(self, timeout: float | None = None) -> None:
        """End the thread after the pass it is in; what is unfinished is lost."""
        self._closing = True
        self._give(lambda: None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _give(self, order: Callable[[], None]) -> None:
        with self._wake:
            self._orders.append(order)
            self._wake.notify()

    def _work(self) -> None:
        active: Lane | None = None
        with ExitStack() as stack:
            for model in {id(lane.engine.model): lane.engine.model for lane in self._lanes}.values():
                stack.enter_context(serving(model))
            while not self._closing:
                with self._wake:
                    while not self._orders and not any(lane.engine.busy for lane in self._lanes):
                        self._wake.wait()
                    orders, self._orders = self._orders, deque()
                for order in orders:
                    order()
                while self._tasks and not self._closing:
                    lane, task = self._tasks.popleft()
                    if lane is not active:
                        lane.ready()
                    active = lane
                    task()
                for lane in self._lanes:
                    if lane.engine.busy and not self._closing:
                        self._pass(lane, switch=lane is not active)
                        active = lane

    def _pass(self, lane: Lane, *, switch: bool) -> None:
        """One pass of one lane. A pass that fails (no memory left) ends the jobs of its lane, not the thread."""
        try:
            if switch:
                lane.ready()
            finished = lane.engine.step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
            lane.engine.clear()
            for _, ended in lane.jobs.values():
                ended(error)
            lane.jobs.clear()
        else:
            for job in finished:
                _, ended = lane.jobs.pop(id(job))
                ended(None)
        self._after_pass()
