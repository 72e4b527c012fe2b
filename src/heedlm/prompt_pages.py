"""How instructions, compiled texts, findings and rules look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from heedlm.instructions.blocks import Instruction
    from heedlm.instructions.compile import Compiled
    from heedlm.instructions.frame import Frame
    from heedlm.instructions.lint.rule import Rule
    from heedlm.instructions.lint.run import Report

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")
SEVERITY = {"error": "red", "warning": "yellow", "info": "dim"}


def instruction_page(instruction: Instruction) -> Text:
    """Blocks in their order, inputs, outputs, checks."""
    from heedlm.instructions.blocks import MISSING

    text = Text(f"{instruction.name}", style="bold")
    text.append(f"   {instruction.about}\n", style="not bold")
    role = ""
    for block in instruction.blocks:
        if block.role != role:
            role = block.role
            text.append(f"\n{role}:\n", style="not bold magenta")
        flags = [name for name in ("frozen", "optional") if getattr(block, name)]
        flags += [f"repeat={block.repeat}"] if block.repeat else []
        flags += ["examples go here"] if block.slot else []
        flags += [f"variants {', '.join(block.variants)}"] if block.variants else []
        flags += [f"from {block.file.rpartition('/')[2]}"] if block.file != instruction.file else []
        text.append(f"  {block.id:<15}", style="not bold cyan")
        text.append(f"{block.kind:<15}{'; '.join(flags)}\n", style="not bold dim")
        for line in block.text.split("\n") if block.text else ():
            text.append(f"    {line}\n", style="not bold")
    for one in instruction.inputs:
        text.append(f"\ninput  {one.name}", style="not bold cyan")
        told = [one.kind, f"from {one.trust or 'somebody unknown'}"]
        told += [f"default {one.default!r}"] if one.default is not MISSING else ["required"] if one.required else []
        told += [f"marks {one.delimit}"] if one.delimit != "none" else []
        text.append(f"   {', '.join(told)}", style="not bold dim")
    for output in instruction.outputs:
        text.append(f"\noutput {output.name}", style="not bold cyan")
        text.append(f"   {output.kind} {', '.join(map(str, output.enum))}", style="not bold dim")
    for check in instruction.checks:
        text.append(f"\ncheck  {dict(check)}", style="not bold dim")
    text.append(f"\nexamples {len(instruction.shots)}\n", style="not bold dim")
    return text


def compiled_told(compiled: Compiled, frame: Frame | None) -> dict[str, Any]:
    """A compiled instruction as JSON holds it, tokens of each block included where there is a tokenizer."""
    from heedlm.instructions.wire import tokens_of

    told: dict[str, Any] = {
        "instruction": compiled.instruction,
        "format": compiled.format,
        "notation": compiled.notation,
        "messages": [{"role": one.role, "content": one.content} for one in compiled.messages],
        "survived": {block: [list(place) for place in places] for block, places in compiled.survived.items()},
        "empty": compiled.empty,
        "escapes": [escape._asdict() for escape in compiled.escapes],
        "notes": compiled.notes,
        "digest": compiled.digest,
    }
    if compiled.wire is not None and frame is not None:
        found = tokens_of(frame, compiled.wire, compiled.as_text)
        told |= {
            "text": compiled.wire.text,
            "stop": compiled.wire.stop,
            "hidden_system": compiled.wire.hidden_system,
            "tokens": len(found.ids),
            "tokens_by_block": {block or "(template)": count for block, count in found.by_block.items()},
            "spans": [placed._asdict() for placed in compiled.wire.spans],
        }
    return told


def compiled_page(compiled: Compiled) -> Text:
    """What the model sees, as it is."""
    if compiled.wire is not None:
        return Text(compiled.wire.text, no_wrap=True)
    text = Text(no_wrap=True)
    for message in compiled.messages:
        text.append(f"[{message.role}]\n", style="magenta")
        text.append(f"{message.content}\n\n")
    return text


def explained_page(compiled: Compiled, told: Mapping[str, Any]) -> Text:
    """What the model sees with each block in its colour, then tokens, survival, and what has to be known."""
    blocks = list(dict.fromkeys(span.block for span in compiled.spans))
    if compiled.wire is not None:
        blocks += [one.block for one in compiled.wire.spans if one.block not in blocks]
    colours = {block: COLOURS[number % len(COLOURS)] for number, block in enumerate(dict.fromkeys(blocks))}
    text = Text(no_wrap=True)
    if compiled.wire is not None:
        body = Text(compiled.wire.text, style="dim")
        for placed in compiled.wire.spans:
            style = f"not dim {colours[placed.block]}" + (" underline" if placed.name else "")
            body.stylize(style, placed.start, placed.end)
        text.append_text(body)
        text.append("\n\n")
    else:
        for number, message in enumerate(compiled.messages):
            text.append(f"[{message.role}]\n", style="dim")
            body = Text(message.content)
            for span in compiled.spans:
                if span.message == number:
                    body.stylize(colours[span.block] + (" underline" if span.name else ""), span.start, span.end)
            text.append_text(body)
            text.append("\n\n")
    tokens = told.get("tokens_by_block", {})
    text.append(f"{'block':<18}{'tokens':>7}  stands in\n" if tokens else f"{'block':<18}stands in\n", style="bold")
    for block in colours:
        places = compiled.survived.get(block, ())
        where = ", ".join(f"{compiled.messages[number].role} {start}-{end}" for number, start, end in places)
        text.append(f"{block:<18}", style=colours[block])
        count = f"{tokens.get(block, 0):>7}  " if tokens else ""
        text.append(f"{count}{where or 'the beginning of the answer'}\n")
    if tokens:
        text.append(f"{'(template)':<18}{tokens.get('(template)', 0):>7}\n", style="dim")
        text.append(f"{'all':<18}{told['tokens']:>7}\n", style="bold")
    for block in compiled.empty:
        text.append(f"{block}: empty with these values, left out\n", style="dim")
    for escape in compiled.escapes:
        names = ", ".join(escape.names)
        text.append(f"quoted: a value of {names} looked like a {escape.what}: {escape.text!r}\n", style="yellow")
    for note in compiled.notes:
        text.append(f"note: {note}\n", style="yellow")
    if compiled.wire is not None:
        text.append(f"stops at: {', '.join(map(repr, compiled.wire.stop))}\n", style="dim")
    text.append(f"digest {compiled.digest[:16]}", style="dim")
    return text


def findings_page(report: Report) -> Text:
    text = Text()
    if report.fixed:
        text.append(f"{report.file}: {report.fixed} line{'s' * (report.fixed != 1)} mended\n", style="green")
    for one in report.findings:
        text.append(f"{one.where}  ")
        text.append(f"{one.rule} {one.severity}", style=SEVERITY[one.severity])
        text.append(f"  {one.what}\n")
        text.append(f"    why  {one.why}\n    mend {one.mend}\n", style="dim")
    return text


def counted(numbers: Mapping[str, int]) -> str:
    """``1 error, 2 warnings, 0 hints``."""
    words = {"error": "error", "warning": "warning", "info": "hint"}
    return ", ".join(f"{number} {words[name]}{'s' * (number != 1)}" for name, number in numbers.items())


def rule_told(rule: Rule) -> dict[str, Any]:
    keys = ("id", "name", "severity", "grade", "about", "why", "mend", "source", "needs", "english", "bad", "good")
    return {key: getattr(rule, key) for key in keys}


def rule_page(rule: Rule) -> Text:
    from heedlm.instructions.lint.rule import GRADES

    text = Text(f"{rule.id} {rule.name}\n", style="bold")
    for name, value in (
        ("severity", rule.severity),
        ("finds", rule.about),
        ("why", rule.why),
        ("mend", rule.mend),
        ("evidence", f"{rule.grade}: {GRADES[rule.grade]}"),
        ("source", rule.source),
        ("looks at", "tokenizer and chat template: needs --model" if rule.needs else "the file alone"),
    ):
        text.append(f"{name:<9}", style="not bold cyan")
        text.append(f" {value}\n", style="not bold")
    for name, value, style in (("found in", rule.bad, "red"), ("not in", rule.good, "green")):
        text.append(f"\n{name}:\n", style="not bold")
        for line in value.rstrip("\n").split("\n"):
            text.append(f"  {line[:160]}\n", style=f"not bold {style}")
    return text
