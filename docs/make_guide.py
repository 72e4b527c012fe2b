"""Write docs/guide/: how to write instructions for a language model, made of the registries of blocks and rules.

Run it after a change of a block, a rule or an instruction of the library:   .venv/bin/python docs/make_guide.py
tests/test_docs.py compares its output with the pages.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from heedlm.instructions import library
from heedlm.instructions.blocks import NOTATIONS
from heedlm.instructions.compile import compile_
from heedlm.instructions.format import load
from heedlm.instructions.frame import Frame, frame_for
from heedlm.instructions.given import with_examples
from heedlm.instructions.kinds import KINDS
from heedlm.instructions.layout import Layout
from heedlm.instructions.lint.registry import RULES
from heedlm.instructions.lint.rule import GRADES, Rule
from heedlm.instructions.wire import tokens_of

sys.path.insert(0, str(Path(__file__).resolve().parent))

import guide_measured as measured
from guide_opening import opening

FOLDER = Path(__file__).resolve().parent / "guide"
GROUPS = {
    "0": "Reading the file",
    "1": "Parts that fit together",
    "2": "Clear sentences",
    "3": "Examples",
    "4": "Values, and who wrote them",
    "5": "The model that it is for",
    "6": "Cost",
    "7": "Tests",
}
# What the rules come to for a person: a sentence, why, and the rules behind it.
HABITS = (
    ("Say the one thing to do, first and as an order.", "Everything else decorates that sentence.", ("HD101", "HD117")),
    (
        "Give numbers instead of adjectives: at most 20 words, three bullets.",
        '"Brief" and "appropriate" mean something else to each reader, and no test can tell whether they were kept.',
        ("HD201", "HD209"),
    ),
    (
        "Say what the answer looks like, and show it.",
        "A form that is not said is chosen anew each time.",
        ("HD102", "HD301"),
    ),
    (
        "Let rules and examples say the same.",
        "Where they differ, nobody can say which one wins.",
        ("HD210", "HD306", "HD309"),
    ),
    (
        "Say what to do when something is missing.",
        "A model without a way out invents something, and telling it not to is no way out.",
        ("HD109", "HD110", "HD206"),
    ),
    ("Mark off text that other people wrote.", "Else orders in it are obeyed.", ("HD111", "HD406")),
    ("Keep the rules few, the most important first.", "Each rule costs the others some obedience.", ("HD213",)),
    ("Say what to do rather than what not to do.", "Small models follow the first better.", ("HD202",)),
    (
        "Show each kind of answer equally often in your examples, and vary the last.",
        "Models lean towards what they saw most, and last.",
        ("HD303", "HD304"),
    ),
    (
        "Leave out flattery, threats, capitals and please.",
        "They cost tokens, and what they change is luck.",
        ("HD203", "HD204", "HD205", "HD212"),
    ),
)
SEVERITIES = {"error": "must be mended", "warning": "should be mended", "info": "worth a look"}


def building_blocks() -> str:
    made = [
        "# Building blocks\n\nAn instruction is made of blocks. Each has a kind, and the kind says what it is for and where it stands.\n"
        "The order below is the usual one. Most instructions need five to eight of them.\n\n"
        "| block | stands in | what it does | other headings that mean it |\n|---|---|---|---|"
    ]
    for kind in KINDS.values():
        made.append(
            f"| [{kind.title}](#{slug(kind.title)}) | {_place(kind.place)} | {kind.about} | {', '.join(kind.also)} |"
        )
    made.append("")
    for kind in KINDS.values():
        made.append(
            f"## {kind.title}\n\n{kind.about}\n\n**When:** {kind.when}\n\n```text\n{kind.sample}\n```\n\n"
            f"In a search for a better wording this block {_freedom(kind.freedom)}.\n"
        )
    made.append(
        "## How a block is written\n\n"
        "A heading of the first level opens a block; its name decides the kind. What cannot be said by a heading stands in a\n"
        "comment behind it, which no model ever sees:\n\n"
        "```text\n# Rules {# id=limits frozen optional repeat=end #}\n- At most 20 words.\n```\n\n"
        "| attribute | means |\n|---|---|\n"
        "| `id=NAME` | its name, where the heading is not good enough or is used twice |\n"
        "| `kind=KIND` | its kind, for a heading of your own: `# House style {# kind=tone #}` |\n"
        "| `frozen` | no search may change it |\n"
        "| `optional` | a search may leave it out |\n"
        "| `repeat=end` | said once more behind the data |\n"
        "| `slot=examples` | the examples of the file are put in here |\n"
        "| `max=4` | at most so many examples |\n\n"
        "A block without a heading: a comment that begins with `id=` or `kind=`, alone on its line, opens it.\n\n"
        "Blocks of other files are used by name, in the front: `use: [heed:house-blocks#untrusted]`. A block of your own with\n"
        "the same id stands in its place.\n"
    )
    return "\n".join(made).rstrip("\n") + "\n"


def practices() -> str:
    counts = {grade: sum(rule.grade == grade for rule in RULES.values()) for grade in GRADES}
    grades = "\n".join(f"| {grade} | {words} | {counts[grade]} |" for grade, words in GRADES.items())
    made = [
        "# Best practices, with their evidence\n\n"
        "Advice about instructions is plentiful and mostly untested. Here each piece stands with how well it is known.\n\n"
        "## Ten habits\n\n| do this | because | rules, with their evidence |\n|---|---|---|\n"
        f"{_habits()}\n\nThe letters are the grades of evidence, from shown to disputed:\n\n| grade | means | rules |\n|---|---|---|\n{grades}\n\n"
        "## The best evidence\n\nControlled, published experiments stand behind these.\n\n"
        "| rule | what to do | because |\n|---|---|---|"
    ]
    for rule in RULES.values():
        if rule.grade == "X":
            made.append(f"| [{rule.id}](#{slug(_title(rule))}) | {_cell(rule.mend)} | {_cell(rule.why)} |")
    made.append(
        f"\n## All {len(RULES)} rules\n\nThey are what `heed prompt lint` looks for. It reads the file, and where you name a model its tokenizer and chat\n"
        "template; it never asks a model, so the same file gives the same findings. A rule can be wrong for your case. Switch it off where\n"
        "it stands, and say why:\n\n"
        '```text\n{# heed: ignore HD202 reason="our lawyers ask for these words" #}\n```'
    )
    for hundred, rules in groupby(RULES.values(), key=lambda rule: rule.id[2]):
        made.append(f"\n## {GROUPS[hundred]}\n")
        made += [_rule(rule) for rule in rules]
    return "\n".join(made).rstrip("\n") + "\n"


def _habits() -> str:
    rows = []
    for habit, why, ids in HABITS:
        links = ", ".join(f"[{id_}](#{slug(_title(RULES[id_]))}) {RULES[id_].grade}" for id_ in ids)
        rows.append(f"| {habit} | {why} | {links} |")
    return "\n".join(rows)


def _rule(rule: Rule) -> str:
    extra = " Looks at a model's tokenizer and chat template." if rule.needs else ""
    extra += " Reads English." if rule.english else ""
    shown = "" if rule.needs else _before_and_after(rule)
    return (
        f"### {_title(rule)}\n\n{_prose(rule.about)} *{SEVERITIES[rule.severity].capitalize()}; evidence {rule.grade}.*{extra}\n\n"
        f"{_prose(rule.why)} **Instead:** {_prose(rule.mend)}\n\n{shown}Source: {_prose(rule.source)}.\n"
    )


def _before_and_after(rule: Rule) -> str:
    """The lines in which the two examples part."""
    bad, good = (text.rstrip("\n").split("\n") for text in (rule.bad, rule.good))
    lines = [line for line in difflib.ndiff(bad, good) if line[0] in "-+" and line[2:].strip()]
    shown = "\n".join(_visible(line if len(line) <= 140 else line[:137] + "...") for line in lines[:8])
    return f"```diff\n{shown}\n```\n\n" if shown else ""


def notations(frame: Frame) -> str:
    triage = load("ticket-triage").with_shots(load("ticket-triage").shots[:1])
    values, _ = with_examples(triage, {})
    made = [
        "# Notations\n\nThe same blocks can be written in several ways. The words stay; what marks them off changes. Small models\n"
        "react to that more than people expect: over 53 tasks, separators and casing alone moved a model of 13B by up to 76\n"
        "points, and what does well on one model says little about another (Sclar et al. 2023, arXiv 2310.11324). So the\n"
        "notation is a switch, and the only way to choose it is to try.\n\n"
        "| notation | good for | mind |\n|---|---|---|\n"
        "| `markdown` | most chat models; the one that files are written in | data that has headings itself |\n"
        "| `xml` | long documents, several of them, quotes | data that is XML or HTML |\n"
        "| `label` | base models and completions, with examples | needs texts at which to stop |\n"
        "| `plain` | very small models, short instructions | nothing says where a part ends |\n"
    ]
    for notation in NOTATIONS:
        text = compile_(triage, values, layout=Layout(notation=notation, repeat="none")).text
        made.append(f"## {notation}\n\n```text\n{_head(text, 22)}\n```\n")
    made.append(
        f"{measured.spread_section(measured.recorded())}## What a notation costs\n\nTokens of the instructions that come with heed, filled with their own examples, counted by the tokenizer of the\n"
        "built-in model in its own chat format. Other tokenizers give other numbers; `--explain` shows yours.\n\n"
        f"| instruction | blocks | {' | '.join(NOTATIONS)} |\n|---|---|{'---|' * len(NOTATIONS)}"
    )
    for name in library.names():
        instruction = load(name)
        values, _ = with_examples(instruction, {})
        counts = [str(_tokens(frame, name, notation)) for notation in NOTATIONS]
        made.append(f"| {name} | {len(instruction.blocks)} | {' | '.join(counts)} |")
    made.append(
        "\n## Values never become structure\n\nBlocks are found before values are put in, so a value cannot open one. Where a value only *looks* like a heading,\n"
        "tag, label or turn of the text that it goes into, the place is quoted (`> # Task`, `&lt;task>`) and you are told.\n"
        "Marks around a value (`delimit: {text: auto}`) are chosen so that the value does not hold them: a longer fence, a tag\n"
        "with a number behind its name.\n\n"
        "| marks | what stands around the value |\n|---|---|\n"
        "| `none` | nothing |\n| `fence` | three or more backticks |\n| `xml` | a tag with the name of the input |\n"
        "| `quotes` | three or more quotation marks |\n| `datamark` | a sign between its words, so that each is seen to be data |\n"
        "| `auto` | what fits the notation: a fence, a tag, or quotes |\n"
    )
    return "\n".join(made).rstrip("\n") + "\n"


def experiment() -> str:
    rows = "\n".join(
        f"| {prompts} | {' | '.join(f'+{luck(prompts, items):.1f}' for items in (50, 100, 300, 1000))} |"
        for prompts in (2, 4, 8, 16, 32)
    )
    return f"""# How to experiment

An instruction is better when answers are better, on inputs that you did not look at while writing it. Everything else is
taste.

1. **Collect inputs.** Fifty that are real say more than a thousand that you made up. Put a third of them away, unread.
2. **Say what a good answer is**, in words that a program can check: it names the right queue; it has three sentences; it
   ends with the signature. If you cannot say it, you cannot tell whether an instruction reached it either.
3. **Ask without any instruction too.** Some models do the task already, and some instructions make it worse.
4. **Change one thing**, ask everything again, and compare answer by answer: how many got better, how many worse. A mean
   hides both.
5. **Open the inputs that you put away once**, at the end, with the one instruction that you chose.

A spreadsheet will do: a row for each input, a column for each instruction, a 1 where the answer is good.

{_measured_styles()}## With heed

The inputs and what is wanted stand in a file of lines such as these, here `cases.jsonl`:

```text
{{"vars": {{"ticket": "Where is order 4417?"}}, "expect": {{"queue": "shipping"}}, "assert": [{{"type": "equals", "field": "queue", "value": "shipping"}}]}}
{{"vars": {{"ticket": "My card was charged twice."}}, "assert": [{{"type": "equals", "field": "queue", "value": "billing"}}]}}
```

Then one command asks everything, with every instruction and without any, and reports how sure each difference is; another
searches for a better instruction on the model itself, and keeps yours unless a sealed part of the cases says otherwise:

```bash
heed prompt test ticket-triage --model atlas --cases cases.jsonl
heed prompt test ticket-triage --model atlas --cases cases.jsonl --format chat --format chat/xml --ablate
heed prompt optimize ticket-triage --model atlas --data cases.jsonl --budget 2000
heed prompt diff ticket-triage review-sentiment
```

The kinds of checks are those of `heed eval`: `equals`, `contains-any`, `is-json`, `word-count` and others. `heed prompt diff`
shows what parts two instructions, word by word.

## Luck looks like skill

Take instructions that are all equally good, right in half of the cases, and pick the best of them. It will look better
than it is, by this many points:

| equal instructions tried | on 50 inputs | 100 | 300 | 1,000 |
|---|---|---|---|---|
{rows}

(The expected maximum of so many draws from a binomial distribution, computed when this page was made.) So the winner of a
search is measured again, on inputs that the search never saw.

## How many inputs

To show a gain of 10 points takes about 300 inputs, one of 5 points about 1,000, where both instructions answer the same
inputs (by simulation of paired tests at the usual error rates). With 50 you see only what you would have seen without
counting: that something is broken, or that something works which did not work at all. That is often enough.

## In which order

What is cheap and helps small models most comes first.

| first to last | what is tried | how |
|---|---|---|
| 1 | the format of the chat, and the notation | `--format`, `--notation` |
| 2 | examples: which, how many, as text or as turns | `--shots`, `--turns` |
| 3 | shorter: without each block in turn | `--without` |
| 4 | where it stands, what is said twice | `--placement`, `--repeat` |
| 5 | other words | `variants` in the file, `--variant` |

```bash
heed prompt compile ticket-triage --model atlas --notation label --shots 2 --explain
heed prompt compile ticket-triage --without role --variant role=short --format human_assistant
```
"""


def _measured_styles() -> str:
    """Short, full and with examples, as measured; nothing where nothing was."""
    grid = measured.recorded()
    return "" if grid is None else measured.styles_section(grid)


def tuning() -> str:
    return measured.tuning_page(measured.recorded())


def examples_page() -> str:
    made = [
        "# Examples\n\nInstructions that come with heed. Print one with `heed prompt show NAME --source`, save it under a name of your own, and\n"
        "change it. Each passes the linter without an error or a warning.\n\n| name | what it does | tags |\n|---|---|---|"
    ]
    found = [load(name) for name in library.names()]
    made += [f"| [{one.name}](#{one.name}) | {one.about} | {', '.join(one.meta['tags'])} |" for one in found]
    for one in found:
        made.append(f"\n## {one.name}\n\n```text\n{library.source(one.name)[0].rstrip()}\n```")
    return "\n".join(made).rstrip("\n") + "\n"


def luck(prompts: int, items: int) -> float:
    """By how many points the best of equal prompts beats their true rate of one half, expected."""
    below, total, mean = 0.0, 2.0**-items, 0.0
    chance = total
    for right in range(items + 1):
        below += chance
        mean += right * (below**prompts - (below - chance) ** prompts)
        chance *= (items - right) / (right + 1)
    return 100 * (mean / items - 0.5)


def _tokens(frame: Frame, name: str, notation: str) -> int:
    instruction = load(name)
    values, _ = with_examples(instruction, {})
    compiled = compile_(instruction, values, layout=Layout(notation=notation), frame=frame)  # type: ignore[arg-type]
    assert compiled.wire is not None
    return len(tokens_of(frame, compiled.wire, compiled.as_text).ids)


def _head(text: str, most: int) -> str:
    lines = text.split("\n")
    return "\n".join(lines[:most] + (["..."] if len(lines) > most else [])).replace("```", "'''")


def _visible(line: str) -> str:
    """Characters that nobody sees, by their number."""
    return re.sub("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]", lambda match: f"[U+{ord(match[0]):04X}]", line)


def _title(rule: Rule) -> str:
    return f"{rule.id} {rule.name}"


def _place(place: str) -> str:
    return {"system": "system text", "user": "the user's message", "assistant": "the answer"}[place]


def _freedom(freedom: str) -> str:
    words = {
        "frozen": "is left as it is",
        "select": "may be left out or replaced by a variant",
        "edit": "may be changed",
    }
    return words[freedom]


def _prose(text: str) -> str:
    """A text of the registry on a page: signs that a page would take for its own are shown."""
    text = re.sub(r"(\{\{.*?\}\}|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|<[^<>]+>)", r"`\1`", text.replace("|", "\\|"))
    return text.replace("`{{#", "`{#")


def _cell(text: str) -> str:
    return _prose(text)


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def pages() -> dict[str, str]:
    """Name of each page and its text."""
    return dict(_pages())


def _pages() -> Iterator[tuple[str, str]]:
    yield "README.md", opening()
    yield "blocks.md", building_blocks()
    yield "practices.md", practices()
    yield "notations.md", notations(frame_for("atlas"))
    yield "experiment.md", experiment()
    yield "tuning.md", tuning()
    yield from measured.pictures(measured.recorded())
    yield "examples.md", examples_page()


def write(found: Iterable[tuple[str, str]]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in found:
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(_pages())
