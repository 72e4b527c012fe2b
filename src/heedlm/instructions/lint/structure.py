"""Rules 1xx: the parts of an instruction, and whether they fit together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from heedlm.instructions.kinds import KINDS, kind_of, words_of
from heedlm.instructions.lint.orders import first_words, is_imperative
from heedlm.instructions.lint.rule import Find, Fix, Hit, Rule, Subject, bare
from heedlm.instructions.lint.words import ABSOLUTE, EXIT, FORM_WORDS, IMPERATIVES
from heedlm.instructions.values import wording
from heedlm.templates.sandbox import FillError

OPENAI = "OpenAI, guide to prompting GPT-4.1 and prompt engineering guide"
ANTHROPIC = "Anthropic, prompt engineering guide"
NANO = "Google, prompting guide for Gemini Nano"
_HTML = frozenset(
    ("a", "b", "i", "u", "p", "br", "hr", "em", "strong", "code", "pre", "ul", "ol", "li", "div", "span", "table")
)
_QUOTES = {"“": '"', "”": '"', "‘": "'", "’": "'"}
_HIDDEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]")


def no_task(subject: Subject) -> Iterator[Hit]:
    tasks = subject.instruction.of_kind("task")
    if not tasks:
        yield Hit(f"{subject.instruction.file}:1", "no block says what to do")
    elif subject.spoken == "English":
        spoken = [one for one in subject.sentences if one.block.kind == "task"]
        if (
            subject.holds(tasks[0])
            and bare(tasks[0].text).strip()
            and not any(is_imperative(one.text) for one in spoken)
        ):
            yield Hit(tasks[0].at(1), "the task gives no order: no sentence begins with a verb", tasks[0].id)


def no_output_spec(subject: Subject) -> Iterator[Hit]:
    instruction = subject.instruction
    if instruction.of_kind("output_format") or not instruction.of_kind("task"):
        return
    if instruction.outputs or instruction.checks:
        what = "outputs or checks are declared, and no block says what the answer looks like"
        yield Hit(f"{instruction.file}:1", what)
    elif subject.spoken == "English" and not re.search(FORM_WORDS, subject.text_of(), re.IGNORECASE):
        yield Hit(f"{instruction.file}:1", "nothing says what form or length the answer has")


def output_spec_mismatch(subject: Subject) -> Iterator[Hit]:
    names = [one.name for one in subject.instruction.outputs]
    for block in subject.instruction.of_kind("output_format"):
        text = bare(block.text)
        if not names or not re.search(r"\bJSON\b", text):
            continue
        written = re.findall(r'"([A-Za-z_]\w*)"\s*:', text)
        told = written or re.findall(r'"([A-Za-z_]\w*)"', text)
        for key in dict.fromkeys(written):
            if key not in names:
                yield Hit(block.at(1), f"the format names the key {key!r}, which is no output", block.id)
        for name in names:
            if told and name not in told and name not in text:
                yield Hit(block.at(1), f"the output {name!r} is not in the format", block.id)


def duplicate_section(subject: Subject) -> Iterator[Hit]:
    seen: dict[tuple[str, int], str] = {}
    for block in subject.instruction.blocks:
        if not block.title or block.kind in ("context", "examples", "data", "reminder"):
            continue
        key = (block.kind, block.turn)
        if key in seen and subject.holds(block):
            what = f"{block.title!r} is the second block of the kind {block.kind} (the first: {seen[key]!r})"
            yield Hit(block.at(0), what, block.id)
        seen.setdefault(key, block.title)


def from_faults(rule: str) -> Find:
    """A rule that tells what reading the file found."""

    def find(subject: Subject) -> Iterator[Hit]:
        for fault in subject.faults:
            if fault.rule == rule:
                yield Hit(fault.problem.where, fault.problem.what, "", fault.problem.mend)

    return find


def no_fallback(subject: Subject) -> Iterator[Hit]:
    instruction = subject.instruction
    forced = [one for one in instruction.outputs if one.enum or one.required]
    if not forced or instruction.of_kind("fallback"):
        return
    labels = {words_of(str(value)) for one in forced for value in one.enum}
    if labels & {"other", "unknown", "none", "unclear", "not given", "n a"}:
        return
    yield Hit(subject.at("outputs"), "fields have to be filled, and nothing says with what when the text lacks them")


def absolute_without_exit(subject: Subject) -> Iterator[Hit]:
    for one in subject.english:
        if re.search(ABSOLUTE, one.text, re.IGNORECASE) and not re.search(EXIT, one.text, re.IGNORECASE):
            yield Hit(one.where, f"an order without a way out: {one.text!r}", one.block.id)


def undelimited_data(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        try:
            slots = wording(block.text).slots
        except FillError:
            continue
        for slot in slots:
            for name in slot.names:
                one = subject.instruction.input(name)
                if one is None or not (one.trust == "data" or (one.trust is None and one.required)):
                    continue
                if not slot.alone and not _marked(block.text, slot.line, name, block.role):
                    what = f"{{{{ {name} }}}} stands inside a sentence, without marks around it"
                    yield Hit(block.at(slot.line), what, block.id)
                elif slot.alone and block.role == "system" and one.delimit == "none":
                    yield Hit(
                        block.at(slot.line), f"{{{{ {name} }}}} stands among instructions without marks", block.id
                    )


def _marked(text: str, line: int, name: str, role: str) -> bool:
    """Whether signs stand on both sides of a value, or in a message of the user a label before it, alone on its line."""
    held = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    printed = rf"\{{\{{[^}}]*\b{re.escape(name)}\b[^}}]*\}}\}}"
    labelled = role == "user" and re.fullmatch(rf"\s*[A-Z][\w ]{{0,30}}:\s*{printed}\s*", held) is not None
    return labelled or re.search(rf"[\"'`>]\s*{printed}\s*[\"'`<]", held) is not None


def empty_block(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        if (
            block.kind in ("data", "cue", "examples", "role", "tone", "init")
            or "{{" in block.text
            or "{%" in block.text
        ):
            if not block.text and not block.slot and block.title:
                yield Hit(block.at(0), f"the block {block.title!r} holds nothing", block.id)
            continue
        words = words_of(bare(block.text)).split()
        few = 0 if block.kind in ("output_format", "verbosity", "reminder") else 2
        if len(words) <= few and (block.title or not words) and not block.slot:
            yield Hit(block.at(0), f"the block {block.title or block.id!r} holds nothing that helps", block.id)
        elif block.title and words_of(bare(block.text)) == words_of(block.title):
            yield Hit(block.at(0), f"the block {block.title!r} only repeats its heading", block.id)


# A tag that a sentence sends the reader to; tags that an answer shall have are named as well.
_NAMED_TAG = re.compile(
    r"\b(?:(?:inside|within|between|from|under|see) (?:the )?|in |in the (?=<[A-Za-z][\w-]*> (?:tags?|section|block)\b))"
    r"<([A-Za-z][\w-]*)>(?!>)"
)


def dangling_reference(subject: Subject) -> Iterator[Hit]:
    instruction = subject.instruction
    titles = {words_of(block.title) for block in instruction.blocks} | {block.kind for block in instruction.blocks}
    titles |= {words_of(block.id) for block in instruction.blocks}
    everything = subject.text_of()
    commands = set(re.findall(r"^[-*\s]*(/[a-z]\w*)", subject.text_of("commands"), re.MULTILINE))
    tags = {block.id for block in instruction.blocks} | {one.name for one in instruction.inputs} | set(KINDS) | _HTML
    tags |= set(re.findall(r"^\s*<([A-Za-z][\w-]*)>\s*$", everything, re.MULTILINE)) | {"example", "output"}
    tags |= {name for name in re.findall(r"</([A-Za-z][\w-]*)>", everything) if f"<{name}>" in everything}
    for one in subject.sentences:
        for match in re.finditer(r"\bthe ([A-Z][\w-]*(?: [a-z]\w*)?) (?:section|block)\b(?! of )", one.text):
            unknown = words_of(match[1]) not in titles and kind_of(match[1]) is None and not match[1].isupper()
            if unknown or _absent(match[1], subject):
                yield Hit(one.where, f"there is no section {match[1]!r}", one.block.id)
        for name in _NAMED_TAG.findall(one.text):
            if name not in tags and name.lower() not in tags and f"</{name}>" not in everything:
                yield Hit(one.where, f"<{name}> is named and stands nowhere", one.block.id)
        if commands and one.block.kind != "commands":
            for name in re.findall(r'(?:(?<=^)|(?<=[\s"\'`(]))(/[a-z][a-z_-]+)(?=[\s"\'`).,]|$)', one.text):
                if name not in commands:
                    yield Hit(one.where, f"the command {name} is not defined", one.block.id)


def _absent(title: str, subject: Subject) -> bool:
    kind = kind_of(title)
    return kind is not None and not subject.instruction.of_kind(kind.name)


def unused_notation(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        if block.kind != "notation":
            continue
        others = "\n".join(one.text for one in subject.instruction.blocks if one.id != block.id)
        for number, line in enumerate(bare(block.text).split("\n"), start=1):
            match = re.match(r"\s*(?:[-*]\s+)?[\"'`]?([\w/<>=-]{1,20})[\"'`]?\s*(?::|=|\bmeans\b)", line)
            if match is not None and not re.search(rf"(?<!\w){re.escape(match[1])}(?!\w)", others):
                yield Hit(block.at(number), f"{match[1]!r} is explained and never used", block.id)


def dirty_text(subject: Subject) -> Iterator[Hit]:
    for block in subject.own:
        lines = block.text.split("\n")
        raw = subject.source.replace("\r\n", "\n").split("\n")
        for number, line in enumerate(lines, start=1):
            at = block.text_line + number - 1
            held = raw[at - 1] if 0 < at <= len(raw) else line
            clean = _HIDDEN.sub("", held)
            what = "characters that nobody sees" if clean != held else ""
            if re.search(r"[{\[]\s*[“”‘’]|[“”‘’]\s*[:}\]]", clean):
                clean, what = re.sub("[“”‘’]", lambda match: _QUOTES[match[0]], clean), what or "curly quotes in JSON"
            if "\t" in clean:
                clean, what = clean.replace("\t", "    "), what or "a tab"
            if re.search(r"(?<=\S)  +(?=\S)", clean) and "|" not in clean and "`" not in clean:
                clean, what = re.sub(r"(?<=\S)  +(?=\S)", " ", clean), what or "two blanks in a row"
            if what and clean != held:
                yield Hit(block.at(number), f"the line holds {what}", block.id, fix=Fix(at, held, clean))


def examples_before_format(subject: Subject) -> Iterator[Hit]:
    blocks = subject.instruction.blocks
    form = next((number for number, block in enumerate(blocks) if block.kind == "output_format"), None)
    for number, block in enumerate(blocks):
        if block.kind == "examples" and block.role == "system" and form is not None and number < form:
            yield Hit(block.at(0), "examples stand before the form that they follow is said", block.id)


def two_tasks(subject: Subject) -> Iterator[Hit]:
    tasks = [one for one in subject.english if one.block.kind == "task"]
    orders = [one for one in tasks if (words := first_words(one.text)) and words[0].lower() in IMPERATIVES]
    if len(orders) >= 4:
        yield Hit(orders[3].where, f"the task gives {len(orders)} orders", orders[0].block.id)


def mixed_notation(subject: Subject) -> Iterator[Hit]:
    for turn in sorted({block.turn for block in subject.own}):
        found: Counter[str] = Counter()
        last = None
        for block in subject.own:
            if block.turn != turn or block.kind in ("examples", "data"):
                continue
            for line in block.text.split("\n"):
                if re.match(r"#{1,6}\s", line):
                    found["Markdown"] += 1
                elif re.fullmatch(r"\s*</?[A-Za-z][\w-]*>\s*", line):
                    found["XML"] += 1
                elif re.match(r"[A-Z][A-Z ]{3,}:\s*$", line):
                    found["labels"] += 1
                else:
                    continue
                last = block
        if last is not None and last.title and (found["XML"] or found["labels"]):
            kinds = ", ".join(["Markdown", *(name for name in ("XML", "labels") if found[name])])
            yield Hit(last.at(0), f"sections of one message are marked in several ways: {kinds}", last.id)


def unknown_language(subject: Subject) -> Iterator[Hit]:
    if subject.spoken != "English":
        what = f"the text is {subject.spoken}: rules that read with English word lists did not look at it"
        yield Hit(f"{subject.instruction.file}:1", what)


def unreasoned(subject: Subject) -> Iterator[Hit]:
    yield from from_faults("HD001")(subject)
    for one in subject.instruction.ignores:
        if one.rule not in subject.known:
            yield Hit(f"{subject.instruction.file}:{one.line}", f"there is no rule {one.rule}", one.block)


RULES = (
    Rule(
        id="HD001",
        name="a rule is switched off without a reason",
        severity="error",
        grade="C",
        about="A suppression without a reason, or of a rule that does not exist.",
        why="Whoever reads the file later cannot tell a decision from an accident.",
        mend='{# heed: ignore HD202 reason="why it is right here" #}',
        source="heed",
        find=unreasoned,
        bad="system:\n# Task\n{# heed: ignore HD202 #}\nSummarise the text in two sentences.\n\nuser:\nx",
        good='system:\n# Task\n{# heed: ignore HD202 reason="house style" #}\nSummarise the text.\n\nuser:\nx',
    ),
    Rule(
        id="HD002",
        name="no word lists for this language",
        severity="info",
        grade="C",
        about="An instruction in a language that rules with word lists cannot read.",
        why="A rule that cannot look must not look like one that found nothing.",
        mend="Read the rules marked as English yourself; the others looked.",
        source="heed",
        find=unknown_language,
        bad="system:\n# Task\nSchreibe eine Zusammenfassung des Textes in drei Sätzen und nenne dabei die Namen, die im "
        "Text stehen, und nicht mehr als das.\n\nuser:\nx",
        good="system:\n# Task\nSummarise the text in three sentences.\n\nuser:\nx",
    ),
    Rule(
        id="HD100",
        name="the file cannot be read as it is",
        severity="error",
        grade="C",
        about="Broken front matter, unknown keys, kinds, blocks or attributes, circles in use.",
        why="What is not understood would be left out without a word.",
        mend="The message names the nearest thing that exists.",
        source="heed",
        find=from_faults("HD100"),
        bad="system:\n# Constrants\n- Answer in English.\n# Task\nSummarise the text.\n\nuser:\nx",
        good="system:\n# Constraints\n- Answer in English.\n# Task\nSummarise the text.\n\nuser:\nx",
    ),
    Rule(
        id="HD101",
        name="no task",
        severity="error",
        grade="V",
        about="No task block, or a task in which no sentence begins with a verb that orders.",
        why="Every other block decorates the task; without it the model guesses what is wanted.",
        mend="Add # Task and one sentence that begins with a verb.",
        source=f"{ANTHROPIC}; {OPENAI}",
        find=no_task,
        bad="system:\n# Role\nA travel agent.\n# Task\nTrips for families.\n\nuser:\nx",
        good="system:\n# Task\nSuggest three trips for a family.\n\nuser:\nx",
    ),
    Rule(
        id="HD102",
        name="no output format",
        severity="warning",
        grade="V",
        about="Outputs or checks are declared, or nothing at all is said, and no block gives the form of the answer.",
        why="A form that is not said is chosen anew for every answer.",
        mend="Add # Output format: parts, order, length.",
        source=OPENAI,
        find=no_output_spec,
        bad="system:\n# Task\nDescribe the picture.\n\nuser:\nx",
        good="system:\n# Task\nDescribe the picture.\n# Output format\nTwo sentences.\n\nuser:\nx",
    ),
    Rule(
        id="HD103",
        name="format and outputs part",
        severity="error",
        grade="C",
        about="Keys in the output format that are no outputs, or outputs that the format does not name.",
        why="The program that reads the answer waits for a field that never comes.",
        mend="Use the same names in outputs and in the output format.",
        source="heed",
        find=output_spec_mismatch,
        bad="---\noutputs: [{name: queue, kind: string}]\n---\nsystem:\n# Task\nRoute the ticket.\n# Output format\n"
        'Reply with JSON: {"que": "..."}\n\nuser:\nx',
        good="---\noutputs: [{name: queue, kind: string}]\n---\nsystem:\n# Task\nRoute the ticket.\n# Output format\n"
        'Reply with JSON: {"queue": "..."}\n\nuser:\nx',
    ),
    Rule(
        id="HD104",
        name="the same section twice",
        severity="warning",
        grade="P",
        about="Two blocks of one kind in one message.",
        why="Rules in two places come to contradict each other.",
        mend="Put them together, or give one of them another kind.",
        source="heed",
        find=duplicate_section,
        bad="system:\n# Task\nSummarise the text.\n# Rules\n- One sentence.\n# Constraints\n- In English.\n\nuser:\nx",
        good="system:\n# Task\nSummarise the text.\n# Rules\n- One sentence.\n- In English.\n\nuser:\nx",
    ),
    Rule(
        id="HD105",
        name="something is not closed",
        severity="error",
        grade="C",
        about="A fence, a tag on a line of its own, or a Jinja tag that does not close inside its block.",
        why="Everything behind it is read as a part of it, by the model and by us.",
        mend="Close it inside the block.",
        source="heed",
        find=from_faults("HD105"),
        bad="system:\n# Task\nSummarise the text in one sentence.\n```\nlike this\n\nuser:\nx",
        good="system:\n# Task\nSummarise the text in one sentence.\n```\nlike this\n```\n\nuser:\nx",
    ),
)
