"""How near a reply comes to a reference answer, for rows that carry no checks."""

from __future__ import annotations

from collections import Counter

from heedlm.eval import text
from heedlm.messages import Example, Score


def reference(example: Example) -> str:
    """The last assistant turn: the answer that the row holds."""
    assert example.messages[-1].role == "assistant", "an evaluation row ends with the answer"
    return example.messages[-1].content


def score_words(example: Example, reply: str) -> Score:
    """F1 of the words that reply and reference share, each counted as often as it occurs, case folded.

    1.0 when both hold the same words, 0.0 when they share none. It ranks answers of one task; it is no share of right
    answers.
    """
    return word_f1(reference(example), reply)


def word_f1(target: str, reply: str) -> Score:
    """F1 of the words of two texts; texts without words are compared as they stand."""
    wanted, found = (Counter(text.words(text.fold(side))) for side in (target, reply))
    if not wanted:
        same = text.collapse(reply) == text.collapse(target)
        return Score(float(same), reply, "compared as they stand: the reference has no words")
    shared = sum((wanted & found).values())
    f1 = 2 * shared / (sum(wanted.values()) + sum(found.values()))
    return Score(f1, reply, f"{shared} of {sum(wanted.values())} reference words, {sum(found.values())} in the reply")
