"""Chat templates: how messages look on the wire of one model.

This is the door of the renderer. A template comes from the checkpoint, from a file or from the formats built in here,
and is always Jinja text: the checkpoint carries that text, so every server renders what training rendered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.errors import HeedError, nearest
from heedlm.messages import JSON, Message
from heedlm.templates.controls import plain, sanitize
from heedlm.templates.probe import (
    fingerprint,
    grade_of,
    habits,
    stop_ids,
    written_markers,
)
from heedlm.templates.render import ChatTemplate, render
from heedlm.templates.segments import segments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "BUILT_IN",
    "ChatTemplate",
    "fingerprint",
    "load_template",
    "plain",
    "render",
    "sanitize",
    "segments",
    "stop_ids",
    "with_defaults",
]

BUILT_IN = ("chatml", "llama3", "human_assistant", "alpaca", "dolly", "base")
END_OF_ANSWER = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>"}  # used where the tokenizer has it, otherwise its eos

# A template that prints today's date would be trained on one day and served on another.
FROZEN_DATE = date(2026, 1, 1)
DATE_CALL = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


def load_template(name_or_path: str | None, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """A template by name (see `BUILT_IN`), from a Jinja file, or (None) the tokenizer's own; ChatML where it has none.

    What was chosen or changed is in the result's `note`. Raises HeedError for an unknown name, a broken template, or
    a format that needs an eos token where the tokenizer has none.
    """
    if name_or_path is None:
        own = tokenizer.chat_template
        if isinstance(own, Mapping):  # several by name
            own = own.get("default", next(iter(own.values()), None))
        if own:
            return _finish("the model's own", own, tokenizer, [])
        return _built_in("chatml", tokenizer, ["This model has no chat template of its own: ChatML is used."])
    if name_or_path in BUILT_IN:
        return _built_in(name_or_path, tokenizer, [])
    path = Path(name_or_path)
    if path.is_file():
        try:
            return _finish(path.stem, path.read_text(encoding="utf-8"), tokenizer, [])
        except UnicodeDecodeError as error:
            raise HeedError("The chat template is not text in UTF-8.", str(path), "Name a Jinja file.") from error
    raise _unknown(name_or_path)


def check_name(name_or_path: str | None) -> None:
    """Raises HeedError for the name of a template that there is none of, before a tokenizer is loaded."""
    if name_or_path is not None and name_or_path not in BUILT_IN and not Path(name_or_path).is_file():
        raise _unknown(name_or_path)


def _unknown(name: str) -> HeedError:
    what = f"There is no chat template {name!r}, neither built in nor as a file."
    return HeedError(what, "templates.chat", nearest(name, BUILT_IN))


def with_defaults(
    template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, defaults: Mapping[str, JSON]
) -> ChatTemplate:
    """`template` with template kwargs that hold unless a request gives others, written into its source.

    In the source they reach every server that the checkpoint will meet; kept beside it they would be forgotten.
    defaults: truth values, numbers, texts or None.
    """
    for key in defaults:
        if not re.search(rf"\b{re.escape(key)}\b", template.source):
            raise HeedError(
                f"The template {template.name!r} does not read the kwarg {key!r}.",
                f"templates.kwargs.{key}",
                "Remove it, or give it the name that the template reads.",
            )
    literals = {key: _literal(value) for key, value in defaults.items()}
    lines = [f"{{%- set {key} = {key} if {key} is defined else {text} %}}\n" for key, text in literals.items()]
    said = ", ".join(f"{key}={text}" for key, text in literals.items())
    kept = template.note
    for sentence in _said(template, tokenizer):  # these may change with the defaults and are found again
        kept = kept.replace(sentence, "").strip()
    notes = [note for note in (kept, f"Set in the template: {said}.") if note]
    return _finish(template.name, "".join(lines) + template.source, tokenizer, notes)


def _literal(value: JSON) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return str(value).lower() if isinstance(value, bool) or value is None else repr(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"
    raise HeedError(f"A template default is a truth value, number or text, not {type(value).__name__}.", "templates")


def _built_in(name: str, tokenizer: PreTrainedTokenizerBase, notes: list[str]) -> ChatTemplate:
    """A built-in format, fitted to the tokenizer: with its BOS if it writes one, its eos if the format's mark lacks."""
    source = resources.files("heedlm.templates").joinpath(f"wire/{name}.jinja").read_text(encoding="utf-8")
    head = ""
    mark = END_OF_ANSWER.get(name)
    needs_eos = mark is None or mark not in tokenizer.get_added_vocab()
    if needs_eos and tokenizer.eos_token_id is None:
        raise HeedError(
            f"The format {name!r} ends an answer with the tokenizer's eos token, and this tokenizer has none.",
            "templates.chat",
            "Give the tokenizer an eos_token.",
        )
    if mark is not None and needs_eos:
        head += "{%- set end_of_answer = eos_token %}\n"
        eos = tokenizer.eos_token
        notes = [*notes, f"The tokenizer has no {mark}: answers end with its eos {eos}, marks are plain text."]
    if writes_bos(tokenizer):
        head += "{{- bos_token }}\n"
    return _finish(name, head + source, tokenizer, notes)


def writes_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts its BOS before plain text, as the model saw it in pretraining."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id


def _finish(name: str, source: str, tokenizer: PreTrainedTokenizerBase, notes: list[str]) -> ChatTemplate:
    """Freeze dates, then find out how strong the format is and what else must be said about it."""
    source, dated = _freeze(name, source)
    if dated:
        notes = [*notes, f"Dates are frozen at {FROZEN_DATE.isoformat()} (change: template kwarg date_string)."]
    template = ChatTemplate(name, source)
    template = replace(template, markers=written_markers(template, tokenizer))
    notes = [*notes, *_said(template, tokenizer)]
    stop_ids(template, tokenizer)  # refuses here, at load, what could never stop
    _refuse_two_bos(template, tokenizer)
    grade, stop_strings = grade_of(template, tokenizer)
    return replace(template, grade=grade, stop_strings=stop_strings, note=" ".join(notes))


def _refuse_two_bos(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refused at load, so that no side, training or serving, ever sees two; nothing else in the house adds one."""
    text = render(template, tokenizer, [Message("user", "a")], add_generation_prompt=True)
    if tokenizer.bos_token and text.startswith(str(tokenizer.bos_token) * 2):
        raise HeedError(
            f"The template {template.name!r} writes the BOS token {tokenizer.bos_token} twice.",
            "templates.chat",
            "Remove one of the two from the template.",
        )


def _said(template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What a person should know about the template itself."""
    found = habits(template, tokenizer)
    said = []
    if found.lead.strip():
        said.append(f"Before each answer the model also learns to write {found.lead!r}, as the template puts it there.")
    if not found.stop:
        said.append(f"The template does not end an answer: {tokenizer.eos_token} is added, one sequence per turn.")
    return said


def _freeze(name: str, source: str) -> tuple[str, bool]:
    """`source` with every printed date replaced by a fixed one, which the kwarg `date_string` overrides."""

    def fixed(match: re.Match[str]) -> str:
        return f"(date_string | default({_literal(FROZEN_DATE.strftime(match[2]))}))"

    frozen, count = DATE_CALL.subn(fixed, source)
    if re.search(r"strftime_now\s*\(", frozen):
        raise HeedError(
            f"The template {name!r} prints a date in a format that is computed, so the date cannot be frozen.",
            "templates.chat",
            "Write the format as a text in the template's strftime_now call.",
        )
    return frozen, count > 0
