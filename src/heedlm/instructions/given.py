"""Values for inputs, as a person types them: NAME=TEXT, NAME=@FILE, and the examples of a file in their place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError, Problem, nearest
from heedlm.instructions.blocks import MISSING, Input, Instruction


def values_of(instruction: Instruction, pairs: Iterable[str]) -> dict[str, Any]:
    """Values from texts such as ``ticket=My card ...`` or ``ticket=@mail.txt``. Raises HeedError with every problem.

    Texts stay texts; numbers, truth values, lists and objects are read as JSON, and lists as words between commas too.
    """
    known = {one.name: one for one in instruction.inputs}
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            problems.append(Problem(f"this gives no value: {pair!r}", "--input", "--input NAME=TEXT or NAME=@FILE"))
        elif name not in known:
            hint = nearest(name, known) if known else "the instruction has no inputs"
            problems.append(Problem(f"there is no input {name!r}", "--input", hint))
        else:
            try:
                values[name] = _read(known[name], _text(name, text))
            except HeedError as error:
                problems += error.problems
            except ValueError as error:
                problems.append(
                    Problem(f"the input {name!r}: {error}", "--input", f"a value of the kind {known[name].kind}")
                )
    if problems:
        raise HeedError.of(problems)
    return values


def with_examples(instruction: Instruction, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values, and for inputs that lack one and need it their examples; the names of those."""
    filled, shown = dict(values), []
    for one in instruction.inputs:
        if one.name not in filled and one.default is MISSING and one.required and one.example is not MISSING:
            filled[one.name] = one.example
            shown.append(one.name)
    return filled, shown


def _text(name: str, text: str) -> str:
    """``@FILE`` is the text of the file; ``@@`` is a text that begins with the sign. Raises HeedError for no such file."""
    if text.startswith("@@"):
        return text[1:]
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8-sig")
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
    except UnicodeDecodeError:
        why = "is not UTF-8"
    except ValueError:
        why = "is no name of a file"
    mend = f"a text file: --input {name}=@FILE; a text that begins with the sign itself: --input {name}=@@..."
    raise HeedError(f"the file for the input {name!r} {why}", text[1:] or "--input", mend)


def _read(one: Input, text: str) -> Any:
    if one.kind == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        if one.kind == "array":
            return [part.strip() for part in text.split(",") if part.strip()]
        raise ValueError(f"{text!r} is no {one.kind}") from None
