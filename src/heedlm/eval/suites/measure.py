"""What a suite shows beside the mean of a task: formats, consistency, fallbacks, scores of all replies together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, Protocol

from heedlm.eval import text
from heedlm.eval.scorers import ifeval
from heedlm.eval.scorers.reading import notes
from heedlm.eval.scorers.scorer import Scorer
from heedlm.eval.scorers.texts import corpus_score
from heedlm.eval.suites.suite import AXES, ITEM, VARIANT, SuiteTask, axes
from heedlm.messages import Example

if TYPE_CHECKING:
    from heedlm.eval.results import Case


@dataclass(frozen=True, slots=True)
class Spread:
    """The same items in several prompt formats. by_format: mean score of each."""

    by_format: Mapping[str, float]

    @property
    def mean(self) -> float:
        return sum(self.by_format.values()) / len(self.by_format)

    @property
    def worst(self) -> str:
        return min(self.by_format, key=lambda name: self.by_format[name])

    @property
    def spread(self) -> float:
        """The best format's mean less the worst one's: what a change of nothing but the layout can do."""
        return max(self.by_format.values()) - min(self.by_format.values())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Replies to one item that should be alike, on one axis.

    pairs: of replies that differ on that axis alone.   verdict: share of them with the same score.   answer: share with
    the same text, but for case, white space and a full stop at its end.
    """

    pairs: int
    verdict: float
    answer: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one arm showed on one task.

    score: mean over all replies.   items: of the suite.   every: share of items with full score in all their forms.
    spread: None where there is one format.   agreement: by axis, in the suite's order.   fallbacks: counted by name.
    corpus: BLEU or chrF of all replies together, 0..100, with sacrebleu's signature; None for other scorers.
    remark: what has to be known about how it was scored.
    """

    task: str
    arm: str
    n: int
    items: int
    score: float
    every: float
    baseline: float | None = None
    spread: Spread | None = None
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    corpus: tuple[float, str] | None = None
    remark: str = ""


class Answered(Protocol):
    """What an item of the log, and an answer of a report, say of one reply."""

    @property
    def task(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def why(self) -> str: ...


class _OfCase(NamedTuple):
    task: str
    arm: str
    id: str
    reply: str
    score: float
    why: str


def of_cases(cases: Iterable[Case]) -> Iterator[Answered]:
    """Every answer of a report."""
    for case in cases:
        for arm, answer in case.answers.items():
            yield _OfCase(case.task, arm, case.id, answer.text, answer.score, answer.why)


def measure(tasks: Sequence[SuiteTask], items: Iterable[Answered]) -> list[Measured]:
    """What every arm showed on every task, tasks in their order, arms in the order of the log."""
    logged: dict[str, dict[str, dict[str, Answered]]] = defaultdict(lambda: defaultdict(dict))
    for item in items:
        logged[item.task][item.arm][item.id] = item
    return [
        _measured(suite_task, arm, answered)
        for suite_task in tasks
        for arm, answered in logged[suite_task.task.name].items()
        if any(example.id in answered for example in suite_task.task.examples)
    ]


def _measured(suite_task: SuiteTask, arm: str, answered: Mapping[str, Answered]) -> Measured:
    task = suite_task.task
    found = [(example, answered[example.id]) for example in task.examples if example.id in answered]
    by_item: dict[str, list[float]] = defaultdict(list)
    by_format: dict[str, list[float]] = defaultdict(list)
    for example, item in found:
        by_item[str(example.meta.get(ITEM, example.id))].append(item.score)
        by_format[example.meta.get(VARIANT, {}).get("format", "")].append(item.score)
    means = {name: sum(scores) / len(scores) for name, scores in by_format.items()}
    return Measured(
        task=task.name,
        arm=arm,
        n=len(found),
        items=len(by_item),
        score=sum(item.score for _, item in found) / len(found),
        every=sum(min(scores) >= 1.0 for scores in by_item.values()) / len(by_item),
        baseline=suite_task.baseline,
        spread=Spread(means) if len(means) > 1 else None,
        agreement={axis: agreement(found, axis) for axis in axes(task) if axis != "format"},
        fallbacks=dict(notes(item.why for _, item in found)),
        corpus=_corpus(suite_task, found),
        remark=_remark(suite_task),
    )


def agreement(found: Sequence[tuple[Example, Answered]], axis: str) -> Agreement:
    """How alike the replies are that differ on one axis alone; every pair of them counts once."""
    alike: dict[tuple[str, tuple[str, ...]], list[Answered]] = defaultdict(list)
    for example, item in found:
        places = example.meta.get(VARIANT, {})
        rest = tuple(f"{name}={places[name]}" for name in AXES if name in places and name != axis)
        alike[(str(example.meta.get(ITEM, example.id)), rest)].append(item)
    pairs = [pair for items in alike.values() for pair in combinations(items, 2)]
    if not pairs:
        return Agreement(0, 0.0, 0.0)
    verdict = sum(one.score == other.score for one, other in pairs)
    answer = sum(_plain(one.reply) == _plain(other.reply) for one, other in pairs)
    return Agreement(len(pairs), verdict / len(pairs), answer / len(pairs))


def _plain(reply: str) -> str:
    return text.fold(reply).rstrip(" .।")


def _corpus(suite_task: SuiteTask, found: Sequence[tuple[Example, Answered]]) -> tuple[float, str] | None:
    scorer = suite_task.task.scorer
    if not isinstance(scorer, Scorer) or scorer.kind.name not in ("bleu", "chrf"):
        return None
    examples, replies = [example for example, _ in found], [item.reply for _, item in found]
    return corpus_score(scorer.kind.name, scorer.options, examples, replies)


def _remark(suite_task: SuiteTask) -> str:
    scorer = suite_task.task.scorer
    if isinstance(scorer, Scorer) and scorer.kind.name == "ifeval" and ifeval.stands_in():
        return "Sentences are counted by NLTK's untrained model, for the trained one is not on this machine."
    return ""


def sentences(found: Measured) -> list[str]:
    """What was measured as plain sentences; none where the mean of the task says it all."""
    said = []
    if found.spread is not None:
        spread = found.spread
        worst = f"mean {_percent(spread.mean)}, worst {_percent(spread.by_format[spread.worst])} ({spread.worst})"
        shown = (
            f"{worst}, spread {100 * spread.spread:.0f} points" if spread.spread else f"{_percent(spread.mean)} in each"
        )
        said.append(f"{len(spread.by_format)} prompt formats: {shown}.")
    if found.agreement:
        said.append(f"Right in all its forms: {_percent(found.every)} of {found.items} items.")
    for axis, alike in found.agreement.items():
        if alike.pairs:
            # Turns ask different things: that their answers differ in text says nothing.
            same = "" if axis == "turn" else f", {_percent(alike.answer)} in their text"
            of = f"{alike.pairs:,} pairs agree in their score{same}"
            said.append(f"{AXES[axis].capitalize()}: {_percent(alike.verdict)} of {of}.")
    if found.corpus is not None:
        said.append(f"All replies together: {found.corpus[0]:.1f} ({found.corpus[1]}).")
    if found.baseline is not None:
        beside = "above" if found.score > found.baseline else "not above"
        said.append(f"{_percent(found.score)}, {beside} the baseline of {_percent(found.baseline)}.")
    said += [found.remark] if found.remark else []
    if found.fallbacks:
        counted = ", ".join(f"{name} {count}" for name, count in sorted(found.fallbacks.items()))
        said.append(f"Read in another way than plainly: {counted} (of {found.n}).")
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
