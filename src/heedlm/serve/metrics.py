"""Counters of a server, told in the text format that Prometheus reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_HELP = {
    "heed_requests_total": "Requests answered, by route and status.",
    "heed_prompt_tokens_total": "Prompt tokens read.",
    "heed_remembered_tokens_total": "Prompt tokens of them that an earlier request had computed.",
    "heed_completion_tokens_total": "Tokens generated.",
    "heed_gone_total": "Requests whose client left before the end.",
    "heed_first_token_seconds": "From the arrival of a request to its first token.",
    "heed_request_seconds": "From the arrival of a request to its last token.",
    "heed_running": "Replies that are being made.",
    "heed_waiting": "Replies that wait for a place.",
}

Labels = Mapping[str, str]
_Key = tuple[str, tuple[tuple[str, str], ...]]


class Metrics:
    """All counters of one server; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[_Key, float] = {}
        self._times: dict[_Key, list[float]] = {}  # the buckets, then the sum

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + by

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            row = self._times.setdefault(key, [0.0] * (len(_BUCKETS) + 2))
            row[next((at for at, most in enumerate(_BUCKETS) if seconds <= most), len(_BUCKETS))] += 1
            row[-1] += seconds

    def text(self, gauges: Sequence[tuple[str, Labels, float]] = ()) -> str:
        """Everything counted so far, and what `gauges` say now."""
        with self._lock:
            counts = dict(self._counts)
            times = {key: list(row) for key, row in self._times.items()}
        lines: list[str] = []
        _write(lines, "counter", counts, lambda name, labels, value: [f"{name}{_shown(labels)} {value:.15g}"])
        _write(lines, "histogram", times, _histogram)
        now = {(name, tuple(sorted(labels.items()))): value for name, labels, value in gauges}
        _write(lines, "gauge", now, lambda name, labels, value: [f"{name}{_shown(labels)} {value:.15g}"])
        return "\n".join(lines) + "\n"


def _write(
    lines: list[str],
    kind: str,
    values: Mapping[_Key, object],
    show: Callable[..., list[str]],
) -> None:
    named = ""
    for (name, labels), value in sorted(values.items()):
        if name != named:
            lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} {kind}"]
            named = name
        lines += show(name, labels, value)


def _histogram(name: str, labels: tuple[tuple[str, str], ...], row: Sequence[float]) -> list[str]:
    total, lines = 0.0, []
    for most, number in zip((*map(str, _BUCKETS), "+Inf"), row[:-1], strict=True):
        total += number
        lines.append(f"{name}_bucket{_shown((*labels, ('le', most)))} {total:.15g}")
    return [*lines, f"{name}_sum{_shown(labels)} {row[-1]:.9g}", f"{name}_count{_shown(labels)} {total:.15g}"]


def _shown(labels: Sequence[tuple[str, str]]) -> str:
    inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
