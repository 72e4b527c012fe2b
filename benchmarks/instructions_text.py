"""Instructions before any model is asked: how fast they compile and are linted, and whether a value ever becomes structure.

    .venv/bin/python benchmarks/instructions_text.py            100,000 forged values, each in six places; some 10 minutes
    .venv/bin/python benchmarks/instructions_text.py --quick    a smoke run

Compiling is to messages, with the instruction read before, new values each time and the survival proof on. The linter reads
100 files that differ, from disk. Forged values and the reader that looks for structure behind them are those of the tests
(tests/instructions/forging.py): each value is compiled for four of the notations and marks of messages, and for two of the
chat formats, in turn.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import common
from common import say

ROOT = Path(__file__).resolve().parents[1]
LINTED = 100


class Size(NamedTuple):
    """compiled: instructions in a run.   runs: of which the median counts.   values: forged ones."""

    compiled: int
    runs: int
    values: int


FULL, QUICK = Size(10_000, 5, 100_000), Size(200, 2, 100)


def compile_rates(size: Size) -> list[float]:
    """Compiled in a second, once for each run."""
    from heedlm.instructions.compile import fill, planned
    from heedlm.instructions.format import load

    plan = planned(load("ticket-triage"))
    rates = []
    for run in range(size.runs):
        start = time.perf_counter()
        for number in range(size.compiled):
            fill(plan, {"ticket": f"My card was charged twice for order {number}-{run}; I have waited since Monday."})
        rates.append(size.compiled / (time.perf_counter() - start))
    return rates


def lint_seconds(size: Size) -> list[float]:
    """Seconds for 100 files, once for each run; every run has files of its own, so that nothing is remembered."""
    from heedlm.instructions import library
    from heedlm.instructions.lint.run import lint_file

    names = [name for name in library.names() if name != "house-blocks"]
    found = []
    for run in range(size.runs):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.prompty" for number in range(LINTED)]
            for number, path in enumerate(paths):
                text = library.source(names[number % len(names)])[0]
                path.write_text(
                    text.replace("# Fallback", f"# Goal\nReaders of issue {run}.{number} are served.\n\n# Fallback")
                )
            start = time.perf_counter()
            for path in paths:
                lint_file(path)
            found.append(time.perf_counter() - start)
    return found


def escaped(size: Size, seed: int) -> tuple[int, Counter[str]]:
    """How often a forged value was compiled, and the places where one changed the structure."""
    sys.path.insert(0, str(ROOT))
    from heedlm.instructions.frame import FORMATS, MESSAGES, frame_for
    from tests.instructions.forging import cases, escapes, forged

    draw = random.Random(seed)
    values = [forged(draw) for _ in range(size.values)]
    frames = [frame_for("atlas", name) for name in FORMATS if name != MESSAGES]
    found = Counter(name for name, _ in escapes(values, cases([None]), each=4))
    found += Counter(name for name, _ in escapes(values, cases(frames), each=2))
    return 6 * size.values, found


def measure(size: Size, seed: int = 0) -> dict[str, Any]:
    """The figures of one run."""
    rates, seconds = compile_rates(size), lint_seconds(size)
    say(
        f"compile {statistics.median(rates):,.0f} in a second, lint {statistics.median(seconds):.2f} s for {LINTED} files"
    )
    tried, found = escaped(size, seed)
    for name, count in found.most_common():
        say(f"{count:>6}  {name}")
    return {
        "compile_per_second": round(statistics.median(rates)),
        "lint_seconds_100": round(statistics.median(seconds), 3),
        "escapes": sum(found.values()),
        "tried": tried,
        "values": size.values,
        "compile_spread": [round(min(rates)), round(max(rates))],
        "lint_spread": [round(min(seconds), 3), round(max(seconds), 3)],
        "runs": size.runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; nothing is claimed")
    parser.add_argument("--seed", type=int, default=0, help="of the forged values")
    given = parser.parse_args()
    began = time.perf_counter()
    result = measure(QUICK if given.quick else FULL, given.seed)
    common.finish("instructions_text", result, began=began, threads=1, smoke=given.quick)


if __name__ == "__main__":
    main()
