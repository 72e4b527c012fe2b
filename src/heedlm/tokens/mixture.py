"""How much of each source is learned in one epoch: seeded draws from its rows, with an account of what is left out.

Within a source every row has a place that follows from the seed and the row's id alone. A cap takes the first rows of that
order, so a larger cap holds all the rows of a smaller one, and no other source moves any. Counts are whole numbers made
with exact fractions. Some forty bytes are held per row, whatever its length.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from heedlm.errors import HeedError, Problem

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, Any]

REASONS = ("cap", "cap_tokens", "epochs", "weight")  # why a row that could be learned is not, in the order they act
_ADDED = re.compile(r"-[0-9a-f]{16}$")  # what `prepare` adds to the id of a row where another has the same


@dataclass(frozen=True, slots=True)
class Portion:
    """How much of one source. weight: its part of the rows against the other weights; None: as much as it has.

    cap, cap_tokens: at most so many of its rows, tokens.   epochs: how often its rows come, 1.5: all, and half of them again.
    """

    weight: float | None = None
    cap: int | None = None
    cap_tokens: int | None = None
    epochs: float = 1.0


ONCE = Portion()


@dataclass(frozen=True, slots=True)
class Mixture:
    """portions: by source; one that is not named gives every row once.   source_of: file -> source, where they differ."""

    portions: Mapping[str, Portion] = field(default_factory=dict)
    source_of: Mapping[str, str] = field(default_factory=dict)

    def source(self, where: str) -> str:
        """The source of a row by its place, "file:line"."""
        file = where.rpartition(":")[0]
        return self.source_of.get(file, file)

    def settings(self) -> str:
        """All that a selection depends on besides rows and seed, as text; empty where nothing is asked for."""
        return repr([sorted(self.portions.items()), sorted(self.source_of.items())]) if self.portions else ""


class Mixed(NamedTuple):
    """times: how often each row comes in one epoch, in the order they were taken in.   accounts: by source (`_account`)."""

    times: Sequence[int]
    accounts: dict[str, dict[str, Any]]


class Stock:
    """What is known of the rows that could be learned, a few numbers for each; rows come one by one."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.sources: dict[str, int] = {}
        self.too_long: dict[str, int] = {}
        self._of, self._tokens, self._learned = array("i"), array("q"), array("q")
        self._places, self._ties = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._of)

    def add(self, source: str, name: str, tokens: int, learned: int) -> None:
        """Take in a row.   name: its id.   tokens, learned: of all its sequences."""
        self._of.append(self.sources.setdefault(source, len(self.sources)))
        self._tokens.append(tokens)
        self._learned.append(learned)
        self._places.append(_place(_ADDED.sub("", name), self._seed))
        self._ties.append(_place(name, self._seed))

    def add_unmeasured(self, source: str, rows: int) -> None:
        """Take in rows of which nothing but the number is known: how many would be drawn, not which."""
        number = self.sources.setdefault(source, len(self.sources))
        for column, value in ((self._of, number), (self._tokens, 0), (self._learned, 0)):
            column.extend(array(column.typecode, [value]) * rows)
        for column in (self._places, self._ties):
            column.extend(array(column.typecode, [0]) * rows)

    def leave_out(self, source: str) -> None:
        """Count a row that is too long to be learned."""
        self.sources.setdefault(source, len(self.sources))
        self.too_long[source] = self.too_long.get(source, 0) + 1

    def columns(self) -> tuple[Numbers, Numbers, Numbers]:
        """Number of the source, tokens and learned tokens of each row."""
        import numpy as np

        return np.asarray(self._of), np.asarray(self._tokens), np.asarray(self._learned)

    def ordered(self, number: int) -> Numbers:
        """The rows of source `number` in the order in which they are drawn."""
        import numpy as np

        rows = np.flatnonzero(np.asarray(self._of) == number)
        found: Numbers = rows[np.lexsort((rows, np.asarray(self._ties)[rows], np.asarray(self._places)[rows]))]
        return found


def _place(name: str, seed: int) -> int:
    """A number that depends on a name and the seed alone."""
    text = f"{seed} {name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


class _Offer(NamedTuple):
    """What a source could give. order: its rows as they are drawn.   rows: of these within its caps.

    draws: rows with repeats, for its epochs.   cut: reason -> the first row of `order` that it leaves out.
    """

    order: Numbers
    rows: int
    draws: int
    cut: list[tuple[str, int]]


def mix(stock: Stock, mixture: Mixture) -> Mixed:
    """Draw one epoch. Raises HeedError with all that cannot be done: a source without rows, a weight that is missing.

    Without weights each source gives its rows within its caps, `epochs` times. With weights the epoch is as large as it
    can be without any source giving more than that: the scarcest gives all of it, the others their part.
    """
    import numpy as np

    _, tokens, learned = stock.columns()
    names = [*stock.sources, *(name for name in mixture.portions if name not in stock.sources)]
    portions = {name: mixture.portions.get(name, ONCE) for name in names}
    offers = {
        name: _offer(stock.ordered(stock.sources.get(name, -1)), tokens, portion) for name, portion in portions.items()
    }
    problems = [*_weights_missing(portions, offers), *_nothing_to_give(portions, offers, tokens)]
    if problems:
        raise HeedError.of(problems)
    times = np.zeros(len(stock), dtype=np.int32)
    given = _weighed(portions, {name: offer.draws for name, offer in offers.items()})
    for name, offer in offers.items():
        passes, rest = divmod(given[name], offer.rows) if offer.rows else (0, 0)
        times[offer.order[: offer.rows]] = passes
        times[offer.order[:rest]] += 1
    total, total_tokens = int(times.sum()), int((times * tokens).sum())
    accounts = {
        name: {
            **_account(offer, times, tokens, learned),
            "too_long": stock.too_long.get(name, 0),
            "asked": {key: value for key, value in asdict(portions[name]).items() if value != getattr(ONCE, key)},
        }
        for name, offer in offers.items()
    }
    for account in accounts.values():
        account["share"] = account["seen"] / total if total else 0.0
        account["token_share"] = account["seen_tokens"] / total_tokens if total_tokens else 0.0
    return Mixed(times.tolist(), accounts)


def _offer(order: Numbers, tokens: Numbers, portion: Portion) -> _Offer:
    import numpy as np

    rows, cut = len(order), []
    if portion.cap is not None and portion.cap < rows:
        rows = portion.cap
        cut.append(("cap", rows))
    if portion.cap_tokens is not None:
        fitting = int(np.searchsorted(np.cumsum(tokens[order[:rows]]), portion.cap_tokens, side="right"))
        if fitting < rows:
            rows = fitting
            cut.append(("cap_tokens", rows))
    draws = max(1, _rounded(_exact(portion.epochs) * rows)) if rows else 0
    if draws < rows:
        cut.append(("epochs", draws))
    return _Offer(order, rows, draws, cut)


def _exact(number: float) -> Fraction:
    """The number that a person wrote: 0.1 is a tenth."""
    return Fraction(repr(number))


def _rounded(number: Fraction) -> int:
    """To the nearest whole number, a half up."""
    return int(number + Fraction(1, 2))


def _weighed(portions: Mapping[str, Portion], draws: Mapping[str, int]) -> dict[str, int]:
    """Rows of each source in one epoch, in proportion to the weights where there are any."""
    weights = {name: _exact(one.weight) for name, one in portions.items() if one.weight is not None}
    if not weights:
        return dict(draws)
    unit = min(draws[name] / weight for name, weight in weights.items())
    return {name: _rounded(unit * weights[name]) if name in weights else 0 for name in draws}


def _weights_missing(portions: Mapping[str, Portion], offers: Mapping[str, _Offer]) -> Iterator[Problem]:
    weighed = [name for name, one in portions.items() if one.weight is not None]
    for name, one in portions.items():
        if weighed and one.weight is None and len(offers[name].order):
            yield weight_missing(name, weighed[0])


def weight_missing(name: str, weighed: str) -> Problem:
    """What is wrong where one source has a weight and another has none."""
    what = f"{name} has no weight, and {weighed} has one: parts of a whole need one each"
    mend = f"--set 'data.mixture.{name}.weight=1', or give no source a weight; a cap alone needs none"
    return Problem(what, f"data.mixture.{name}", mend)


def _nothing_to_give(
    portions: Mapping[str, Portion], offers: Mapping[str, _Offer], tokens: Numbers
) -> Iterator[Problem]:
    for name, one in portions.items():
        order = offers[name].order
        if not len(order) and one.weight is not None:
            what = f"{name} has a weight and no training row, so nothing can be in proportion to it"
            yield Problem(
                what, f"data.mixture.{name}.weight", "take it out of the mixture, or look at what was dropped: card.md"
            )
        if len(order) and not offers[name].rows:
            what = f"the first row that is drawn of {name} has {int(tokens[order[0]]):,} tokens, and cap_tokens is {one.cap_tokens:,}"
            yield Problem(what, f"data.mixture.{name}.cap_tokens", "raise it, or use cap, which counts rows")


def _account(offer: _Offer, times: Numbers, tokens: Numbers, learned: Numbers) -> dict[str, Any]:
    """What a source has and gives.

    rows, tokens, learned_tokens: of all its rows that fit.   taken: different rows learned.   seen, seen_tokens,
    seen_learned_tokens: of one epoch, repeats counted.   epochs: seen / rows.   left_out: reason -> rows and tokens.
    """
    order = offer.order
    seen, of, learns = times[order].astype("int64"), tokens[order], learned[order]
    taken = int((seen > 0).sum())
    left_out: dict[str, dict[str, int]] = {}
    end = len(order)
    for reason, start in [*offer.cut, ("weight", taken)]:
        if start < end:
            left_out[reason] = {"rows": end - start, "tokens": int(of[start:end].sum())}
            end = start
    return {
        "rows": len(order),
        "tokens": int(of.sum()),
        "learned_tokens": int(learns.sum()),
        "left_out": left_out,
        "taken": taken,
        "seen": int(seen.sum()),
        "seen_tokens": int((seen * of).sum()),
        "seen_learned_tokens": int((seen * learns).sum()),
        "epochs": round(int(seen.sum()) / len(order), 4) if len(order) else 0.0,
    }


def told(accounts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line for each source: what one epoch sees of it and what is left out; nothing to tell of one source in full."""
    if len(accounts) == 1 and all(one["seen"] == one["taken"] == one["rows"] for one in accounts.values()):
        return
    for name, one in accounts.items():
        repeats = f", {one['seen']:,} with repeats" if one["seen"] > one["taken"] else ""
        left = ", ".join(f"{reason} {count['rows']:,}" for reason, count in one["left_out"].items())
        tokens = f", {one['seen_tokens']:,} tokens" if one["seen_tokens"] else ""
        share = f", {one['token_share']:.1%} of the tokens" if one["seen_tokens"] else ""
        yield (
            f"  {name}: {one['taken']:,} of {one['rows']:,} rows{repeats}{tokens} "
            f"({one['share']:.1%} of the rows{share}; {one['epochs']:.4g} epochs)"
            + (f"; left out by {left}" if left else "")
        )
