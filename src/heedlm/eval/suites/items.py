"""One item of a suite: its fields filled into what is asked, in every form that the task wants."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from heedlm.data.row import Row
from heedlm.data.schema import to_example
from heedlm.errors import Problem, nearest
from heedlm.eval.scorers.choices import listed
from heedlm.eval.suites.suite import ITEM, VARIANT, Form, by_turn, in_form
from heedlm.messages import Example, Message
from heedlm.templates.sandbox import FillError, fill, names_in

ASKING = "asking"  # where an example's meta holds how it wants to be asked
_GIVEN = ("options", "prompt")  # names that a template may use though no field bears them
_OWN = ("id", "group", "tools", "template_kwargs", "messages")  # fields that the example itself has a place for
_OPEN = "[no answer is given]"  # stands for an answer that an item does not hold while its turns are read


@dataclass(frozen=True, slots=True)
class Asking:
    """How a task asks its items.

    templates: name -> Jinja text of the question; several ask each item in each of them.   system: Jinja text before it.
    target: Jinja text of the answer that is right; "" takes the item's field `target`.   plain: as text, in no chat format.
    every_turn: a conversation is asked at each of its answers.   samples: replies to each, drawn at the temperature.
    stop: texts that end a reply.   max_tokens: of a reply at most; None leaves it to the evaluation.
    """

    templates: Mapping[str, str]
    system: str = ""
    target: str = ""
    plain: bool = False
    every_turn: bool = False
    samples: int = 1
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None


class Made(NamedTuple):
    """The examples of one row, or what is wrong with it."""

    examples: list[Example]
    problems: list[Problem]


def template_problems(asking: Asking, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """What is wrong with the texts of a task, before any item is filled in: what, mend, and the keys it stands under.

    A name that no item has is one mistake in the template; one that some items lack is theirs.
    """
    known = {name for row in rows for name in row.value} | set(_GIVEN)
    found: list[tuple[str, ...]] = []
    for place, text in _texts(asking):
        try:
            unknown = sorted(names_in(text) - known)
        except FillError as error:
            found.append((f"the text is broken: {error.what}", "mend it; fields are written {{ name }}", *place))
            continue
        if rows:
            found += [(f"no item has the field {name!r}", nearest(name, known), *place) for name in unknown]
    return found


def _texts(asking: Asking) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, text in asking.templates.items():
        yield (("templates", name) if name else ("template",)), text
    yield from (((key,), text) for key, text in (("system", asking.system), ("target", asking.target)) if text)


def examples_of(row: Row, asking: Asking) -> Made:
    """The examples that ask one item: in each template, each wording, at each turn, as often as samples are wanted."""
    reader = _Item(row, asking)
    try:
        examples = reader.examples()
    except FillError as error:
        return Made(
            [], [Problem(f"the item cannot be filled in: {error.what}", row.where, "add the field to the item")]
        )
    return Made([] if reader.problems else examples, reader.problems)


class _Item:
    def __init__(self, row: Row, asking: Asking) -> None:
        self.row, self.asking = row, asking
        self.problems: list[Problem] = []
        self.values = dict(row.value)
        for name in (ITEM, VARIANT, ASKING):
            if name in self.values:
                self.wrong(f"the field {name!r} is taken: heed keeps its own notes there", "call it something else")
        choices = self.values.get("choices")
        if isinstance(choices, list):
            self.values.setdefault("options", listed([str(choice) for choice in choices]))

    def wrong(self, what: str, mend: str) -> None:
        self.problems.append(Problem(what, self.row.where, mend))

    def examples(self) -> list[Example]:
        wordings = self._wordings()
        found = []
        for name, template in self.asking.templates.items():
            for place, wording in enumerate(wordings, start=1):
                example = self._example(template, wording)
                if example is None:
                    return []
                places = {
                    **({"format": name} if name else {}),
                    **({"wording": str(place)} if len(wordings) > 1 else {}),
                }
                found += [in_form(*varied) for varied in self._varied(example, places)]
        return found

    def _varied(self, example: Example, places: Mapping[str, str]) -> Iterator[tuple[Example, Form]]:
        """An example at each of its turns, and as often as it is sampled."""
        turns = list(by_turn(example)) if self.asking.every_turn else [(example, 0)]
        for cut, turn in turns:
            at = {**places, **({"turn": str(turn)} if len(turns) > 1 else {})}
            if self.asking.samples == 1:
                yield self._asked(cut, 0), Form(at)
                continue
            for sample in range(self.asking.samples):
                yield self._asked(cut, sample), Form({**at, "sample": str(sample + 1)})

    def _asked(self, example: Example, sample: int) -> Example:
        asking = self.asking
        how: dict[str, Any] = {"plain": True} if asking.plain else {}
        how |= {"temperature": asking.temperature, "seed": sample} if asking.temperature else {}
        how |= {"stop": list(asking.stop)} if asking.stop else {}
        how |= {"max_tokens": asking.max_tokens} if asking.max_tokens else {}
        return replace(example, meta={**example.meta, ASKING: how}) if how else example

    def _wordings(self) -> list[str | None]:
        """What takes the place of the field `prompt`, one after the other; None leaves it as it is."""
        more = self.values.get("paraphrases", [])
        if not isinstance(more, list) or not all(isinstance(one, str) and one.strip() for one in more):
            self.wrong("`paraphrases` is a list of texts", '"paraphrases": ["the same in other words"]')
            return [None]
        return [None, *more]

    def _targets(self) -> list[str]:
        if self.asking.target:
            return [fill(self.asking.target, self.values).strip()]
        given = self.values.get("targets", self.values.get("target", ""))
        several = given if isinstance(given, list) else [given]
        if not all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in several):
            self.wrong(
                f"the target is {json.dumps(given, ensure_ascii=False)[:80]}",
                "write a text, a number, or a list of them",
            )
            return []
        return [str(one) for one in several]

    def _example(self, template: str, wording: str | None) -> Example | None:
        targets = self._targets()
        values = self.values if wording is None else {**self.values, "prompt": wording}
        turns = self._turns(template, values, targets)
        if self.problems or turns is None:
            return None
        row = {key: value for key, value in self.row.value.items() if key in _OWN[:4]}
        example = to_example(Row({**row, "messages": turns}, self.row.where))
        if isinstance(example, Problem):
            self.problems.append(example)
            return None
        meta = {key: value for key, value in self.row.value.items() if key not in _OWN}
        meta |= {"targets": targets} if len(targets) > 1 else {}
        last = example.messages[-1]
        answer = last if last.content != _OPEN else Message("assistant", "")
        return replace(
            example, id=self._name(), messages=(*example.messages[:-1], answer), meta={**example.meta, **meta}
        )

    def _turns(self, template: str, values: Mapping[str, Any], targets: Sequence[str]) -> list[dict[str, Any]] | None:
        given = values.get("messages")
        system = fill(self.asking.system, values) if self.asking.system else str(values.get("system", ""))
        system = system.strip()
        head = [{"role": "system", "content": system}] if system else []
        answer = {"role": "assistant", "content": targets[0] if targets and targets[0].strip() else _OPEN}
        if given is None:
            if "prompt" not in values and template == "{{ prompt }}":
                self.wrong("the item has no prompt", 'add "prompt", or give the task a template of its fields')
                return None
            asked = fill(template, values).strip()
            if not asked:
                self.wrong("there is nothing to ask: the question is empty", "fill the field, or leave the item out")
                return None
            return [*head, {"role": "user", "content": asked}, answer]
        if not isinstance(given, list) or not all(isinstance(turn, dict) for turn in given) or not given:
            self.wrong("`messages` is a list of turns", '"messages": [{"role": "user", "content": "..."}]')
            return None
        if len(self.asking.templates) > 1 or self.values.get("paraphrases"):
            self.wrong(
                "an item of `messages` has one form only", "give it a `prompt`, or leave out templates and paraphrases"
            )
            return None
        answered = given[-1].get("role") == "assistant"
        return [*head, *given] if answered else [*head, *given, answer]

    def _name(self) -> str:
        given = self.row.value.get("id")
        if given not in (None, ""):
            return str(given)
        text = json.dumps(self.row.value, ensure_ascii=False, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
