"""Under which names models are served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def names_of(given: Sequence[str]) -> list[str]:
    """A name for each of the models `given`, short where that tells them apart: a run's own name, a hub id as it is.

    >>> names_of(["runs/first", "Qwen/Qwen3-0.6B", "a/run/model", "b/run/model"])
    ['first', 'Qwen/Qwen3-0.6B', 'a/run', 'b/run']
    """
    short = [_short(name) for name in given]
    found = [one if short.count(one) == 1 else _long(name) for one, name in zip(short, given, strict=True)]
    seen: Counter[str] = Counter()
    unique = []
    for name in found:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return unique


def _short(name: str) -> str:
    path = Path(name)
    if not path.exists():
        # A hub id holds one slash, and is known by both its parts; anything with more is a path.
        return name if name.count("/") < 2 and not name.startswith((".", "/", "~", "runs/")) else _last(path)
    return _last(path)


def _last(path: Path) -> str:
    """The last part that says something: the result of every run is called `model`."""
    parts = [part for part in path.resolve().parts if part not in ("/", "model")]
    return parts[-1] if parts else "model"


def _long(name: str) -> str:
    return str(Path(name)).removesuffix("/model")
