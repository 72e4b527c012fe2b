"""A model of which we know what helps it: the chance of a right answer is a sum of planted effects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from statistics import NormalDist

from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import Block, Input, Instruction, Output, Shot
from heedlm.instructions.optimize.ledger import fingerprint
from heedlm.instructions.optimize.splits import Split

_NORMAL = NormalDist()
_ALIKE = 0.6  # correlation of two candidates on one item

SEED = Instruction(
    name="seed",
    blocks=(
        Block("role", "role", "You sort mail.", variants={"clerk": "You are a clerk who sorts mail with care."}),
        Block("task", "task", "Choose one queue.", frozen=True),
        Block("tone", "tone", "Be merry and rhyme."),
        Block("rules", "constraints", "- Use one word.\n- Tell a joke first.\n- Never say why."),
        Block("data", "data", "{{ ticket }}", role="user", turn=1),
    ),
    inputs=(Input("ticket", required=True, trust="data"),),
    outputs=(Output("queue", required=True),),
)
POOL = tuple(Shot({"ticket": f"ticket {i}"}, f"queue {i % 3}") for i in range(12))


def features(one: Candidate) -> dict[str, bool]:
    """What the planted effects look at."""
    ins = one.instruction
    texts = {block.id: block.text for block in ins.blocks}
    return {
        "xml": (one.layout.notation or ins.notation) == "xml",
        "format": bool(ins.of_kind("output_format")),
        "clerk": "clerk" in texts.get("role", ""),
        "no tone": "tone" not in texts,
        "no joke": "joke" not in texts.get("rules", ""),
        "four shots": len(ins.shots) >= 4,
        "exact": "Be exact." in texts.get("rules", ""),
    }


def chance(one: Candidate, effects: dict[str, float], base: float) -> float:
    return base + sum(effect for name, effect in effects.items() if features(one)[name])


def model(effects: dict[str, float], base: float, seed: int) -> Callable[..., list[list[float]]]:
    """Right or wrong of each candidate on each item: the same each time, alike between candidates on one item."""

    def evaluate(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        rows = []
        for one in candidates:
            limit = _NORMAL.inv_cdf(min(0.999, max(0.001, chance(one, effects, base))))
            key = fingerprint(one)
            row = []
            for item in items:
                shared, own = _normal(f"{seed} {item}"), _normal(f"{seed} {item} {key}")
                row.append(float(_ALIKE**0.5 * shared + (1 - _ALIKE) ** 0.5 * own < limit))
            rows.append(row)
        return rows

    return evaluate


def likelihoods(effects: dict[str, float], base: float, seed: int) -> Callable[..., list[list[float]]]:
    """How likely the right answers are: a sum of planted effects, and what is hard about each item."""

    def evaluate(candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        return [
            [
                min(1.0, max(0.0, chance(one, effects, base) * (1 + 0.3 * noise)))
                for item in items
                for noise in (_ALIKE**0.5 * _normal(f"{seed} {item}") + 0.6 * _normal(f"{seed} {item} {key}"),)
            ]
            for one in candidates
            for key in (fingerprint(one),)
        ]

    return evaluate


def _normal(text: str) -> float:
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
    return _NORMAL.inv_cdf((number + 0.5) / 2**48)


def parts(race: int, dev: int, test: int) -> Split:
    numbers = iter(range(race + dev + test))
    take = lambda count: tuple(next(numbers) for _ in range(count))  # noqa: E731
    return Split((), take(race), take(dev), take(test))
