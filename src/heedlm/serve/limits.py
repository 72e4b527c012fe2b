"""How much one client may ask for in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

_FORGET = 10_000  # clients that are remembered; the one seen longest ago makes room


class Allowance:
    """So many units in a minute for each client, refilled evenly; None for no limit.

    A unit may be a request or a token. What is used is known only afterwards for tokens: a client in debt waits.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # what is left, as of when

    def wait(self, client: str) -> float:
        """Seconds until the client may go on; 0.0 where it may now."""
        if self._per_minute is None:
            return 0.0
        left = self._now(client)
        return 0.0 if left >= 1 else (1 - left) * 60 / self._per_minute

    def use(self, client: str, units: int = 1) -> None:
        """Take units from what is left, below nothing if need be."""
        if self._per_minute is None:
            return
        left = self._now(client) - units
        self._left.pop(client, None)
        self._left[client] = (left, self._clock())
        while len(self._left) > _FORGET:
            self._left.pop(next(iter(self._left)))

    def _now(self, client: str) -> float:
        assert self._per_minute is not None, "without a limit nothing is counted"
        left, then = self._left.get(client, (float(self._per_minute), self._clock()))
        return min(float(self._per_minute), left + (self._clock() - then) * self._per_minute / 60)
