"""The Jinja sandbox for texts that people write: names that are given, no code, no clock, no chance.

Chat templates are rendered as every server does it, in the tokenizer's own sandbox (`templates.render`). This one is for
the texts around them, prompt templates above all: what is not defined is an error, and equal values give equal texts.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

MOST_CHARACTERS = 1_000_000  # of a text that a template makes; a loop or a product can make any number
MOST_STEPS = 10_000  # of one `range`
CHANCE = frozenset({"random", "shuffle", "lipsum", "now", "today", "strftime_now"})  # functions: another text each time
_CHANCE_FILTERS = CHANCE - {"random"}  # that filter is a draw from the seed here
DRAWS = "_draws"  # the name under which a random.Random is handed in for the filter `choice`
# A template is a program: besides Jinja's own refusals it can fail in Python's ways.
_FAILURES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
# Methods and filters that make a long text from a large number.
_WIDE = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"})


class FillError(Exception):
    """A text that cannot be filled. what: the reason in a few words.   line: in the template's text, from 1; 0: unknown."""

    def __init__(self, what: str, line: int = 0) -> None:
        self.what, self.line = what, line
        super().__init__(what)


@lru_cache(maxsize=2)
def sandbox(loose: bool = False) -> SandboxedEnvironment:
    """The environment: block tags leave no lines behind, undefined names raise, values cannot be changed.

    loose: for templates that were written elsewhere, an undefined field is empty and lists may be added to; hand in copies.
    """
    from jinja2 import StrictUndefined, Undefined, pass_context
    from jinja2.sandbox import SandboxedEnvironment, modifies_known_mutable

    class Sandbox(SandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            wide = isinstance(obj, str) and attr in _WIDE
            changes = not loose and modifies_known_mutable(obj, attr)
            return not wide and not changes and super().is_safe_attribute(obj, attr, value)

        def wrap_str_format(self, value: Any) -> None:
            """`format` is not among what a text can do here; where it is, this would come before the check above."""

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**" or not all(isinstance(side, (int, float)) for side in (left, right)):
                raise FillError(f"the operator {operator!r} is only for plain products of numbers")
            return super().call_binop(context, operator, left, right)

    made = Sandbox(
        undefined=Undefined if loose else StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    for name in CHANCE | _WIDE | {"indent", "wordwrap", "pprint", "urlize", "xmlattr", "filesizeformat"}:
        made.filters.pop(name, None)
    for name in ("lipsum", "cycler", "joiner"):
        made.globals.pop(name, None)
    made.globals["range"] = _range
    made.filters["tojson"] = _json
    made.filters |= {
        "either": either,
        "choice": pass_context(_choice),
        "random": pass_context(_choice),
        "most_frequent": most_frequent,
    }
    return made


def either(values: Iterable[Any], word: str = "or") -> str:
    """``a, b or c``."""
    texts = [str(value) for value in values]
    return f" {word} ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def most_frequent(values: Sequence[Any]) -> list[Any]:
    """The value that occurs most often, in a list; of several the first."""
    return [max(values, key=values.count)] if values else []


def _choice(context: Any, values: Sequence[Any]) -> Any:
    """One of the values, drawn from the chance that was handed in under DRAWS."""
    draws = context.resolve(DRAWS)
    if not isinstance(draws, random.Random):
        raise FillError("nothing may be drawn by chance here")
    if not values:
        raise FillError("nothing to choose from")
    return draws.choice(values)


def _json(value: Any, indent: int | None = None) -> str:
    """JSON as a person would write it: fields in their order, letters of all scripts, no escapes for web pages."""
    return json.dumps(value, ensure_ascii=False, indent=indent if indent is None else min(indent, 8))


def _range(*bounds: int) -> range:
    steps = range(*bounds)
    if len(steps) > MOST_STEPS:
        raise FillError(f"a range of {len(steps):,} steps; at most {MOST_STEPS:,} are made")
    return steps


@lru_cache(maxsize=8192)
def _compiled(text: str, loose: bool = False) -> Any:
    from jinja2 import TemplateError

    try:
        return sandbox(loose).from_string(text)
    except TemplateError as error:
        raise FillError(_said(error), getattr(error, "lineno", 0) or 0) from error
    except RecursionError as error:
        raise FillError("the template is nested too deeply") from error


@lru_cache(maxsize=1024)
def _expression(text: str) -> Any:
    from jinja2 import TemplateError

    try:
        return sandbox().compile_expression(text, undefined_to_none=False)
    except TemplateError as error:
        raise FillError(_said(error)) from error


def fill(text: str, values: Mapping[str, Any], loose: bool = False) -> str:
    """`text` with its `{{ names }}` filled in.   loose: as in `sandbox`. Raises FillError."""
    from jinja2 import TemplateError

    made, length = [], 0
    template = _compiled(text, loose)
    try:
        for piece in template.generate(**values):
            made.append(piece)
            length += len(piece)
            if length > MOST_CHARACTERS:
                raise FillError(f"the text is longer than {MOST_CHARACTERS:,} characters")
    except (TemplateError, *_FAILURES) as error:
        raise FillError(_said(error)) from error
    return "".join(made)


def value_of(expression: str, values: Mapping[str, Any]) -> Any:
    """The value of an expression such as ``answers.text[0]``. Raises FillError, also where it is undefined."""
    from jinja2 import TemplateError
    from jinja2.runtime import Undefined

    compiled = _expression(expression)
    try:
        found = compiled(**values)
        if isinstance(found, Undefined):
            str(found)  # says what is undefined
    except (TemplateError, *_FAILURES) as error:
        raise FillError(_said(error)) from error
    return found


@lru_cache(maxsize=8192)
def names_in(text: str) -> frozenset[str]:
    """The names that a text takes from outside. Raises FillError where it is broken."""
    from jinja2 import TemplateError, meta

    _compiled(text)  # tells unknown filters apart from unknown names
    try:
        return frozenset(meta.find_undeclared_variables(sandbox().parse(text))) - set(sandbox().globals)
    except TemplateError as error:
        raise FillError(_said(error), getattr(error, "lineno", 0) or 0) from error


def names_of(expression: str) -> frozenset[str]:
    """The names that an expression takes from outside. Raises FillError where it is broken."""
    _expression(expression)
    return names_in("{{ " + expression + " }}")


def chance_in(text: str) -> list[tuple[str, int]]:
    """Filters and functions in a text that give another text each time, with their line, whether they exist here or not."""
    from jinja2 import TemplateError, nodes

    try:
        tree = sandbox().parse(text)
    except TemplateError:
        return []
    filters = [(node.name, node.lineno) for node in tree.find_all(nodes.Filter) if node.name in _CHANCE_FILTERS]
    calls = [(node.name, node.lineno) for node in tree.find_all(nodes.Name) if node.name in CHANCE]
    return sorted({*filters, *calls}, key=lambda found: (found[1], found[0]))


def bare_names(text: str) -> list[str]:
    """The names that a text prints as they are, or trimmed: `{{ name }}`. Nothing for a broken text."""
    from jinja2 import TemplateError, nodes

    try:
        tree = sandbox().parse(text)
    except TemplateError:
        return []
    printed = [node for output in tree.find_all(nodes.Output) for node in output.nodes]
    return [node.name for one in printed if isinstance(node := _untrimmed(one), nodes.Name)]


def _untrimmed(node: Any) -> Any:
    from jinja2 import nodes

    return node.node if isinstance(node, nodes.Filter) and node.name == "trim" else node


def cuts_in(text: str, least: int) -> list[tuple[str, int]]:
    """Where a text cuts a value, with the line: the filter `truncate`, a slice that ends at `least` or later."""
    from jinja2 import TemplateError, nodes

    try:
        tree = sandbox().parse(text)
    except TemplateError:
        return []
    found = [("truncate", node.lineno) for node in tree.find_all(nodes.Filter) if node.name == "truncate"]
    for node in tree.find_all(nodes.Slice):
        if isinstance(node.stop, nodes.Const) and isinstance(node.stop.value, int) and node.stop.value >= least:
            found.append((f"[:{node.stop.value}]", node.lineno))
    return found


def _said(error: BaseException) -> str:
    """An error's message without its name, on one line."""
    return re.sub(r"\s+", " ", str(error)).strip().rstrip(".") or type(error).__name__
