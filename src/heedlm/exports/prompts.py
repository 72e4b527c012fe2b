"""The conversations on which two sides of an export are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from heedlm.data.store import read_split
from heedlm.errors import HeedError
from heedlm.exports.source import Source
from heedlm.messages import Example, Message, Request
from heedlm.runs import Run
from heedlm.templates.controls import SEAM
from heedlm.templates.render import render_request
from heedlm.tokens.encode import ids_of

_LOOKED_AT = 2000  # rows of a split that are read to choose some from

# Each is read differently by tokenizers that differ: scripts, figures, white space, code, signs, several turns.
_ASKED = (
    "What is the capital of France?",
    "Compute 12345 * 678 - 9, and 3.14159 + 1,000,000.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich — naïve café.",
    "हिन्दी में 'water' को क्या कहते हैं? 東京は晴れ。 안녕하세요! Привет 🙂👩‍👩‍👧",
    "def f(x):\n\tif x > 0:\n        return x**2  # squared\n\n\nprint(f(10))",
    "It's what we're told: they'll say \"don't\", I'd've, 'TWAS.",
    "Two  spaces,   three, a tab\tand a line\n\n\nbreak, then an end",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done\n* item\n1. one",
    "https://example.org/a_b?c=d&e=%20#f  e-mail: first.last@example.org",
    "A",
)
_SYSTEM = "Answer in one sentence."


@dataclass(frozen=True, slots=True)
class Told:
    """A conversation up to the answer, as the model of the source reads it.

    text: rendered, without seams.   ids: what the model is sent.   answer: what was answered, where it is known.
    typed: somebody typed a control token, which only heed keeps apart from the template's own.
    """

    request: Request
    text: str
    ids: tuple[int, ...]
    answer: str = ""
    typed: bool = False


def conversations(source: Source, most: int) -> list[Told]:
    """At most `most` prompts: of the run's own rows, spread over its splits, and of texts that tokenizers read differently.

    A conversation that the template refuses (one with a system text, as a rule) is left out.
    """
    fixed = list(_fixed())
    rows = list(_rows(source.run, max(0, most - len(fixed)))) if source.run is not None else []
    found = (_told(source, request, answer) for request, answer in [*fixed, *rows])
    return [told for told in islice(found, most) if told is not None]


def _told(source: Source, request: Request, answer: str) -> Told | None:
    try:
        text = render_request(source.template, source.tokenizer, request)
    except HeedError:
        return None
    ids = ids_of(source.tokenizer, [text])[0]
    return Told(request, text.replace(SEAM, ""), tuple(ids), answer, SEAM in text)


def _fixed() -> Iterator[tuple[Request, str]]:
    for asked in _ASKED:
        yield Request((Message("user", asked),)), ""
    system, first, again = Message("system", _SYSTEM), Message("user", _ASKED[0]), Message("user", _ASKED[1])
    answer = Message("assistant", "Paris is the capital of France.")
    yield Request((system, first)), answer.content
    yield Request((first, answer, again)), ""
    yield Request((system, first, answer, again, Message("assistant", "8,369,901."), Message("user", _ASKED[3]))), ""


def _rows(run: Run, most: int) -> Iterator[tuple[Request, str]]:
    """Rows of the run, those that were not trained on first, each cut before its last answer."""
    left = most
    for name in ("test", "val", "train"):
        path = run.data / f"{name}.jsonl"
        if left <= 0 or not path.is_file():
            continue
        examples = [one for one in islice(read_split(path), _LOOKED_AT) if len(one.messages) > 1]
        for one in _spread(examples, left):
            left -= 1
            *before, last = one.messages
            yield Request(tuple(before), tools=one.tools, template_kwargs=one.template_kwargs), last.content


def _spread(items: Sequence[Example], most: int) -> list[Example]:
    """At most `most` of the items, from all over them."""
    step = max(1, len(items) / max(1, most))
    return [items[int(place * step)] for place in range(min(most, len(items)))]
