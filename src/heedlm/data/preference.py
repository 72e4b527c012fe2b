"""Rows with a better and a worse answer: the better is learnt, the worse is kept beside it as `rejected`.

Both may be texts, turns, or whole conversations. What they have in common is given, not taught: so the worse answer
belongs where the first taught answer stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heedlm.data.fields import Fields, RefusedError, show, text_at
from heedlm.data.shapes import CHOSEN, REJECTED
from heedlm.data.transcript import is_marked, read_marked
from heedlm.data.turns import answer, as_turns, check_order, given
from heedlm.messages import Message


def read_pair(
    fields: Fields, prompt: Sequence[Message], labels: Sequence[str]
) -> tuple[list[Message], list[str], tuple[Message, ...]]:
    """The conversation with the better answer, a name for each of its turns, and the worse answer.

    prompt: what stands in fields of its own, its labels beside it; empty where the answers hold it.
    """
    chosen, rejected = fields.first(CHOSEN), fields.first(REJECTED)
    assert chosen is not None, "the field that opens the shape"
    better, names = _whole(fields.take(chosen), fields.name(chosen), fields, prompt, labels)
    if rejected is None or fields.values[rejected] is None:
        return better, names, ()
    worse, their = _whole(fields.take(rejected), fields.name(rejected), fields, prompt, labels)
    same = _common(better, worse)
    if same == len(better) == len(worse):
        raise RefusedError(
            "preference",
            f"fields '{fields.name(chosen)}' and '{fields.name(rejected)}' hold the same",
            "write the worse answer, or remove the row",
        )
    parting = [turns[same].role for turns in (better, worse) if same < len(turns)]
    if parting != ["assistant", "assistant"]:
        raise RefusedError(
            "preference",
            f"'{fields.name(chosen)}' and '{fields.name(rejected)}' part before an answer, at turn {same + 1}",
            "give both the same questions, so that only answers differ",
        )
    check_order(worse, their)
    return [given(message) for message in better[:same]] + better[same:], names, tuple(worse[same:])


def rejected_beside(fields: Fields, messages: Sequence[Message]) -> tuple[Message, ...]:
    """The worse answer that a row of another shape holds beside its conversation, as turns.

    A word or a number there says something else, such as what became of the row, and is not read.
    """
    name = fields.first(REJECTED)
    if name is None or not (fields.values[name] and isinstance(fields.values[name], (list, dict, str))):
        return ()
    if isinstance(fields.values[name], str) and name == REJECTED[0]:
        return ()
    value, at = fields.take(name), fields.name(name)
    if isinstance(value, str):
        return (answer(text_at(value, at), at),)
    turns, _ = as_turns(value, at, fields.names)
    worse = turns if turns[0].role == "assistant" else turns[_common(messages, turns) :]
    if not worse or worse[0].role != "assistant":
        raise RefusedError(
            "preference",
            f"field '{at}' is {show(value)}, expected an answer to the same question",
            'write [{"role": "assistant", "content": "..."}]',
        )
    return tuple(worse)


def _whole(
    value: Any, field: str, fields: Fields, prompt: Sequence[Message], labels: Sequence[str]
) -> tuple[list[Message], list[str]]:
    """The conversation that ends with one of the two answers."""
    if isinstance(value, str):
        if not prompt and is_marked(value):
            return read_marked(value, field)
        turns, names = [answer(text_at(value, field), field)], [field]
    else:
        turns, _ = as_turns(value, field, fields.names)
        names = [f"{field}[{index}]" for index in range(len(turns))]
    if turns[0].role != "assistant":  # the answer brings its conversation, which must be the one that was asked
        asked = [message.content.strip() for message in turns if message.role == "user"]
        if prompt and prompt[-1].role == "user" and prompt[-1].content.strip() not in asked:
            raise RefusedError(
                "preference",
                f"field '{field}' answers another question than '{labels[-1]}' asks",
                "keep the question in one of the two places",
            )
        return turns, names
    if not prompt:
        raise RefusedError(
            "missing field",
            f"field '{fields.name('prompt')}' is missing, and '{field}' does not hold the question",
            "add the field, with the question as text or turns",
        )
    return [*prompt, *turns], [*labels, *names]


def _common(one: Sequence[Message], other: Sequence[Message]) -> int:
    """How many turns two conversations begin with in common, whatever their weights."""

    def said(message: Message) -> tuple[Any, ...]:
        calls = [(call.name, dict(call.arguments)) for call in message.tool_calls]
        return (message.role, message.content, message.reasoning, calls)

    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if said(a) != said(b)), min(len(one), len(other)))
