"""Dividing examples into train, val and test so that nothing asked in one is answered in another.

Examples are divided by group: the row's `group`, else its opening question. A group's side depends on its name and the
seed alone, so rows added later move nobody. `prove` counts again, without trusting the division.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import Example, Message

Side = Literal["train", "val", "test"]
SIDES: tuple[Side, ...] = (
    "train",
    "val",
    "test",
)  # the later, the better protected: a shared question stays with the later side


class Keys(NamedTuple):
    """64-bit names. group: examples that must stay together.   prompt: all that is given before the last answer."""

    group: int
    prompt: int


class Division(NamedTuple):
    """side of each example, and for each example that may not stay there, the side that holds its group or prompt."""

    sides: list[Side]
    leaks: list[Side | None]


class Proof(NamedTuple):
    """Counted afresh over what is kept: groups, identical prompts and near-duplicates found on more than one side.

    near_duplicates_on_two_sides: None where nobody looked for near-duplicates.
    """

    groups: int
    groups_on_two_sides: int
    prompts_on_two_sides: int
    near_duplicates_on_two_sides: int | None = None


def normalise(text: str) -> str:
    """`text` as a question is compared: case folded, compatibility forms joined, white space and closing marks gone."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split()).rstrip(" ?!.:;。？！।")


def opening_question(messages: Sequence[Message]) -> str:
    """What the user says before the first answer, normalised; the system text does not make it another question."""
    said = []
    for message in messages:
        if message.role == "assistant":
            break
        if message.role != "system":
            said.append(normalise(message.content))
    return "\n".join(said)


def keys_of(example: Example) -> Keys:
    """The names by which `divide` knows an example."""
    group = (
        f"group\n{example.group}" if example.group is not None else f"question\n{opening_question(example.messages)}"
    )
    last = max((index for index, message in enumerate(example.messages) if message.role == "assistant"), default=0)
    prompt = "\n".join(f"{message.role}\t{normalise(message.content)}" for message in example.messages[:last])
    return Keys(_hash(group), _hash(prompt))


def divide(
    keys: Sequence[Keys], *, val: float, test: float, seed: int, fixed: Sequence[Side | None] | None = None
) -> Division:
    """Give every example a side.

    val, test: share of the groups, each in 0..1 and together below 1. With at least three free groups, a side that was
    asked for gets at least one, and so does train.   fixed: sides already given (a val or test file), else None.
    An example whose group is fixed on a better protected side, or whose whole prompt stands on one, is a leak: it must
    be left out, and `leaks` names the side that has it.
    """
    for name, share in (("val", val), ("test", test)):
        if not 0 <= share < 1:
            raise HeedError(
                f"share of {name} is {share}, expected at least 0 and below 1",
                f"data.{name}",
                "for example 0.1, or 0 for none",
            )
    if val + test >= 1:
        raise HeedError(
            f"val and test together take {val + test:g} of the rows, nothing is left to train on",
            "data.val, data.test",
            "make their sum smaller than 1",
        )
    given = fixed or [None] * len(keys)
    held: dict[int, Side] = {}
    for key, side in zip(keys, given, strict=True):
        if side is not None:
            held[key.group] = _later(held.get(key.group), side)
    free = {key.group for key, side in zip(keys, given, strict=True) if side is None and key.group not in held}
    chosen = _sides_of_groups(free, val, test, seed)
    sides: list[Side] = [side or chosen.get(key.group, "train") for key, side in zip(keys, given, strict=True)]
    return Division(sides, _leaks(keys, sides, held))


def _sides_of_groups(groups: set[int], val: float, test: float, seed: int) -> dict[int, Side]:
    """Each group lands on a point of 0..1; test takes the lowest, val the next, train the rest."""
    points = sorted((_point(group, seed), group) for group in groups)
    num_test = sum(point < test for point, _ in points)
    num_held = sum(point < test + val for point, _ in points)  # test and val together
    if (
        len(points) >= 3
    ):  # few groups: each side that was asked for takes the nearest, so that later rows move as little as can be
        num_test = max(num_test, 1) if test else 0
        num_held = min(max(num_held, num_test + 1) if val else num_test, len(points) - 1)
        num_test = min(num_test, num_held - 1 if val else num_held)
    return {
        group: "test" if rank < num_test else "val" if rank < num_held else "train"
        for rank, (_, group) in enumerate(points)
    }


def _leaks(keys: Sequence[Keys], sides: Sequence[Side], held: dict[int, Side]) -> list[Side | None]:
    prompts: dict[int, Side] = {}
    for key, side in zip(keys, sides, strict=True):
        if held.get(key.group, side) == side:
            prompts[key.prompt] = _later(prompts.get(key.prompt), side)
    leaks: list[Side | None] = []
    for key, side in zip(keys, sides, strict=True):
        owner = _later(held.get(key.group), prompts.get(key.prompt, side))
        leaks.append(None if owner == side else owner)
    return leaks


def prove(keys: Sequence[Keys], sides: Sequence[Side]) -> Proof:
    """Count groups and prompts that stand on two sides among the examples that stay."""
    groups: dict[int, Side] = {}
    prompts: dict[int, Side] = {}
    split_groups: set[int] = set()
    split_prompts: set[int] = set()
    for key, side in zip(keys, sides, strict=True):
        if groups.setdefault(key.group, side) != side:
            split_groups.add(key.group)
        if prompts.setdefault(key.prompt, side) != side:
            split_prompts.add(key.prompt)
    return Proof(len(groups), len(split_groups), len(split_prompts))


def _later(one: Side | None, other: Side) -> Side:
    return other if one is None or SIDES.index(other) >= SIDES.index(one) else one


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _point(group: int, seed: int) -> float:
    """A number in 0..1 (1 excluded) that depends on the group and the seed alone."""
    mixed = hashlib.blake2b(f"{seed} {group}".encode(), digest_size=8).digest()
    return (int.from_bytes(mixed, "big") >> 11) / (1 << 53)
