"""What a model does with an instruction instead of following it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

from heedlm.eval import text
from heedlm.eval.match import reference
from heedlm.messages import Example, Score

Behaviour = Literal[
    "right", "continues with questions", "asks back", "right fact in another form", "repeats the prompt", "other"
]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)

_TO_THE_READER = re.compile(r"\b(?:you|your|yours|mean|shall i|should i|may i|can i)\b", re.IGNORECASE)
_EMPTY = frozenset(("the", "this", "that", "called", "answer", "with", "from", "they", "their"))
_SHORT_ANSWER = 40  # words; a longer reference is a text, not a fact


def base_behaviour(reply: str, example: Example, score: Score) -> Behaviour:
    """The one name that fits a reply best, tried in this order.

    right: the scorer is content.   right fact in another form: a statement holds every word that the reference adds
    to the prompt.   repeats the prompt: it begins with the question again and asks nothing new, or says nothing but
    prompt. continues with questions: half of its sentences or more are questions.   asks back: one question, put to
    the reader.
    """
    if score.value >= 1.0:
        return "right"
    prompt = [turn.content for turn in example.messages[:-1]]
    found = text.sentences(reply)
    questions = [sentence for sentence in found if _is_question(sentence)]
    statements = [sentence for sentence in found if not _is_question(sentence)]
    if _has_fact(statements, prompt, example):
        return "right fact in another form"
    known = {text.fold(sentence) for turn in prompt for sentence in text.sentences(turn)}
    new = [sentence for sentence in found if text.fold(sentence) not in known]
    if found and (not new or _begins_again(reply, prompt)) and not any(map(_is_question, new)):
        return "repeats the prompt"
    if len(found) == 1 and questions and _TO_THE_READER.search(questions[0]):
        return "asks back"
    if questions and 2 * len(questions) >= len(found):
        return "continues with questions"
    if questions and found[0] == questions[0] and _TO_THE_READER.search(questions[0]):
        return "asks back"
    return "other"


def _is_question(sentence: str) -> bool:
    return sentence.rstrip("\"'”’)]»").endswith("?")


def _begins_again(reply: str, prompt: list[str]) -> bool:
    last = text.fold(prompt[-1]) if prompt else ""
    return len(text.words(last)) >= 3 and text.fold(reply).startswith(last)


def _has_fact(statements: list[str], prompt: list[str], example: Example) -> bool:
    said = {word for sentence in statements for word in text.words(text.fold(sentence))}
    fact = fact_words(example, prompt)
    return bool(fact) and fact <= said


def fact_words(example: Example, prompt: list[str]) -> set[str]:
    """The words, case folded, that carry the fact of a short answer; empty where there is none to speak of.

    `meta.fact.value` where the row tells it, else the names, numbers and longer words that the reference adds to the
    prompt.
    """
    told = example.meta.get("fact")
    if isinstance(told, Mapping) and isinstance(told.get("value"), str):
        return set(text.words(text.fold(told["value"])))
    answer = text.words(text.collapse(reference(example)))
    if len(answer) > _SHORT_ANSWER:
        return set()
    asked = {word for turn in prompt for word in text.words(text.fold(turn))}
    added = [word for word in answer if word.casefold() not in asked]
    carrying = {word.casefold() for word in added if len(word) > 3 or word[0].isupper() or word[0].isdigit()}
    return carrying - _EMPTY
