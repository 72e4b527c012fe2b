"""Rules 5xx to 7xx: what tokenizer and chat template do with it, what it costs, whether it is tested."""

from __future__ import annotations

import re
from collections.abc import Iterator

from heedlm.errors import HeedError
from heedlm.eval.text import words
from heedlm.instructions.compile import planned
from heedlm.instructions.lint.rule import Hit, Rule, Subject, bare
from heedlm.instructions.lint.structure import OPENAI
from heedlm.instructions.lint.words import STEP_BY_STEP
from heedlm.instructions.values import wording
from heedlm.instructions.wire import tokens_of
from heedlm.templates.chat import load_template
from heedlm.templates.probe import habits, two_turns
from heedlm.templates.sandbox import FillError

ANSWER_TOKENS = 256  # room that an answer needs, where nothing says how long it gets
STATIC_WORDS = 40  # behind a value: text that a cache of prefixes cannot share


def _top(subject: Subject) -> str:
    return f"{subject.instruction.file}:1"


def block_dropped(subject: Subject) -> Iterator[Hit]:
    if subject.frame is None or any(fault.rule != "HD001" for fault in subject.faults):
        return
    if isinstance(subject.trial, HeedError):
        for problem in subject.trial.problems:
            yield Hit(_top(subject), problem.what, "", problem.mend)


def system_merged(subject: Subject) -> Iterator[Hit]:
    told = any(block.role == "system" for block in subject.instruction.blocks)
    if told and subject.frame is not None and subject.frame.system == "refused":
        yield Hit(_top(subject), "the template takes no system text: it goes into the first user message")


def hidden_system(subject: Subject) -> Iterator[Hit]:
    frame, trial = subject.frame, subject.trial
    if frame is None or isinstance(trial, HeedError) or trial.wire is None or not trial.wire.hidden_system:
        return
    yield Hit(_top(subject), f"the template puts in a system text of its own: {trial.wire.hidden_system!r}")


def _tokens(subject: Subject) -> int:
    trial = subject.trial
    if subject.frame is None or isinstance(trial, HeedError) or trial.wire is None:
        return 0
    return len(tokens_of(subject.frame, trial.wire, trial.as_text).ids)


def over_context(subject: Subject) -> Iterator[Hit]:
    frame = subject.frame
    if frame is None or not frame.context:
        return
    count = _tokens(subject)
    if count + ANSWER_TOKENS > frame.context:
        what = f"{count} tokens and an answer of {ANSWER_TOKENS}; the model holds {frame.context}"
        yield Hit(_top(subject), what)


def over_budget(subject: Subject) -> Iterator[Hit]:
    budget = subject.instruction.budget
    count = _tokens(subject) if budget else 0
    if budget and count > budget:
        yield Hit(
            subject.at("heed", "budget"), f"{count} tokens with the examples of its inputs; the budget is {budget}"
        )


def base_without_cue(subject: Subject) -> Iterator[Hit]:
    if subject.frame is None or subject.frame.format != "completion":
        return
    try:
        laid = planned(subject.instruction, frame=subject.frame).instruction  # examples bring a cue with them
    except HeedError:
        laid = subject.instruction
    if not laid.of_kind("cue"):
        yield Hit(_top(subject), "a base model gets no cue: it goes on with the question instead of answering")


def cue_in_thought(subject: Subject) -> Iterator[Hit]:
    """The generation prompt itself opens the reasoning: nothing stands between it and the thought."""
    frame = subject.frame
    if frame is None or not frame.own:
        return
    thought = habits(frame.template, frame.tokenizer).thought
    for cue in subject.instruction.of_kind("cue"):
        if thought is not None and not thought[0].strip():
            yield Hit(cue.at(1), "the template has opened the reasoning already: the cue would begin that", cue.id)


def foreign_format(subject: Subject) -> Iterator[Hit]:
    frame = subject.frame
    if frame is None or frame.own or frame.format == "completion" or not frame.tokenizer.chat_template:
        return
    taught = load_template(None, frame.tokenizer)
    begin = str(frame.tokenizer.bos_token or "")  # which some templates write, and some leave to the tokenizer
    first, second = ((two_turns(one, frame.tokenizer) or "").removeprefix(begin) for one in (taught, frame.template))
    if first != second:
        yield Hit(_top(subject), f"the model has a chat template of its own, and {frame.format} is another one")


def over_characters(subject: Subject) -> Iterator[Hit]:
    most, trial = subject.instruction.characters, subject.trial
    if not most or isinstance(trial, HeedError):
        return
    count = sum(len(message.content) for message in trial.messages if message.role == "system")
    if count > most:
        yield Hit(subject.at("heed", "budget"), f"{count:,} characters of system text; the box holds {most:,}")


def trailing_space(subject: Subject) -> Iterator[Hit]:
    trial = subject.trial
    if subject.frame is None or isinstance(trial, HeedError) or trial.wire is None:
        return
    cues = subject.instruction.of_kind("cue")
    if cues and trial.wire.text.endswith((" ", "\t")):
        yield Hit(cues[-1].at(1), "the text for the model ends in a blank", cues[-1].id)


def bos_twice(subject: Subject) -> Iterator[Hit]:
    if subject.frame is not None and subject.frame.bos_twice:
        what = f"the template writes {subject.frame.tokenizer.bos_token} and the tokenizer adds another"
        yield Hit(_top(subject), what)


def cot_on_reasoner(subject: Subject) -> Iterator[Hit]:
    frame = subject.frame
    if frame is None or habits(frame.template, frame.tokenizer).thought is None:
        return
    for one in subject.english:
        if re.search(STEP_BY_STEP, one.text, re.IGNORECASE):
            yield Hit(one.where, f"asks for steps that the model writes by itself: {one.text!r}", one.block.id)


def style_leak(subject: Subject) -> Iterator[Hit]:
    instruction = subject.instruction
    for block in instruction.of_kind("output_format"):
        plain = re.search(r"\bplain text\b|\bno markdown\b|\bwithout markdown\b", bare(block.text), re.IGNORECASE)
        marked = sum(text.count("**") + len(re.findall(r"^##+ ", text, re.MULTILINE)) for text in _texts(subject))
        if plain is not None and marked >= 2 and subject.holds(block):
            yield Hit(block.at(1), "plain text is asked for, in text with bold words and headings", block.id)


def _texts(subject: Subject) -> list[str]:
    return [block.text for block in subject.own if block.kind != "data"]


def volatile_first(subject: Subject) -> Iterator[Hit]:
    blocks = [block for block in subject.instruction.blocks if block.role == "system"]
    required = {one.name for one in subject.instruction.inputs if one.required}
    behind = sum(len(words(bare(block.text))) for block in blocks)
    for block in blocks:
        behind -= len(words(bare(block.text)))
        try:
            names = {name for slot in wording(block.text).slots for name in slot.names}
        except FillError:
            continue
        changing = sorted(names & required)
        if changing and behind >= STATIC_WORDS and subject.holds(block):
            what = f"{changing[0]!r} changes with every request, and {behind} words that never change stand behind it"
            yield Hit(block.at(0), what, block.id)
            return


def no_tests(subject: Subject) -> Iterator[Hit]:
    if not subject.instruction.tests and not subject.instruction.checks and subject.instruction.of_kind("task"):
        yield Hit(_top(subject), "no checks and no tests say what a good answer is")


_HEAD = "---\ninputs: [{name: mail, kind: string}]\nheed: {trust: {mail: data}}\n---\n"
_TASK = "system:\n# Task\nSummarise the mail in one sentence.\n"
_USER = "\nuser:\n{{ mail }}\n"
_LONG = " ".join(["Summarise the mail in one sentence."] * 200)

RULES = (
    Rule(
        id="HD501",
        name="a block does not reach the model",
        severity="error",
        grade="C",
        about="The chat template drops the system text or a block, found by rendering it.",
        why="The best instruction has no effect when the template leaves it out, and nothing tells.",
        mend="--placement user, or another format.",
        source="heed, tried on templates of the field",
        find=block_dropped,
        needs="model",
        bad=_HEAD + _TASK + _USER,
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD502",
        name="the system text moves",
        severity="info",
        grade="C",
        about="The chat template refuses a system message, so the instruction goes into the first user message.",
        why="It then counts no more than what the user says.",
        mend="Nothing has to be done; test it there.",
        source="heed, tried on templates of the field",
        find=system_merged,
        needs="model",
        bad=_HEAD + _TASK + _USER,
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD503",
        name="a hidden system text",
        severity="warning",
        grade="C",
        about="The chat template puts in a system text of its own when a conversation has none.",
        why="Without an instruction the model still has one: the baseline is not empty.",
        mend="Write a system block, or know what you compare with.",
        source="heed, tried on templates of the field",
        find=hidden_system,
        needs="model",
        bad=_HEAD + "user:\n# Task\nSummarise the mail in one sentence.\n\n# Data\n{{ mail }}\n",
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD504",
        name="more than the model holds",
        severity="error",
        grade="C",
        about=f"Instruction, examples of inputs and {ANSWER_TOKENS} tokens for an answer exceed the context.",
        why="The beginning is cut off, or the answer.",
        mend="Shorten it, or take fewer examples.",
        source="heed",
        find=over_context,
        needs="model",
        bad=_HEAD + "system:\n# Task\n" + _LONG + "\n" + _USER,
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD505",
        name="over the budget",
        severity="warning",
        grade="C",
        about="More tokens than heed.budget allows, with the examples of the inputs.",
        why="Every request pays for them.",
        mend="heed prompt compile FILE --model M shows the tokens of each block.",
        source="heed",
        find=over_budget,
        needs="model",
        bad=_HEAD.replace("heed: {", "heed: {budget: {tokens: 5}, ") + _TASK + _USER,
        good=_HEAD.replace("heed: {", "heed: {budget: {tokens: 500}, ") + _TASK + _USER,
    ),
    Rule(
        id="HD506",
        name="a base model without a cue",
        severity="error",
        grade="C",
        about="The format completion, and no cue block.",
        why="A base model continues the text; it answers only where an answer has begun.",
        mend="Add assistant: and under it Answer: as the last lines.",
        source="heed",
        find=base_without_cue,
        needs="model",
        bad=_HEAD + _TASK + _USER,
        good=_HEAD + _TASK + _USER + "\nassistant:\nSummary:\n",
    ),
    Rule(
        id="HD507",
        name="a blank at the end",
        severity="warning",
        grade="C",
        about="The text for the model ends in a blank behind the cue.",
        why="The tokenizer joins a blank to the next word: one that stands alone leads to other words.",
        mend="Take the blank out of the cue.",
        source="heed",
        find=trailing_space,
        needs="model",
        bad=_HEAD.replace("mail, kind: string}", 'mail, kind: string}, {name: end, kind: string, default: "Answer: "}')
        + _TASK
        + _USER
        + "\nassistant:\n{{ end }}\n",
        good=_HEAD + _TASK + _USER + "\nassistant:\nAnswer:\n",
    ),
    Rule(
        id="HD508",
        name="two BOS tokens",
        severity="info",
        grade="C",
        about="The template writes the BOS token and the tokenizer adds another.",
        why="heed never adds it, but a program that tokenises the text as usual does, and answers get worse.",
        mend="Send messages, or tokenise with add_special_tokens=False.",
        source="heed; reported for vLLM, llama.cpp and OpenRLHF",
        find=bos_twice,
        needs="model",
        bad=_HEAD + _TASK + _USER,
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD509",
        name="a cue inside the reasoning",
        severity="warning",
        grade="C",
        about="A cue, for a model whose template opens its reasoning before the answer begins.",
        why="The cue becomes the beginning of the thought, and the answer begins as the model likes.",
        mend="Take the cue out, and say under # Output format how the answer begins.",
        source="heed, tried on templates of the field",
        find=cue_in_thought,
        needs="model",
        bad=_HEAD + _TASK + _USER + "\nassistant:\nSummary:\n",
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD510",
        name="not the model's own format",
        severity="info",
        grade="X",
        about="A format other than the chat template that the model has.",
        why="What a model was not trained on moves its scores by many points, up or down.",
        mend="--format chat, or measure both: heed prompt test --format chat --format alpaca.",
        source="Sclar et al. 2023, arXiv 2310.11324",
        find=foreign_format,
        needs="model",
        bad=_HEAD + _TASK + _USER,
        good=_HEAD + _TASK + _USER,
    ),
    Rule(
        id="HD511",
        name="steps for a model that reasons",
        severity="info",
        grade="V",
        about="Step by step, for a model whose template has a place for reasoning.",
        why="It reasons before it answers; asked again it puts the reasoning into the answer.",
        mend="Take it out, and ask for the result.",
        source=OPENAI,
        find=cot_on_reasoner,
        needs="model",
        bad=_HEAD + _TASK + "Think step by step.\n" + _USER,
        good=_HEAD + _TASK + _USER,
        english=True,
    ),
    Rule(
        id="HD512",
        name="longer than the box",
        severity="error",
        grade="C",
        about="More characters of system text than heed.budget allows: fields for custom instructions hold some 1,500.",
        why="What is over is cut off, and nobody is told.",
        mend="Shorten it, or leave blocks out that answers do without: heed prompt test --ablate.",
        source="heed",
        find=over_characters,
        bad=_HEAD.replace("heed: {", "heed: {budget: {characters: 20}, ") + _TASK + _USER,
        good=_HEAD.replace("heed: {", "heed: {budget: {characters: 1500}, ") + _TASK + _USER,
    ),
    Rule(
        id="HD513",
        name="the style leaks",
        severity="info",
        grade="V",
        about="Plain text is asked for, in an instruction full of bold words and headings.",
        why="Models answer in the style in which they are asked.",
        mend="Write it plainly, or use the notation plain.",
        source="OpenAI and Anthropic, prompt engineering guides",
        find=style_leak,
        bad=_HEAD
        + _TASK
        + "## Care\n**Names** stay as they are.\n# Output format\nPlain text, one sentence.\n"
        + _USER,
        good=_HEAD + _TASK + "# Output format\nPlain text, one sentence.\n" + _USER,
    ),
    Rule(
        id="HD601",
        name="what changes stands first",
        severity="info",
        grade="C",
        about=f"A required input in the system text with {STATIC_WORDS} or more fixed words behind it.",
        why="Servers keep the computed beginning of a prompt; it ends at the first word that changes.",
        mend="Put the block with the value last, or under user:.",
        source="heed",
        find=volatile_first,
        bad="---\ninputs: [{name: name, kind: string}]\nheed: {trust: {name: author}}\n---\nsystem:\n# Context\n"
        "The reader is {{ name }}.\n# Task\n"
        + "Summarise the text in one sentence of plain words. " * 6
        + "\n\nuser:\nx",
        good="---\ninputs: [{name: name, kind: string}]\nheed: {trust: {name: author}}\n---\nsystem:\n# Task\n"
        + "Summarise the text in one sentence of plain words. " * 6
        + "\n# Context\nThe reader is {{ name }}.\n\nuser:\nx",
    ),
    Rule(
        id="HD701",
        name="no checks",
        severity="info",
        grade="P",
        about="Neither checks nor tests.",
        why="Without them an edit is an opinion.",
        mend="heed: {check: [{type: sentence-count, equal: 3}]}",
        source="heed",
        find=no_tests,
        bad=_HEAD + _TASK + _USER,
        good=_HEAD.replace("heed: {", "heed: {check: [{type: sentence-count, equal: 1}], ") + _TASK + _USER,
    ),
)
