"""Write an instruction as a file: a valid Prompty file that reads back as the same instruction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from heedlm.errors import HeedError
from heedlm.instructions.blocks import MISSING, Block, Input, Instruction, Output, Shot
from heedlm.instructions.format import parse_as_far
from heedlm.instructions.front import LAYOUT, SCHEMA
from heedlm.instructions.kinds import kind_of, words_of


def write(instruction: Instruction) -> str:
    """The file of an instruction, used blocks inlined. Raises HeedError where a text would read back as something else."""
    text = draft(instruction)
    read = parse_as_far(text, instruction.file or "instruction.prompty")
    if read.faults:
        raise HeedError.of([fault.problem for fault in read.faults])
    if read.instruction.blocks != instruction.blocks:
        there = {block.id: block for block in read.instruction.blocks}
        changed = [block.id for block in instruction.blocks if there.get(block.id) != block]
        what = f"blocks whose text would open another block or message: {', '.join(changed) or 'order of blocks'}"
        raise HeedError(what, instruction.name, "take out lines that begin with # or name a role, such as user:")
    return text


def draft(instruction: Instruction) -> str:
    """As `write`, without a look at how it reads back."""
    front = yaml.dump(
        _front(instruction),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=120,
        default_flow_style=None,
    )
    return f"---\n{front}---\n{_body(instruction)}"


class _Dumper(yaml.SafeDumper):
    """YAML as a person writes it: texts of several lines as blocks."""


def _text_node(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value and not value.startswith((" ", "\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text_node)


def _front(instruction: Instruction) -> dict[str, Any]:
    heed: dict[str, Any] = {"schema": SCHEMA}
    if instruction.notation != "markdown":
        heed["notation"] = instruction.notation
    laid = {name: getattr(instruction, name) for name in LAYOUT}
    heed["layout"] = {name: value for name, value in laid.items() if value not in ("system", "marked", False)}
    heed["trust"] = {one.name: one.trust for one in instruction.inputs if one.trust is not None}
    heed["delimit"] = {one.name: one.delimit for one in instruction.inputs if one.delimit != "none"}
    heed["examples"] = [_shot(shot, instruction.outputs) for shot in instruction.shots]
    heed["check"] = [dict(check) for check in instruction.checks]
    limits = {"tokens": instruction.budget, "characters": instruction.characters}
    heed["budget"] = {name: most for name, most in limits.items() if most}
    heed["variants"] = {block.id: dict(block.variants) for block in instruction.blocks if block.variants}
    heed["ignore"] = {one.rule: one.reason for one in instruction.ignores if not one.block}
    if instruction.tests:
        heed["tests"] = instruction.tests
    front: dict[str, Any] = {"name": instruction.name}
    if instruction.about:
        front["description"] = instruction.about
    if instruction.meta:
        front["metadata"] = dict(instruction.meta)
    front["inputs"] = [_input(one) for one in instruction.inputs]
    front["outputs"] = [_output(one) for one in instruction.outputs]
    front = {key: value for key, value in front.items() if value}
    front["template"] = {"format": {"kind": "jinja2"}, "parser": {"kind": "prompty"}}
    return front | {"heed": {key: value for key, value in heed.items() if value}}


def _input(one: Input) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "kind": one.kind}
    if one.about:
        found["description"] = one.about
    if one.required != (one.default is MISSING):
        found["required"] = one.required
    elif one.required:
        found["required"] = True
    if one.kind == "array":
        found["items"] = {"kind": "string"}
    for key, value in (("default", one.default), ("example", one.example)):
        if value is not MISSING:
            found[key] = value
    if one.enum:
        found["enum"] = list(one.enum)
    return found


def _output(one: Output) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "kind": one.kind}
    if one.about:
        found["description"] = one.about
    if one.required:
        found["required"] = True
    if one.kind == "array":
        found["items"] = {"kind": "string"}
    if one.enum:
        found["enum"] = list(one.enum)
    return found


def _shot(shot: Shot, outputs: Sequence[Output]) -> dict[str, Any]:
    """As fields where the answer is an object of the outputs in their order, else as one text."""
    names = [one.name for one in outputs]
    value = _json(shot.output)
    if isinstance(value, dict) and value and list(value) == [name for name in names if name in value]:
        return {**shot.values, **value}
    return {**shot.values, "output": shot.output}


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if json.dumps(value, ensure_ascii=False) == text else text


def _body(instruction: Instruction) -> str:
    made: list[str] = []
    before: int | None = None
    last = max((block.turn for block in instruction.blocks), default=0)
    for block in instruction.blocks:
        if block.turn != before:
            made.append(f"{block.role}:")
            before = block.turn
        head = _head(block, last)
        made.append("\n".join(line for line in (head, block.text) if line) + "\n")
    return "\n".join(made).rstrip("\n") + "\n"


def _head(block: Block, last: int) -> str:
    """The heading, with the attributes that it does not say by itself."""
    flags = [name for name, set_ in (("frozen", block.frozen), ("optional", block.optional)) if set_]
    flags += ["repeat=end"] if block.repeat else []
    flags += ["slot=examples"] if block.slot else []
    flags += [f"max={block.most}"] if block.most else []
    if not block.title:
        usual = {"user": "data", "assistant": "cue", "system": ""}[block.role] if block.turn == last else ""
        if block.kind == block.id == usual and not flags:
            return ""
        return f"{{# {' '.join([f'id={block.id}', f'kind={block.kind}', *flags])} #}}"
    named = kind_of(block.title)
    own = [] if words_of(block.title).replace(" ", "_") == block.id else [f"id={block.id}"]
    kind = [] if named is not None and named.name == block.kind else [f"kind={block.kind}"]
    attributes = [*own, *kind, *flags]
    return f"# {block.title}" + (f" {{# {' '.join(attributes)} #}}" if attributes else "")
