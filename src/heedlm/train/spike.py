"""The rule by which a run that diverges is told from one that is merely noisy."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from heedlm.train.rowlog import RowLoss

WINDOW = 20  # calm steps whose median is the level
PATIENCE = 5  # steps above the limit, in a row, that are no accident
NATS = 2.0  # a rise that is large whatever the level: e^2 times less probability for the average token


class Spike:
    """Hears the loss of every step and says when `PATIENCE` in a row are above the limit.

    limit: `factor` x level, and at least level + `NATS`; level: the median of the last `WINDOW` steps below it. A rule in
    standard deviations stops small runs for one hard batch: their losses vary little until they do. The factor guards
    runs with a high level (pretraining), the distance those with a low one (the third epoch of a small set). Steps above
    the limit do not enter the level, a slow drift does: that is not what this rule is for, validation shows it.
    """

    def __init__(self, factor: float | None) -> None:
        self._factor = factor
        self._calm: deque[float] = deque(maxlen=WINDOW)
        self.level = 0.0
        self.steps: list[int] = []
        self.rows: Sequence[RowLoss] = ()  # of the first batch above the limit: with it the rise began

    def after(self, step: int, loss: float, rows: Sequence[RowLoss] = ()) -> bool:
        """Whether the run should stop."""
        if self._factor is None:
            return False
        if self._calm and loss > max(self._factor * self.level, self.level + NATS):
            self.rows = self.rows if self.steps else rows
            self.steps.append(step)
            return len(self.steps) >= PATIENCE
        self.steps.clear()
        self._calm.append(loss)
        self.level = median(self._calm)
        return False
