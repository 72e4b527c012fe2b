"""Rejection sampling: a teacher that is often wrong, and rows that are always right.

    python examples/best_of_several.py
    python examples/best_of_several.py --model http://127.0.0.1:8000/v1#my-model

Each prompt carries a check. The teacher answers until an answer passes it, six times at most; what passed becomes a row
that `heed prepare` and `heed train` take. Without `--model` the teacher is a class of ten lines that guesses: whatever has
these three methods can be asked.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import heedlm
from heedlm.messages import Reply, Request, Sampling
from heedlm.synth.stage import Synthesis


class Guesser:
    """Adds two numbers, and is off by one half of the time."""

    name = "guesser"

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        return [self._guess(request.messages[-1].content, sampling.seed) for request in requests]

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        raise NotImplementedError("a guess has no probability")

    def _guess(self, asked: str, seed: int) -> Reply:
        one, other = map(int, re.findall(r"\d+", asked))
        off = random.Random(f"{asked} {seed}").choice([0, 0, 1, -1])
        return Reply(f"{one} and {other} make {one + other + off}.")


def prompts(count: int, seed: int) -> list[dict[str, object]]:
    """Sums, each with the check that an answer must pass."""
    chance = random.Random(seed)
    pairs = [(chance.randrange(2, 90), chance.randrange(2, 90)) for _ in range(count)]
    return [
        {"prompt": f"What do {a} and {b} make?", "meta": {"checks": [{"type": "regex", "value": rf"\b{a + b}\b"}]}}
        for a, b in pairs
    ]


def main(arguments: Sequence[str] | None = None) -> Synthesis:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", help="a folder, a run, `atlas` or http://HOST/v1#MODEL; default: a guesser")
    options.add_argument("--out", default="synth/sums", help="the folder of the rows")
    options.add_argument("--count", type=int, default=40)
    given = options.parse_args(arguments)

    Path(given.out).parent.mkdir(parents=True, exist_ok=True)
    data = Path(f"{given.out}-prompts.jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in prompts(given.count, seed=0)), encoding="utf-8")
    done = heedlm.synthesise(
        "best-of", data=data, model=given.model or Guesser(), out=given.out, draws=6, max_tokens=60
    )
    print(f"{done.rows} of {given.count} prompts have an answer that passes; {done.facts['draws']} answers were drawn")
    print("share of prompts that passed, draw by draw:", *(f"{share:.0%}" for share in done.facts["passed_by_draw"]))
    first = json.loads(done.file.read_text(encoding="utf-8").splitlines()[0])
    print(*(turn["content"] for turn in first["messages"]), f"(draw {first['meta']['synth']['draw']})")
    print(f"Next: heed prepare --data {done.file}")
    return done


if __name__ == "__main__":
    main()
