"""Rows become conversations: which wording, which order of choices, which notation is drawn from the seed and the row's name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from heedlm.data.card import LICENCES
from heedlm.data.fields import RefusedError, check_json, show
from heedlm.data.prompts.blocks import Notation, drawn, written
from heedlm.data.prompts.choices import Listed, listed
from heedlm.data.prompts.template import Blocks, Column, Template, Wording, texts_of
from heedlm.data.schema import to_example
from heedlm.data.sources import Row
from heedlm.data.split import normalise
from heedlm.errors import Problem
from heedlm.messages import Example
from heedlm.templates.sandbox import DRAWS, FillError, fill, names_in, names_of, value_of

_PIPES, _HELD = "|||", "\ue000\ue001\ue000"  # a value's own pipes are held back while a text is parted at others
NOT_MEANT = "template does not apply"  # what a row that a template leaves out is counted under; it is not broken
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Prompting:
    """How the rows of a source become conversations.

    per_row: conversations of one row, each in a wording of its own.   few_shot: solved examples before a question at most.
    inverted: share of the conversations, in 0..1, that ask for the input.   mapping: column -> name or path in the file.
    labels: value in the file -> choice.   gathered: template -> choices found in the data.
    """

    templates: tuple[Template, ...]
    seed: int = 0
    per_row: int = 1
    few_shot: int = 0
    inverted: float = 0.0
    notation: Notation = "plain"
    mapping: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    gathered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """All that the conversations depend on but the rows, as JSON; templates by their content."""
        told = [{**asdict(template), "file": "", "lines": {}} for template in self.templates]
        text = json.dumps(told, sort_keys=True, default=str)
        return {
            "templates": [template.name for template in self.templates],
            "content": hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest(),
            "prompts_per_row": self.per_row,
            "few_shot": self.few_shot,
            "inverted": self.inverted,
            "notation": self.notation,
            "mapping": dict(self.mapping),
            "labels": dict(self.labels),
        }


class Prompted(NamedTuple):
    """shape: of the row, for the card.   forms: names of the wording, the closest first, under which rows look alike;
    none where no row may serve as an example for another.   inverted: it asks for the input."""

    example: Example
    shape: str
    forms: tuple[str, ...]
    inverted: bool


def prompt_rows(row: Row, how: Prompting) -> list[Prompted | Problem]:
    """The conversations of a row, and the problems that kept others from being made, each told once.

    A template that does not apply to the row is passed over for the next one.
    """
    name = row_name(row.value)
    made: list[Prompted] = []
    problems: dict[str, Problem] = {}
    left_out: Problem | None = None
    for wanted, drawn_ones in _drawn(name, how):
        for template, wording in drawn_ones:
            if wanted == 0:
                break
            try:
                made.append(prompted(row, name, template, wording, how, len(made)))
            except RefusedError as refused:
                if refused.reason == NOT_MEANT:
                    left_out = left_out or refused.problem(row.where)
                    continue
                problems.setdefault(refused.detail, refused.problem(row.where))
            except FillError as error:
                what = f"template cannot be filled: {template.name}, wording {wording.name}: {error.what}"
                mend = f"mend the row, or the template at {template.at(*wording.path)}"
                problems.setdefault(what, Problem(what, row.where, mend))
            wanted -= 1
    if left_out is not None and not made and not problems:
        return [left_out]
    return [*made, *problems.values()]


def row_name(value: Mapping[str, Any]) -> str:
    """A row's own id, or one made of its content."""
    own = value.get("id")
    if isinstance(own, (str, int)) and not isinstance(own, bool) and own != "":
        return str(own)
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def chance(*names: object) -> random.Random:
    """Chance that depends on names alone: the same on every machine, whatever came before."""
    text = "\n".join(map(str, names)).encode("utf-8", "backslashreplace")
    return random.Random(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"))


def _drawn(name: str, how: Prompting) -> list[tuple[int, list[tuple[Template, Wording]]]]:
    """How many conversations of a row ask for the answer and how many for the input, with the wordings in drawn order.

    Each template has the same chance, whatever the number of its wordings; a wording that is added later moves only the
    rows that it takes.
    """
    there = sum(len(template.asking(inverted=True)) for template in how.templates)
    kinds = [chance(how.seed, name, "inverted", number).random() < how.inverted for number in range(how.per_row)]
    backwards = min(sum(kinds), there)
    chosen: list[tuple[int, list[tuple[Template, Wording]]]] = []
    for inverted in (False, True):
        wanted = backwards if inverted else how.per_row - backwards
        keyed: list[tuple[float, int, Template, Wording]] = []
        for template in how.templates if wanted else ():
            wordings = template.asking(inverted=inverted)
            for wording in wordings:
                luck = chance(how.seed, name, template.name, wording.name).random()
                keyed.append((-math.log(max(luck, 1e-12)) * len(wordings), len(keyed), template, wording))
        keyed.sort(key=lambda one: one[:2])
        chosen.append((wanted, [(template, wording) for *_, template, wording in keyed]))
    return chosen


def prompted(row: Row, name: str, template: Template, wording: Wording, how: Prompting, number: int = 0) -> Prompted:
    """One conversation of a row. number: of the conversation among those of the row. Raises RefusedError, FillError."""
    rng = chance(how.seed, name, template.name, wording.name, "details")
    values = columns_of(template, row.value, how.mapping)
    if template.when and not value_of(template.when, values):
        mend = "nothing to do: the template leaves such rows out"
        raise RefusedError(NOT_MEANT, f"{template.name} is for rows with {template.when}", mend)
    options = _listed(template, values, how, rng)
    notation = drawn(how.notation, rng)
    filled = {**values, **(options.names if options else {}), DRAWS: rng}
    turns = _turns(wording, filled, notation)
    task = template.name + ("-inverted" if wording.inverted else "")
    about = {"template": template.name, "wording": wording.name}
    marked = options is not None and _uses(wording, "options")
    about |= {"options": options.style} if options and marked else {}
    noted = any(label for label, _ in (*wording.system, *wording.ask))
    about |= {"notation": notation} if noted else {}
    meta: dict[str, Any] = {"task": task, "kind": template.family, "prompt": about}
    check = _check(template, wording, turns[-1]["content"])
    meta |= {"checks": [check]} if check else {}
    meta |= {key: row.value[key] for key in LICENCES if isinstance(row.value.get(key), str)}
    value = {
        "id": f"{name}-{task}" if number == 0 else f"{name}-{task}-{wording.name.split()[-1]}",
        "group": _group(row.value, values, how),
        "messages": turns,
        "meta": meta,
    }
    found = to_example(Row(value, row.where))
    if isinstance(found, Problem):
        raise RefusedError(*(found.what.partition(": ")[::2]), found.mend)
    closest = f"{task}/{wording.name}/{about.get('options', '')}/{about.get('notation', '')}"
    forms = () if wording.turns else (closest, f"{task}/{wording.name}")
    return Prompted(found, f"template {task}", forms, wording.inverted)


def columns_of(template: Template, row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """What a template reads of a row. Raises RefusedError with every column that is missing or
    empty, or one that holds what cannot be written."""
    values: dict[str, Any] = {}
    missing: list[Column] = []
    for column in template.columns:
        paths = [mapping[column.name]] if column.name in mapping else _paths(column)
        there = [value for path in paths if (value := _at(row, path)) is not _ABSENT]
        found = next((value for value in there if column.raw or not empty(value)), _ABSENT)
        if found is _ABSENT and not column.optional:
            missing.append(column)
        values[column.name] = "" if found is _ABSENT else found
        if column.structure and isinstance(found, str):
            values[column.name] = _structure(found, column.name)
        check_json(values[column.name], column.name)
    if missing:
        spelt = [
            f"'{column.name}'"
            + (f" (or {', '.join(column.also)})" if column.also and column.name not in mapping else "")
            for column in missing
        ]
        held = ", ".join(str(key) for key in row) or "no fields"
        raise RefusedError(
            "missing column",
            f"{template.name} needs {', '.join(spelt)}, missing or empty here; found {held}",
            f"mapping: {{{missing[0].name}: NAME_IN_THE_FILE}}, or mend the row",
        )
    return values


def _structure(text: str, name: str) -> Any:
    """The list or object that a text spells in JSON. Raises RefusedError."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, (list, dict)):
            return found
    mend = 'write it as JSON, such as ["one", "two"] or {"name": "value"}'
    raise RefusedError("wrong type", f"field '{name}' is {show(text)}, expected a list or an object", mend)


def _paths(column: Column) -> list[str]:
    """Where a column may be, its own name first; a path that goes on from a name comes before it: `answer.0`, `answer`."""
    found: list[str] = []
    for name in (column.name, *column.also):
        found += [
            path for path in (*(one for one in column.also if one.startswith(f"{name}.")), name) if path not in found
        ]
    return found


def empty(value: Any) -> bool:
    """Whether a field holds nothing: null, no text, not a number."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _at(row: Any, path: str) -> Any:
    """The field of a name, or what a path such as `answers.text.0` leads to; _ABSENT where nothing is."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    found: Any = row
    for step in path.split("."):
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, (list, tuple)) and step.isascii() and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return _ABSENT
    return found


def _listed(template: Template, values: Mapping[str, Any], how: Prompting, rng: random.Random) -> Listed | None:
    if template.choices is None:
        return None
    gathered = how.gathered.get(template.name, ())
    return listed(template.choices, values, template.styles, rng, labels=how.labels, gathered=gathered)


def _turns(wording: Wording, values: Mapping[str, Any], notation: Notation) -> list[dict[str, Any]]:
    system = _text(wording.system, values, notation)
    head = [{"role": "system", "content": system}] if system else []
    if wording.turns:
        return head + _conversation(value_of(wording.turns, values))
    if wording.parted:
        held = {name: _hold(value) for name, value in values.items()}
        parts = [part.strip() for part in fill(texts_of(wording.ask)[0], held, loose=True).split(_PIPES)]
        if not any(parts):
            mend = "nothing to do: the template leaves such rows out"
            raise RefusedError(NOT_MEANT, "it makes an empty text of this row", mend)
        ask, answer = parts[0], next((part for part in parts[1:] if part), "")
        ask, answer = ask.replace(_HELD, _PIPES), answer.replace(_HELD, _PIPES)
    else:
        ask, answer = _text(wording.ask, values, notation), fill(wording.answer, values).strip()
    for what, text in (("question", ask), ("answer", answer)):
        if not text:
            raise RefusedError(f"empty {what}", f"the {what} is empty for this row", "mend the row, or the template")
    return [*head, {"role": "user", "content": ask}, {"role": "assistant", "content": answer}]


def _conversation(found: Any) -> list[dict[str, Any]]:
    """Texts in turn, user first; a last one that nobody answers is left out."""
    if not isinstance(found, (list, tuple)) or len(found) < 2 or not all(isinstance(one, str) for one in found):
        what = f"the turns are {show(found)}, expected a list of two texts or more"
        raise RefusedError("wrong type", what, "mend the row")
    texts = [text.strip() for text in found[: len(found) // 2 * 2]]
    if not all(texts):
        raise RefusedError("empty answer", "a turn is empty", "mend the row")
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def _text(blocks: Blocks, values: Mapping[str, Any], notation: Notation) -> str:
    """Blocks filled one by one, so that no value can open another block of the template, and put together."""
    return written([(name, [fill(text, values) for text in items]) for name, items in blocks], notation)


def _hold(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_PIPES, _HELD)
    if isinstance(value, (list, tuple)):
        return [_hold(inner) for inner in value]
    return {key: _hold(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _check(template: Template, wording: Wording, answer: str) -> dict[str, Any] | None:
    if template.check == "none" or wording.inverted:
        return None
    if template.check != "json-equals":
        return {"type": template.check, "value": answer}
    try:
        return {"type": "json-equals", "value": json.loads(answer)}
    except ValueError:
        raise RefusedError("answer is not JSON", f"the answer is {show(answer)}", "mend the row") from None


def _uses(wording: Wording, name: str) -> bool:
    return any(name in names_in(text) for text in (*texts_of(wording.ask), *texts_of(wording.system), wording.answer))


def _group(row: Mapping[str, Any], values: Mapping[str, Any], how: Prompting) -> str:
    """Rows of one group stay on one side of a split: the row's own group, or what is asked about."""
    own = _at(row, how.mapping.get("group", "group"))
    if isinstance(own, (str, int)) and not isinstance(own, bool) and own != "":
        return str(own)
    columns = sorted(set.intersection(*(set(group_columns(template)) for template in how.templates)))
    found = [values[column] for column in columns if column in values]
    about = [normalise(one) if isinstance(one, str) else one for one in found]
    return f"prompt:{row_name({'about': about})}" if about else f"prompt:{row_name(row)}"


def _before_pipes(text: str) -> frozenset[str]:
    """The names in what is asked, where that can be told before anything is filled in; else in all of it."""
    try:
        return names_in(text.split(_PIPES, 1)[0])
    except FillError:  # the pipes stand inside a loop or condition
        return names_in(text)


def group_columns(template: Template) -> tuple[str, ...]:
    """The columns by which rows belong together: as the template says, or those that its questions are about."""
    if template.group:
        return template.group
    named: set[str] = set()
    for wording in template.asking(inverted=False):
        named |= names_of(wording.turns) if wording.turns else set()
        for text in texts_of(wording.ask):
            named |= _before_pipes(text) if wording.parted else names_in(text)
    if template.choices is not None and template.choices.each:
        named |= names_of(template.choices.each)
    secret = names_of(template.choices.right) if template.choices is not None and template.choices.right else set()
    secret -= names_of(template.choices.each) if template.choices is not None and template.choices.each else set()
    return tuple(column.name for column in template.columns if column.name in named and column.name not in secret)
