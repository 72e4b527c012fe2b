"""An Ollama Modelfile: its one writer, and the reader that the parity test takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heedlm.errors import HeedError
from heedlm.messages import Message

NAME = "Modelfile"
_QUOTE = '"""'
_LINE = re.compile(r'^(FROM|TEMPLATE|PARAMETER (\w+)) (?:"""(.*?)"""|(\S+))$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Modelfile:
    """model: a file beside it.   template: in Go's language.   stops: texts that end a reply.   context: tokens.

    temperature: 0 is greedy.
    """

    model: str
    template: str
    stops: tuple[str, ...]
    context: int
    temperature: float = 0.0


def to_text(file: Modelfile, about: str) -> str:
    """The file as text.   about: a line for people. Raises HeedError for a text that the format cannot quote."""
    for text in (file.template, *file.stops):
        unprinted = next((c for c in text if not (c.isprintable() or c in "\n\t")), None)
        if _QUOTE in text or unprinted is not None:
            what = "three quotation marks" if _QUOTE in text else f"the character {unprinted!r}"
            raise HeedError(f"A Modelfile cannot say {what}, which the chat template writes.", NAME, "choose --to gguf")
    lines = [
        f"# {' '.join(about.split())}",
        f"FROM ./{file.model}",
        f"TEMPLATE {_QUOTE}{file.template}{_QUOTE}",
        *(f"PARAMETER stop {_QUOTE}{stop}{_QUOTE}" for stop in file.stops),
        f"PARAMETER num_ctx {file.context}",
        f"PARAMETER temperature {file.temperature:g}",
    ]
    return "\n".join(lines) + "\n"


def from_text(text: str) -> Modelfile:
    """Read back what `to_text` wrote."""
    said: dict[str, list[str]] = {}
    for match in _LINE.finditer(text):
        said.setdefault(match[2] or match[1], []).append(match[3] if match[3] is not None else match[4])
    return Modelfile(
        model=said["FROM"][0].removeprefix("./"),
        template=said["TEMPLATE"][0],
        stops=tuple(said.get("stop", ())),
        context=int(said["num_ctx"][0]),
        temperature=float(said["temperature"][0]),
    )


def collated(messages: Sequence[Message]) -> list[Mapping[str, str]]:
    """Messages as Ollama hands them to a template: neighbours of one role become one, two line breaks between."""
    found: list[dict[str, str]] = []
    for message in messages:
        if found and found[-1]["Role"] == message.role != "tool":
            found[-1]["Content"] += "\n\n" + message.content
        else:
            found.append({"Role": message.role, "Content": message.content})
    return list(found)
