"""The first page of the guide: one template to copy, five blocks, and an old prompt put in order."""

from __future__ import annotations

from heedlm.instructions.kinds import KINDS
from heedlm.instructions.lint.run import lint_text

FIVE = ("task", "constraints", "output_format", "examples", "fallback")
TEMPLATE = """---
name: my-instruction
inputs:
  - {name: text, kind: string, required: true, example: "A text like those that you get."}
heed:
  trust: {text: data}
  delimit: {text: auto}
---
system:
# Task
Say in one sentence what the writer of the text wants.

# Constraints
- Use words of the text for names, numbers and dates.
- Write at most 20 words, in English.

# Output format
One sentence that ends with a full stop, and nothing else.

# Examples
Input: My parcel 4417 has not come, and I fly on Friday.
Output: Wants parcel 4417 before Friday.

Input: Your new lamps are lovely!
Output: Praises the new lamps and asks for nothing.

# Fallback
If the text is empty, reply: "Nothing was sent."

user:
{{ text }}
"""
UNTESTED = "HD701"  # speaks of tests beside the text, not of its words
OLD = """You are a helpful assistant. Please answer customer emails in an appropriate, friendly tone. Be brief.
IMPORTANT: NEVER make things up!!! Don't mention competitors. If needed ask questions, etc."""
NEW = """# Role
You answer e-mails for the support desk of a lamp shop. Its readers are customers in a hurry.

# Task
Write the reply to the e-mail.

# Constraints
- Use only facts of the e-mail and of the price list below it.
- Speak of our own lamps only.
- Use the customer's name once, and no exclamation marks.

# Output format
A greeting, two to four sentences, then "Your lamp desk". At most 80 words.

# Fallback
If the e-mail does not say which lamp or which order it is about, ask for that one thing and nothing else."""


def _prompt(text: str) -> str:
    """An instruction as a file that is in order but for its words, so that the linter speaks of those."""
    front = "inputs:\n  - {name: text, kind: string, required: true}\n"
    heed = "heed:\n  trust: {text: data}\n  delimit: {text: auto}\n"
    return f"---\nname: mine\n{front}{heed}---\nsystem:\n{text}\n\nuser:\n{{{{ text }}}}\n"


def findings(text: str) -> list[tuple[str, str, str]]:
    """Rule, what is wrong and what to do instead, as `heed prompt lint` says it; the first of each rule."""
    found: dict[str, tuple[str, str, str]] = {}
    for one in lint_text(_prompt(text), "mine.prompty").findings:
        if one.rule == UNTESTED:
            continue
        found.setdefault(one.rule, (one.rule, one.what, one.mend))
    return list(found.values())


def _pasted() -> str:
    """The instruction of the template, without what is for programs."""
    return TEMPLATE.partition("system:\n")[2].partition("\nuser:")[0].rstrip()


def opening() -> str:
    """The page README.md."""
    five = "\n".join(f"| **{KINDS[name].title}** | {KINDS[name].about} | {KINDS[name].when} |" for name in FIVE)
    wrong = "\n".join(f"| {rule} | {_cell(what)} | {_cell(mend)} |" for rule, what, mend in findings(OLD))
    return f"""# Writing instructions for a language model

A language model is a calculator for text: text goes in, text comes out. What comes out can only be as good as what goes
in. The part of the input that you write once and send with every request is called an **instruction**; others say custom
instruction, system prompt or prompt template. A good one gives you the same kind of answer every time.

This guide shows how to write one, how to see whether it is any good, and when to stop writing and train the model
instead. You need to know nothing about models to begin.

## One template to copy

```text
{_pasted()}
```

Put your own words under the headings. Then paste it where your tool keeps such texts: the box for custom instructions, the
system prompt, or the top of a message, with the text that it is about below it. That is all; the headings help you and the
model to find things, and no program has to know them.

## Five blocks

| block | what it does | when it is needed |
|---|---|---|
{five}

Begin with these five and nothing else. A teacher might write *Task: Explain the mistake in the pupil's sentence*, with the rule
*Use words that a child of ten knows*, and two examples of a mistake explained well. A support desk might write *Task: Choose the
queue for the ticket*, with the four queues under the output format and "other" as the fallback. Add a block when answers
fail in a way that it would have prevented, and take it out again when they do not get better.

## An old prompt, put in order

Somebody has been sending this for months:

```text
{OLD}
```

A program reads it and finds these things, without asking any model:

| rule | what is wrong | what to do instead |
|---|---|---|
{wrong}

Every wish in the old text was reasonable. What was missing is what a reader would have to ask back: who is writing, how long,
in which form, from which facts, and what if something is unknown. With the answers written down it looks like this, and the
same program has {_verdict(NEW)}:

```text
{NEW}
```

Whether the *answers* are better is another question, and only answers can tell: [how to experiment](experiment.md).

## The same as a file

When a program sends your instruction, or you want to test it, save it as a file, here `mine.prompty`:

```text
{TEMPLATE.rstrip()}
```

The part between the two lines of dashes is for programs: it names the values that are put in, and says who writes them (`data`
is text of other people, which is worked on and never obeyed). What stands under `system:` is your instruction; what stands
under `user:` comes in with each request. A value stands in double braces.

```bash
heed prompt new mine.prompty --from old_prompt.txt     # a first file, from a prompt that you have
heed prompt lint mine.prompty                          # what is wrong with it, each thing with its line and its reason
heed prompt compile mine.prompty --model atlas --explain    # what the model sees, with the tokens of each block
```

None of these three asks a model anything. `compile` proves that every block of yours is in the text that the model gets, and
refuses to go on when a chat template would drop one.

## The rest of the guide

| page | answers |
|---|---|
| [Building blocks](blocks.md) | Which parts can an instruction have, and which of them do I need? |
| [Best practices](practices.md) | What is known to help, how well is it known, and what does it look like? |
| [Notations](notations.md) | Headings, tags, labels or plain text: what do they cost, and which should I take? |
| [How to experiment](experiment.md) | How do I find out whether a change made it better? |
| [When to tune](tuning.md) | Write, train, or both? With measured numbers. |
| [Examples](examples.md) | What do finished instructions look like? |
"""


def _verdict(text: str) -> str:
    """In words, how many things the linter still finds."""
    left = len(findings(text))
    return f"{left} things left to say against it" if left else "nothing left to say against it"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
