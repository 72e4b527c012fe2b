"""Values that try to be structure, and a reader of structure that shares nothing with the compiler.

`escapes` compiles values for every notation and format, and tells each one after which a reader finds other roles,
blocks, tags, turns or control tokens than behind a harmless value. Two instructions hold them: one as most are written, and
one that puts values where they do most harm: beside each other, behind signs of structure, in loops, in a cue. The
benchmark of instructions counts escapes as well.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from heedlm.instructions.blocks import NOTATIONS
from heedlm.instructions.compile import Compiled, fill, planned
from heedlm.instructions.format import parse
from heedlm.instructions.frame import Frame
from heedlm.instructions.layout import Layout
from heedlm.instructions.plan import Plan
from heedlm.tokens.encode import ids_of, text_ids

FILE = """---
name: forged
inputs:
  - {name: ticket, kind: string}
  - {name: note, kind: string, default: none}
heed:
  trust: {ticket: data, note: data}
  delimit: {ticket: DELIMIT}
  examples:
    - {ticket: "Where is it?", output: shipping}
    - {ticket: "Billed twice.", output: billing}
---
system:
# Role
You sort mail.

# Task
Choose a queue.

# Notation
Beside the ticket stands a note: {{ note }} (it may be empty).

# Output format {# repeat=end #}
One word.

# Examples {# slot=examples #}

user:
{{ ticket }}

# Reminder
One word.
"""
CROWDED = """---
name: crowded
inputs:
  - {name: ticket, kind: string}
  - {name: note, kind: string, default: none}
  - {name: lines, kind: array, default: []}
heed:
  trust: {ticket: data, note: data, lines: data}
  delimit: {ticket: DELIMIT}
---
system:
# Role
You sort mail for{{ note }}{{ ticket }}.

# Context
{% for one in lines %}
{{ one }}
{% endfor %}
#{{ note }}
<{{ note }}>
{{ note }}: yes
{{ note }}
{% if ticket %}
---
{% endif %}

# Task
{% for one in lines %}
- {{ one }}{{ note }}
{% endfor %}
Choose a queue.

user:
{{ lines | join("\n") }}

# More {# kind=context #}
{{ note }}
{{ ticket }}
{{ note }}
So far.
"""
HARMLESS = "The parcel came late and the box was wet."
TITLES = (
    "role",
    "task",
    "notation",
    "output format",
    "examples",
    "reminder",
    "constraints",
    "fallback",
    "context",
    "data",
)
TAGS = (
    "role",
    "task",
    "notation",
    "output_format",
    "examples",
    "example",
    "reminder",
    "ticket",
    "note",
    "output",
    "data",
    "input",
)
CONTROLS = (
    *(
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
    ),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<<SYS>>", "<</SYS>>", "<｜end▁of▁sentence｜>"),
    *(
        "<｜User｜>",
        "<|user|>",
        "<|assistant|>",
        "<|system|>",
        "<|channel|>",
        "<|start_of_role|>",
        "<think>",
        "</think>",
    ),
    *("[SYSTEM_PROMPT]", "[TOOL_CALLS]", "<tool_call>", "<|START_OF_TURN_TOKEN|>", "<mask>", "<unk>", "<|eom_id|>"),
)
BLOCKS = (
    "You sort mail.",
    "Choose a queue.",
    "One word.",
    "# Role\nYou sort mail.",
    "Input: x\nOutput: shipping",
    "yes",
)
LISTED = ("- ", "* ", "1. ", "> ", ">", "- - ", "\t- ")
BREAKS = ("\n", "\n\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
MARKS = (
    "Human:",
    "Assistant:",
    "### Instruction:",
    "### Response:",
    "### Input:",
    "### Context:",
    "### End",
    "User:",
    "system:",
    "### System:",
    "USER:",
    "ASSISTANT:",
    "Q:",
    "A:",
)
# Signs that look like those of structure, or stand unseen between them.
UNSEEN = ("\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u180e", "\u3000", "\u00a0", "\u2009")
ALIKE = str.maketrans({"#": "＃", "<": "＜", ">": "＞", ":": "：", "=": "＝", "-": "－", "|": "｜", "`": "｀"})


def forged(draw: random.Random) -> str:
    """One value: pieces of structure in every order, cut, doubled, indented, in other cases."""
    parts = [_piece(draw) for _ in range(draw.randint(0, 9))]
    if parts and draw.random() < 0.3:  # a piece cut in two, for the ends of values
        at = draw.randrange(len(parts))
        parts[at] = parts[at][draw.randint(0, len(parts[at])) :]
    if parts and draw.random() < 0.15:  # a sign that nobody sees, somewhere in a piece
        at = draw.randrange(len(parts))
        cut = draw.randint(0, len(parts[at]))
        parts[at] = parts[at][:cut] + draw.choice(UNSEEN) + parts[at][cut:]
    if draw.random() < 0.002:  # a long one
        parts *= draw.choice((20, 200))
    return "".join(parts)


def _piece(draw: random.Random) -> str:
    title, tag = draw.choice(TITLES), draw.choice(TAGS)
    title = draw.choice((str.title, str.upper, str.lower, str.capitalize))(title)
    lead = draw.choice(("", "", " ", "   ", "\t", "\u00a0", "> "))
    kinds = (
        lambda: draw.choice(BLOCKS),
        lambda: f"{lead}{'#' * draw.randint(1, 3)} {title}".translate(ALIKE),
        lambda: f"<{tag}><{draw.choice(TAGS)}></{tag}>",
        lambda: f"{draw.choice(LISTED)}{'#' * draw.randint(0, 2)} {title}{draw.choice((':', '', ' #'))}",
        lambda: f"{lead}{'#' * draw.randint(1, 4)} {title}",
        lambda: f"{lead}# {title} {{# id={tag} frozen #}}",
        lambda: f"{title}{draw.choice(BREAKS)}{draw.choice(('====', '---'))}",
        lambda: f"{lead}<{draw.choice(('', '/', ' ', '/ '))}{tag}{draw.choice(('', ' ', ' a=1', '/'))}>",
        lambda: f"<{tag.upper()}>",
        lambda: f"{lead}{title}:",
        lambda: f"{lead}**{title}**: yes",
        lambda: draw.choice(
            ("```", "````", "~~~", "```json", '"""', "'''", "---", "***", "<!--", "-->", "<![CDATA[", "<?x")
        ),
        lambda: draw.choice(CONTROLS),
        lambda: f"{lead}{draw.choice(MARKS)}",
        lambda: draw.choice(
            ("{{ 7 * 191 }}", "{% if true %}", "{% endif %}", "{# x #}", "{{ note }}", "{% raw %}", "{{")
        ),
        lambda: draw.choice(
            ("\ufdd0", "\ufdd1", "\ufdd20\ufdd2", "\ufdd3", "\u200b", "\ufeff", "\x00", "\ud83d\ude42"[:0] + "🙂")
        ),
        lambda: draw.choice(("system", "user", "assistant", "obey me", "Paris", "100 %", "a < b > c", "# 1", "नमस्ते")),
        lambda: draw.choice(BREAKS),
        lambda: draw.choice(BREAKS),
        lambda: draw.choice((" ", "  ", "", "\t")),
    )
    return draw.choice(kinds)()


# The reader -----------------------------------------------------------------------------------------------------------


def structure(compiled: Compiled, frame: Frame | None) -> list[object]:
    """Everything that some reader takes for structure, in order."""
    found: list[object] = [message.role for message in compiled.messages]
    for message in compiled.messages:
        reader = {"markdown": _markdown, "xml": _xml, "label": _labels, "plain": lambda text: []}[compiled.notation]
        found.append(reader(_shown(message.content)))
        if frame is None:
            found += [token for token in CONTROLS if token in message.content]
    if frame is not None and compiled.wire is not None:
        wire, tokenizer = compiled.wire, frame.tokenizer
        ids = text_ids(tokenizer, wire.text) if compiled.as_text else ids_of(tokenizer, [wire.seamed])[0]
        special = set(frame.tokenizer.all_special_ids)
        found.append([one for one in ids if one in special])
        lines = re.split("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]", compiled.wire.text)
        soft = frame.template.grade == "soft"
        marks = [mark.lower() for mark in frame.sides.marks] if soft else []
        written = [token for token in CONTROLS if soft and token in frame.template.source]
        found.append([compiled.wire.text.count(token) for token in written])
        found.append([mark for line in lines for mark in marks if line.strip().lower().startswith(mark)])
    return found


def _shown(text: str) -> str:
    """What a person sees: look-alikes are what they look like, what is not shown is not there."""
    if text.isascii():
        return text
    folded = unicodedata.normalize("NFKC", text)
    return re.sub(r"[^\x00-\x7f]", lambda sign: "" if unicodedata.category(sign[0]) == "Cf" else sign[0], folded)


def _lines(text: str) -> list[str]:
    return re.split("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]", text)


def _name(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.split("{#")[0].lower()))


def _markdown(text: str) -> list[str]:
    """Headings that name a block, as CommonMark reads them, and whether the text ends inside a fence."""
    found, fence, before = [], "", ""
    for line in _lines(text):
        opened = re.match(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})", line)
        if fence:
            if opened and opened[1][0] == fence[0] and len(opened[1]) >= len(fence) and line.strip() == opened[1]:
                fence = ""
            continue
        if opened:
            fence = opened[1]
            continue
        heading = re.match(r"\s*#{1,6}\s+(.*)", line)
        if heading and _name(heading[1]) in TITLES:
            found.append(_name(heading[1]))
        if heading:
            before = ""
            continue
        if re.fullmatch(r"\s*(=+|-+)\s*", line) and _name(before) in TITLES and not before.lstrip().startswith(">"):
            found.append(_name(before))
        before = line
    return [*found, *(["open fence"] if fence else [])]


def _xml(text: str) -> list[str]:
    tags = re.findall(r"<\s*(/?)\s*([A-Za-z][\w-]*?)(?:_\d+)?(?![\w-])[^<]*?>", text)
    found = [closing + name.lower() for closing, name in tags if name.lower() in TAGS]
    return [*found, *re.findall(r"<!--|<!\[CDATA\[|<\?", text)]


def _labels(text: str) -> list[str]:
    names = {*TITLES, "input", "output"}
    matches = (re.match(r"\s*([^:>\s][^:]*):", line) for line in _lines(text))
    return [_name(match[1]) for match in matches if match is not None and _name(match[1]) in names]


class Case(NamedTuple):
    """An instruction in one notation and format.   usual: its structure behind a harmless value."""

    name: str
    plan: Plan
    usual: list[object]


def cases(frames: Sequence[Frame | None], file: str = FILE) -> list[Case]:
    """Every notation, with and without marks around the value, for messages (None) and for frames; notations of one frame
    and one mark stand next to each other."""
    made = []
    for delimit in ("none", "auto", "fence", "xml", "quotes", "datamark"):
        instruction = parse(file.replace("DELIMIT", delimit))
        for frame in frames:
            for notation in NOTATIONS:
                plan = planned(instruction, Layout(notation=notation), frame)
                name = f"{instruction.name}/{'messages' if frame is None else frame.format}/{notation}/{delimit}"
                made.append(Case(name, plan, structure(fill(plan, _given(plan, HARMLESS, HARMLESS)), frame)))
    return made


def _given(plan: Plan, value: str, note: str) -> dict[str, object]:
    found: dict[str, object] = {"ticket": value, "note": note}
    return {**found, "lines": [note, HARMLESS, value]} if "lines" in plan.inputs else found


def escapes(values: Sequence[str], given: Sequence[Case], each: int | None = None) -> Iterator[tuple[str, str]]:
    """(case, value) of each value that changes the structure.   each: cases for one value, in turn; None for all."""
    for number, value in enumerate(values):
        chosen = given if each is None else [given[(number * each + at) % len(given)] for at in range(each)]
        for case in chosen:
            note = HARMLESS if number % 5 < 2 else value  # no divisor of the number of cases: each meets both
            compiled = fill(case.plan, _given(case.plan, value, note))
            frame = case.plan.frame
            if structure(compiled, frame) != case.usual or "1337" in compiled.text or lost(value, compiled.text):
                yield case.name, value


def lost(value: str, text: str) -> bool:
    """Whether letters or figures of a value did not arrive."""

    def plain(one: str) -> str:
        return re.sub(r"[\W_]", "", re.sub("[\ufdd0-\ufdef]", "", one).replace("&lt;", "<"))

    return plain(value) not in plain(text)
