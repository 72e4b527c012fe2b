"""A first instruction: from answers to a few questions, or from a prompt that somebody has as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from heedlm.eval import text as texts
from heedlm.instructions.blocks import Block, Input, Instruction, tidy
from heedlm.instructions.body import ROLE
from heedlm.instructions.format import parse
from heedlm.instructions.kinds import KINDS, Kind, kind_of
from heedlm.instructions.values import wording
from heedlm.templates.sandbox import FillError

# What is asked, in this order; all but the task may be left empty.
QUESTIONS: tuple[tuple[str, str], ...] = (
    ("task", "What should it do? One sentence that begins with a verb"),
    ("role", "Who answers, and for whom?"),
    ("constraints", "Which limits hold? Part several with ;"),
    ("output_format", "What does the answer look like? Parts, order, length"),
    ("fallback", "What to answer when the text is empty or does not fit?"),
)
_HEADING = re.compile(
    r"\s*(?:#{1,6}\s+(?P<hash>.+?)|\*\*(?P<bold>[^*]{2,40})\*\*|(?P<label>[A-Z][A-Za-z ]{1,30}))\s*:?\s*#*\s*$"
)
_INLINE_LABEL = re.compile(r"\s*(?:\*\*)?([A-Z][A-Za-z ]{1,30}?)(?:\*\*)?:(?:\*\*)?\s+(\S.*)$")
_PLACEHOLDER = re.compile(
    r"\{\{\s*([A-Za-z_]\w*)\s*\}\}|(?<![{\w$\"'])\{([A-Za-z_]\w*)\}(?!\})|<([A-Z][A-Z_]{2,}|[A-Z][A-Z_ ]{2,}[A-Z])>"
    r"|\[([A-Z][A-Z_]{2,}|[A-Z][A-Z_ ]{2,}[A-Z])\](?!\()|(?<!\w)\$\{?([A-Za-z_]\w+)\}?"
)
_FORM = re.compile(
    r"\b(?:repl(?:y|ies)|respond|output|answer) (?:only )?(?:with|in|as)\b|\bJSON\b|\bformat\b|\bin (?:exactly )?\d+ (?:words|sentences)\b",
    re.I,
)
_UNSURE = re.compile(
    r"\b(?:if|when) .*\b(?:empty|missing|unknown|unsure|not sure|don't know|do not know|unclear|no answer)\b", re.I
)
_ROLE = re.compile(r"(?:you are|you're|act as|your role)\b", re.I)


class Made(NamedTuple):
    """A new instruction, and what a person should know about how it was made."""

    instruction: Instruction
    notes: tuple[str, ...]


def from_answers(name: str, answers: Mapping[str, str], *, input_name: str = "text") -> Made:
    """An instruction from one answer per kind of block; empty answers make no block."""
    blocks: list[Block] = []
    for kind in KINDS.values():
        answer = tidy(answers.get(kind.name, ""))
        if kind.place != "system" or not answer:
            continue
        if kind.name == "constraints" and "\n" not in answer:
            answer = "\n".join(f"- {_sentence(one)}" for one in answer.split(";") if one.strip())
        blocks.append(_block(kind, answer))
    return _made(name, blocks, [Input(input_name, required=True, trust="data")], f"{{{{ {input_name} }}}}", [])


def from_text(name: str, text: str) -> Made:
    """An instruction from a prompt in plain text. No word is changed; placeholders of other tools become inputs.

    Headings that name a kind of block part it; without any, sentences go where their words put them. A file that is one
    already is handed back as it is.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").strip("\n")
    if re.match(r"---[ \t]*\n", text) or any(ROLE.fullmatch(line) for line in text.split("\n")):
        return Made(parse(text, f"{name}.prompty").renamed(name), ("it was an instruction already",))
    notes: list[str] = []
    text, inputs = _inputs(text, notes)
    text, data = _data_lines(text)
    parts = _sections(text)
    if parts is None:
        parts = _sorted_sentences(text)
        notes.append("no heading names a block: sentences were sorted by their words; look through the blocks")
    blocks: list[Block] = []
    for kind, title, body in parts:
        block = _block(kind, _safe(body), title)
        same = next((one for one in blocks if one.id == block.id), None)
        if same is not None:
            blocks[blocks.index(same)] = _block(kind, f"{same.text}\n{block.text}", same.title)
        else:
            blocks.append(block)
    if not data:
        new = next(word for word in ("text", "input_text", "user_text") if word not in [one.name for one in inputs])
        inputs.append(Input(new, required=True, trust="data"))
        notes.append(f"no placeholder stands alone on a line: what the user gives is the new input {new!r}")
        data = f"{{{{ {new} }}}}"
    return _made(name, blocks, inputs, data, notes)


def _made(name: str, blocks: list[Block], inputs: Sequence[Input], data: str, notes: Sequence[str]) -> Made:
    turn = 1 if blocks else 0
    blocks = [*blocks, Block("data", "data", tidy(data), "", "user", turn)]
    return Made(Instruction(name, tuple(blocks), tuple(inputs), meta={"version": "0.1.0"}), tuple(notes))


def _block(kind: Kind, text: str, title: str = "") -> Block:
    shown = title or kind.title
    id_ = kind.name if kind_of(shown) is kind else re.sub(r"\W+", "_", shown.casefold()).strip("_") or kind.name
    id_ = id_ if re.fullmatch(r"[a-z][a-z0-9_-]*", id_) else kind.name
    return Block(id_, kind.name, tidy(text), kind.title if kind_of(shown) is kind else shown)


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _inputs(text: str, notes: list[str]) -> tuple[str, list[Input]]:
    """The text with its placeholders as ours, and an input for each."""
    names: dict[str, None] = {}

    def ours(match: re.Match[str]) -> str:
        name = re.sub(r"\W+", "_", next(one for one in match.groups() if one).strip().lower())
        names[name] = None
        return f"{{{{ {name} }}}}"

    made = _PLACEHOLDER.sub(ours, text)
    if made != text and names:
        notes.append("placeholders became inputs: " + ", ".join(names))
    return made, [Input(name, required=True, trust="data") for name in names]


_DATA_LINE = re.compile(r"\s*(?:[A-Z][\w ]{0,30}:\s*)?[\"'`]{0,3}\s*\{\{ \w+ \}\}\s*[\"'`]{0,3}\s*")
_FENCED = re.compile(r"\s*(?:</?([A-Za-z][\w-]*)>|[\"'`#=-]{3,})\s*")


def _data_lines(text: str) -> tuple[str, str]:
    """The instruction, and the lines that are nothing but a value: with its label and the marks around it they are the
    user's message."""
    lines = text.split("\n")
    data = {number for number, line in enumerate(lines) if _DATA_LINE.fullmatch(line)}
    for number in sorted(data):
        before, behind = number - 1, number + 1
        if before >= 0 and behind < len(lines) and all(_FENCED.fullmatch(lines[one]) for one in (before, behind)):
            data |= {before, behind}
    kept = [line for number, line in enumerate(lines) if number not in data]
    return "\n".join(kept), "\n".join(lines[number] for number in sorted(data))


def _sections(text: str) -> list[tuple[Kind, str, str]] | None:
    """Parts under headings; None where no heading names a kind of block."""
    found: list[tuple[Kind, str, list[str]]] = []
    named = False
    for line in text.split("\n"):
        match, inline = _HEADING.match(line), _INLINE_LABEL.match(line)
        title = next((one for one in match.groups() if one), "").strip() if match is not None else ""
        kind = kind_of(title) if title else None
        if kind is None and match is not None and match["hash"]:
            found.append((KINDS["context"], title, []))
        elif kind is not None and kind.place == "system":
            found.append((kind, title, []))
            named = True
        elif found and found[-1][0].name == "examples":
            found[-1][2].append(line)  # labels there belong to the examples
        elif inline is not None and (kind := kind_of(inline[1])) is not None and kind.place == "system":
            found.append((kind, inline[1].strip(), [inline[2]]))
            named = True
        elif found:
            found[-1][2].append(line)
        else:
            found.append((KINDS["task"], "", [line]))
    if not named:
        return None
    return [(kind, title, tidy("\n".join(lines))) for kind, title, lines in found if "\n".join(lines).strip()]


def _sorted_sentences(text: str) -> list[tuple[Kind, str, str]]:
    """Sentences and list items by what their words say they are."""
    parts: dict[str, list[str]] = {name: [] for name in ("role", "task", "constraints", "output_format", "fallback")}
    for line in text.split("\n"):
        if re.match(r"\s*(?:[-*•]|\d+[.)])\s", line):
            parts["constraints"].append(line.strip())
            continue
        for sentence in texts.sentences(line):
            if _ROLE.match(sentence) and not parts["role"]:
                parts["role"].append(sentence)
            elif _UNSURE.search(sentence):
                parts["fallback"].append(sentence)
            elif _FORM.search(sentence) and parts["task"]:
                parts["output_format"].append(sentence)
            else:
                parts["task"].append(sentence)
    if not parts["task"]:
        parts["task"] = parts.pop("output_format") or ["Answer the user."]
    glue = {"constraints": "\n"}
    return [(KINDS[name], "", glue.get(name, " ").join(held)) for name, held in parts.items() if held]


def _safe(text: str) -> str:
    """The text as a template that prints it: signs of Jinja that are none are quoted, headings stay inside the block."""
    text = re.sub(r"^#(?=[ \t])", "##", text, flags=re.MULTILINE)
    try:
        wording(text)
    except FillError:
        return re.sub(r"\{\{|\{%|\{#", lambda match: "{{ '" + match[0] + "' }}", text)
    return text
