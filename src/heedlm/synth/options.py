"""What can be chosen about a synthesis, and which mode heeds what."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from heedlm.errors import HeedError, Problem, nearest
from heedlm.messages import Sampling
from heedlm.synth.budget import Budget, check_budget

Mode = Literal["self-instruct", "backtranslate", "answer", "best-of"]
MODES: tuple[Mode, ...] = get_args(Mode)
_WARM = ("self-instruct", "best-of")  # modes that need several answers to one question


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of a synthesis.

    Of every call: max_tokens of an answer, temperature (None: 0.7 where answers must differ, else 0), top_p, seed.
    Of asking: concurrency, calls of an endpoint under way at once; batch, prompts that a model on this machine decodes together;
    timeout, seconds until an answer counts as lost.
    Of the budget: requests, tokens, money (with the prices per million tokens); None is no limit.
    licence: of the new rows, if it is known.   guide: a system text for the teacher, which does not go into the rows.
    rows: how many instructions to make.   shown, tasks: in one asking, tasks that are shown and asked for.   about: a few words
    on what is wanted.   similarity: share of three-word sequences in common from which a text is not new.   max_words: of a
    document.   rate: what the model itself must rate a row with at least, of 5; None asks for no rating.   draws: answers per prompt at most.   keep: of those that pass, at most.   at_least: the score that passes.   scorer:
    of rows that name none of their own, as in `heed eval`.
    """

    max_tokens: int = 512
    temperature: float | None = None
    top_p: float = 1.0
    seed: int = 0
    concurrency: int = 8
    batch: int = 16
    timeout: float = 300.0
    budget_requests: int | None = None
    budget_tokens: int | None = None
    budget_money: Decimal | float | str | None = None
    price_in: Decimal | float | str | None = None
    price_out: Decimal | float | str | None = None
    licence: str | None = None
    guide: str = ""
    rows: int = 100
    shown: int = 6
    tasks: int = 8
    about: str = ""
    similarity: float | None = None
    max_words: int = 2000
    rate: int | None = None
    draws: int = 8
    keep: int = 1
    at_least: float = 1.0
    scorer: str | None = None

    def sampling(self, mode: Mode, draw: int = 0, max_tokens: int | None = None) -> Sampling:
        """How a call decodes. draw: how often the same was asked before."""
        warm = 0.7 if mode in _WARM else 0.0
        temperature = warm if self.temperature is None else self.temperature
        return Sampling(max_tokens or self.max_tokens, temperature, self.top_p, seed=self.seed + draw)

    @property
    def budget(self) -> Budget:
        """Raises HeedError for what is no amount."""
        money, price_in, price_out = (
            _amount(name, getattr(self, name)) for name in ("budget_money", "price_in", "price_out")
        )
        return Budget(self.budget_requests, self.budget_tokens, money, price_in, price_out)


# What a mode does not name here it has no use for.
_EVERY = (
    *("max_tokens", "temperature", "top_p", "seed", "concurrency", "batch", "timeout", "licence"),
    *("budget_requests", "budget_tokens", "budget_money", "price_in", "price_out"),
)
_HEEDED: dict[Mode, tuple[str, ...]] = {
    "self-instruct": (*_EVERY, "guide", "rows", "shown", "tasks", "about", "similarity", "rate"),
    "backtranslate": (*_EVERY, "about", "similarity", "max_words", "rate"),
    "answer": (*_EVERY, "guide", "rate"),
    "best-of": (*_EVERY, "guide", "draws", "keep", "at_least", "scorer"),
}
_AT_LEAST = {"max_tokens": 1, "concurrency": 1, "batch": 1, "rows": 1, "shown": 1, "tasks": 1, "max_words": 1}
_AT_LEAST |= {"rate": 1, "draws": 1, "keep": 1, "budget_requests": 0, "budget_tokens": 0, "seed": 0}
_WITHIN = {"temperature": (0.0, 2.0), "top_p": (0.01, 1.0), "similarity": (0.1, 1.0), "at_least": (0.0, 1.0)}
_WITHIN |= {"timeout": (0.1, 86_400.0), "rate": (1, 5)}


def options_of(mode: str, given: dict[str, Any]) -> Options:
    """The options of a mode. Raises HeedError with everything that it does not have, or that is out of bounds."""
    if mode not in MODES:
        raise HeedError(f"There is no mode {mode!r}.", "synthesise", nearest(mode, MODES))
    names = {field.name for field in fields(Options)}
    problems = []
    for name, value in given.items():
        if name not in names:
            problems.append(Problem(f"There is no option {name!r}.", "synthesise", nearest(name, names)))
        elif name not in _HEEDED[mode]:
            problems.append(Problem(f"Mode {mode!r} has no use for {name!r}.", "synthesise", f"leave out {name}"))
        elif value is not None:
            problems += _bounds(name, value)
    if problems:
        raise HeedError.of(problems)
    options = Options(**{name: value for name, value in given.items() if value is not None})
    check_budget(options.budget)
    if mode == "best-of" and options.draws > 1 and options.temperature == 0:
        what = "At temperature 0 all answers to a prompt are the same."
        raise HeedError(what, "--temperature", "--temperature 0.7, or --draws 1")
    return options


def _bounds(name: str, value: Any) -> list[Problem]:
    option = f"--{name.replace('_', '-')}"
    if name in _AT_LEAST:
        low = _AT_LEAST[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            return [
                Problem(f"This is {value!r}, expected a whole number from {low} on.", option, f"{option} {max(low, 1)}")
            ]
    if name in _WITHIN:
        low_share, high = _WITHIN[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low_share <= value <= high:
            return [Problem(f"This is {value!r}, expected {low_share} to {high}.", option, f"{option} {high / 2}")]
    if name in ("about", "guide", "licence") and (
        not isinstance(value, str) or not _writable(value) or (name == "licence" and not value.strip())
    ):
        return [Problem(f"This is {value!r}, expected a few words.", option, f"{option} 'a few words'")]
    return []


def _writable(text: str) -> bool:
    """Whether a text can be sent: one that was typed in another encoding cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _amount(name: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        option = f"--{name.replace('_', '-')}"
        raise HeedError(f"This is no amount: {value!r}.", option, f"{option} 2.50") from None
