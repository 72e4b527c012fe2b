"""Whether an answer is what the instruction asks for: its checks, and the fields of its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from heedlm.eval.checks import check_problems, parse_json, run_check, unfenced
from heedlm.instructions.blocks import Instruction, Output

_OWN = ("field", "schema")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "float": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def check_faults(check: Any, outputs: Sequence[str]) -> list[tuple[str, str]]:
    """What is wrong with a check, each with its mend. Beside the fields of `heed eval`: field, schema (of is-json)."""
    if not isinstance(check, Mapping):
        return [(f"a check is {check!r}", "{type: is-json, schema: outputs}")]
    bare = {key: value for key, value in check.items() if key not in _OWN}
    found = [(one.what, one.mend) for one in check_problems(bare)]
    if "schema" in check and (check["schema"] != "outputs" or check.get("type") != "is-json"):
        found.append(("schema belongs to is-json, and names outputs", "{type: is-json, schema: outputs}"))
    if "schema" in check and not outputs:
        found.append(("schema: outputs, and the file has no outputs", "outputs: [{name: queue, kind: string}]"))
    if "field" in check and outputs and check["field"] not in outputs:
        found.append((f"field names no output: {check['field']!r}", "one of " + ", ".join(outputs)))
    return found


def failures(instruction: Instruction, answer: str) -> list[str]:
    """Why an answer breaks the instruction's own checks; empty where it passes all of them."""
    return [why for check in instruction.checks for why in check_failures(check, answer, instruction.outputs)]


def check_failures(check: Mapping[str, Any], answer: str, outputs: Sequence[Output]) -> list[str]:
    """Why an answer fails one check. `field` judges that field of a JSON answer, `schema: outputs` all of them."""
    bare = {key: value for key, value in check.items() if key not in _OWN}
    if "schema" in check:
        return schema_failures(answer if not check.get("fenced") else unfenced(answer), outputs)
    if "field" in check:
        try:
            value = parse_json(unfenced(answer))
        except ValueError as error:
            return [f"field {check['field']!r}: the answer is not JSON: {error}"]
        if not isinstance(value, dict) or check["field"] not in value:
            return [f"the answer has no field {check['field']!r}"]
        held = value[check["field"]]
        answer = held if isinstance(held, str) else json.dumps(held, ensure_ascii=False)
    verdict = run_check(bare, answer)
    return [] if verdict.passed else [verdict.why]


def schema_failures(answer: str, outputs: Sequence[Output]) -> list[str]:
    """Where a JSON answer parts from the outputs: missing and unknown fields, kinds, names that are not in an enum."""
    try:
        value = parse_json(answer)
    except ValueError as error:
        return [f"not JSON: {error}"]
    if not isinstance(value, dict):
        return ["not a JSON object"]
    found = [f"the field {one.name!r} is missing" for one in outputs if one.required and one.name not in value]
    known = {one.name: one for one in outputs}
    for name, held in value.items():
        one = known.get(name)
        if one is None:
            found.append(f"the field {name!r} is not among the outputs")
        elif not isinstance(held, _TYPES[one.kind]) or (isinstance(held, bool) and one.kind != "boolean"):
            found.append(f"the field {name!r} is {held!r}, expected {one.kind}")
        elif one.enum and held not in one.enum:
            found.append(f"the field {name!r} is {held!r}, expected one of {', '.join(map(str, one.enum))}")
    return found
