"""The vocabulary of checks by which a reply is judged without a judge."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval import text
from heedlm.messages import JSON, Example, Score

Check = Mapping[str, JSON]
_FENCE = re.compile(r"```[A-Za-z]*[ \t]*\n?((?:(?!```).)*)```", re.DOTALL)


class Verdict(NamedTuple):
    """Whether one check passed, and the reason in words."""

    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """One type of check. needs: fields that must be there.   takes: fields that may be.   run: reply -> verdict."""

    run: Callable[[Check, str], Verdict]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


def run_check(check: Check, reply: str) -> Verdict:
    """Apply one check to a reply.

    Raises HeedError for an unknown type (with the nearest name), a missing or unknown field, or a broken value.
    >>> run_check({"type": "sentence-count", "equal": 2}, "One. Two.").passed   ->  True
    """
    problems = check_problems(check)
    if problems:
        raise HeedError.of(problems)
    return _run(check, reply)


def _run(check: Check, reply: str) -> Verdict:
    name = check["type"]
    if name.startswith("not-"):
        inner = _run({**check, "type": name[4:]}, reply)
        return Verdict(not inner.passed, f"not-{inner.why}" if inner.passed else f"{name}: as asked")
    verdict = _KINDS[name].run(check, reply)
    return Verdict(verdict.passed, f"{name}: {verdict.why}")


def score_checks(example: Example, reply: str) -> Score:
    """1.0 when every check of `example.meta["checks"]` passes, else 0.0, with the first failure as the reason.

    An empty reply never passes: the absence of an answer would satisfy every "not-" check.
    Raises HeedError, addressed to the row, when the row has no checks or a broken one.
    """
    problems = example_problems(example)
    if problems:
        raise HeedError.of(problems)
    if not reply.strip():
        return Score(0.0, reply, "the reply is empty")
    verdicts = [_run(check, reply) for check in example.meta["checks"]]
    for verdict in verdicts:
        if not verdict.passed:
            return Score(0.0, reply, verdict.why)
    return Score(1.0, reply, "; ".join(verdict.why for verdict in verdicts))


def example_problems(example: Example) -> list[Problem]:
    """What is wrong with the checks of one row; empty when they can all be run."""
    where = f"{example.source} (id {example.id})"
    checks = example.meta.get("checks")
    if not isinstance(checks, Sequence) or isinstance(checks, str) or not checks:
        mend = 'give the row meta.checks, for instance [{"type": "equals", "value": "..."}]'
        return [Problem(f"row has no checks: meta.checks is {checks!r}", where, mend)]
    return [
        problem for number, check in enumerate(checks) for problem in check_problems(check, f"{where} checks[{number}]")
    ]


def check_problems(check: Check, where: str = "") -> list[Problem]:
    """What is wrong with one check, without running it. where: put into each problem."""
    if not isinstance(check, Mapping) or not isinstance(check.get("type"), str):
        return [
            Problem(
                f"a check is an object with a type, found {_short(check)}",
                where,
                '{"type": "contains", "value": "..."}',
            )
        ]
    name = check["type"]
    bare = name
    while bare.startswith("not-"):
        bare = bare[4:]
    kind = _KINDS.get(bare)
    if kind is None:
        return [Problem(f"unknown check type {name!r}", where, nearest(bare, _KINDS))]
    problems = []
    for field in kind.needs:
        if field not in check:
            problems.append(Problem(f"check {name!r} lacks the field {field!r}", where, f"add {field!r}"))
    known = ("type", *kind.needs, *kind.takes)
    for field in check:
        if field not in known:
            problems.append(Problem(f"check {name!r} has no field {field!r}", where, nearest(str(field), known)))
    return problems or _value_problems(bare, check, where)


def _value_problems(name: str, check: Check, where: str) -> list[Problem]:
    def wrong(field: str, wanted: str) -> Problem:
        return Problem(
            f"check {name!r}: field {field!r} is {_short(check[field])}, expected {wanted}", where, f"give {wanted}"
        )

    problems = []
    if "value" in check and name != "json-equals" and (not isinstance(check["value"], str) or not check["value"]):
        problems.append(wrong("value", "a text that is not empty"))
    if "values" in check and not _is_texts(check["values"]):
        problems.append(wrong("values", "a list of texts that are not empty"))
    if "text" in check and not isinstance(check["text"], str):
        problems.append(wrong("text", "a text"))
    for field in ("fenced", "inside"):
        if not isinstance(check.get(field, False), bool):
            problems.append(wrong(field, "true or false"))
    if "separator" in check and (not isinstance(check["separator"], str) or not check["separator"].strip()):
        problems.append(wrong("separator", "a text that is not empty, for instance ***"))
    if "extra" in check and not isinstance(check["extra"], str) and not _is_texts(check["extra"], empty=True):
        problems.append(wrong("extra", "a text or a list of texts"))
    if name.endswith("-count"):
        problems += _bound_problems(name, check, where, wrong)
    if name == "regex" and not problems:
        try:
            re.compile(check["value"])
        except re.error as error:
            problems.append(
                Problem(f"check 'regex': {check['value']!r} is no pattern: {error}", where, "mend the pattern")
            )
    return problems


def _bound_problems(name: str, check: Check, where: str, wrong: Callable[[str, str], Problem]) -> list[Problem]:
    bounds = [field for field in ("equal", "min", "max") if field in check]
    problems = [
        wrong(field, "a whole number of 0 or more")
        for field in bounds
        if not isinstance(check[field], int) or isinstance(check[field], bool) or check[field] < 0
    ]
    if not bounds or ("equal" in bounds and len(bounds) > 1):
        problems.append(Problem(f"check {name!r} needs equal, or min and max, or one of these", where, '"equal": 3'))
    elif not problems and "min" in check and "max" in check and check["min"] > check["max"]:
        problems.append(Problem(f"check {name!r}: min {check['min']} is above max {check['max']}", where, "swap them"))
    return problems


def _is_texts(value: JSON, empty: bool = False) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return (empty or len(value) > 0) and all(isinstance(item, str) and bool(item.strip()) for item in value)


def _short(value: JSON, limit: int = 80) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    shown = text.collapse(shown)
    return repr(shown if len(shown) <= limit else shown[: limit - 1] + "…")


# What each type does ------------------------------------------------------------------------------------------------


def _compose(value: str) -> str:
    return unicodedata.normalize("NFC", value)


def _composed_fold(value: str) -> str:
    return _compose(_compose(value).casefold())


def _equals(prepare: Callable[[str], str]) -> Callable[[Check, str], Verdict]:
    def run(check: Check, reply: str) -> Verdict:
        same = prepare(reply) == prepare(check["value"])
        return Verdict(same, "as asked" if same else f"expected {_short(check['value'])}, found {_short(reply)}")

    return run


def _contains(prepare: Callable[[str], str], need: Callable[[Sequence[bool]], bool]) -> Callable[[Check, str], Verdict]:
    def run(check: Check, reply: str) -> Verdict:
        values = check["values"] if "values" in check else [check["value"]]
        held = prepare(reply)
        found = [prepare(value) in held for value in values]
        if need(found):
            return Verdict(True, "found " + ", ".join(_short(v) for v, f in zip(values, found, strict=True) if f))
        missing = ", ".join(_short(value) for value, there in zip(values, found, strict=True) if not there)
        return Verdict(False, f"{missing} not in {_short(reply)}")

    return run


def _starts_with(prepare: Callable[[str], str]) -> Callable[[Check, str], Verdict]:
    def run(check: Check, reply: str) -> Verdict:
        passed = prepare(reply).strip().startswith(prepare(check["value"]).strip())
        return Verdict(passed, f"the reply starts {_short(reply.strip()[:60])}, asked was {_short(check['value'])}")

    return run


def _ends_with(prepare: Callable[[str], str]) -> Callable[[Check, str], Verdict]:
    def run(check: Check, reply: str) -> Verdict:
        passed = prepare(reply).strip().endswith(prepare(check["value"]).strip())
        return Verdict(passed, f"the reply ends {_short(reply.strip()[-60:])}, asked was {_short(check['value'])}")

    return run


def _forbidden_words(check: Check, reply: str) -> Verdict:
    used = [word for word in check["values"] if text.occurrences(word, reply)]
    return Verdict(not used, f"forbidden: {', '.join(map(_short, used))}" if used else "none of the forbidden words")


def _keyword_count(check: Check, reply: str) -> Verdict:
    return _within(
        check, text.occurrences(check["value"], reply, check.get("inside", False)), f"times {_short(check['value'])}"
    )


def _paragraph_count(check: Check, reply: str) -> Verdict:
    return _within(check, len(text.paragraphs(reply, check.get("separator"))), "paragraphs")


def _sentence_contains(index: int) -> Callable[[Check, str], Verdict]:
    def run(check: Check, reply: str) -> Verdict:
        found = text.sentences(reply)
        sentence = found[index] if found else ""
        passed = text.fold(check["value"]) in text.fold(sentence)
        return Verdict(passed, f"{_short(check['value'])} {'is' if passed else 'is not'} in {_short(sentence)}")

    return run


def _regex(check: Check, reply: str) -> Verdict:
    match = re.search(check["value"], reply)
    return Verdict(
        match is not None, f"matched {_short(match[0])}" if match else f"no match of {_short(check['value'])}"
    )


def parse_json(reply: str) -> JSON:
    """The JSON value that the whole reply is. Raises ValueError, also for NaN, which JSON does not have."""

    def refuse(constant: str) -> JSON:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(reply, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unfenced(reply: str) -> str:
    """What stands in a Markdown fence, where the whole reply is one; else the reply."""
    found = _FENCE.fullmatch(reply.strip())
    return found[1] if found else reply


def _is_json(check: Check, reply: str) -> Verdict:
    try:
        parse_json(unfenced(reply) if check.get("fenced") else reply)
    except ValueError as error:
        return Verdict(False, f"not JSON: {error}")
    return Verdict(True, "parses")


def _json_equals(check: Check, reply: str) -> Verdict:
    try:
        found = parse_json(reply)
    except ValueError as error:
        return Verdict(False, f"not JSON: {error}")
    same = same_json(found, check["value"])
    return Verdict(same, "as asked" if same else f"expected {_short(check['value'])}, found {_short(found)}")


def same_json(a: JSON, b: JSON) -> bool:
    """Equal as JSON values: 1 equals 1.0, true does not equal 1, the order of keys does not matter."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _counts(measure: Callable[[str], int], unit: str) -> Callable[[Check, str], Verdict]:
    def run(check: Check, reply: str) -> Verdict:
        return _within(check, measure(reply), unit)

    return run


def _within(check: Check, found: int, unit: str) -> Verdict:
    if "equal" in check:
        return Verdict(found == check["equal"], f"{found} {unit}, asked were {check['equal']}")
    low, high = check.get("min", 0), check.get("max")
    asked = f"at least {low}" if high is None else f"at most {high}" if low == 0 else f"{low} to {high}"
    return Verdict(found >= low and (high is None or found <= high), f"{found} {unit}, asked were {asked}")


def _numbered_count(check: Check, reply: str) -> Verdict:
    found = text.numbers(reply)
    if found != list(range(1, len(found) + 1)):
        return Verdict(False, "the numbers run " + ", ".join(map(str, found[:12])))
    return _within(check, len(found), "numbered lines")


def _upper_case(check: Check, reply: str) -> Verdict:
    if not any(char.isalpha() for char in reply):
        return Verdict(False, "no letters")
    lower = [word for word in text.words(reply) if any(char.islower() for char in word)]
    return Verdict(not lower, f"lower case in {_short(lower[0])}" if lower else "all capitals")


def _lower_case(check: Check, reply: str) -> Verdict:
    if not any(char.isalpha() for char in reply):
        return Verdict(False, "no letters")
    upper = [word for word in text.words(reply) if any(char.isupper() for char in word)]
    return Verdict(not upper, f"a capital in {_short(upper[0])}" if upper else "no capitals")


def _words_from(check: Check, reply: str) -> Verdict:
    extra = check.get("extra", "")
    source = " ".join([check["text"], extra if isinstance(extra, str) else " ".join(extra)])
    known = set(_pieces(source))
    new = [word for word in _pieces(reply) if sum(char.isalpha() for char in word) > 3 and word not in known]
    return Verdict(not new, f"not in the source: {', '.join(map(_short, new[:5]))}" if new else "nothing invented")


def _pieces(value: str) -> list[str]:
    # Hyphenated words are taken apart and a possessive loses its ending, so that "Paris's" is found where "Paris" is
    # known.
    return [re.sub(r"['’]s?$", "", piece) for word in text.words(text.fold(value)) for piece in re.split(r"[-/]", word)]


_COUNT_FIELDS = ("equal", "min", "max")
_KINDS: Mapping[str, _Kind] = {
    "equals": _Kind(_equals(text.collapse), ("value",)),
    "iequals": _Kind(_equals(text.fold), ("value",)),
    "contains": _Kind(_contains(_compose, all), ("value",)),
    "icontains": _Kind(_contains(_composed_fold, all), ("value",)),
    "contains-all": _Kind(_contains(_compose, all), ("values",)),
    "contains-any": _Kind(_contains(_compose, any), ("values",)),
    "icontains-all": _Kind(_contains(_composed_fold, all), ("values",)),
    "icontains-any": _Kind(_contains(_composed_fold, any), ("values",)),
    "starts-with": _Kind(_starts_with(_compose), ("value",)),
    "ends-with": _Kind(_ends_with(_compose), ("value",)),
    "istarts-with": _Kind(_starts_with(_composed_fold), ("value",)),
    "iends-with": _Kind(_ends_with(_composed_fold), ("value",)),
    "first-sentence-contains": _Kind(_sentence_contains(0), ("value",)),
    "last-sentence-contains": _Kind(_sentence_contains(-1), ("value",)),
    "regex": _Kind(_regex, ("value",)),
    "is-json": _Kind(_is_json, (), ("fenced",)),
    "json-equals": _Kind(_json_equals, ("value",)),
    "word-count": _Kind(_counts(lambda reply: len(text.words(reply)), "words"), (), _COUNT_FIELDS),
    "sentence-count": _Kind(_counts(lambda reply: len(text.sentences(reply)), "sentences"), (), _COUNT_FIELDS),
    "paragraph-count": _Kind(_paragraph_count, (), (*_COUNT_FIELDS, "separator")),
    "keyword-count": _Kind(_keyword_count, ("value",), (*_COUNT_FIELDS, "inside")),
    "forbidden-words": _Kind(_forbidden_words, ("values",)),
    "line-count": _Kind(_counts(lambda reply: len(text.lines(reply)), "lines"), (), _COUNT_FIELDS),
    "bullet-count": _Kind(_counts(text.bullets, "bullets"), (), _COUNT_FIELDS),
    "numbered-count": _Kind(_numbered_count, (), _COUNT_FIELDS),
    "upper-case": _Kind(_upper_case),
    "lower-case": _Kind(_lower_case),
    "words-from": _Kind(_words_from, ("text",), ("extra",)),
}
CHECK_TYPES: tuple[str, ...] = tuple(_KINDS)
# What each type needs, and what it takes besides.
CHECK_FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    name: (kind.needs, kind.takes) for name, kind in _KINDS.items()
}
