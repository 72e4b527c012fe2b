"""What to do with rows of no known shape: a mapping from names and contents of their fields, or a prompt template.

Whatever is suggested was tried on the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

from heedlm.data.prompts import library
from heedlm.data.prompts.apply import Prompting, prompt_rows
from heedlm.data.prompts.template import Template
from heedlm.data.row import Row
from heedlm.data.schema import to_examples
from heedlm.data.shapes import from_cell
from heedlm.data.turns import ALIASES
from heedlm.errors import Problem

TRIED = 100  # rows that a mapping is tried on
_KINDS = 4  # sets of fields looked at, where rows of several stand in one file
_IDEAS = 24  # mappings tried on one
_FITTED = 20  # rows that prompt templates are tried on
_WORTH = 0.5  # share of them that it must read
_LABELS = 0.2  # a text field with fewer different values than this share of the rows is no answer, unless named so

# What people call these fields, the surest names first.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "question": (
        *("question", "query", "ask", "asked", "instruction", "prompt", "request", "user", "human", "input", "problem"),
        *(
            "task",
            "message",
            "q",
            "source",
            "post",
            "title",
            "src",
            "frage",
            "pregunta",
            "domanda",
            "pergunta",
            "вопрос",
        ),
    ),
    "answer": (
        *("answer", "response", "reply", "output", "completion", "assistant", "solution", "bot", "gpt", "model", "a"),
        *("target", "say", "said", "chosen", "result", "generation", "summary", "translation", "tgt", "label"),
        *("antwort", "réponse", "reponse", "respuesta", "risposta", "resposta", "ответ"),
    ),
    "context": (*("context", "passage", "background", "document", "article", "paragraph", "abstract", "evidence"),),
}


class Suggestion(NamedTuple):
    """A mapping (our name -> the name in the file).   why: by what the fields were told.   read, of: rows it was tried on."""

    mapping: dict[str, str]
    why: str
    read: int
    of: int


def suggest(rows: Sequence[Mapping[str, Any]]) -> tuple[Suggestion, ...]:
    """The mapping that reads most of these rows; where none reads half of them, one for each set of fields that has one."""
    best = _best(rows[:TRIED])
    if best is not None:
        return (best,)
    kinds: dict[frozenset[str], list[Mapping[str, Any]]] = {}
    for row in rows[:TRIED]:
        kinds.setdefault(frozenset(row), []).append(row)
    largest = sorted(kinds.values(), key=len, reverse=True)[:_KINDS] if len(kinds) > 1 else []
    return tuple(found for kind in largest if (found := _best(kind)) is not None)


def _best(rows: Sequence[Mapping[str, Any]]) -> Suggestion | None:
    best: Suggestion | None = None
    for mapping, why in islice(_ideas(rows), _IDEAS):
        read = sum(_reads(row, mapping) for row in rows)
        if read >= _WORTH * len(rows) and (best is None or read > best.read):
            best = Suggestion(mapping, why, read, len(rows))
    return best


def fitting(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The shipped prompt templates that all of these rows have the columns and labels for, the most telling first."""
    tried = [Row(dict(row), "") for row in rows[:_FITTED]]
    if not tried:
        return ()
    fits = [template for template in map(library.shipped, library.names()) if _fits(template, tried)]

    def telling(template: Template) -> tuple[int, int]:
        named = sum(column.name in tried[0].value for column in template.columns)
        return -named, len(template.choices.names) if template.choices is not None else 0

    return tuple(template.name for template in sorted(fits, key=telling))[:_KINDS]


def _fits(template: Template, rows: Sequence[Row]) -> bool:
    gathered: dict[str, tuple[str, ...]] = {}
    if template.choices is not None and template.choices.gathered:
        column = next((one for one in template.columns if one.name == template.choices.right), None)
        names = (column.name, *column.also) if column is not None else ()
        values = [value for row in rows for name in names if isinstance(value := row.value.get(name), str)]
        gathered[template.name] = tuple(dict.fromkeys(values))
    how = Prompting((template,), gathered=gathered)
    return all(any(not isinstance(one, Problem) for one in prompt_rows(row, how)) for row in rows)


def _reads(row: Mapping[str, Any], mapping: Mapping[str, str]) -> bool:
    found = to_examples(Row(dict(row), ""), mapping)
    return bool(found) and not any(isinstance(one, Problem) for one in found)


def _ideas(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, str], str]]:
    """Mappings worth a try, the likeliest first."""
    yield from _lists(rows)
    texts = _text_fields(rows)
    for asked, said in product(_ranked("question", texts), _ranked("answer", texts)):
        if asked == said:
            continue
        about = next((name for name in _ranked("context", texts) if name not in (asked, said)), None)
        named = [name for name, kind in ((asked, "question"), (said, "answer")) if _rank(kind, name) is not None]
        why = "by their names" if len(named) == 2 else f"{named[0]!r} by its name" if named else "by their order"
        mapping = {"question": asked, "answer": said}
        if about is not None:
            yield {**mapping, "context": about}, why
        yield mapping, why
    unnamed = [name for name, different in texts.items() if different >= _LABELS]
    if len(unnamed) == 2:
        first, second = unnamed
        if sum(_asks(row, second) for row in rows) > sum(_asks(row, first) for row in rows):
            first, second = second, first
            yield {"question": first, "answer": second}, "by their contents: one of two texts asks"
        yield {"question": first, "answer": second}, "by their order: the two fields that hold texts"


def _lists(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, str], str]]:
    """Fields that hold a list of objects, one of whose fields says who speaks."""
    for name in _names(rows):
        lists = [value for row in rows if isinstance(value := from_cell(row.get(name)), list)]
        turns = [turn for value in lists for turn in value if isinstance(turn, dict)]
        for role in _names(turns):
            said = [turn.get(role) for turn in turns]
            if not said or not all(isinstance(who, str) and who.lower() in ALIASES for who in said):
                continue
            texts = {key: sum(len(str(turn.get(key))) for turn in turns) for key in _text_fields(turns) if key != role}
            if texts:
                content = max(texts, key=lambda key: texts[key])
                mapping = {"conversations": name, "role": role, "content": content}
                yield mapping, f"'{name}' holds turns: '{role}' says who speaks"


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _text_fields(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Fields that hold text in at least half of the rows, with the share of different values."""
    found = {}
    for name in _names(rows):
        texts = [value for row in rows if isinstance(value := row.get(name), str) and value.strip()]
        if len(texts) >= 0.5 * len(rows):
            found[name] = len(set(texts)) / len(texts)
    return found


def _ranked(kind: str, texts: Mapping[str, float]) -> list[str]:
    """The fields whose names say that they are of a kind, the surest first; others that could be, for two texts."""
    ranks = {name: rank for name in texts if (rank := _rank(kind, name)) is not None}
    return sorted(ranks, key=lambda name: ranks[name])


def _rank(kind: str, name: str) -> int | None:
    """How sure a field is of a kind by its name, 0 the surest; None where the name does not say so."""
    pieces = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", name))
    words = [piece.lower() for piece in pieces]
    ranks = [number for number, known in enumerate(_NAMES[kind]) for word in words if word in (known, f"{known}s")]
    return min(ranks, default=None)


def _asks(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return isinstance(value, str) and value.rstrip().endswith(("?", "？", "؟"))
