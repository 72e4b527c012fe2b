"""What a comparison of several models found, in plain sentences."""

from __future__ import annotations

from heedlm.eval import words
from heedlm.eval.pairs import Pair, PairsReport
from heedlm.eval.stats import Difference


def pairs_headline(report: PairsReport) -> str:
    """One sentence for each pair, or the advice of a grid, after what it must not be read without."""
    if report.grid is not None:
        return " ".join([*report.caveats, report.grid.advice])
    return " ".join([*report.caveats, *map(_sentence, report.pairs)])


def _sentence(pair: Pair) -> str:
    found = pair.all
    span = f"95 % interval {words.points(found.low)} to {words.points(found.high)}"
    if sure(found):
        better = "better" if found.mean > 0 else "worse"
        size = words.points(abs(found.mean)).lstrip("+")
        return f"{pair.second} is {better} than {pair.first} by {size} points on {found.n:,} items ({span})."
    could = words.points(found.smallest).lstrip("+")
    return (
        f"No sure difference between {pair.second} and {pair.first} on {found.n:,} items ({span}); "
        f"so many show one from {could} points on."
    )


def sure(found: Difference) -> bool:
    """Whether interval and p-value agree that there is a difference."""
    return found.p < words.SURE and not found.low <= 0 <= found.high
