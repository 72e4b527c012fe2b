"""A first instruction: from answers to a few questions, or from a prompt that somebody has as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.eval import text as texts
from heedlm.instructions.blocks import MISSING, Block, Input, Instruction, tidy
from heedlm.instructions.body import FENCE, ROLE, open_fence
from heedlm.instructions.format import parse
from heedlm.instructions.kinds import KINDS, Kind, kind_of
from heedlm.instructions.lint.words import IMPERATIVES
from heedlm.instructions.values import wording
from heedlm.instructions.write import draft, write
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
# Placeholders: braces, and the signs of other tools where a text has no braces.
_BRACES = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}|(?<![{\w$\"'])\{([A-Za-z_]\w*)\}(?!\})")
_HIDDEN = "\ufdd4"  # a brace of the author's that a template would read; no text may hold this character
_NONCHARACTERS = dict.fromkeys(range(0xFDD0, 0xFDF0))
# What only a template says: a tag, or a value with a filter, a field or an index.
_LOGIC = re.compile(r"\{%|\{\{-?\s*[A-Za-z_]\w*\s*[.|\[][^{}]*\}\}")
_LOOPED = r"\{%-?\s*for\s+[\w, ]+\s+in\s+NAME\b"
_TESTED = r"\{%-?\s*(?:el)?if\s+(?:not\s+)?NAME\s*-?%\}"
_SIGNS = re.compile(
    r"<([A-Z][A-Z_]{2,}|[A-Z][A-Z_ ]{2,}[A-Z])>|\[([A-Z][A-Z_]{2,}|[A-Z][A-Z_ ]{2,}[A-Z])\](?!\()|(?<!\w)\$\{?([A-Za-z_]\w+)\}?"
)
_FORM = re.compile(
    r"\b(?:repl(?:y|ies)|respond|output|answer) (?:only )?(?:with|in|as)\b|\bJSON\b|\bformat\b|\bin (?:exactly )?\d+ (?:words|sentences)\b",
    re.I,
)
_UNSURE = re.compile(
    r"\b(?:if|when) .*\b(?:empty|missing|unknown|unsure|not sure|don't know|do not know|unclear|no answer)\b", re.I
)
_ROLE = re.compile(r"(?:you are|you're|act as|your role)\b", re.I)


_TAGGED = re.compile(r"\s*<(?P<closes>/?)(?P<name>[A-Za-z][\w -]*)>\s*(?:(?P<text>\S.*?)\s*</(?P=name)>\s*)?")


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


def from_text(name: str, text: str, file: str = "") -> Made:
    """An instruction from a prompt in plain text. No word is changed; placeholders of other tools become inputs.

    Headings that name a kind of block part it; without any, sentences go where their words put them. A file that is one
    already is handed back as it is. A text that is a template keeps its tags and filters; in any other, braces that are no
    placeholder are printed as they are. file: what to call the text where it cannot be taken.
    Raises HeedError for an empty text, and for one of which no file can be made, with its line.
    """
    file = file or name
    source = text = text.removeprefix("\ufeff").replace("\r\n", "\n").translate(_NONCHARACTERS)
    text = text.strip("\n")
    if not text.strip():
        raise HeedError("there is no text to make an instruction of", file, "a text that says what to do")
    if re.match(r"---[ \t]*\n", text) or any(ROLE.fullmatch(line) for line in text.split("\n")):
        return Made(parse(source, file).renamed(name), ("it was an instruction already",))
    notes: list[str] = []
    text, inputs = _inputs(text, notes)
    text, data, cue = _data_lines(text)
    inputs = [replace(one, trust="data") if f"{{{{ {one.name} }}}}" in data else one for one in inputs]
    parts = _sections(text)
    if parts is None:
        parts = _sorted_sentences(text)
        notes.append("no heading names a block: sentences were sorted by their words; look through the blocks")
    blocks: list[Block] = []
    for kind, title, body in parts:
        body = _safe(body)
        fence, line = open_fence(body)
        if fence:
            opened = body.split("\n")[line - 1].strip()
            notes.append(f"a fence was not closed: the one that begins with {opened!r} ends with its block now")
            body = f"{body}\n{fence}"
        block = _block(kind, body, title)
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
    data = _safe(data)
    if cue:
        notes.append(f"the last line begins the answer: {cue!r} is a cue")
    made = _made(name, blocks, inputs, data, notes, cue)
    try:
        write(made.instruction)
    except HeedError as error:
        raise HeedError.of([_at_source(one, draft(made.instruction), source, file) for one in error.problems]) from None
    return made


def _at_source(problem: Problem, written: str, source: str, file: str) -> Problem:
    """A problem of the file that would be written, at the line of the text that it was made of."""
    number = problem.where.rpartition(":")[2]
    lines = written.split("\n")
    held = lines[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(lines) else ""
    named = [next(filter(None, found)) for found in re.findall(r"'([^']+)'|(</?[^>]+>)", problem.what)]

    def near(line: str) -> tuple[bool, int, int]:
        shared = _bare_words(line) & _bare_words(held)
        return line.strip() == held.strip(), len(shared), sum(one in line for one in named)

    known = source.split("\n")
    best = max(range(len(known)), key=lambda at: (near(known[at]), -at))
    where = f"{file}:{best + 1}" if any(near(known[best])) else file
    return Problem(problem.what, where, problem.mend)


def _bare_words(line: str) -> set[str]:
    return set(re.findall(r"\w+|\{%", line))


def _made(
    name: str, blocks: list[Block], inputs: Sequence[Input], data: str, notes: Sequence[str], cue: str = ""
) -> Made:
    turn = 1 if blocks else 0
    blocks = [*blocks, Block("data", "data", tidy(data), "", "user", turn)]
    blocks += [Block("cue", "cue", cue, "", "assistant", turn + 1)] if cue else []
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
    pattern = _BRACES if _BRACES.search(text) else _SIGNS
    names: dict[str, None] = {}
    plain: list[str] = []
    marked: list[str] = []
    at = 0
    for match in pattern.finditer(text):
        name = _readable(re.sub(r"\W+", "_", next(one for one in match.groups() if one).strip().lower()))
        if not name:
            continue
        names[name] = None
        before, at = text[at : match.start()], match.end()
        plain += [before, f"{{{{ {name} }}}}"]
        marked += [_hidden(before, behind=True), f"{{{{ {name} }}}}"]
    whole = "".join([*plain, text[at:]])
    if _LOGIC.search(whole) is not None and (read := _template(whole)) is not None:
        notes.append(
            "the text is a template: its tags and filters stay, what they read became inputs: " + ", ".join(read)
        )
        return whole, [_logical(name, whole) for name in read]
    if names:
        notes.append("placeholders became inputs: " + ", ".join(names))
    made = "".join([*marked, _hidden(text[at:], behind=False)])
    return made, [Input(name, required=True, trust="user") for name in names]


def _readable(name: str) -> str:
    """The name as a template can read it: with a sign more where it is a word of the template's own; "" where it cannot."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        return ""
    try:
        return name if name in wording(f"{{{{ {name} }}}}").names else f"{name}_"
    except FillError:
        return f"{name}_"


def _hidden(text: str, *, behind: bool) -> str:
    """The author's own words, with braces hidden that would open something. behind: a placeholder follows."""
    ends = "|\\Z" if behind else ""
    return re.sub(rf"\{{+(?=[%#]{ends})|\{{{{2,}}", lambda match: _HIDDEN * len(match[0]), text)


def _template(text: str) -> list[str] | None:
    """The names that a text reads as a template, in their order; None where it is none."""
    try:
        names = wording(text).names
    except FillError:
        return None
    return sorted(names, key=lambda name: (found.start() if (found := re.search(rf"\b{name}\b", text)) else 0, name))


def _logical(name: str, text: str) -> Input:
    """An input of a template: a list where it is gone through, an object where a field is read, empty where it is tested."""
    if re.search(_LOOPED.replace("NAME", name), text):
        return Input(name, "array", required=True, trust="user")
    if re.search(rf"\b{name}(?:\.[A-Za-z_]|\[['\"])", text):
        return Input(name, "object", required=True, trust="user")
    tested = re.search(_TESTED.replace("NAME", name), text) is not None
    return Input(name, required=not tested, default="" if tested else MISSING, trust="user")


_DATA_LINE = re.compile(
    r"(?P<label>\s*(?:(?P<word>[A-Z]\w*)[\w ]{0,30}:\s*)?)(?P<data>(?:<(?P<tag>[A-Za-z][\w-]*)>\s*)?[\"'`]{0,3}\s*\{\{ \w+ \}\}\s*"
    r"[\"'`]{0,3}(?(tag)\s*</(?P=tag)>)\s*)"
)
_FENCED = re.compile(r"\s*(?:</?([A-Za-z][\w-]*)>|[\"'`#=-]{3,})\s*")
_CUE = re.compile(r"\s*[A-Z][\w ]{0,30}:\s*")


class _Split(NamedTuple):
    """A text in three. data: the message of the user.   cue: what begins the answer; "" for none."""

    text: str
    data: str
    cue: str


def _data_lines(text: str) -> _Split:
    """The lines that are nothing but a value are the user's message, with their label and the marks around them; a label
    alone behind them begins the answer. "Translate: {{ text }}" is both, an order and a value."""
    lines = text.split("\n")
    found = {number: match for number, line in enumerate(lines) if (match := _DATA_LINE.fullmatch(line)) is not None}
    orders = {number: one for number, one in found.items() if (one["word"] or "").lower() in IMPERATIVES}
    data = set(found)
    for number in sorted(found):
        before, behind = number - 1, number + 1
        if before >= 0 and behind < len(lines) and all(_FENCED.fullmatch(lines[one]) for one in (before, behind)):
            data |= {before, behind}
    last = max((number for number, line in enumerate(lines) if line.strip()), default=-1)
    cue = last if last not in data and data and last > max(data) and _CUE.fullmatch(lines[last]) else None
    if cue is not None and any(lines[number].strip() for number in range(max(data) + 1, cue)):
        cue = None
    kept = [
        orders[number]["label"].rstrip() if number in orders else line
        for number, line in enumerate(lines)
        if (number not in data or number in orders) and number != cue
    ]
    shown = [orders[number]["data"] if number in orders else lines[number] for number in sorted(data)]
    return _Split("\n".join(kept), "\n".join(shown), lines[cue].strip() if cue is not None else "")


def _sections(text: str) -> list[tuple[Kind, str, str]] | None:
    """Parts under headings; None where no heading names a kind of block."""
    found: list[tuple[Kind, str, list[str]]] = []
    named, fence = False, ""
    for line in text.split("\n"):
        fence, inside = _fence(fence, line)
        tag = _TAGGED.fullmatch(line)
        if inside and found:
            found[-1][2].append(line)
            continue
        if tag is not None and (kind := kind_of(tag["name"])) is not None and kind.place == "system":
            if not tag["closes"]:
                found.append((kind, "", [tag["text"]] if tag["text"] else []))
                named = True
            continue
        match, inline = _HEADING.match(line), _INLINE_LABEL.match(line)
        title = next((one for one in match.groups() if one), "").strip() if match is not None else ""
        if "{" in title or _HIDDEN in title:  # a heading is no template: with a value in it, it is a line like others
            match, title = None, ""
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


def _fence(fence: str, line: str) -> tuple[str, bool]:
    """The fence that is open behind a line, and whether the line belongs to one."""
    mark = FENCE.match(line)
    if mark is None:
        return fence, bool(fence)
    if not fence:
        return mark[1], True
    closes = mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and line.strip() == mark[1]
    return "" if closes else fence, True


def _sorted_sentences(text: str) -> list[tuple[Kind, str, str]]:
    """Sentences and list items by what their words say they are."""
    parts: dict[str, list[str]] = {name: [] for name in ("role", "task", "constraints", "output_format", "fallback")}
    fence, last = "", "task"
    for line in text.split("\n"):
        fence, inside = _fence(fence, line)
        if inside:  # code stays as it is, behind the sentence before it
            parts[last].append(f"\n{line.rstrip()}" + ("" if fence else "\n"))
            continue
        if re.match(r"\s*(?:[-*•]|\d+[.)])\s", line):
            last = "constraints"
            parts[last].append(line.strip())
            continue
        for sentence in texts.sentences(line):
            if _ROLE.match(sentence) and not parts["role"]:
                last = "role"
            elif _UNSURE.search(sentence):
                last = "fallback"
            elif _FORM.search(sentence) and parts["task"]:
                last = "output_format"
            else:
                last = "task"
            parts[last].append(sentence)
    if not parts["task"]:
        parts["task"] = parts.pop("output_format") or ["Answer the user."]
    glue = {"constraints": "\n"}
    return [(KINDS[name], "", _joined(held, glue.get(name, " "))) for name, held in parts.items() if held]


def _joined(held: Sequence[str], glue: str) -> str:
    """Sentences in a row; code on lines of its own."""
    text = ""
    for one in held:
        text += ("" if not text or text.endswith("\n") or one.startswith("\n") else glue) + one
    return text


def _safe(text: str) -> str:
    """The text as a template that prints it: hidden braces are quoted, headings stay inside the block."""
    text = re.sub(r"^#(?=[ \t])", "##", text, flags=re.MULTILINE)
    return re.sub(f"{_HIDDEN}+", lambda match: "{{ '" + "{" * len(match[0]) + "' }}", text)
