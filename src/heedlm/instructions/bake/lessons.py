"""What is learned: requests from the student's side, which lacks the text, and from the teacher's, with one answer for both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.eval.scorers.reading import without_reasoning
from heedlm.instructions.asserts import Assertion
from heedlm.instructions.bench import empty_of
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import Case
from heedlm.instructions.compile import fill, planned
from heedlm.instructions.frame import Frame
from heedlm.messages import Encoded, Example, Message, Reply
from heedlm.runs import write_text
from heedlm.tokens.rows import fit_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedlm.templates.chat import ChatTemplate

# asked: the student has to do without the text what the teacher does with it.   told: both have the text, so that giving it
# to the baked model as well does no harm.   plain: neither has it, so that the rest stays as it is.
Kind = Literal["asked", "told", "plain"]
CUT = "cut at the longest answer that is allowed"
SHARE_TOLD = 0.25  # of the requests, asked once more with the text


@dataclass(frozen=True, slots=True)
class Lesson:
    """student, teacher: the turns before the answer, as each of them sees them.   group: what it belongs to, for splits."""

    id: str
    kind: Kind
    student: tuple[Message, ...]
    teacher: tuple[Message, ...]
    reply: Reply
    group: str | None = None

    def row(self, side: Literal["student", "teacher"]) -> Example:
        """The turns of one side with the answer, which alone is learned."""
        turns = self.student if side == "student" else self.teacher
        before = tuple(replace(turn, weight=0.0) if turn.role == "assistant" else turn for turn in turns)
        answer = Message("assistant", self.reply.text, reasoning=self.reply.reasoning)
        return Example(self.id, (*before, answer), self.id, self.group, meta={"task": self.kind})


class Sides(NamedTuple):
    """A request as the teacher sees it and as the student does."""

    teacher: tuple[Message, ...]
    student: tuple[Message, ...]


def without_cue(instruction: Instruction) -> Instruction:
    """The instruction as a conversation has it: an answer is not begun for a model that answers without the text."""
    cues = tuple(block.id for block in instruction.of_kind("cue"))
    return instruction.without(*cues) if cues else instruction


def sides_of(instruction: Instruction, cases: Sequence[Case], frame: Frame) -> list[Sides]:
    """Each case behind the instruction, and alone. Raises HeedError, with every problem, where a case does not compile."""
    full = planned(instruction, frame=frame)
    bare = planned(empty_of(instruction), frame=frame)
    names = {one.name for one in instruction.inputs}
    found, problems = list[Sides](), dict[str, Problem]()
    for case in cases:
        values = {name: value for name, value in case.values.items() if name in names}
        try:
            found.append(Sides(fill(full, values).messages, fill(bare, values).messages))
        except HeedError as error:
            for one in error.problems:
                problems.setdefault(one.what, replace(one, where=f"{one.where} (case {case.id} of {case.source})"))
    if problems:
        raise HeedError.of(list(problems.values()))
    return found


def refusal(reply: Reply, asserts: Sequence[Assertion]) -> str:
    """Why nothing is learned from a reply; "" where it is. asserts: what it has to pass, for a plain reply nothing."""
    if reply.stop_reason == "error":
        return "no answer"
    if reply.stop_reason == "length":
        return CUT
    if not reply.text.strip():
        return "an empty answer"
    answer = without_reasoning(reply)
    failed = [_named(one) for one in asserts if one.weight > 0 and one.run(answer).value < 1]
    return f"fails {' and '.join(failed)}" if failed else ""


def _named(assertion: Assertion) -> str:
    field = json.loads(assertion.told).get("field")
    return assertion.type + (f" of {field}" if field else "")


def fitting(
    lessons: Iterable[Lesson], template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> tuple[list[Lesson], Counter[str]]:
    """The lessons whose answer is the same tokens on both sides, each once, and why the others are left out."""
    kept, dropped = list[Lesson](), Counter[str]()
    seen: set[tuple[object, ...]] = set()
    unique: list[Lesson] = []
    for one in lessons:
        told = (one.student, one.teacher, one.reply.text, one.reply.reasoning)
        if not asks(one.student):
            dropped["nothing is asked without the text"] += 1
        elif told in seen:
            dropped["said before"] += 1
        else:
            seen.add(told)
            unique.append(one)
    students, teachers = (
        encoded([one.row(side) for one in unique], template, tokenizer, max_tokens) for side in ("student", "teacher")
    )
    for number, one in enumerate(unique):
        mine, theirs = students.get(number), teachers.get(number)
        if mine is None or theirs is None:
            dropped[f"longer than {max_tokens:,} tokens"] += 1
        elif learned(mine) != learned(theirs):
            dropped["other tokens behind the instruction than without it"] += 1
        else:
            kept.append(one)
    return kept, dropped


def asks(turns: Sequence[Message]) -> bool:
    """Whether the person says something in each turn: an empty question is no row."""
    return bool(turns) and all(turn.content.strip() for turn in turns if turn.role == "user")


def encoded(
    rows: Sequence[Example], template: ChatTemplate, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> dict[int, Encoded]:
    """The sequence with the answer of each row, by its place; rows that do not fit are absent."""
    made = fit_rows(template, tokenizer, rows, max_tokens=max_tokens, overflow="drop")
    pairs = zip(made.row_of, made.sequences, strict=True)
    return {row: sequence for row, sequence in pairs if any(weight > 0 for weight in sequence.weights)}


def learned(sequence: Encoded) -> list[int]:
    """The ids that are learned; the first of a sequence never is, for nothing comes before it."""
    pairs = zip(sequence.ids[1:], sequence.weights[1:], strict=True)
    return [token for token, weight in pairs if weight > 0]


def write_lessons(path: Path, teachers: Path, lessons: Sequence[Lesson]) -> None:
    """Rows as training reads them, and beside them what the teacher sees, where that is something else."""
    write_text(path, "".join(_line(one.row("student")) for one in lessons))
    write_text(teachers, "".join(_line(one.row("teacher")) for one in lessons if one.teacher != one.student))


def _line(example: Example) -> str:
    messages = []
    for turn in example.messages:
        told: dict[str, Any] = {"role": turn.role, "content": turn.content}
        told |= {"reasoning": turn.reasoning} if turn.reasoning else {}
        told |= {"weight": turn.weight} if turn.weight is not None and turn.role == "assistant" else {}
        messages.append(told)
    row: dict[str, Any] = {"id": example.id, "messages": messages, "meta": dict(example.meta)}
    row |= {"group": example.group} if example.group is not None else {}
    return json.dumps(row, ensure_ascii=False) + "\n"
