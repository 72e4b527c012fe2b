"""What is said to a model that invents tasks, finds the instruction behind a text, or rates an answer."""

from __future__ import annotations

from collections.abc import Sequence

from heedlm.synth.marks import marked

TASK, INSTRUCTION, TEXT, SCORE = "task", "instruction", "text", "score"

_TASKS = """Here are tasks that people gave to an assistant:

{shown}

Write {count} new tasks of this kind{about}. Each of them
- differs in topic and in form from the tasks above and from the other new ones;
- is complete: the text, the figures or the names that it speaks of stand in it;
- can be done in writing alone, without pictures, files, links or a search;
- is a task, not an answer.
Put each task between <{mark}> and </{mark}>. Write nothing else."""

_BACK = """Below stands a text. Write the instruction that somebody could have given to get exactly such a text as the \
answer, without having seen it{about}. Name what a writer must know (topic, kind of text, length, tone), and give none of \
its sentences away. Put the instruction between <{mark}> and </{mark}>. Write nothing else.

{text}"""

_SCORE = """Now judge the answer above, whoever wrote it, as an editor who looks for examples of an assistant at its best.

5: complete, right, clear and to the point; nothing to improve
4: good, with something small to improve
3: it helps, but a part is missing, vague or beside the point
2: little of what was asked for
1: wrong, off the topic, or no answer

Put the number between <{mark}> and </{mark}>. Write nothing else."""


def ask_for_tasks(shown: Sequence[str], count: int, about: str = "") -> str:
    """Asks for `count` new tasks, with some to go by. about: what they shall be about, in a few words."""
    told = f", about {about}" if about else ""
    return _TASKS.format(shown=marked(shown, TASK), count=count, about=told, mark=TASK)


def ask_for_instruction(document: str, about: str = "") -> str:
    """Asks for the instruction that a document answers. about: who would give it, or how, in a few words."""
    told = f" ({about})" if about else ""
    return _BACK.format(text=marked([document], TEXT), about=told, mark=INSTRUCTION)


def ask_for_score() -> str:
    """Asks for a rating of the answer before, 1 to 5."""
    return _SCORE.format(mark=SCORE)
