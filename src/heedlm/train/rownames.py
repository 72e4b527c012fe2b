"""Training sequences by the name of their row, and their losses by source and by turn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from heedlm.runs import Run
from heedlm.tokens.store import open_split
from heedlm.train.rowlog import RowLoss

SOURCES = 15  # of which the loss is logged apart; a folder may hold thousands
TURNS = 5  # turns of a conversation that are told apart; those from the last of them on count as one


class Names:
    """The rows of a run; see `train.rowlog.RowNames`. Of the sources the `SOURCES` largest are told apart."""

    def __init__(self, run: Run) -> None:
        train, replay = open_split(run.tokens, "train"), open_split(run.tokens, "replay")
        assert train is not None, "a token store holds the training split"
        self._rows, self._file = train, run.data / "train.jsonl"
        with self._file.open(encoding="utf8") as lines:
            self._sources = [json.loads(line)["source"].rpartition(":")[0] for line in lines]
        self._large = {name for name, _ in Counter(self._sources).most_common(SOURCES)}
        self._several = bool(replay) or len(self._large) > 1

    def name(self, sequence: int) -> str:
        """Where a person finds it: `file:line`."""
        return (
            f"{self._file}:{self._rows.row_of(sequence) + 1}" if sequence < len(self._rows) else "a replayed document"
        )

    def figures(self, losses: Sequence[RowLoss]) -> dict[str, Any]:
        """loss_by_source where there are several, or replay; loss_by_turn where a conversation has several."""
        found = {
            "loss_by_source": by_source(losses, self.source) if self._several else {},
            "loss_by_turn": by_turn(losses),
        }
        return {name: means for name, means in found.items() if means}

    def source(self, sequence: int) -> str:
        """The file that its row came from."""
        if sequence >= len(self._rows):
            return "replay"
        source = self._sources[self._rows.row_of(sequence)]
        return source if source in self._large else "others"


def by_source(losses: Sequence[RowLoss], source: Callable[[int], str]) -> dict[str, float]:
    """Mean loss over the learned tokens of each source, in the order of their names."""
    return _means((source(one.row), one.nll, one.tokens) for one in losses)


def by_turn(losses: Sequence[RowLoss]) -> dict[str, float]:
    """Mean loss over the learned tokens of first, second ... turns; nothing where no row has a second one."""
    if not any(one.turns for one in losses):
        return {}
    names = [*map(str, range(1, TURNS)), f"{TURNS}+"]
    return _means(
        (names[min(place, TURNS - 1)], nll, tokens)
        for one in losses
        for place, (nll, tokens) in enumerate(one.turns or ((one.nll, one.tokens),))
    )


def _means(parts: Iterable[tuple[str, float, int]]) -> dict[str, float]:
    """The mean by name of (name, mean, tokens)."""
    sums: dict[str, tuple[float, int]] = {}
    for name, nll, number in parts:
        total, tokens = sums.get(name, (0.0, 0))
        sums[name] = total + nll * number, tokens + number
    return {name: round(total / tokens, 4) for name, (total, tokens) in sorted(sums.items())}
