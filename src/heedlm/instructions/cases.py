"""Cases of the matrix: values for an instruction's inputs, and what the answer has to be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.data.prompts.located import read_yaml
from heedlm.data.row import Row
from heedlm.data.schema import to_examples
from heedlm.data.sources import read_rows
from heedlm.errors import HeedError, Problem, nearest
from heedlm.instructions.asserts import Assertion, read_assertion, target_of
from heedlm.instructions.blocks import MISSING, Instruction
from heedlm.templates.sandbox import FillError, names_in

_FIELDS = ("id", "vars", "assert", "target", "group", "paraphrase_of", "threshold", "expect", "description")
_TARGET = "expected"  # how assertions of a file may name the target beside `target`
_SHOWN = 40  # problems of one reading; more help nobody
EXAMPLE = '{"vars": {"ticket": "Where is order 4417?"}, "assert": [{"type": "contains", "value": "shipping"}]}'


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to ask, and how the answer is judged.

    values: by name; more of them than an instruction has inputs, where assertions use them.   asserts: everything that
    is asked of the answer.   target: the right answer as text, "" where no one text is.   group: cases of one group are
    no independent evidence; None stands alone.   paraphrase_of: the id, or any name, of what this case asks in other words.
    threshold: as promptfoo has it, of the weighted mean of all assertions.   source: "file:line".
    """

    id: str
    values: Mapping[str, Any]
    asserts: tuple[Assertion, ...]
    target: str = ""
    group: str | None = None
    paraphrase_of: str = ""
    threshold: float | None = None
    source: str = ""


class Raw(NamedTuple):
    """A case as a file holds it. fields: of `_FIELDS`, or the values themselves.   where: "file:line"."""

    fields: Mapping[str, Any]
    where: str


def read_cases(
    paths: Sequence[str | Path], instructions: Sequence[Instruction], defaults: Sequence[Any] = ()
) -> list[Case]:
    """The cases of files: JSON lines or YAML, and rows of conversations as `heed eval` reads them.

    defaults: assertions that every case has as well, as a file holds them (``is-json``, ``{type: equals, value: ...}``).
    Raises HeedError with every problem, each with file and line.
    """
    raws: list[Raw] = []
    problems: list[Problem] = []
    for path in map(Path, paths):
        for one in _read(path, instructions):
            (problems if isinstance(one, Problem) else raws).append(one)  # type: ignore[arg-type]
    if not raws and not problems:
        raise HeedError("there are no cases", ", ".join(map(str, paths)), f"a line such as {EXAMPLE}")
    return cases_of(raws, instructions, defaults, problems)


def cases_of(
    raws: Sequence[Raw],
    instructions: Sequence[Instruction],
    defaults: Sequence[Any] = (),
    problems: Sequence[Problem] = (),
) -> list[Case]:
    """Cases from what files hold.   problems: found before; they are raised together with the ones found here."""
    found = list(problems)
    cases: dict[str, Case] = {}
    for number, raw in enumerate(raws, start=1):
        made = _case(raw, number, instructions, defaults)
        if isinstance(made, list):
            found += made
        elif made.id in cases:
            what = f"two cases have the id {made.id!r}; the other is at {cases[made.id].source}"
            found.append(Problem(what, raw.where, "give each its own id, or none"))
        else:
            cases[made.id] = made
    if found:
        raise HeedError.of(_once(found)[:_SHOWN])
    return list(cases.values())


def _once(found: Sequence[Problem]) -> list[Problem]:
    """What is wrong in the same way in several cases, told with the first of them: an assertion of all is in each."""
    alike: dict[tuple[str, str], list[Problem]] = {}
    for one in found:
        alike.setdefault((one.what, one.mend), []).append(one)
    told = []
    for first, *more in alike.values():
        count = f" and {len(more):,} more" if more else ""
        told.append(replace(first, where=f"{first.where}{count}"))
    return told


def _read(path: Path, instructions: Sequence[Instruction]) -> Iterator[Raw | Problem]:
    if path.suffix.lower() in (".yaml", ".yml"):
        yield from _yaml(path)
        return
    for row in read_rows(path):
        if isinstance(row, Problem):
            yield row
        elif _is_case(row.value, instructions):
            yield Raw(row.value, row.where)
        else:
            yield from _from_row(row, instructions)


def _yaml(path: Path) -> Iterator[Raw | Problem]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror or error}", str(path), "name a file of cases") from None
    except UnicodeDecodeError:
        raise HeedError("not UTF-8", str(path), "save the file as UTF-8") from None
    located = read_yaml(text, str(path))
    top: tuple[str | int, ...] = ()
    value = located.value
    if isinstance(value, dict):
        key = next((name for name in ("cases", "tests") if name in value), None)
        if key is None:
            yield Problem("this file holds no cases", located.at(), f"a list of cases, or cases: [{EXAMPLE}]")
            return
        top, value = (key,), value[key]
    if not isinstance(value, list):
        yield Problem("the cases are no list", located.at(*top), f"- {EXAMPLE}")
        return
    for number, one in enumerate(value):
        where = located.at(*top, number)
        yield Raw(one, where) if isinstance(one, dict) else Problem(f"a case is {one!r}", where, f"- {EXAMPLE}")


def _is_case(value: Mapping[str, Any], instructions: Sequence[Instruction]) -> bool:
    names = {one.name for instruction in instructions for one in instruction.inputs}
    return "vars" in value or "assert" in value or any(name in value for name in names)


def _from_row(row: Row, instructions: Sequence[Instruction]) -> Iterator[Raw | Problem]:
    """Rows of conversations: what the person said last is the value of the one input that has to be given."""
    wanted = [one.name for one in instructions[0].inputs if one.required and one.default is MISSING]
    if len(wanted) != 1:
        wanted = [one.name for one in instructions[0].inputs if one.default is MISSING]
    if len(wanted) != 1:
        names = ", ".join(one.name for one in instructions[0].inputs) or "none"
        what = f"the row is no case: it names none of the inputs ({names})"
        yield Problem(what, row.where, f"a line such as {EXAMPLE}")
        return
    for one in to_examples(row):
        if isinstance(one, Problem):
            example = json.dumps({"vars": {wanted[0]: "..."}})
            yield replace(one, mend=f"{one.mend}; or, for a case, name its inputs: {example}")
            continue
        asked = next((turn.content for turn in reversed(one.messages) if turn.role == "user"), None)
        if asked is None or one.messages[-1].role != "assistant":
            yield Problem("the row has no question with an answer", row.where, "a turn of the user, and one behind it")
            continue
        fields = {"vars": {wanted[0]: asked}, "target": one.messages[-1].content}
        checks = one.meta.get("checks")
        yield Raw({**fields, "id": one.id, "group": one.group, **({"assert": checks} if checks else {})}, row.where)


def _case(raw: Raw, number: int, instructions: Sequence[Instruction], defaults: Sequence[Any]) -> Case | list[Problem]:
    fields, where = raw
    problems: list[Problem] = []
    values = fields.get("vars", {name: value for name, value in fields.items() if name not in _FIELDS})
    if not isinstance(values, Mapping):
        return [Problem(f"vars is {values!r}", where, "vars: {ticket: Where is order 4417?}")]
    odd = [name for name in fields if name not in _FIELDS] if "vars" in fields else []
    problems += [Problem(f"a case has no field {name!r}", where, nearest(str(name), _FIELDS)) for name in odd]
    given = fields.get("assert", [])
    if not isinstance(given, list):
        problems.append(Problem(f"assert is {given!r}", where, "a list: [{type: contains, value: Paris}]"))
        given = []
    problems += _odd_fields(fields, where)
    known = {**values, **{name: fields[name] for name in ("expect", "target") if name in fields}}
    known |= {_TARGET: known["target"]} if "target" in known and _TARGET not in known else {}
    target = fields.get("target")
    written = "" if target is None else target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)
    wanted = [*given, *defaults]
    if not wanted and written:
        wanted = [{"type": "equals", "value": target}]
    if not wanted:
        mend = "assert: [{type: contains, value: ...}] or target: ..., or for all cases --assert is-json"
        problems.append(Problem("nothing judges the answer of this case", where, mend))
    problems += _unknown(values, wanted, instructions, where)
    asserts: list[Assertion] = []
    outputs = instructions[0].outputs if instructions else ()
    for one in wanted:
        read = read_assertion(one, where, known, outputs)
        if isinstance(read, list):
            problems += read
        elif read not in asserts:
            asserts.append(read)
    if asserts and all(one.weight == 0 for one in asserts):
        problems.append(Problem("all assertions have the weight 0: every answer would pass", where, "weight: 1"))
    if problems:
        return problems
    paraphrase = str(fields.get("paraphrase_of") or "")
    group = fields.get("group")
    return Case(
        id=str(fields["id"]) if fields.get("id") not in (None, "") else f"case-{number}",
        values=dict(values),
        asserts=tuple(asserts),
        target=written or target_of(wanted, known),
        group=str(group) if group is not None else None,
        paraphrase_of=paraphrase,
        threshold=fields.get("threshold"),
        source=where,
    )


def _odd_fields(fields: Mapping[str, Any], where: str) -> Iterator[Problem]:
    threshold = fields.get("threshold")
    if threshold is not None and (
        isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1
    ):
        yield Problem(f"threshold is {threshold!r}", where, "a share above 0, such as 0.8")
    for name in ("id", "group", "paraphrase_of"):
        value = fields.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            yield Problem(f"{name} is {value!r}", where, "a text")


def _unknown(
    values: Mapping[str, Any], wanted: Sequence[Any], instructions: Sequence[Instruction], where: str
) -> Iterator[Problem]:
    """Names that no instruction takes and no assertion uses: most likely written wrongly."""
    inputs = {one.name for instruction in instructions for one in instruction.inputs}
    used: set[str] = set()
    for text in _texts(wanted):
        try:
            used |= names_in(text)
        except FillError:  # told where the assertion is read
            continue
    for name in values:
        if name not in inputs and name not in used:
            mend = nearest(str(name), inputs) if inputs else "the instruction has no inputs"
            yield Problem(f"there is no input {str(name)!r}, and no assertion uses it", where, mend)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def common_checks(instructions: Sequence[Instruction]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The checks that all instructions bear, and what is to be said of those that only some bear.

    A comparison needs one measure for all: a check of one file alone would be asked of the others too.
    """
    if not instructions:
        return [], []
    first = instructions[0]
    shared = [
        check
        for check in first.checks
        if all(check in one.checks and one.outputs == first.outputs for one in instructions[1:])
    ]
    notes = []
    for one in instructions:
        own = [str(check.get("type")) for check in one.checks if check not in shared]
        if own:
            notes.append(f"{one.name}: its own checks are not asked, as other files lack them: {', '.join(own)}")
    return shared, notes
