"""Ctrl-C remembered: an error just after it is its consequence, whatever it looks like."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

_AFTERMATH = 10.0  # seconds; a package that is interrupted while it is imported fails in ways of its own


class Interrupts:
    """Times at which Ctrl-C was pressed since this was made; otherwise Ctrl-C does what it does. Main thread only."""

    def __init__(self) -> None:
        self._pressed: list[float] = []
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._hear)

    def just_now(self) -> bool:
        return bool(self._pressed) and time.monotonic() - self._pressed[-1] < _AFTERMATH

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._pressed.append(time.monotonic())
        raise KeyboardInterrupt
