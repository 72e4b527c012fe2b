"""The Modelfile beside a GGUF file, and whether Ollama would send the model what heed sends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heedlm.exports import go_template, modelfile
from heedlm.exports.card import title
from heedlm.exports.gguf_file import Contents
from heedlm.exports.parity import Parity, compare_ids
from heedlm.exports.prompts import Told
from heedlm.exports.readings import prompt_ids, reading
from heedlm.exports.source import Source
from heedlm.exports.turns import Turns, turns_of
from heedlm.runs import write_text


def write(
    source: Source, folder: Path, model: str, contents: Contents, context: int, told: Sequence[Told]
) -> tuple[Parity, tuple[str, ...]]:
    """Write the Modelfile, read it back, and carry its template out for each conversation.   context: tokens it asks for.

    Raises HeedError for a chat template that is more than text between turns.
    """
    turns = turns_of(source)
    vocabulary = contents.vocabulary
    bos = vocabulary.tokens[vocabulary.bos] if vocabulary.add_bos and vocabulary.bos is not None else ""
    file = modelfile.Modelfile(model, go_template.written(turns, without=bos), source.stop_texts, context)
    path = folder / modelfile.NAME
    write_text(path, modelfile.to_text(file, f"{title(source.name)}, tuned and written with heed"))
    again = modelfile.from_text(path.read_text("utf8"))
    read = reading(vocabulary)
    wrong: list[str] = []

    def ids(one: Told) -> Sequence[int] | None:
        if not _sayable(one, turns):
            return None
        text = go_template.execute(again.template, modelfile.collated(one.request.messages))
        if text != one.text.removeprefix(bos):
            wrong.append(f"the chat template writes {one.text.removeprefix(bos)!r}, the Modelfile's {text!r}")
        return prompt_ids(vocabulary, read, text)

    parity = compare_ids(source, told, ids)
    return (replace(parity, first=wrong[0]) if wrong and not parity.passed else parity), _notes(source, turns)


def _sayable(one: Told, turns: Turns) -> bool:
    """Whether the Modelfile has words for a conversation: texts of the known roles, without tools or template kwargs."""
    request = one.request
    roles = {role for pair in turns.between for role in pair}
    plain = all(
        message.role in roles and not message.tool_calls and message.reasoning is None for message in request.messages
    )
    trimmed = turns.trims and any(message.content != message.content.strip() for message in request.messages)
    return plain and not request.tools and not request.template_kwargs and not trimmed


def _notes(source: Source, turns: Turns) -> tuple[str, ...]:
    notes = ["Tools and reasoning are not part of this Modelfile's template."]
    if ("", "system") not in turns.between:
        notes.append(f"The template {source.template.name!r} takes no system text: Ollama's SYSTEM has no effect.")
    if turns.trims:
        notes.append("The chat template takes white space off the ends of messages; Ollama sends it as it is typed.")
    return tuple(notes)
