"""What each arm of a comparison is asked, given an example."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from heedlm.eval.asking import Ask, answers
from heedlm.eval.match import reference
from heedlm.eval.scorers.registry import judged
from heedlm.eval.suites.asked import as_wanted
from heedlm.messages import Chat, Example, Message, Request, Sampling, Task

BASE, BASE_FAIR, INSTRUCT, WRONG_FORMAT = "base", "base_fair", "instruct", "wrong_format"
INSTRUCT_AGAIN = "instruct_again"  # the noise floor: the same question to the same model


Builder = Callable[[Task, Example], Ask]


@dataclass(frozen=True, slots=True)
class Frame:
    """A plain way to write questions and answers, so that a base model sees a document that goes on with an answer.

    question: put before the question.   answer: put before the answer.   between: separates two items.
    stop: the text with which the next item would begin; it cannot be part of an answer.
    """

    name: str
    question: str
    answer: str
    between: str
    stop: str


# Plain prose frames, no wire formats: they belong to no model and are only ever shown to a base model.
FRAMES: tuple[Frame, ...] = (
    Frame("Q/A", "Q: ", "\nA:", "\n\n", "\nQ:"),
    Frame("Question/Answer", "Question: ", "\nAnswer:", "\n\n", "\nQuestion:"),
    Frame("Instruction/Answer", "Instruction:\n", "\n\nAnswer:\n", "\n\n", "\nInstruction:"),
    Frame("ruled", "", "\n\n", "\n\n----\n\n", "\n----"),
)


@dataclass(frozen=True, slots=True)
class FewShot:
    """A frame with the solved examples that stand before the item. score: what the frame reached on the picking
    items."""

    frame: Frame
    shots: tuple[Example, ...]
    score: float = 0.0


def history(example: Example) -> tuple[Message, ...]:
    """The turns before the last answer: what a model is asked in an evaluation."""
    reference(example)  # refuses a row that does not end with an answer
    return example.messages[:-1]


def bare(task: Task, example: Example) -> Ask:
    """The turns as plain paragraphs, no marker, nothing before them: how somebody new to base models would ask one."""
    return Ask(Request(text="\n\n".join(turn.content.strip() for turn in history(example) if turn.content.strip())))


def instruct(task: Task, example: Example) -> Ask:
    """The turns as messages, rendered in the chat template of the model itself."""
    return Ask(Request(messages=history(example), tools=example.tools, template_kwargs=example.template_kwargs))


def wrong_format(render: Callable[[Sequence[Message]], str]) -> Builder:
    """The same turns as plain text in a wire format the model was not tuned on; `render` writes it, up to where the
    answer starts."""

    def build(task: Task, example: Example) -> Ask:
        return Ask(Request(text=render(history(example))))

    return build


def fair(few_shots: Mapping[str, FewShot], fits: Callable[[str], bool] | None = None) -> Builder:
    """The item in its task's frame after the solved examples.

    few_shots: by task name.   fits: whether a text leaves room for an answer; the first examples are left out until
    it does.
    """

    def build(task: Task, example: Example) -> Ask:
        few = few_shots[task.name]
        return few_shot_ask(few.frame, few.shots, example, fits)

    return build


def few_shot_ask(
    frame: Frame, shots: Sequence[Example], example: Example, fits: Callable[[str], bool] | None = None
) -> Ask:
    """One request: the shots solved, then the item up to where its answer starts. Ends without white space, as tokens
    do."""
    item = _dialogue(frame, history(example)).rstrip()
    solved = [f"{_dialogue(frame, history(shot))}{_space(frame)}{reference(shot).strip()}" for shot in shots]
    while solved and fits is not None and not fits(frame.between.join([*solved, item])):
        solved = solved[1:]
    return Ask(Request(text=frame.between.join([*solved, item])), (frame.stop,))


def _dialogue(frame: Frame, turns: Sequence[Message]) -> str:
    """The turns in the frame, up to and with the mark before the answer. A system text stands before the first
    question."""
    written: list[str] = []
    before = ""
    for turn in turns:
        if turn.role == "assistant":
            written.append(f"{frame.answer}{_space(frame)}{turn.content.strip()}\n")
        elif turn.role == "user":
            written.append(f"{frame.question}{before}{turn.content.strip()}")
            before = ""
        else:
            before += turn.content.strip() + "\n"
    if before:
        written.append(f"{frame.question}{before.strip()}")
    return "".join(written) + frame.answer


def _space(frame: Frame) -> str:
    return "" if frame.answer.endswith("\n") else " "


def pick_shots(task: Task, train: Sequence[Example], num_shots: int, rng: random.Random) -> tuple[Example, ...]:
    """Solved examples of the same task from the training rows, each of another group while groups last.

    Rows of a group that the task itself tests are never taken, so a shot cannot give an answer away.
    """
    tested = {example.group for example in task.examples if example.group is not None}
    rows = [row for row in train if row.meta.get("task", "held_out") == task.name and row.group not in tested]
    rng.shuffle(rows)
    seen: set[str | None] = set()
    fresh: list[Example] = []
    again: list[Example] = []
    for row in rows:
        (again if row.group is not None and row.group in seen else fresh).append(row)
        seen.add(row.group)
    return tuple((fresh + again)[:num_shots])


def pick_frames(
    chat: Chat,
    tasks: Sequence[Task],
    train: Sequence[Example],
    sampling: Sampling,
    rng: random.Random,
    *,
    frames: Sequence[Frame] = FRAMES,
    num_shots: int = 3,
    num_items: int = 4,
    limits: Mapping[str, int] | None = None,
    fits: Callable[[str], bool] | None = None,
) -> dict[str, FewShot]:
    """For each task its solved examples and the frame in which the base model does best on training items.

    num_items: training rows of each task that every frame is tried on, none of them among the shots. Test items are
    not seen. limits: new tokens at most, by task name.
    A task on which frames tie takes the one that is best over all tasks, then the first.
    """
    limits = limits or {}
    shots, items = {}, {}
    for task in tasks:
        rows = pick_shots(task, train, num_shots + num_items, rng)
        shots[task.name], items[task.name] = rows[:num_shots], rows[num_shots:]
    scores = {
        (frame.name, task.name): score
        for frame in frames
        for task, score in zip(
            tasks, _frame_scores(chat, frame, tasks, shots, items, sampling, limits, fits), strict=True
        )
    }
    overall = {frame.name: sum(scores[frame.name, task.name] for task in tasks) for frame in frames}
    picked = {}
    for task in tasks:
        best = max(frames, key=lambda frame: (scores[frame.name, task.name], overall[frame.name]))
        picked[task.name] = FewShot(best, shots[task.name], scores[best.name, task.name])
    return picked


def _frame_scores(
    chat: Chat,
    frame: Frame,
    tasks: Sequence[Task],
    shots: Mapping[str, Sequence[Example]],
    items: Mapping[str, Sequence[Example]],
    sampling: Sampling,
    limits: Mapping[str, int],
    fits: Callable[[str], bool] | None,
) -> list[float]:
    """Mean score of each task's picking items in one frame; 0 for a task without such items."""
    asked = [(task, item) for task in tasks for item in items[task.name]]
    asks = [
        as_wanted(task, item, few_shot_ask(frame, shots[task.name], item, fits), limits.get(task.name))
        for task, item in asked
    ]
    sums = dict.fromkeys((task.name for task in tasks), 0.0)
    for batch in answers(chat, asks, sampling):
        for index, reply in zip(batch.indices, batch.replies, strict=True):
            task, item = asked[index]
            sums[task.name] += judged(task, item, reply).value
    return [sums[task.name] / max(1, len(items[task.name])) for task in tasks]
