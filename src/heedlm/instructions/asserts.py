"""What an answer of the matrix has to be: assertions under promptfoo's names, the checks of heed, and its scorers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from heedlm.errors import Problem, nearest
from heedlm.eval.checks import CHECK_FIELDS, CHECK_TYPES, parse_json
from heedlm.eval.scorers.reading import without_reasoning
from heedlm.eval.scorers.registry import KINDS, read_scorer
from heedlm.eval.scorers.scorer import Scorer
from heedlm.instructions.answers import check_failures, check_faults
from heedlm.instructions.blocks import Output
from heedlm.messages import Example, Message, Reply, Score
from heedlm.templates.sandbox import FillError, fill, value_of

_LISTS = ("contains-all", "contains-any", "icontains-all", "icontains-any")  # promptfoo writes their list as `value`
_ALIASES = {"is-refusal": "refusal", "rouge-l": "rouge_l", "number-equals": "numeric", "is-valid-json": "is-json"}
# Scorers that need what a case has not: a task's choices and tools, or a list of instructions.
_NOT_HERE = ("checks", "likelihood", "ifeval", "tool_call", "choice", "contains", "regex")
SCORERS = tuple(name for name in KINDS if name not in _NOT_HERE)
OWN = ("contains-json", "levenshtein")
TYPES: tuple[str, ...] = tuple(
    dict.fromkeys((*CHECK_TYPES, *OWN, *(name.replace("_", "-") for name in SCORERS), *_ALIASES))
)
_COMMON = ("type", "weight", "threshold", "metric", "description")
_DISTANCE = 5  # promptfoo's own threshold of levenshtein


class Found(NamedTuple):
    """What one assertion says of a reply. value: 0..1."""

    value: float
    why: str


Run = Callable[[Reply], Found]


@dataclass(frozen=True, slots=True)
class Assertion:
    """One thing that is asked of an answer.

    type: as it was written.   graded: whether its value is a figure in 0..1 that no threshold makes a yes or no.
    told: all that it says, as JSON; two assertions are equal where this is.
    """

    type: str
    told: str
    weight: float = 1.0
    graded: bool = False
    run: Run = field(compare=False, repr=False, default=lambda reply: Found(0.0, ""))


def read_assertion(
    raw: Any, where: str, values: Mapping[str, Any] | None = None, outputs: Sequence[Output] = ()
) -> Assertion | list[Problem]:
    """An assertion as a file holds it, or everything that is wrong with it.

    values: of the case; ``{{ name }}`` in a text of the assertion becomes the value.   outputs: of the instruction, for
    ``field`` and ``schema: outputs``.   A text alone is a type without a value, such as ``is-json``.
    """
    given = {"type": raw} if isinstance(raw, str) else raw
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        what = f"an assertion is an object with a type, found {_short(raw)}"
        return [Problem(what, where, "{type: contains, value: Paris}")]
    try:
        filled = {str(key): _filled(value, values or {}) for key, value in given.items()}
    except FillError as error:
        return [Problem(f"assertion {given['type']!r}: {error.what}", where, "name an input or a field of the case")]
    problems = []
    for name, low in (("weight", 0.0), ("threshold", 0.0)):
        value = filled.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < low):
            problems.append(
                Problem(f"assertion {given['type']!r}: {name} is {_short(value)}", where, "a number from 0")
            )
    if problems:
        return problems
    made = _made(filled, where, outputs)
    if isinstance(made, list):
        return made
    run, graded = made
    told = json.dumps(filled, ensure_ascii=False, sort_keys=True, default=str)
    return Assertion(
        filled["type"], told, float(filled.get("weight") or 0.0) if "weight" in filled else 1.0, graded, run
    )


def judge(asserts: Sequence[Assertion], reply: Reply, threshold: float | None = None) -> Score:
    """What all assertions together say: 0 where one that is yes or no fails, else the weighted mean of the graded ones.

    threshold: of the case; then the weighted mean of all is compared with it, and the score is 1 or 0, as promptfoo has it.
    An assertion of weight 0 is looked at and does not count. An empty reply, or none, scores 0.
    """
    if reply.stop_reason == "error":
        return Score(0.0, "", f"no answer: {reply.text}")
    answer = without_reasoning(reply)
    if not answer.text.strip():
        return Score(0.0, answer.text, "the reply is empty" if not reply.text.strip() else "only reasoning, no answer")
    found = [(one, one.run(answer)) for one in asserts if one.weight > 0]
    total = sum(one.weight for one, _ in found)
    if threshold is not None and total > 0:
        mean = sum(one.weight * said.value for one, said in found) / total
        low = next((said.why for _, said in found if said.value < 1), "")
        told = f"{mean:.2f}, asked was {threshold:g}" + (f": {low}" if low and mean < threshold else "")
        return Score(float(mean >= threshold - 1e-9), answer.text, told)
    for one, said in found:
        if not one.graded and said.value < 1:
            return Score(0.0, answer.text, said.why)
    graded = [(one, said) for one, said in found if one.graded]
    weight = sum(one.weight for one, _ in graded)
    value = sum(one.weight * said.value for one, said in graded) / weight if graded else 1.0
    return Score(value, answer.text, "; ".join(said.why for _, said in (graded or found)))


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A value of an assertion with the case's own put in; a text that is one name keeps the type of what it names."""
    if isinstance(value, str) and "{{" in value:
        inner = value.strip()
        if inner.startswith("{{") and inner.endswith("}}") and inner.count("{{") == 1:
            return value_of(inner[2:-2].strip(), values)
        return fill(value, values)
    if isinstance(value, Mapping):
        return {str(key): _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, values) for inner in value]
    return value


def _made(given: Mapping[str, Any], where: str, outputs: Sequence[Output]) -> tuple[Run, bool] | list[Problem]:
    name: str = given["type"]
    bare = name
    while bare.startswith("not-"):
        bare = bare[4:]
    negated = (len(name) - len(bare)) // 4 % 2 == 1
    bare = _ALIASES.get(bare, bare)
    spec = {key: value for key, value in given.items() if key not in _COMMON}
    scorer = bare.replace("-", "_")
    threshold = given.get("threshold")
    if bare == "is-json" and isinstance(spec.get("value"), Mapping):  # promptfoo writes a schema so
        scorer, spec = "json_schema", {**spec, "schema": spec["value"]}
        spec.pop("value")
    elif bare == "equals" and not isinstance(spec.get("value", ""), str):
        bare = "equals" if isinstance(spec["value"], int | float) and "field" in spec else "json-equals"
        spec["value"] = json.dumps(spec["value"]) if bare == "equals" else spec["value"]
    if bare == "levenshtein":
        made: tuple[Run, bool] | list[Problem] = _levenshtein(spec, threshold, where)
    elif bare == "contains-json":
        made = _contains_json(spec, where)
    elif bare in CHECK_TYPES and scorer != "json_schema":
        made = _check(bare, spec, where, outputs)
    elif scorer in SCORERS:
        made = _scored(scorer, spec, threshold, where)
    else:
        return [Problem(f"heed has no assertion {name!r}", where, nearest(bare, TYPES))]
    if isinstance(made, list) or not negated:
        return made
    run, graded = made
    if graded:
        return [Problem(f"{name!r} is a figure without a threshold, and has no opposite", where, "threshold: 0.5")]

    def opposite(reply: Reply) -> Found:
        said = run(reply)
        return Found(1.0 - said.value, f"{name}: {said.why}")

    return opposite, False


def _check(name: str, spec: dict[str, Any], where: str, outputs: Sequence[Output]) -> tuple[Run, bool] | list[Problem]:
    """One of the checks of heed, with the words in which promptfoo writes it."""
    check: dict[str, Any] = {"type": name, **spec}
    value = check.get("value")
    if name in _LISTS and "values" not in check and value is not None:
        check["values"] = [one.strip() for one in value.split(",")] if isinstance(value, str) else value
        check.pop("value")
    elif name.endswith("-count") and "value" not in CHECK_FIELDS[name][0] and value is not None:
        check.pop("value")
        check |= value if isinstance(value, Mapping) else {"equal": value}
    elif name != "json-equals" and isinstance(value, int | float) and not isinstance(value, bool):
        check["value"] = f"{value}"
    faults = check_faults(check, [one.name for one in outputs])
    if faults:
        return [Problem(f"assertion: {what}", where, mend) for what, mend in faults]

    def run(reply: Reply) -> Found:
        failed = check_failures(check, reply.text.strip(), outputs)
        return Found(float(not failed), "; ".join(failed) if failed else f"{name}: as asked")

    return run, False


def _scored(name: str, spec: dict[str, Any], threshold: float | None, where: str) -> tuple[Run, bool] | list[Problem]:
    """One of the scorers of `heed eval`: `value` is the right answer, the rest are its options."""
    options = {key: value for key, value in spec.items() if key != "value"}
    read = read_scorer({"type": name, **options}, where)
    if read.scorer is None:
        return read.problems
    wanted = [str(one) for one in _listed(spec.get("value"))]
    meta: dict[str, Any] = {"targets": wanted} if wanted else {}
    if name == "refusal":
        meta["refuse"] = True
    turns = (Message("user", ""), Message("assistant", wanted[0] if wanted else ""))
    example = Example("", turns, where, meta=meta)
    problems = [
        Problem(one.what.replace("the item", f"assertion {name!r}"), where, "add value: the right answer")
        for one in read.scorer.item_problems(example)
    ]
    if problems:
        return problems
    scorer: Scorer = read.scorer

    def run(reply: Reply) -> Found:
        said = scorer.judge(example, reply)
        if threshold is None:
            return Found(said.value, f"{name}: {said.why}")
        return Found(float(said.value >= threshold), f"{name} {said.value:.2f}, asked was {threshold:g}")

    return run, threshold is None and scorer.metric != "accuracy"


def _listed(value: Any) -> Sequence[Any]:
    return [] if value is None else value if isinstance(value, list | tuple) else [value]


def _levenshtein(spec: Mapping[str, Any], most: float | None, where: str) -> tuple[Run, bool] | list[Problem]:
    value = spec.get("value")
    if not isinstance(value, str) or set(spec) - {"value"}:
        return [Problem("assertion 'levenshtein' takes a value, a text, and a threshold", where, "value: Paris")]
    limit = _DISTANCE if most is None else most

    def run(reply: Reply) -> Found:
        far = distance(reply.text.strip(), value)
        return Found(float(far <= limit), f"levenshtein: {far} edits, at most {limit:g}")

    return run, False


def distance(a: str, b: str) -> int:
    """Levenshtein's distance: insertions, deletions and replacements of characters.   >>> distance("ab", "b") -> 1"""
    above = list(range(len(b) + 1))
    for row, left in enumerate(a, start=1):
        line = [row]
        for column, right in enumerate(b, start=1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (left != right)))
        above = line
    return above[-1]


def _contains_json(spec: Mapping[str, Any], where: str) -> tuple[Run, bool] | list[Problem]:
    schema = spec.get("value")
    if set(spec) - {"value"} or (schema is not None and not isinstance(schema, Mapping)):
        return [Problem("assertion 'contains-json' takes a value, a JSON schema, or nothing", where, "value: {...}")]
    inner = _scored("json_schema", {"schema": schema}, None, where) if schema is not None else None
    if isinstance(inner, list):
        return inner

    def run(reply: Reply) -> Found:
        held = json_in(reply.text)
        if not held:
            return Found(0.0, "contains-json: no JSON object or list in the reply")
        if inner is None:
            return Found(1.0, "contains-json: as asked")
        said = [inner[0](Reply(one)) for one in held]
        return max(said, key=lambda one: one.value)

    return run, False


def json_in(text: str, most: int = 50) -> list[str]:
    """The JSON objects and lists that stand in a text, the outermost ones, in order."""
    decoder, at, found = json.JSONDecoder(), 0, []
    for _ in range(most):
        at = min((place for place in (text.find("{", at), text.find("[", at)) if place >= 0), default=-1)
        if at < 0:
            break
        try:
            _, end = decoder.raw_decode(text, at)
            parse_json(text[at:end])
        except (ValueError, RecursionError):
            at += 1
            continue
        found.append(text[at:end])
        at = end
    return found


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def target_of(raw: Sequence[Any], values: Mapping[str, Any]) -> str:
    """The right answer, where one assertion of a case says it in full; "" where none does."""
    for one in raw:
        if isinstance(one, Mapping) and one.get("type") in ("equals", "iequals", "json-equals") and "field" not in one:
            try:
                value = _filled(one.get("value"), values)
            except FillError:
                return ""
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""
