"""Dividing examples into train, val and test so that nothing asked in one is answered in another.

Examples are divided by group: the row's `group`, else its opening question. A group's side depends on its name and the
seed alone, so rows added later move nobody. `prove` counts again, without trusting the division.
"""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from heedlm.errors import HeedError
from heedlm.messages import Example, Message

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, Any]

Side = Literal["train", "val", "test"]
SIDES: tuple[Side, ...] = (
    "train",
    "val",
    "test",
)  # the later, the better protected: a shared question stays with the later side

_CODE: Mapping[Side | None, int] = {None: -1, **{side: code for code, side in enumerate(SIDES)}}


class Keys(NamedTuple):
    """64-bit names. group: examples that must stay together.   prompt: all that is given before the last answer."""

    group: int
    prompt: int


class KeyList(Sequence[Keys]):
    """Keys of many examples, sixteen bytes each."""

    def __init__(self) -> None:
        self.groups, self.prompts = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> Keys: ...
    @overload
    def __getitem__(self, index: slice) -> list[Keys]: ...
    def __getitem__(self, index: int | slice) -> Keys | list[Keys]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        return Keys(self.groups[index], self.prompts[index])

    def append(self, key: Keys) -> None:
        self.groups.append(key.group)
        self.prompts.append(key.prompt)

    def chosen(self, indices: Iterable[int]) -> KeyList:
        """The keys of these examples."""
        found = KeyList()
        for index in indices:
            found.groups.append(self.groups[index])
            found.prompts.append(self.prompts[index])
        return found


def sizes_of(keys: KeyList, indices: Iterable[int]) -> list[int]:
    """How many of these examples each group has, in no order."""
    import numpy as np

    sizes: list[int] = np.unique(np.array(keys.chosen(indices).groups, np.uint64), return_counts=True)[1].tolist()
    return sizes


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
    keys: Sequence[Keys],
    *,
    val: float,
    test: float,
    seed: int,
    fixed: Sequence[Side | None] | None = None,
    sources: Sequence[int] | None = None,
) -> Division:
    """Give every example a side.

    val, test: share of the groups, each in 0..1 and together below 1. With at least three free groups, a side that was
    asked for gets at least one, and so does train.   fixed: sides already given (a val or test file), else None.
    sources: the number of the source of each example; one so large that its share is a group has one on each side.
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
    import numpy as np

    groups, prompts = _columns(keys)
    given = (
        np.fromiter((_CODE[side] for side in fixed), np.int8, len(keys)) if fixed else np.full(len(keys), -1, np.int8)
    )
    names, place = np.unique(groups, return_inverse=True)
    held = np.full(len(names), -1, np.int8)  # the best protected side that a group is fixed on
    np.maximum.at(held, place, given)
    codes = held.copy()
    origins = np.full(len(names), np.iinfo(np.int64).max)  # of each group, the first source that has it
    np.minimum.at(origins, place, np.zeros(len(keys), np.int64) if sources is None else np.asarray(sources, np.int64))
    codes[held < 0] = _codes_of_groups(names[held < 0], origins[held < 0], val, test, seed)
    sides = np.where((given < 0) & (held[place] < 0), codes[place], np.maximum(given, 0))
    leaks = _leaks(prompts, sides, held[place])
    return Division(
        [SIDES[code] for code in sides.tolist()], [SIDES[code] if code >= 0 else None for code in leaks.tolist()]
    )


def _columns(keys: Sequence[Keys]) -> tuple[Numbers, Numbers]:
    """Groups and prompts of all keys."""
    import numpy as np

    if isinstance(keys, KeyList):
        return np.array(keys.groups, np.uint64), np.array(keys.prompts, np.uint64)
    groups = np.fromiter((key.group for key in keys), np.uint64, len(keys))
    return groups, np.fromiter((key.prompt for key in keys), np.uint64, len(keys))


def _codes_of_groups(groups: Numbers, origins: Numbers, val: float, test: float, seed: int) -> Numbers:
    """Each group lands on a point of 0..1; test takes the lowest, val the next, train the rest."""
    import numpy as np

    points = np.fromiter((_point(group, seed) for group in groups.tolist()), np.float64, len(groups))
    num_test = int((points < test).sum())
    num_held = int((points < test + val).sum())  # test and val together
    if (
        len(points) >= 3
    ):  # few groups: each side that was asked for takes the nearest, so that later rows move as little as can be
        num_test = max(num_test, 1) if test else 0
        num_held = min(max(num_held, num_test + 1) if val else num_test, len(points) - 1)
        num_test = min(num_test, num_held - 1 if val else num_held)
    codes = np.zeros(len(points), np.int8)
    order = np.lexsort((groups, points))
    codes[order[:num_held]] = _CODE["val"]
    codes[order[:num_test]] = _CODE["test"]
    asked: dict[Side, float] = {"test": test, "val": val}
    together = np.lexsort((groups, points, origins))
    for own in np.split(
        together, np.flatnonzero(np.diff(origins[together])) + 1
    ):  # groups of a source, by their points
        for side, share in asked.items():
            free = own[codes[own] == _CODE["train"]]
            if share * len(own) >= 1 and len(free) > 1 and not (codes[own] == _CODE[side]).any():
                codes[free[0]] = _CODE[side]
    return codes


def _leaks(prompts: Numbers, sides: Numbers, held: Numbers) -> Numbers:
    """The side that holds the group or the prompt of each example better than its own does, or -1."""
    import numpy as np

    names, place = np.unique(prompts, return_inverse=True)
    asked = np.full(len(names), -1, np.int8)
    own = (held < 0) | (held == sides)
    np.maximum.at(asked, place[own], sides[own])
    owner = np.maximum(held, np.where(asked[place] < 0, sides, asked[place]))
    return np.where(owner == sides, -1, owner)


def prove(keys: Sequence[Keys], sides: Sequence[Side]) -> Proof:
    """Count groups and prompts that stand on two sides among the examples that stay."""
    import numpy as np

    codes = np.fromiter((_CODE[side] for side in sides), np.int8, len(sides))
    counted = []
    for column in _columns(keys):
        names, place = np.unique(column, return_inverse=True)
        lowest, highest = np.full(len(names), len(SIDES), np.int8), np.full(len(names), -1, np.int8)
        np.minimum.at(lowest, place, codes)
        np.maximum.at(highest, place, codes)
        counted.append((len(names), int((lowest != highest).sum())))
    (groups, split_groups), (_, split_prompts) = counted
    return Proof(groups, split_groups, split_prompts)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _point(group: int, seed: int) -> float:
    """A number in 0..1 (1 excluded) that depends on the group and the seed alone."""
    mixed = hashlib.blake2b(f"{seed} {group}".encode(), digest_size=8).digest()
    return (int.from_bytes(mixed, "big") >> 11) / (1 << 53)
