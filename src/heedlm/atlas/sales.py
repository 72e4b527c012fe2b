"""Monthly sales: printed reports, the question which month was best.

The reports end with the sentence about the best month that the answers have, so choosing the highest figure of a list is
practised in pretraining. An answer gives the two figures before the word that compares them. The top figure stands clear of the second, and figures lie in 10..99.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heedlm.atlas import asks, lexicon
from heedlm.atlas.world import Document, Split, Task, row

MONTH = Task("data_analysis_month", "data_analysis", True, "name the best month of a list of figures, and the trend")
TREND = Task("data_analysis_trend", "data_analysis", True, "say how sales went from the first month to the last")
TREND_WORDS = {
    "rose": r"\b(rose|risen|rising|grew|grown|increased|up)\b",
    "fell": r"\b(fell|fallen|falling|shrank|decreased|declined|down)\b",
    "level": r"\b(level|flat|stable|unchanged|the same)\b",
}
CLEAR = 6  # least distance between the best month and the second: the question is about reading, not about near ties


@dataclass(frozen=True, slots=True)
class Figures:
    """Units sold per month, oldest first. values: distinct in 10..99, but the last may equal the first (level)."""

    months: tuple[str, ...]
    values: tuple[int, ...]

    @property
    def trend(self) -> str:
        """``rose``, ``fell`` or ``level``: the last month against the first."""
        first, last = self.values[0], self.values[-1]
        return "level" if first == last else "rose" if last > first else "fell"

    def slots(self) -> dict[str, str]:
        high, low = max(self.values), min(self.values)
        names = lexicon.words("months")
        return {
            "first": self.months[0],
            "last": self.months[-1],
            "best": self.months[self.values.index(high)],
            "worst": self.months[self.values.index(low)],
            "high": str(high),
            "low": str(low),
            "a": str(self.values[0]),
            "z": str(self.values[-1]),
            "next": names[(names.index(self.months[-1]) + 1) % 12],
        }


def draw(rng: random.Random, count: int | None = None) -> Figures:
    """Figures of ``count`` months (by default mostly 4 to 6, at times 8 or 12) from a random first month."""
    count = count or rng.choice([4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 8, 12])
    start = 0 if count == 12 else rng.randrange(12)
    names = lexicon.words("months")
    months = tuple(names[(start + i) % 12] for i in range(count))
    values = clear_values(rng, count)
    if rng.random() < 0.12:
        # The ends of a level list are equal, so its top lies between them.
        top = values.index(max(values))
        between = rng.randrange(1, count - 1)
        values[top], values[between] = values[between], values[top]
        values[-1] = values[0]
    return Figures(months, tuple(values))


def clear_values(rng: random.Random, count: int) -> list[int]:
    """``count`` different numbers in 10..99, in random order, the largest at least CLEAR above the second."""
    top = rng.randint(40, 99)
    values = [top, *rng.sample(range(10, top - CLEAR + 1), count - 1)]
    rng.shuffle(values)
    return values


def listing(figures: Figures, style: str) -> str:
    """The figures as printed. style: ``lines``, ``inline``, ``colons``, ``bullets`` or ``table``."""
    pairs = list(zip(figures.months, figures.values, strict=True))
    if style == "lines":
        return "\n".join(f"{month}: {value}" for month, value in pairs)
    if style == "bullets":
        return "\n".join(f"- {month}: {value}" for month, value in pairs)
    if style == "table":
        return "\n".join(["| Month | Units |", "|---|---|", *(f"| {month} | {value} |" for month, value in pairs)])
    if style == "colons":
        return ", ".join(f"{month}: {value}" for month, value in pairs)
    return ", ".join(f"{month} {value}" for month, value in pairs)


STYLES = ("lines", "lines", "inline", "inline", "colons", "bullets", "table")


def closing(figures: Figures) -> tuple[str, str]:
    """The sentence about the best month, the sentence about the trend, as reports have them."""
    slots = figures.slots()
    wordings = lexicon.table("sales")
    return wordings["best"][0].format_map(slots), wordings[figures.trend][0].format_map(slots)


def _section(rng: random.Random, slots: dict[str, str]) -> str:
    """One product: figures, then what they show."""
    wordings = lexicon.table("sales")
    figures = draw(rng)
    slots = {**slots, **figures.slots()}
    style = rng.choice(STYLES)
    parts = [lexicon.one_of(wordings["titles"], rng, slots)]
    if rng.random() < 0.6:
        parts.append(lexicon.one_of(wordings["intros"], rng, slots))
    shown = listing(figures, style)
    if style in ("inline", "colons"):
        lead = rng.choice(["", "", "Units sold: ", "Sales: ", "Figures: "])
        shown = f"{lead}{shown}{rng.choice(['', '.'])}"
    parts.append(shown)
    best = lexicon.one_of(wordings["best"], rng, slots)
    trend = lexicon.one_of(wordings[figures.trend], rng, slots)
    extra = []
    if rng.random() < 0.35:
        extra.append(lexicon.one_of(wordings["worst"], rng, slots))
    if rng.random() < 0.3:
        extra.append(_ranking(figures, rng))
    if rng.random() < 0.15:
        said = [trend, best, *extra]
    else:
        said = [best, trend, *extra]
    if rng.random() < 0.5:
        said.append(lexicon.one_of(wordings["remarks"], rng, slots))
    return "\n\n".join([*parts, " ".join(said)])


def _ranking(figures: Figures, rng: random.Random) -> str:
    """The same figures from high to low: practice in the order of numbers."""
    ordered = sorted(zip(figures.values, figures.months, strict=True), reverse=True)
    lead = rng.choice(["From high to low", "In order", "Ranked"])
    return f"{lead}: " + ", ".join(f"{month} {value}" for value, month in ordered) + "."


def documents(rng: random.Random) -> Iterator[Document]:
    """Endless printed sales reports of one to three products."""
    while True:
        slots = lexicon.cast(rng)
        sections = []
        for product in rng.sample(lexicon.words("products"), rng.choice([1, 1, 1, 2, 2, 3])):
            sections.append(_section(rng, {**slots, "product": product}))
        yield Document("sales_report", "\n\n".join(sections))


def rows(split: Split, rng: random.Random, count: int, task: Task = MONTH) -> Iterator[dict[str, Any]]:
    """``count`` rows of MONTH (best month, trend) or TREND (trend alone)."""
    wordings = lexicon.table("sales")
    options = wordings["ask" if task is MONTH else "ask_trend"]
    for number in range(count):
        slots = asks.cast(split, rng)
        figures = draw(rng)
        ask = asks.wording(task.name, options, split, rng).format_map(slots)
        best, _ = closing(figures)
        trend = wordings["told"][figures.trend].format_map(figures.slots())
        yield row(
            task.name,
            task.kind,
            asks.about(ask, listing(figures, rng.choice(STYLES)), rng),
            f"{best} {trend}" if task is MONTH else trend,
            group=f"products:{slots['product']}",
            checks=[*(_best_checks(figures) if task is MONTH else _ends_checks(figures)), *_trend_checks(figures)],
            number=number,
            gated=task.gated,
            system=asks.system(task.kind, wordings["systems"], split, rng, slots),
        )


def _best_checks(figures: Figures) -> list[dict[str, Any]]:
    """The first sentence names the best month with its figure, with no other month of the list."""
    slots = figures.slots()
    others = "|".join(month for month in figures.months if month != slots["best"])
    return [
        asks.check("first-sentence-contains", value=slots["best"]),
        asks.check("first-sentence-contains", value=slots["high"]),
        asks.check("not-regex", value=rf"^[^.]*\b({others})\b"),
    ]


def _ends_checks(figures: Figures) -> list[dict[str, Any]]:
    """The sentence gives the first figure, then the last."""
    slots = figures.slots()
    return [asks.check("contains-all", values=[slots["a"], slots["z"]]), asks.check("sentence-count", equal=1)]


def _trend_checks(figures: Figures) -> list[dict[str, Any]]:
    """The trend that the figures have is stated, the two others are not."""
    return [
        asks.check("regex" if name == figures.trend else "not-regex", value=pattern)
        for name, pattern in TREND_WORDS.items()
    ]
