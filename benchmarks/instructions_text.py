"""Instructions before any model is asked: how fast they compile and are linted, and whether a value ever becomes structure.

    .venv/bin/python benchmarks/instructions_text.py            100,000 forged values, each in eight places; some 4 minutes
    .venv/bin/python benchmarks/instructions_text.py --quick    a smoke run

Compiling is to messages, with the instruction read before, new values each time and the survival proof on. The linter reads
100 files that differ, from disk. Forged values and the reader that looks for structure behind them are those of the tests
(tests/instructions/forging.py). Each value goes into two instructions, one as most are written and one that puts values
where they do most harm: in turn through all combinations of notation, marks and format (messages and seven more). Every
core takes a part of the values; parts have seeds of their own, so that the values do not depend on the number of cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import common
from common import say

ROOT = Path(__file__).resolve().parents[1]
LINTED = 100
PLACES = 8  # in which each value is compiled
PART = 2500  # values of one process at a time


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


class Part(NamedTuple):
    """Values that one process compiles."""

    seed: str
    count: int


def escapes_of(part: Part) -> tuple[int, Counter[str]]:
    """How often a value of a part was compiled, and the places where one changed the structure."""
    sys.path.insert(0, str(ROOT))
    from heedlm.instructions.frame import FORMATS, MESSAGES, frame_for
    from tests.instructions.forging import CROWDED, FILE, cases, escapes, forged

    draw = random.Random(part.seed)
    values = [forged(draw) for _ in range(part.count)]
    frames = [frame_for("atlas", name) for name in FORMATS if name != MESSAGES]
    found: Counter[str] = Counter()
    for file, each in ((FILE, 3), (CROWDED, 1)):
        for given in (cases([None], file), cases(frames, file)):
            found += Counter(name for name, _ in escapes(values, given, each=each))
    return PLACES * part.count, found


def escaped(size: Size, seed: int) -> tuple[int, Counter[str]]:
    """As `escapes_of`, for all values, on all cores."""
    parts = [Part(f"{seed}-{at}", min(PART, size.values - at)) for at in range(0, size.values, PART)]
    tried, found = 0, Counter[str]()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for done, names in pool.map(escapes_of, parts):
            tried, found = tried + done, found + names
    return tried, found


def measured(count: int, seed: int = 0) -> dict[str, Any]:
    """The figures of this room for another benchmark. count: forged values.

    compile_per_second: the median of the runs.   lint_seconds_100: the same.   escapes: compiled texts in which a value
    changed the structure.   fuzzed: forged values.   tried: compiled texts that were looked at, several of each value.
    The other keys say how far the runs lie apart. Fewer than 1,000 values are a smoke run, of the other figures too.
    """
    quick = count < 1000
    found = measure(Size(QUICK.compiled if quick else FULL.compiled, QUICK.runs if quick else FULL.runs, count), seed)
    return {**found, "fuzzed": count}


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
    common.finish("instructions_text", result, began=began, threads=os.cpu_count() or 1, smoke=given.quick)


if __name__ == "__main__":
    main()
