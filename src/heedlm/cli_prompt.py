"""The commands of `heed prompt`: custom instructions, written, compiled and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from heedlm import cli_prompt_bake, cli_prompt_optimize, cli_prompt_test, prompt_pages
from heedlm.errors import HeedError, nearest
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.instructions.blocks import Instruction
    from heedlm.instructions.frame import Frame

app = typer.Typer(no_args_is_help=True, help="Custom instructions: blocks, compiled to what a model sees, linted.")

FOUND = 1  # exit code of lint where it finds an error

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A .prompty file, or a name from `heed prompt list`.")]
Model = Annotated[
    str | None, typer.Option("--model", help="A folder, a run, a hub id or `atlas`: its tokenizer and template.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="messages, chat (the model's own), chatml, llama3, human_assistant, alpaca, dolly, completion.",
    ),
]
Variant = Annotated[list[str] | None, typer.Option("--variant", help="BLOCK=NAME: another text for a block.")]
Without = Annotated[list[str] | None, typer.Option("--without", help="A block to leave out; may be given again.")]


def list_(as_json: Json = False) -> None:
    """List the instructions that come with heed.

    Example: heed prompt list
    """
    from heedlm.instructions import library
    from heedlm.instructions.format import load

    found = [load(name) for name in library.names()]
    text = Text()
    for one in found:
        text.append(f"{one.name:<18}", style="cyan")
        text.append(f"{len(one.blocks):>2} blocks   {', '.join(one.meta.get('tags', []))}\n", style="dim")
        text.append(f"  {one.about}\n")
    text.append("Copy one:  heed prompt show NAME --source > mine.prompty\n", style="dim")
    told = [
        {"name": one.name, "about": one.about, "tags": one.meta.get("tags", []), "blocks": one.ids} for one in found
    ]
    Screen(as_json).result({"instructions": told}, text)


def show(
    file: File,
    source: Annotated[bool, typer.Option("--source", help="Print the file, to be saved and changed.")] = False,
    flat: Annotated[
        bool, typer.Option("--flat", help="Print the file with the blocks that it uses from others.")
    ] = False,
    variant: Variant = None,
    without: Without = None,
    as_json: Json = False,
) -> None:
    """Show an instruction: its blocks, inputs, checks; or its file.

    Example: heed prompt show ticket-triage
    """
    from heedlm.instructions import library

    screen = Screen(as_json)
    if source and not flat:
        text = library.source(file)[0]
        screen.result({"source": text}, Text(text.rstrip("\n"), no_wrap=True))
        return
    instruction = _edited(file, variant, without)
    if flat:
        from heedlm.instructions.write import write

        text = write(instruction)
        screen.result({"source": text}, Text(text.rstrip("\n"), no_wrap=True))
        return
    screen.result(_told(instruction), prompt_pages.instruction_page(instruction))


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as mail.prompty.")],
    text: Annotated[
        str | None, typer.Option("--from", help="A prompt in plain text: a file, or - for standard input.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a first instruction: asked for its parts, or made from a prompt in plain text.

    Example: heed prompt new mail.prompty --from old_prompt.txt
    """
    from heedlm.instructions import scaffold
    from heedlm.instructions.blocks import MISSING
    from heedlm.instructions.lint.run import count, lint_text
    from heedlm.instructions.write import write

    screen = Screen(as_json)
    if file.exists() and not force:
        raise HeedError("there is a file already", str(file), "another name, or --force to write over it")
    if not file.parent.is_dir():
        raise HeedError("there is no such folder", str(file.parent), "make it first")
    if text is not None:
        made = scaffold.from_text(file.stem, _plain_text(text), "standard input" if text == "-" else text)
    else:
        made = scaffold.from_answers(file.stem, _asked())
    written = write(made.instruction)
    waiting = file.with_name(file.name + ".new")
    waiting.write_text(written, encoding="utf-8")
    waiting.replace(file)
    report = lint_text(written, str(file))
    counted = count([report])
    shown = Text(f"{file}: {', '.join(made.instruction.ids)}\n")
    for note in made.notes:
        shown.append(f"  {note}\n", style="dim")
    empty = (one.name for one in made.instruction.inputs if one.default is MISSING and one.example is MISSING)
    values = "".join(f" --input {name}=..." for name in empty)
    shown.append(
        f"lint: {prompt_pages.counted(counted)}\nNext:  heed prompt lint {file}\n       heed prompt compile {file}{values}"
    )
    screen.result({"file": str(file), "blocks": made.instruction.ids, "notes": made.notes, "lint": counted}, shown)


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A file, or a name from the list.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A file, or a name from the list.")],
    as_json: Json = False,
) -> None:
    """Show what parts two instructions: inputs, checks, blocks, words.

    Example: heed prompt diff old.prompty new.prompty
    """
    from heedlm.instructions.diff import changes
    from heedlm.instructions.format import load

    screen = Screen(as_json)
    found = changes(load(before), load(after))
    text = Text()
    for change in found:
        text.append(f"{change.what:<8} {change.where}\n", style="bold")
        if change.words:
            for sign, words in change.words:
                shown = words if screen.out.is_terminal or sign == " " else f"[{sign}{words}{sign}]"
                text.append(shown, style={"-": "red strike", "+": "green", " ": "dim"}[sign])
            text.append("\n")
            continue
        for sign, part, colour in (("-", change.before, "red"), ("+", change.after, "green")):
            for line in part.split("\n") if part else ():
                text.append(f"  {sign} {line}\n", style=colour)
    if not found:
        text.append("no difference")
    screen.result({"changes": [change._asdict() for change in found]}, text)


def compile_(
    file: File,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=TEXT or NAME=@FILE; inputs left out use their examples.")
    ] = None,
    model: Model = None,
    format_: Format = None,
    notation: Annotated[
        str | None, typer.Option("--notation", help="markdown, xml, label or plain; the file's own otherwise.")
    ] = None,
    placement: Annotated[
        str | None, typer.Option("--placement", help="system, or user: at the head of the first user message.")
    ] = None,
    repeat: Annotated[
        str | None, typer.Option("--repeat", help="Behind the data once more: marked blocks, none, or all of it.")
    ] = None,
    shots: Annotated[int | None, typer.Option("--shots", help="How many examples.", min=0)] = None,
    turns: Annotated[bool, typer.Option("--turns", help="Examples as turns of the conversation.")] = False,
    data_first: Annotated[bool, typer.Option("--data-first", help="With --placement user: data, then orders.")] = False,
    variant: Variant = None,
    without: Without = None,
    explain: Annotated[bool, typer.Option("--explain", help="Blocks in colours, with the tokens of each.")] = False,
    as_json: Json = False,
) -> None:
    """Compile an instruction to what a model sees, with the proof that every block reaches it.

    Example: heed prompt compile ticket-triage --model atlas --explain
    """
    from heedlm.instructions.blocks import NOTATIONS
    from heedlm.instructions.compile import compile_ as compiled_of
    from heedlm.instructions.given import values_of, with_examples
    from heedlm.instructions.layout import PLACEMENTS, REPEATS, Layout

    screen = Screen(as_json)
    for option, value, known in (
        ("--notation", notation, NOTATIONS),
        ("--placement", placement, PLACEMENTS),
        ("--repeat", repeat, REPEATS),
    ):
        if value is not None and value not in known:
            raise HeedError(f"{option} is {value!r}", option, nearest(value, known))
    instruction = _edited(file, variant, without)
    values, shown = with_examples(instruction, values_of(instruction, inputs or ()))
    layout = Layout(notation, placement, repeat, shots, turns or None, data_first or None)  # type: ignore[arg-type]
    frame = _frame(model, format_)
    if data_first and layout.of(instruction).placement == "system" and (frame is None or frame.system != "refused"):
        what = "--data-first changes nothing while the instruction stands in a system message"
        raise HeedError(what, "--data-first", "--placement user --data-first")
    compiled = compiled_of(instruction, values, layout=layout, frame=frame)
    for note in () if explain else compiled.notes:
        screen.say(f"note: {note}")
    if shown:
        screen.say(f"with the examples of the file for: {', '.join(shown)}")
    if frame is not None and model is None:
        screen.say("with the tokenizer of atlas; name your own with --model")
    told = prompt_pages.compiled_told(compiled, frame)
    if instruction.budget and told.get("tokens", 0) > instruction.budget:
        screen.warn(f"{told['tokens']} tokens; the budget of the file is {instruction.budget}")
    screen.result(
        told, prompt_pages.explained_page(compiled, told) if explain else prompt_pages.compiled_page(compiled)
    )


def lint(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files, folders of them, or names from the list.")],
    model: Model = None,
    format_: Format = None,
    only: Annotated[list[str] | None, typer.Option("--rule", help="Only this rule; may be given again.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write mechanical mends into the files.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    as_json: Json = False,
) -> None:
    """Find what is wrong with instructions, all of it at once, each thing with its line; exit code 1 on an error.

    With a model, rules that need its tokenizer and chat template look as well; no text is ever generated.

    Example: heed prompt lint ticket-triage --model atlas
    """
    from heedlm.instructions import library
    from heedlm.instructions.lint import run

    screen = Screen(as_json)
    frame = _frame(model, format_)
    files = [one for name in files for one in _in_folder(name)]
    shipped = [name for name in files if fix and library.source(name)[1] == str(_shipped(name))]
    if shipped:
        raise HeedError(
            "instructions that come with heed are not changed", shipped[0], "copy it: heed prompt show --source"
        )
    wanted = [one.upper() for one in only or ()]
    reports = [run.lint_file(name, frame, only=wanted, fix=fix) for name in files]
    counted = run.count(reports)
    text = Text()
    for report in reports:
        text.append_text(prompt_pages.findings_page(report))
    text.append(f"{len(reports)} file{'s' * (len(reports) != 1)}: {prompt_pages.counted(counted)}")
    ignored = sum(len(report.ignored) for report in reports)
    text.append(f", {ignored} switched off with a reason" if ignored else "")
    screen.result({"files": [run.told(report) for report in reports], **counted}, text)
    if counted["error"] or (strict and counted["warning"]):
        raise typer.Exit(FOUND)


def rules(
    id_: Annotated[str | None, typer.Argument(metavar="RULE", help="Explain one, such as HD210.")] = None,
    as_json: Json = False,
) -> None:
    """List the rules of the linter, or explain one: what it finds, why, what to do, how strong the evidence is.

    Example: heed prompt rules HD210
    """
    from heedlm.instructions.lint.registry import RULES

    screen = Screen(as_json)
    if id_ is not None:
        found = RULES.get(id_.upper())
        if found is None:
            raise HeedError(f"there is no rule {id_!r}", "heed prompt rules", nearest(id_.upper(), RULES))
        screen.result(prompt_pages.rule_told(found), prompt_pages.rule_page(found))
        return
    text = Text()
    for rule in RULES.values():
        text.append(f"{rule.id}  ", style="cyan")
        text.append(f"{rule.severity:<8}", style=prompt_pages.SEVERITY[rule.severity])
        text.append(f"{rule.grade}  {rule.name}\n")
    text.append(f"{len(RULES)} rules. Explain one:  heed prompt rules HD210", style="dim")
    screen.result({"rules": [prompt_pages.rule_told(rule) for rule in RULES.values()]}, text)


def _in_folder(name: str) -> list[str]:
    """The files of a folder, or the name itself. Raises HeedError for a folder without one."""
    if not Path(name).is_dir():
        return [name]
    found = sorted(str(path) for path in Path(name).rglob("*.prompty"))
    if not found:
        raise HeedError("the folder holds no .prompty file", name, "name a file, or another folder")
    return found


def _shipped(name: str) -> Path | None:
    from heedlm.instructions import library

    return library.path_of(name) if name.removeprefix("heed:") in library.names() else None


def _plain_text(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    try:
        return Path(text).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror or error}", text, "name a text file, or -") from None
    except UnicodeDecodeError:
        raise HeedError("not UTF-8", text, "save the file as UTF-8") from None


def _asked() -> dict[str, str]:
    from heedlm.instructions.scaffold import QUESTIONS

    if not sys.stdin.isatty():
        raise HeedError("nobody is there to be asked", "heed prompt new", "--from FILE, or --from - for standard input")
    answers: dict[str, str] = {}
    for number, (kind, question) in enumerate(QUESTIONS):
        answers[kind] = str(typer.prompt(question, default="" if number else None, show_default=False)).strip()
    return answers


def _edited(file: str, variant: list[str] | None, without: list[str] | None) -> Instruction:
    from heedlm.instructions.format import load

    instruction = load(file)
    for pair in variant or ():
        block, sign, name = pair.partition("=")
        if not sign:
            raise HeedError(f"this names no variant: {pair!r}", "--variant", "--variant BLOCK=NAME")
        instruction = instruction.with_variant(block, name)
    return instruction.without(*(without or ()))


def _frame(model: str | None, format_: str | None) -> Frame | None:
    """The frame of a format for a model; none for messages. A format alone is tried on the model that comes with heed."""
    from heedlm.instructions.frame import FORMATS, MESSAGES, OWN, frame_for

    if format_ is not None and format_ not in FORMATS:
        raise HeedError(f"there is no format {format_!r}", "--format", nearest(format_, FORMATS))
    if format_ == MESSAGES or (model is None and format_ is None):
        return None
    return frame_for(model or "atlas", format_ or OWN)


def _told(instruction: Instruction) -> dict[str, Any]:
    from heedlm.instructions.blocks import MISSING

    def plain(value: Any) -> Any:
        return None if value is MISSING else value

    return {
        "name": instruction.name,
        "about": instruction.about,
        "notation": instruction.notation,
        "budget": instruction.budget,
        "blocks": [
            {
                "id": one.id,
                "kind": one.kind,
                "role": one.role,
                "title": one.title,
                "text": one.text,
                "frozen": one.frozen,
            }
            | {"optional": one.optional, "repeat": one.repeat, "slot": one.slot, "variants": dict(one.variants)}
            for one in instruction.blocks
        ],
        "inputs": [
            {"name": one.name, "kind": one.kind, "required": one.required, "default": plain(one.default)}
            | {"example": plain(one.example), "trust": one.trust, "delimit": one.delimit}
            for one in instruction.inputs
        ],
        "outputs": [{"name": one.name, "kind": one.kind, "enum": list(one.enum)} for one in instruction.outputs],
        "examples": len(instruction.shots),
        "checks": [dict(one) for one in instruction.checks],
        "uses": instruction.uses,
    }


# In the order in which a person comes to need them, which is the order of the help.
_VERBS: dict[str, Any] = {"new": new, "list": list_, "show": show, "lint": lint, "rules": rules}
_VERBS |= {"compile": compile_, "diff": diff, "test": cli_prompt_test.run_cases}
_VERBS |= {"optimize": cli_prompt_optimize.optimize, "bake": cli_prompt_bake.bake}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)
