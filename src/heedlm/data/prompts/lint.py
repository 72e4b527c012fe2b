"""What is wrong with a template, all of it in one pass: what can be told from its text, and what rows bring to light."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from heedlm.data.fields import RefusedError, show
from heedlm.data.prompts.apply import NOT_MEANT, Prompting, columns_of, prompted, row_name
from heedlm.data.prompts.choices import MOST_GATHERED
from heedlm.data.prompts.located import Path as Place
from heedlm.data.prompts.promptsource import is_promptsource, parse_promptsource
from heedlm.data.prompts.read import parse_as_far, read_text
from heedlm.data.prompts.template import GIVEN, SECRET, Blocks, Template, Wording, texts_of
from heedlm.data.sources import Row
from heedlm.errors import Problem, nearest
from heedlm.templates.sandbox import FillError, bare_names, chance_in, cuts_in, names_in, names_of, value_of

ROWS = 1000  # of a file, that templates are tried on
_SEEDS = (0, 1, 2)  # each row is tried with several draws: another order of choices, another notation
_CUT = 20  # a slice that ends earlier takes a first letter or word and is meant
_SHORT = 4  # characters; shorter answers stand in a text by chance
_OURS = frozenset({"answer_choices"})  # of promptsource


class _Text(NamedTuple):
    """One Jinja text or expression of a template, and where it stands."""

    text: str
    place: Place
    expression: bool = False


def lint_file(path: Path, rows: Sequence[Row] = (), how: Prompting | None = None) -> tuple[list[Problem], int]:
    """The problems of a file, and how many templates it holds. Raises HeedError where it cannot be read as YAML.

    rows: to try beside the examples of the file.   how: mapping and labels for them.
    """
    text = read_text(path)
    if is_promptsource(text):
        templates, refused = parse_promptsource(text, str(path))
        found = [problem for template in templates for problem in lint(template, rows, how)]
        return [*refused, *found], len(templates) + len(refused)
    template, problems = parse_as_far(text, str(path))
    more = lint(template, rows, how) if template is not None else []
    return list(dict.fromkeys([*problems, *more])), int(template is not None)


def lint(template: Template, rows: Sequence[Row] = (), how: Prompting | None = None) -> list[Problem]:
    """The problems of a template.   rows: to try beside its examples.   how: mapping and labels for them."""
    problems: list[Problem] = []
    sound: list[Wording] = []
    for wording in template.wordings:
        wrong = [problem for text in _texts(wording) for problem in _text_problems(template, text)]
        wrong += _leaks(template, wording)
        problems += wrong
        sound += [] if wrong else [wording]
    beside = list(_expressions(template))
    problems += [*beside, *_unused(template), *_repeated(template)]
    if sound and not beside:
        part = dataclasses.replace(template, wordings=tuple(sound), group=template.group or _first_column(template))
        own = [Row(dict(row), template.at("examples", index)) for index, row in enumerate(template.examples)]
        problems += _tried(part, own, Prompting((part,)))
        problems += _left_out(part, own)
        problems += _tried(part, rows, dataclasses.replace(how or Prompting(()), templates=(part,)))
    return problems


def _left_out(template: Template, rows: Sequence[Row]) -> Iterator[Problem]:
    """Examples that `when` leaves out, all of them, show and try nothing."""

    def taken(row: Row) -> bool:
        try:
            return bool(value_of(template.when, columns_of(template, row.value, {})))
        except (RefusedError, FillError):  # told by trying them
            return True

    if template.when and rows and not any(map(taken, rows)):
        what = "no example is taken: when leaves all of them out"
        yield Problem(what, template.at("when"), "add an example for which it is true")


def _first_column(template: Template) -> tuple[str, ...]:
    """Any group will do where nothing is split."""
    return tuple(column.name for column in template.columns[:1])


def _texts(wording: Wording) -> Iterator[_Text]:
    yield from _of_blocks(wording.ask, (*wording.path, "ask"))
    yield from _of_blocks(wording.system, (*wording.path, "system"))
    if wording.answer:
        yield _Text(wording.answer, (*wording.path, "answer"))
    if wording.turns:
        yield _Text(wording.turns, (*wording.path, "turns"), expression=True)


def _of_blocks(blocks: Blocks, place: Place) -> Iterator[_Text]:
    for name, items in blocks:
        for index, text in enumerate(items):
            yield _Text(text, (*place, name, index) if name else place)


def _text_problems(template: Template, text: _Text) -> Iterator[Problem]:
    for name, line in chance_in(text.text):
        what = f"nondeterminism: {name!r} gives another text each time"
        yield Problem(what, _at(template, text, line), "write several wordings, or use the filter choice")
    try:
        names = names_of(text.text) if text.expression else names_in(text.text)
    except FillError as error:
        if not chance_in(text.text):
            where = _at(template, text, error.line)
            yield Problem(f"broken template: {error.what}", where, "mend the Jinja there")
        return
    for name in sorted(names - _known(template)):
        lines = text.text.splitlines()
        line = next((number for number, one in enumerate(lines, 1) if name in one), 1)
        told = name in GIVEN and template.choices is None
        what = f"undefined variable: {name!r} is no column" + (", and the template has no choices" if told else "")
        known = [column.name for column in template.columns]
        yield Problem(what, _at(template, text, line), f"add it to columns; {nearest(name, known)}")
    for cut, line in cuts_in(text.text, _CUT):
        what = f"truncation: {cut} cuts a text"
        mend = "hand the whole text on; tokens.overflow says what happens to a row that is too long"
        yield Problem(what, _at(template, text, line), mend)


def _at(template: Template, text: _Text, line: int) -> str:
    """The place of a line of a text; one that is no list, or a wording that is nothing but a text, stands a step higher."""
    place = text.place
    while place not in template.lines and place[-1] in ("ask", 0):
        place = place[:-1]
    return template.at(*place, line=line)


def _known(template: Template) -> frozenset[str]:
    given = frozenset[str]() if template.choices is None else _OURS if template.choices.text else GIVEN
    return frozenset(column.name for column in template.columns) | given


def _expressions(template: Template) -> Iterator[Problem]:
    """Names in the expressions that stand beside the wordings."""
    found: list[tuple[Place, str]] = [(("when",), template.when)]
    if template.choices is not None:
        found += [(("choices", "right"), template.choices.right), (("choices", "each"), template.choices.each)]
    columns = {column.name for column in template.columns}
    for place, text in found:
        if not text:
            continue
        try:
            unknown = names_of(text) - columns
        except FillError as error:
            yield Problem(f"broken template: {error.what}", template.at(*place), "write an expression such as label")
            continue
        for name in sorted(unknown):
            mend = f"add it to columns; {nearest(name, columns)}"
            yield Problem(f"undefined variable: {name!r} is no column", template.at(*place), mend)


def _used(template: Template) -> set[str]:
    texts = [text for wording in template.wordings for text in _texts(wording)]
    if template.choices is not None:
        texts += [_Text(one, (), expression=True) for one in (template.choices.right, template.choices.each) if one]
        texts += [_Text(template.choices.text, ())] if template.choices.text else []
    texts += [_Text(template.when, (), expression=True)] if template.when else []
    used: set[str] = set(template.group)
    for text in texts:
        try:
            used |= names_of(text.text) if text.expression else names_in(text.text)
        except FillError:  # told where it stands; what it would have read is not called unused for that
            used |= set(re.findall(r"\w+", text.text))
    return used


def _unused(template: Template) -> Iterator[Problem]:
    used = _used(template)
    for column in template.columns:
        if column.name not in used:
            where = template.at("columns", column.name)
            yield Problem(f"unused column: nothing reads {column.name!r}", where, "use it in a wording, or take it out")


def _repeated(template: Template) -> Iterator[Problem]:
    first: dict[object, Wording] = {}
    for wording in template.wordings:
        key = (wording.ask, wording.system, wording.turns, wording.answer)
        if key in first:
            what = f"wording {wording.name} is the same as wording {first[key].name}"
            yield Problem(what, template.at(*wording.path), "take one of them out")
        first.setdefault(key, wording)


def _leaks(template: Template, wording: Wording) -> Iterator[Problem]:
    """The input of a wording gives its answer away, whatever the row."""
    try:
        asked = {name for text in (*texts_of(wording.ask), *texts_of(wording.system)) for name in names_in(text)}
        answered = names_in(wording.answer)
        right = names_of(template.choices.right) if template.choices and template.choices.right else frozenset()
        listed = names_of(template.choices.each) if template.choices and template.choices.each else frozenset()
    except FillError:  # told where it stands
        return
    shown = {name for text in (*texts_of(wording.ask), *texts_of(wording.system)) for name in bare_names(text)}
    leaked = asked & (SECRET | (right - listed)) if answered & SECRET else set()
    whole = bare_names(wording.answer)
    if not leaked and not template.copied and len(whole) == 1 and wording.answer.strip().startswith("{{"):
        leaked = shown & set(whole)
    for name in sorted(leaked):
        what = f"label leaks into the input: wording {wording.name} shows {name!r}, and the answer is made of it"
        yield Problem(what, template.at(*wording.path), "take it out of the question, or of the system text")


def _tried(template: Template, rows: Sequence[Row], how: Prompting) -> list[Problem]:
    """What comes to light when every wording is filled with rows; the same thing in many rows is told once, with a count."""
    how = dataclasses.replace(how, gathered={template.name: _values(template, rows)})
    found: dict[str, list[Problem]] = {}
    for row in rows:
        for problem in _tried_on(template, row, how):
            found.setdefault(problem.what, []).append(problem)
    return [
        problems[0]
        if len(problems) == 1
        else dataclasses.replace(problems[0], what=f"{problems[0].what} (and {len(problems) - 1:,} more rows)")
        for problems in found.values()
    ]


def _values(template: Template, rows: Sequence[Row]) -> tuple[str, ...]:
    if template.choices is None or not template.choices.gathered:
        return ()
    column = next((one for one in template.columns if one.name == template.choices.right), None)
    names = [column.name, *column.also] if column is not None else []
    values = [str(row.value[name]) for row in rows for name in names if name in row.value]
    return tuple(dict.fromkeys(values))[:MOST_GATHERED]


def _tried_on(template: Template, row: Row, how: Prompting) -> Iterable[Problem]:
    told: dict[str, Problem] = {}
    texts: dict[tuple[str, str], str] = {}
    for wording in template.wordings:
        for seed in _SEEDS:
            drawn = dataclasses.replace(how, seed=seed, notation="mix")
            try:
                one, again = (prompted(row, row_name(row.value), template, wording, drawn) for _ in range(2))
            except RefusedError as refused:
                if refused.reason != NOT_MEANT:
                    told.setdefault(refused.detail, refused.problem(row.where))
                break
            except FillError as error:
                what = f"template cannot be filled: wording {wording.name}: {error.what}"
                told.setdefault(what, Problem(what, template.at(*wording.path), f"mend it, or the row at {row.where}"))
                break
            if one.example != again.example:
                what = f"nondeterminism: wording {wording.name} gives two texts for one row"
                told.setdefault(what, Problem(what, template.at(*wording.path), "take out what is drawn by chance"))
            turns: dict[str, str] = {message.role: message.content for message in one.example.messages}
            told.update(_leak_in(template, wording, turns, row))
            key = (f"{turns.get('system', '')}\n{turns['user']}", turns["assistant"])
            other = texts.setdefault(key, wording.name)
            if other != wording.name and seed == _SEEDS[0] and not wording.turns:
                what = f"wordings {other} and {wording.name} make the same conversation"
                told.setdefault(what, Problem(what, template.at(*wording.path), "say it in another way"))
    return list(told.values())


def _leak_in(template: Template, wording: Wording, turns: Mapping[str, str], row: Row) -> dict[str, Problem]:
    """The answer stands in the question of this row, though nothing is said of copying it."""
    if template.copied or template.choices is not None or wording.inverted or wording.turns or wording.parted:
        return {}
    answer = turns["assistant"]
    if len(answer) < _SHORT or answer.casefold() not in f"{turns.get('system', '')}\n{turns['user']}".casefold():
        return {}
    what = f"label leaks into the input: wording {wording.name} shows the answer {show(answer)}"
    return {
        what: Problem(what, row.where, "take it out, or write copied: true where answers are copied from the input")
    }
