"""Logs of evaluations as `heed eval` leaves them, without a model, and judges with a known bent."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from heedlm.eval.arms import instruct
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.task import tasks_from
from heedlm.messages import Request, Sampling
from tests.eval.scripted import ScriptedChat, example, last

Reply = Callable[[int], str]


def number_of(question: str) -> int:
    return int(re.findall(r"\d+", question)[0])


def evaluated(
    folder: Path, replies: dict[str, Reply], n: int = 40, groups: int | None = None, task: str = "facts"
) -> str:
    """A folder with the replies of several arms to `Question N?`, whose right answer is `Answer N.`."""
    examples = [
        example(
            f"Question {number}?",
            f"Answer {number}.",
            id=f"{task}-{number}",
            task=task,
            group=None if groups is None else f"g{number % groups}",
        )
        for number in range(n)
    ]
    for name, reply in replies.items():

        def answer(request: Request, reply: Reply = reply) -> str:
            return reply(number_of(last(request)))

        arm = Arm(name, ScriptedChat(answer, name), instruct, f"sum-{name}")
        run_arm(tasks_from(examples), arm, Sampling(), log=folder / "items.jsonl")
    return str(folder)


def answers(text: str) -> tuple[str, str]:
    """The two answers as a judge was shown them."""
    found = re.findall(r"<answer_([12])>\n(.*?)\n</answer_\1>", text, re.DOTALL)
    assert [number for number, _ in found] == ["1", "2"]
    return found[0][1], found[1][1]


def prefers(better: Callable[[str, str], str]) -> Callable[[str], str]:
    """A judge of pairs that says "1", "2" or "tie" of the two answers."""
    return lambda text: f"This one.\n<verdict>{better(*answers(text))}</verdict>"


def by_place(first: str, second: str) -> str:
    return "1"


def by_length(first: str, second: str) -> str:
    return "tie" if len(first) == len(second) else "1" if len(first) > len(second) else "2"


def by_truth(first: str, second: str) -> str:
    right = [text.startswith("Answer") for text in (first, second)]
    return "tie" if right[0] == right[1] else "1" if right[0] else "2"


def chat(say: Callable[[str], str], name: str = "judge") -> ScriptedChat:
    """The same as a model of this machine."""
    return ScriptedChat(lambda request: say(request.messages[-1].content), name)
