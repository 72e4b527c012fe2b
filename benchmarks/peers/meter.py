"""What every worker measures, in any environment: seconds, tokens and memory of each step. Standard library, and torch for CUDA.

A worker is a script that gets the path of a specification (JSON), trains a few steps with one tool and writes a report
(JSON) to `out`. It runs in a process of its own, because memory is measured as the largest resident size of the process:
`VmHWM` of /proc/self/status, which writing 5 to /proc/self/clear_refs sets back to the present size (proc(5)).
On a GPU it is the largest allocated size instead.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def read_spec() -> dict[str, Any]:
    """The specification whose path is the worker's only argument."""
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf8"))
    return spec


def write_report(spec: dict[str, Any], report: dict[str, Any]) -> None:
    Path(spec["out"]).write_text(json.dumps(report), "utf8")


def read_pairs(spec: dict[str, Any]) -> list[dict[str, str]]:
    """The rows as every tool is given them: {"prompt", "completion"}."""
    text = Path(spec["pairs"]).read_text("utf8")
    return [json.loads(line) for line in text.split("\n") if line]


def versions(*names: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def digest(sequences: Iterable[tuple[Sequence[int], Sequence[bool]]]) -> dict[str, Any]:
    """What a tool is going to learn, whatever the order of its rows: counts, and a hash of all ids and learned marks.

    sequences: ids, and for each id whether it is learned. A first token has no predecessor and is never counted.
    """
    hashes, tokens, learned = [], 0, 0
    for ids, marks in sequences:
        flags = [False, *map(bool, marks[1:])]
        hashes.append(hashlib.sha256(json.dumps([list(ids), flags]).encode()).hexdigest())
        tokens += len(ids)
        learned += sum(flags)
    whole = hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()
    return {"rows": len(hashes), "tokens": tokens, "learned": learned, "sha": whole}


class Meter:
    """Call `before_model`, load and set up, `start`, then `step` at the end of every step."""

    def __init__(self, device: str = "cpu") -> None:
        self.cuda = device.startswith("cuda")
        self.steps: list[dict[str, Any]] = []
        self.level = self.peak = 0
        self._clock = 0.0

    def before_model(self) -> None:
        """Everything is imported and the rows are read: from here on memory is the tool's."""
        self.level = self._size()
        self._reset()

    def start(self) -> None:
        """The first step begins; what loading needed stays in `peak`."""
        self._take_peak()
        self._clock = self._now()

    def step(self, tokens: int, learned: int, **numbers: float | None) -> None:
        """A step has ended: its real tokens, those learned from, and whatever the tool says of it (loss, grad_norm, lr)."""
        now = self._now()
        self.steps.append(
            {
                "tokens": int(tokens),
                "learned": int(learned),
                "seconds": now - self._clock,
                "peak": self._take_peak(),
                **numbers,
            }
        )
        self._clock = self._now()

    def report(self) -> dict[str, Any]:
        """Bytes: `level` before the model was loaded, `peak` the largest since; each step has its own peak."""
        return {"level": self.level, "peak": self.peak, "steps": self.steps}

    def _now(self) -> float:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def _size(self) -> int:
        if self.cuda:
            import torch

            return torch.cuda.memory_allocated()
        return _status("VmRSS")

    def _take_peak(self) -> int:
        """The largest size since the last call."""
        if self.cuda:
            import torch

            peak = torch.cuda.max_memory_allocated()
        else:
            peak = _status("VmHWM")
        self._reset()
        self.peak = max(self.peak, peak)
        return peak

    def _reset(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: memory is measured on Linux only")
