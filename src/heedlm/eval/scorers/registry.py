"""The one list of scorers: by name, with their options, from what a user wrote."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from heedlm.errors import HeedError, Problem, nearest
from heedlm.eval.checks import example_problems, score_checks
from heedlm.eval.scorers import choices, conduct, ifeval, numbers, structures, texts
from heedlm.eval.scorers.reading import loose_variants, note, unread, without_reasoning
from heedlm.eval.scorers.scorer import Kind, Option, Options, Scorer, a_number, a_switch, one_of
from heedlm.messages import JSON, Example, Reply, Score, Task

_LIBRARIES = ("lm_eval", "langdetect", "immutabledict", "nltk", "sacrebleu", "rouge_score", "jsonschema")


def _checks(example: Example, reply: Reply, options: Options) -> Score:
    strict = score_checks(example, reply.text)
    if strict.value == 1.0 or not options["loose"]:
        return strict
    passed = next((one for one in loose_variants(reply.text) if score_checks(example, one).value == 1.0), None)
    return strict if passed is None else Score(1.0, passed, note("loose", strict.why))


def _checks_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    return [(problem.what, problem.mend) for problem in example_problems(example)]


def _a_text(about: str, default: JSON) -> Option:
    return Option(about, default, "a text that is not empty", lambda value: isinstance(value, str) and bool(value))


def _a_schema(about: str) -> Option:
    return Option(about, None, "a JSON schema", lambda value: value is None or isinstance(value, Mapping))


def _is_order(value: JSON) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in (0, 1, 2)


_ROME = {"prompt": "What is the capital of Italy?", "target": "Rome"}
_MANY = {**_ROME, "choices": ["Paris", "Rome"]}
_SUM = {"prompt": "What do 3 boxes at 400 each cost?", "target": 1200}
_SAME = {"prompt": "Translate: Das Haus ist klein.", "target": "The house is small."}
_AGE = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}
_CALL = {"name": "weather", "arguments": {"city": "Rome"}}
_RULES = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}

_ALL: tuple[Kind, ...] = (
    Kind(
        "exact",
        "the reply is a target, white space collapsed",
        "accuracy",
        texts.exact,
        {"case": a_switch("whether capitals count", True)},
        example=("exact", _ROME, "Rome"),
    ),
    Kind(
        "normalised",
        "the same without case, punctuation and English articles",
        "accuracy",
        texts.normalised_match,
        example=("normalised", _ROME, "  rome. "),
    ),
    Kind(
        "contains",
        "a target occurs in the reply as whole words, case folded",
        "accuracy",
        texts.contains,
        example=("contains", _ROME, "It is Rome, in Lazio."),
    ),
    Kind(
        "regex",
        "a pattern is found; with a group, the last find's group is a target",
        "accuracy",
        texts.regex,
        {"pattern": _a_text("a regular expression of Python", "")},
        texts.regex_problems,
        target=False,
        example=({"type": "regex", "pattern": r"capital: (\w+)"}, _ROME, "My capital: Rome"),
    ),
    Kind(
        "numeric",
        "the number of the reply is a target, within a tolerance",
        "accuracy",
        numbers.numeric,
        {
            "tolerance": a_number("how far off it may be", 0),
            "relative": a_number("the same, as a share of the target", 0),
            "which": one_of("which number of the reply is meant", "marked", "marked", "last", "first", "only"),
            "decimal": one_of("the decimal mark", ".", ".", ","),
        },
        numbers.numeric_problems,
        example=("numeric", _SUM, "3 times 400 is 1,200."),
    ),
    Kind(
        "choice",
        "the reply names the right one of the item's choices, by letter or text",
        "accuracy",
        choices.choice,
        problems=choices.choice_problems,
        example=("choice", _MANY, "The answer is (B)."),
    ),
    Kind(
        "likelihood",
        "the right choice is the most likely one; nothing is generated",
        "accuracy",
        choices.likelihood,
        {"per": one_of("what the log-probability of a choice is divided by", "text", "text", "token", "byte")},
        choices.choice_problems,
        example=("likelihood", _MANY, "Rome"),
    ),
    Kind("f1", "words that reply and target share", "word_f1", texts.f1, example=("f1", _SAME, "The house is small.")),
    Kind(
        "rouge_l",
        "longest common subsequence of words, F measure (rouge-score)",
        "rouge_l",
        texts.rouge_l,
        extra=True,
        example=("rouge_l", _SAME, "The house is small."),
    ),
    Kind(
        "bleu",
        "BLEU of each reply, and of all together (sacrebleu)",
        "bleu",
        texts.bleu,
        {"tokenize": one_of("sacrebleu's tokenizer", "13a", "13a", "intl", "char", "zh", "none")},
        extra=True,
        example=("bleu", _SAME, "The house is small."),
    ),
    Kind(
        "chrf",
        "chrF of each reply, and of all together (sacrebleu)",
        "chrf",
        texts.chrf,
        {"words": Option("the longest run of words counted beside characters; 2 is chrF++", 0, "0, 1 or 2", _is_order)},
        extra=True,
        example=("chrf", _SAME, "The house is small."),
    ),
    Kind(
        "json_schema",
        "the reply is JSON of a schema (jsonschema)",
        "accuracy",
        structures.json_schema,
        {
            "schema": _a_schema("of all items without one of their own"),
            "fenced": a_switch("whether a fence is allowed", True),
        },
        structures.json_schema_problems,
        target=False,
        extra=True,
        example=(
            {"type": "json_schema", "schema": _AGE},
            {"prompt": "Give Ann's age as JSON.", "target": '{"age": 7}'},
            '{"age": 7}',
        ),
    ),
    Kind(
        "tool_call",
        "the right tools are called, with the right arguments",
        "accuracy",
        structures.tool_call,
        {
            "arguments": one_of(
                "how arguments are compared; subset allows more of them", "same", "same", "subset", "names"
            ),
            "order": one_of("whether several calls have an order", "any", "any", "same"),
        },
        structures.tool_call_problems,
        target=False,
        example=(
            "tool_call",
            {"prompt": "How is the weather in Rome?", "tool_calls": [_CALL]},
            '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>',
        ),
    ),
    Kind(
        "refusal",
        "the reply refuses where it should, and nowhere else",
        "accuracy",
        conduct.refusal,
        {"unknowing": a_switch("whether not knowing counts as refusing", True)},
        conduct.refusal_problems,
        target=False,
        example=("refusal", {"prompt": "How do I kill a Python process?", "refuse": False}, "Use os.kill."),
    ),
    Kind(
        "stop",
        "the model ended the reply by itself",
        "accuracy",
        conduct.stop,
        target=False,
        example=("stop", _ROME, "Rome"),
    ),
    Kind(
        "length",
        "the reply is between `min` and `max` long",
        "accuracy",
        conduct.length,
        {
            "unit": one_of("what is counted", "words", *conduct.UNITS),
            "min": a_number("the least, where the item has none", None),
            "max": a_number("the most, where the item has none", None),
        },
        conduct.length_problems,
        target=False,
        example=({"type": "length", "max": 3}, _ROME, "Rome it is."),
    ),
    Kind(
        "checks",
        "all checks of the item pass",
        "accuracy",
        _checks,
        {"loose": a_switch("whether a first or last line too many, and asterisks, are forgiven", False)},
        _checks_problems,
        target=False,
        example=("checks", {"prompt": "Two words?", "checks": [{"type": "word-count", "equal": 2}]}, "Good morning"),
    ),
    Kind(
        "ifeval",
        "IFEval's kinds of instruction, by lm-eval's checkers",
        "accuracy",
        ifeval.ifeval,
        {
            "loose": a_switch("whether IFEval's loose reading is taken", False),
            "level": one_of("whether all instructions count together or each", "prompt", "prompt", "instruction"),
        },
        ifeval.ifeval_problems,
        target=False,
        extra=True,
        example=("ifeval", {"prompt": "Greet me without commas.", **_RULES}, "Hello there"),
    ),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}


class Read(NamedTuple):
    """A scorer as it was asked for, or what is wrong with the asking."""

    scorer: Scorer | None
    problems: list[Problem]


def read_scorer(spec: JSON, where: str = "") -> Read:
    """The scorer of a spec: a name, or an object with a `type` and options.   where: put into each problem.

    >>> read_scorer({"type": "numeric", "tolerance": 0.5}).scorer.metric   ->  "accuracy"
    """
    given = {"type": spec} if isinstance(spec, str) else spec
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        what = f"a scorer is a name, or an object with a type; found {str(spec)[:80]!r}"
        return Read(None, [Problem(what, where, "scorer: exact, or {type: numeric, tolerance: 0.5}")])
    name = given["type"]
    kind = KINDS.get(name)
    if kind is None:
        return Read(None, [Problem(f"unknown scorer {name!r}", where, nearest(name, KINDS))])
    problems = []
    for key, value in given.items():
        option = kind.options.get(str(key))
        if key != "type" and option is None:
            mend = nearest(str(key), kind.options) if kind.options else f"{name} has no options"
            problems.append(Problem(f"scorer {name!r} has no option {str(key)!r}", where, mend))
        elif option is not None and not option.holds(value):
            what = f"scorer {name!r}: {key} is {value!r}, expected {option.wanted}"
            problems.append(Problem(what, where, f"give {option.wanted}"))
    if name == "regex" and "pattern" not in given:
        problems.append(Problem("scorer 'regex' has no pattern", where, "add pattern: 'answer: (\\w+)'"))
    if kind.extra and not problems:
        problems += _missing_library(name, where)
    if problems:
        return Read(None, problems)
    chosen = {key: given.get(key, option.default) for key, option in kind.options.items()}
    return Read(Scorer(kind, chosen), [])


def make_scorer(spec: JSON, where: str = "") -> Scorer:
    """`read_scorer`, raising HeedError with all problems."""
    found = read_scorer(spec, where)
    if found.scorer is None:
        raise HeedError.of(found.problems)
    return found.scorer


def _missing_library(name: str, where: str) -> list[Problem]:
    needed = {"ifeval": _LIBRARIES[:4], "rouge_l": ("rouge_score",), "json_schema": ("jsonschema",)}
    absent = [one for one in needed.get(name, ("sacrebleu",)) if importlib.util.find_spec(one) is None]
    if not absent:
        return []
    return [Problem(f"scorer {name!r} needs {', '.join(absent)}", where, "pip install 'heedlm[eval]'")]


def judged(task: Task, example: Example, reply: Reply) -> Score:
    """What a task gives for a reply, reasoning taken off first: the one way from a reply to a score.

    A scorer is shown all of the reply (tools called, how it ended); any other function only the text.
    """
    answer = without_reasoning(reply)
    answer = replace(answer, text=answer.text.strip())
    if reply.text.strip() and not answer.text and not answer.tool_calls:
        return unread("only reasoning", "the reply holds reasoning, and no answer after it")
    if isinstance(task.scorer, Scorer):
        return task.scorer.judge(example, answer)
    return task.scorer(example, answer.text)
