"""What an evaluation found, as nouns without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from heedlm.eval.around import Around
from heedlm.eval.stats import Interval
from heedlm.eval.suites.measure import Measured
from heedlm.messages import Message, StopReason

Outcome = Literal["win", "loss", "both right", "neither"]
State = Literal["reached", "missed", "unsure"]
Call = Literal["ship", "do not ship", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one arm said to one item, and what it got for it. prompt: what the model saw, as text.

    tokens, prompt_tokens: generated, and of what was asked, None where they are not counted.   seconds: its share of the
    batch.   error: why there is no reply, or no score for it.   money: what an endpoint's prices make of it.
    """

    text: str
    score: float
    why: str
    stop_reason: StopReason
    prompt: str
    tokens: int | None = None
    seconds: float = 0.0
    error: str = ""
    prompt_tokens: int | None = None
    money: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One item side by side. messages: the turns asked.   reference: the answer of the row.   answers: by arm name.

    item, form: of a suite that asks an item in several forms: which item, and its place on each axis.
    """

    id: str
    task: str
    kind: str
    messages: tuple[Message, ...]
    reference: str
    answers: Mapping[str, Answer]
    outcome: Outcome
    item: str = ""
    form: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm on one task. n: items it was asked.   score: their mean, 0..1.   interval: of a share of right answers.

    hits: items with full score.   errors: items without an answer, or that the scorer failed on; they count as 0.
    span: the interval of any score, groups minded.
    """

    n: int
    score: float
    interval: Interval | None
    hits: int
    errors: int
    span: Interval


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task. difference: instruct minus base, bare, with low and high at 95 % and p; n items in `clusters` groups.

    invented: how many of the items are about names that do not exist.   smallest_difference: what n could show with a
    power of 80 %.   behaviour: what base, bare, did, counted.   p_holm, p_bh: adjusted over the tasks of the report.
    note: why the task can show little; "" where it can.
    """

    name: str
    kind: str
    n: int
    clusters: int
    metric: str
    gated: bool
    invented: int
    arms: Mapping[str, ArmResult]
    difference: float
    low: float
    high: float
    p: float
    test: str
    smallest_difference: float
    behaviour: Mapping[str, int]
    p_holm: float = 1.0
    p_bh: float = 1.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Honesty of the instruct arm. recall: share of invented names it says it does not know.   false_refusal: share of
    real facts it refuses."""

    recall: float
    false_refusal: float
    n_real: int
    n_invented: int


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Bits per UTF-8 byte before and after tuning: on held-out text of the kind pretrained on, and on other text."""

    before: float
    after: float
    other_before: float
    other_after: float


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall time of the stages of one run."""

    prepare: float = 0.0
    train: float = 0.0
    eval: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a gate: what was asked and found, in words.   why: what an unsure one would need."""

    what: str
    asked: str
    found: str
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a gate says of a model, and by which figures."""

    call: Call
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Noise:
    """The same model asked the same items twice, in other batches. changed: items whose score is another.

    difference: second time minus first, with low and high at 95 %.
    """

    n: int
    changed: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge, a model itself, thinks of replies; never mixed with scores that a program checked.

    what: the figure in words.   judge: who.   share: 0..1, of n items, with its 95 % interval.   even: the share that says
    nothing (a half, of a comparison in pairs); None where there is none.   notes: how far the judge can be believed.
    """

    what: str
    judge: str
    n: int
    share: float
    low: float
    high: float
    even: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvalReport:
    """All that the report shows. A part that was not measured is None.

    arms: their names, in the order asked.   stop_rate: by arm, the share of replies that the model ended by itself; an
    arm whose replies are cut at a stop text has none.   about: name -> text, how to reproduce.   spans: 95 % intervals of
    the instruct arm's "stop_rate", "recall", "false_refusal" and of the "forgetting", as far as measured.   caveats: what
    has to stand in the headline.   decision: of a gate, where one was asked.   suites: by task and arm, what its suite
    measures beside the mean.   models: who answered, by arm: name and checksum.   judged: what a judge thinks.
    around: what the run folder tells of data, training and commands.
    """

    arms: tuple[str, ...]
    tasks: tuple[TaskResult, ...]
    cases: tuple[Case, ...]
    unknown: Unknown | None
    stop_rate: Mapping[str, float]
    bits_per_byte: Forgetting | None = None
    seconds: Seconds = Seconds()
    peak_memory_bytes: int = 0
    about: Mapping[str, str] = field(default_factory=dict)
    spans: Mapping[str, Interval] = field(default_factory=dict)
    noise: Noise | None = None
    caveats: tuple[str, ...] = ()
    decision: Decision | None = None
    suites: tuple[Measured, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    judged: tuple[Judgement, ...] = ()
    around: Around | None = None
