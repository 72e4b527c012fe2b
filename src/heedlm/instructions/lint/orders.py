"""Whether an English sentence says what to do."""

from __future__ import annotations

import re

from heedlm.instructions.lint.words import IMPERATIVES


def first_words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z']+", text)


# What may stand before the verb of an order.
_BEFORE_A_VERB = frozenset(
    re.findall(
        r"\w+",
        "please kindly always never now first finally also you must should will would need have to i like want your task "
        "job goal is do not are asked only",
    )
)


_AFTER_A_VERB = frozenset(
    re.findall(
        r"\w+",
        "the a an each every all any both this that these those your my our its it them one two three up out into only how what "
        "which whether",
    )
)
_NO_VERB = _AFTER_A_VERB | frozenset(
    re.findall(
        r"\w+",
        "you i we they he she there here given is are was were be been in on at of for with from by as to about under over and or "
        "but if when while where after before because not no than so like just such has have had can will may",
    )
)


def is_imperative(sentence: str) -> bool:
    """Whether an English sentence says what to do: it asks, or a clause begins with a verb of the list, after words such as
    please."""
    if sentence.rstrip("\"')*_ ").endswith("?"):
        return True
    for clause in re.split(r"[,;:]|\bthen\b|\band\b", sentence):
        words = [word.lower() for word in first_words(clause)]
        while len(words) > 1 and words[0] in _BEFORE_A_VERB and words[0] not in IMPERATIVES - {"do"}:
            words.pop(0)
        if words and words[0] in IMPERATIVES:
            return True
        if len(words) > 1 and words[1] in _AFTER_A_VERB and words[0] not in _NO_VERB:
            return True  # a verb that the list lacks, by what follows it
    return False
