"""What a synthesis makes: rows with the whole of their provenance, and drops with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from heedlm.data.clean.rules import RULES, Limits, clean
from heedlm.data.words import words
from heedlm.messages import Example, Message, Reply, Sampling
from heedlm.synth.journal import message_as_json, sampling_as_json

EMPTY, CUT = "empty answer", "answer cut off"


class Drop(NamedTuple):
    """Something that became no row. reason: what it is counted under.   what: the texts that it is about."""

    reason: str
    why: str
    where: str
    what: Mapping[str, Any] = {}


@dataclass(slots=True)
class Made:
    """Rows and drops so far. facts: figures of the mode, for the card."""

    rows: list[Example] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a row, the same for all rows of a run.

    endpoint: where the model was asked, if not on this machine.   weights: else what tells them from others of that name.
    """

    mode: str
    model: str
    endpoint: str | None = None
    licence: str | None = None
    weights: str | None = None


def record(
    origin: Origin, key: str, prompt: Sequence[Message] | str, sampling: Sampling, **more: Any
) -> dict[str, Any]:
    """The provenance of one call: of which model, with what prompt and parameters, under which key of the journal."""
    asked = prompt if isinstance(prompt, str) else [message_as_json(message) for message in prompt]
    told: dict[str, Any] = {"mode": origin.mode, "model": origin.model}
    told |= {} if origin.endpoint is None else {"endpoint": origin.endpoint}
    told |= {} if origin.weights is None else {"weights": origin.weights}
    parameters = sampling_as_json(sampling)
    return {**told, "prompt": asked, "seed": parameters.pop("seed"), "parameters": parameters, "key": key, **more}


def answer_of(reply: Reply) -> Message:
    """The assistant's turn that a reply is."""
    return Message("assistant", reply.text.strip(), reasoning=reply.reasoning, tool_calls=reply.tool_calls)


def unfit(reply: Reply) -> tuple[str, str] | None:
    """Why a reply is no answer to learn from, as reason and words; None where it is one."""
    if reply.stop_reason == "length":
        return CUT, "it was cut at max_tokens; allow more: --max-tokens"
    if not reply.text.strip() and not reply.tool_calls:
        return EMPTY, "the reply holds no text"
    return None


def row(
    origin: Origin,
    asked: Example,
    answer: Message,
    synth: Mapping[str, Any],
    *,
    id: str,  # noqa: A002 - the field's own name
    group: str | None = None,
) -> Example:
    """The row of a prompt and its answer, with where both come from in `meta.synth`."""
    meta = {**asked.meta, "synth": dict(synth)}
    if origin.licence is not None:
        meta["licence"] = origin.licence
    return replace(asked, id=id, group=group or asked.group, messages=(*asked.messages, answer), meta=meta, rejected=())


def flags(rows: Sequence[Example]) -> dict[str, int]:
    """How many rows each rule of `heed prepare` would flag: refusals, echoes, circles, other languages and the rest."""
    counts: Counter[str] = Counter()
    actions: dict[str, Any] = dict.fromkeys(RULES, "flag")
    for example in rows:
        found = [words(message.content) for message in example.messages]
        looked = clean(example, found, actions, Limits(1 << 30, 0))
        counts.update({finding.rule for finding in looked.findings})
    return dict(counts.most_common())
