"""Rules 3xx: demonstrations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError
from heedlm.eval.text import words
from heedlm.instructions.answers import failures
from heedlm.instructions.blocks import Shot
from heedlm.instructions.lint.rule import Hit, Rule, Subject, bare
from heedlm.instructions.lint.structure import ANTHROPIC, OPENAI

_LABEL = re.compile(r"^\s*([A-Z][A-Za-z ]{0,20}):", re.MULTILINE)


def _where(subject: Subject, shot: Shot) -> str:
    return shot.source or subject.at("heed", "examples")


def _written(subject: Subject) -> bool:
    """Whether there are demonstrations: shots, or a block of examples with text."""
    blocks = subject.instruction.of_kind("examples")
    return bool(subject.instruction.shots) or any(block.text for block in blocks)


def _labels(subject: Subject) -> list[str]:
    """Answers of the shots, where they are labels: few, short and repeated, or those of an enum."""
    outputs = [shot.output for shot in subject.instruction.shots]
    enums = [{str(value) for value in one.enum} for one in subject.instruction.outputs if one.enum]
    if enums:
        found = []
        for output in outputs:
            held = next((value for value in enums[0] if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", output)), "")
            found.append(held)
        return found if all(found) else []
    short = all(len(words(output)) <= 3 for output in outputs)
    return outputs if short and outputs and len(set(outputs)) <= len(outputs) // 2 else []


def no_examples(subject: Subject) -> Iterator[Hit]:
    if _written(subject):
        return
    instruction = subject.instruction
    completes = subject.frame is not None and subject.frame.format == "completion"
    structured = any(check.get("type") == "is-json" for check in instruction.checks) or any(
        one.enum for one in instruction.outputs
    )
    if completes or structured:
        what = "a base model is asked to go on" if completes else "the answer has a form of its own"
        yield Hit(f"{instruction.file}:1", f"{what}, and no example shows it")


def shot_count(subject: Subject) -> Iterator[Hit]:
    count = len(subject.instruction.shots)
    most = next((block.most for block in subject.instruction.blocks if block.slot and block.most), count)
    if min(count, most) == 1 or min(count, most) > 8:
        yield Hit(_where(subject, subject.instruction.shots[0]), f"{min(count, most)} example{'s' * (count > 1)}")


def label_imbalance(subject: Subject) -> Iterator[Hit]:
    counted = Counter(_labels(subject))
    if len(counted) >= 2 and max(counted.values()) > 2 * min(counted.values()):
        told = ", ".join(f"{label} {count}" for label, count in counted.most_common())
        yield Hit(_where(subject, subject.instruction.shots[0]), f"labels of the examples: {told}")
    elif len(counted) == 1 and sum(counted.values()) > 2:
        yield Hit(_where(subject, subject.instruction.shots[0]), f"every example is labelled {next(iter(counted))!r}")


def recency_run(subject: Subject) -> Iterator[Hit]:
    labels = _labels(subject)
    if len(labels) >= 3 and len(set(labels)) > 1 and labels[-1] == labels[-2]:
        yield Hit(_where(subject, subject.instruction.shots[-1]), f"the last two examples are both {labels[-1]!r}")


def order_untested(subject: Subject) -> Iterator[Hit]:
    file = Path(subject.instruction.file)
    locked = file.is_file() and (file.parent / "lock.json").is_file()
    if len(subject.instruction.shots) >= 3 and not locked:
        yield Hit(_where(subject, subject.instruction.shots[0]), "the order of the examples was never tried")


def invalid_example(subject: Subject) -> Iterator[Hit]:
    for shot in subject.instruction.shots:
        for why in failures(subject.instruction, shot.output):
            yield Hit(_where(subject, shot), f"the answer of an example breaks a check: {why}")


def leaked_example(subject: Subject) -> Iterator[Hit]:
    cases = cases_of(subject)
    known = {_normal(text) for text in cases}
    grams = {gram for text in cases for gram in _grams(text, 13)}
    for shot in subject.instruction.shots:
        for value in shot.values.values():
            text = str(value)
            if _normal(text) in known or set(_grams(text, 13)) & grams:
                yield Hit(_where(subject, shot), f"an example stands among the test cases: {text[:60]!r}")


def cases_of(subject: Subject) -> list[str]:
    """Texts of the inputs of the test cases that the file names; those that cannot be read are the matrix's to refuse."""
    instruction = subject.instruction
    place = Path(instruction.file).parent / instruction.tests
    if not instruction.tests or not place.is_file():
        return []
    from heedlm.data.prompts.located import read_yaml
    from heedlm.data.sources import Row, read_rows

    names = [one.name for one in instruction.inputs]
    try:
        held: Any = read_yaml(place.read_text(encoding="utf-8"), str(place)).value
        rows: list[Any] = list(held.get("cases") or []) if isinstance(held, dict) else []
        for row in list(rows):
            if isinstance(row, dict) and isinstance(row.get("file"), str):
                rows += [one.value for one in read_rows(place.parent / row["file"]) if isinstance(one, Row)]
    except (HeedError, OSError, UnicodeDecodeError):
        return []
    return [str(row[name]) for row in rows if isinstance(row, dict) for name in names if name in row]


def _normal(text: str) -> str:
    return " ".join(word.lower() for word in words(text))


def _grams(text: str, size: int) -> list[tuple[str, ...]]:
    said = [word.lower() for word in words(text)]
    return [tuple(said[at : at + size]) for at in range(len(said) - size + 1)]


def near_duplicates(subject: Subject) -> Iterator[Hit]:
    shots = subject.instruction.shots
    grams = [set(_grams(" ".join(map(str, shot.values.values())), 3)) for shot in shots]
    for (first, one), (second, other) in combinations(enumerate(grams), 2):
        if one and other and len(one & other) / len(one | other) >= 0.8:
            yield Hit(_where(subject, shots[second]), f"says nearly what example {first + 1} says")


def frame_mismatch(subject: Subject) -> Iterator[Hit]:
    cues = [block for block in subject.instruction.of_kind("cue") if block.text.rstrip().endswith(":")]
    labels: set[str] = {"output"} if subject.instruction.shots else set()
    for block in subject.instruction.of_kind("examples"):
        labels |= {label.lower() for label in _LABEL.findall(bare(block.text))}
    for cue in cues:
        said = cue.text.rstrip().splitlines()[-1].rstrip(":").strip().lower()
        if labels and said not in labels:
            shown = ", ".join(sorted(label.capitalize() for label in labels))
            yield Hit(cue.at(1), f"the answer is opened with {cue.text.strip()!r}, the examples with {shown}", cue.id)


def uncovered_label(subject: Subject) -> Iterator[Hit]:
    outputs = " ".join(shot.output for shot in subject.instruction.shots)
    for one in subject.instruction.outputs:
        lacking = [str(value) for value in one.enum if not re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", outputs)]
        if one.enum and subject.instruction.shots and lacking:
            yield Hit(subject.at("outputs"), f"no example shows {', '.join(lacking)} for {one.name!r}")


def unstated_pattern(subject: Subject) -> Iterator[Hit]:
    outputs = [shot.output for shot in subject.instruction.shots]
    if len(outputs) < 3:
        return
    told = subject.text_of("task", "constraints", "output_format", "tone", "reminder")
    where = _where(subject, subject.instruction.shots[0])
    if all(output.endswith(".") for output in outputs) and not re.search(
        r"full stop|period|sentence", told, re.IGNORECASE
    ):
        yield Hit(where, "every example ends with a full stop, and no rule says so")
    if all(output.islower() for output in outputs) and not re.search(
        r"lower|small letters|one of|word", told, re.IGNORECASE
    ):
        yield Hit(where, "every example is in small letters, and no rule says so")
    if all(output.startswith("{") for output in outputs) and not re.search(r"\bJSON\b", told):
        yield Hit(where, "every example is a JSON object, and no rule says so")


def _file(shots: str, *, more: str = "", body: str = "") -> str:
    """A file with these shots, for the examples of rules."""
    return (
        f"---\ninputs: [{{name: text, kind: string}}]\n{more}heed:\n  trust: {{text: data}}\n  examples:\n{shots}---\n"
        "system:\n# Task\nName the mood in one word.\n"
        f"{body}# Output format\nOne word.\n# Examples {{# slot=examples #}}\n\nuser:\n{{{{ text }}}}\n"
    )


_TWO = '    - {text: "Best bread in town.", output: glad}\n    - {text: "We left hungry.", output: sad}\n'
_ENUM = "outputs: [{name: label, kind: string, enum: [glad, sad, other]}]\n"
_FOUR = (
    '    - {text: "Best bread in town.", output: glad}\n    - {text: "We left hungry.", output: sad}\n'
    '    - {text: "A lovely room.", output: glad}\n    - {text: "It rained in.", output: sad}\n'
)

RULES = (
    Rule(
        id="HD301",
        name="no examples",
        severity="warning",
        grade="X",
        about="A base model, or an answer in a form of its own, and no demonstration.",
        why="For small models, demonstrations alone beat rewritten instructions on six of seven tasks.",
        mend="Add two to five: heed.examples, and # Examples {# slot=examples #}.",
        source="Opsahl-Ong et al. 2024 (MIPRO), arXiv 2406.11695",
        find=no_examples,
        bad="---\nheed: {check: [{type: is-json}]}\n---\nsystem:\n# Task\nExtract the price.\n# Output format\n"
        'Reply with JSON: {"price": 0}\n\nuser:\nx',
        good="---\nheed: {check: [{type: is-json}]}\n---\nsystem:\n# Task\nExtract the price.\n# Output format\n"
        'Reply with JSON: {"price": 0}\n# Examples\nInput: It costs 3.\nOutput: {"price": 3}\n\nuser:\nx',
    ),
    Rule(
        id="HD302",
        name="number of examples",
        severity="info",
        grade="V",
        about="One example, or more than eight.",
        why="One is copied; many cost tokens in every request.",
        mend="Keep two to eight, or set max=4 on the block.",
        source=ANTHROPIC,
        find=shot_count,
        bad=_file('    - {text: "Best bread in town.", output: glad}\n'),
        good=_file(_TWO),
    ),
    Rule(
        id="HD303",
        name="one label too often",
        severity="warning",
        grade="X",
        about="One label stands more than twice as often as another in the examples.",
        why="Models lean towards the label that they saw most.",
        mend="Give each label the same number of examples.",
        source="Zhao et al. 2021, arXiv 2102.09690",
        find=label_imbalance,
        bad=_file(_TWO + '    - {text: "Fine.", output: glad}\n    - {text: "Superb.", output: glad}\n', more=_ENUM),
        good=_file(_FOUR, more=_ENUM),
    ),
    Rule(
        id="HD304",
        name="the same label at the end",
        severity="warning",
        grade="X",
        about="The last two examples bear one label.",
        why="Models lean towards the label that they saw last.",
        mend="Put another label last.",
        source="Zhao et al. 2021, arXiv 2102.09690",
        find=recency_run,
        bad=_file(_TWO + '    - {text: "It rained in.", output: sad}\n', more=_ENUM),
        good=_file(_FOUR, more=_ENUM),
    ),
    Rule(
        id="HD305",
        name="order never tried",
        severity="info",
        grade="X",
        about="Three or more examples, and no lock file that records a search over their order.",
        why="The order of the same examples can decide between the best result and chance.",
        mend="Search it together with the format, or try two or three orders by hand.",
        source="Lu et al. 2022, arXiv 2104.08786",
        find=order_untested,
        bad=_file(_FOUR),
        good=_file(_TWO),
    ),
    Rule(
        id="HD306",
        name="an example breaks a rule",
        severity="error",
        grade="C",
        about="The answer of an example fails the file's own checks.",
        why="Models follow what they are shown.",
        mend="Mend the example, or the check.",
        source="heed",
        find=invalid_example,
        bad=_file(_TWO, more="").replace(
            "  examples:", "  check: [{type: word-count, max: 2}, {type: starts-with, value: g}]\n  examples:"
        ),
        good=_file(_TWO, more="").replace("  examples:", "  check: [{type: word-count, max: 2}]\n  examples:"),
    ),
    Rule(
        id="HD307",
        name="an example is a test case",
        severity="error",
        grade="C",
        about="An example has the input of a test case, or shares thirteen words in a row with one.",
        why="The score then measures copying.",
        mend="Take the example out, or the case.",
        source="heed",
        find=leaked_example,
        bad=_file(_TWO).replace("  examples:", "  tests: mood.matrix.yaml\n  examples:"),
        good=_file(_FOUR.replace("Best bread in town", "Good soup")).replace(
            "  examples:", "  tests: mood.matrix.yaml\n  examples:"
        ),
    ),
    Rule(
        id="HD308",
        name="nearly the same example",
        severity="warning",
        grade="P",
        about="Two examples that share four fifths of their word triples.",
        why="The second one teaches nothing and costs as much.",
        mend="Replace one by a borderline case.",
        source="heed",
        find=near_duplicates,
        bad=_file(
            '    - {text: "We waited a whole hour for a table by the door.", output: sad}\n'
            '    - {text: "We waited a whole hour for a table by the door!", output: sad}\n'
        ),
        good=_file(_TWO),
    ),
    Rule(
        id="HD309",
        name="examples and question are framed differently",
        severity="error",
        grade="C",
        about="The cue bears another label than the answers of the examples.",
        why="A base model goes on with a pattern; a broken one leads nowhere.",
        mend="Use the same labels: Output: in the examples, Output: as the cue.",
        source="heed",
        find=frame_mismatch,
        bad=_file(_TWO) + "\nassistant:\nAnswer:\n",
        good=_file(_TWO) + "\nassistant:\nOutput:\n",
    ),
    Rule(
        id="HD310",
        name="a label without an example",
        severity="info",
        grade="P",
        about="A value of an enum that no example shows.",
        why="Labels that are never shown are hardly ever chosen.",
        mend="Add an example for it.",
        source="heed",
        find=uncovered_label,
        bad=_file(_TWO, more=_ENUM),
        good=_file(_TWO + '    - {text: "I was there.", output: other}\n', more=_ENUM),
    ),
    Rule(
        id="HD311",
        name="a pattern that no rule states",
        severity="info",
        grade="V",
        about="Something that is true of the answer of every example and stands in no rule.",
        why="A rule that the examples show and the text names is followed more often.",
        mend="Say it in the output format.",
        source=OPENAI,
        find=unstated_pattern,
        bad=_file(
            "".join(f'    - {{text: "Mood {mood}", output: "It is {mood}."}}\n' for mood in ("glad", "sad", "calm"))
        ),
        good=_file(
            "".join(f'    - {{text: "Mood {mood}", output: "It is {mood}."}}\n' for mood in ("glad", "sad", "calm")),
            body="# Constraints\n- End with a full stop.\n",
        ),
    ),
)
